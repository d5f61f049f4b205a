// SPDX-License-Identifier: Apache-2.0
// The threaded code: the list of handlers and the layout of their operands. lower.c writes it,
// exec.c runs it.
//
// Word 0 is the handler's address. Word 1 is four 16-bit operands d, a, b, c: byte offsets from the
// CPU state, so that a slot and a temporary (cpu_head.scratch) are the same thing. Further words
// are immediates. A handler reads its operands before it writes d, which may be one of them.
#ifndef STRATA_INTERP_CODE_H
#define STRATA_INTERP_CODE_H

#include "interp/interp.h"

/* Binary integer ops: name, result. Operands a, b of the unsigned type U; S is its signed twin, W
 * its width in bits. */
// clang-format off
#define INTERP_BINARY(X)                                                                           \
	X(ADD, a + b)                                                                              \
	X(SUB, a - b)                                                                              \
	X(MUL, (uint64_t)a *b)                                                                     \
	X(MULHU, ((unsigned __int128)a * b) >> W)                                                  \
	X(MULHS, ((__int128)(S)a * (S)b) >> W)                                                     \
	X(MULHSU, ((__int128)(S)a * (__int128)b) >> W)                                             \
	X(DIVU, b ? a / b : (U)-1)                                                                 \
	X(DIVS, !b ? (U)-1 : b == (U)-1 ? (U)(0 - a) : (U)((S)a / (S)b))                           \
	X(REMU, b ? a % b : a)                                                                     \
	X(REMS, !b ? a : b == (U)-1 ? 0 : (U)((S)a % (S)b))                                        \
	X(AND, a &b)                                                                               \
	X(OR, a | b)                                                                               \
	X(XOR, a ^ b)                                                                              \
	X(ANDN, a & ~b)                                                                            \
	X(SHL, (uint64_t)a << (b & (W - 1)))                                                       \
	X(SHR, a >> (b & (W - 1)))                                                                 \
	X(SAR, (S)a >> (b & (W - 1)))                                                              \
	X(ROTL, (U)((uint64_t)a << (b & (W - 1))) | (U)(a >> ((0u - b) & (W - 1))))                \
	X(ROTR, (U)(a >> (b & (W - 1))) | (U)((uint64_t)a << ((0u - b) & (W - 1))))

#define INTERP_COMPARE(X)                                                                          \
	X(EQ, a == b)                                                                              \
	X(NE, a != b)                                                                              \
	X(LTS, (S)a < (S)b)                                                                        \
	X(LTU, a < b)                                                                              \
	X(GES, (S)a >= (S)b)                                                                       \
	X(GEU, a >= b)

#define INTERP_UNARY(X)                                                                            \
	X(NOT, ~a)                                                                                 \
	X(NEG, 0 - a)                                                                              \
	X(CLZ, a ? (unsigned)__builtin_clzll(a) - (64 - W) : W)                                    \
	X(CTZ, a ? (unsigned)__builtin_ctzll(a) : W)                                               \
	X(POPCNT, (unsigned)__builtin_popcountll(a))                                               \
	X(BSWAP, __builtin_bswap64(a) >> (64 - W))                                                 \
	X(ORCB, interp_orcb(a))

/* from, to */
#define INTERP_EXTEND(X) X(8, 16) X(8, 32) X(8, 64) X(16, 32) X(16, 64) X(32, 64)

/* Forms of a binary op, in this order: two operands of 8 to 64 bits; an immediate on the right (word
 * 2); 32 bits with the result sign-extended to 64. */
enum { FORM_8, FORM_16, FORM_32, FORM_64, FORM_32_IMM, FORM_64_IMM, FORM_32_SEXT, FORM_32_SEXT_IMM };
#define BINARY_FORMS(H, id)                                                                        \
	H(id##_8) H(id##_16) H(id##_32) H(id##_64) H(id##_32_IMM) H(id##_64_IMM) H(id##_32_SEXT)   \
		H(id##_32_SEXT_IMM)
#define COMPARE_FORMS(H, id)                                                                       \
	H(id##_8) H(id##_16) H(id##_32) H(id##_64) H(id##_32_IMM) H(id##_64_IMM)
/* Compare and leave: see EDGE. */
#define BRANCH_FORMS(H, id) H(BR_##id##_32) H(BR_##id##_64) H(BR_##id##_32_IMM) H(BR_##id##_64_IMM)
#define UNARY_FORMS(H, id) H(id##_8) H(id##_16) H(id##_32) H(id##_64)
#define WIDTH_FORMS(H, id) UNARY_FORMS(H, id)

/* Every handler, once. */
#define INTERP_HANDLERS(H)                                                                         \
	INTERP_BINARY_LIST(H) INTERP_COMPARE_LIST(H) INTERP_UNARY_LIST(H) INTERP_EXTEND_LIST(H)    \
	WIDTH_FORMS(H, MOV)         /* d = a */                                                    \
	WIDTH_FORMS(H, SET)         /* d = word 2 */                                               \
	WIDTH_FORMS(H, SELECT)      /* d = c ? a : b; c is 64 bits wide */                         \
	/* memory: address a + word 2; word 3 pc */                                                \
	WIDTH_FORMS(H, LD) H(LD_8_ZEXT) H(LD_16_ZEXT) H(LD_32_ZEXT) H(LD_8_SEXT) H(LD_16_SEXT)     \
	H(LD_32_SEXT) WIDTH_FORMS(H, ST) /* value b */                                             \
	H(LD_ALIGNED) H(ST_ALIGNED) /* c: bytes */                                                 \
	H(RMW) H(CMPXCHG) H(LOADR) H(STOREC)                                                       \
	H(FENCE) H(PAUSE)                                                                          \
	H(FP_32_32) H(FP_32_64) H(FP_64_32) H(FP_64_64)                                            \
	H(FADD_32) H(FSUB_32) H(FMUL_32) H(FDIV_32) H(FADD_64) H(FSUB_64) H(FMUL_64) H(FDIV_64)    \
	H(FFLAGS) H(FFLAGS_SET)                                                                    \
	H(CALL) H(CALL_FAULT)                                                                      \
	H(COUNT) H(JUMP) H(BRANCH) H(GOTO) H(GOTO_REG) H(EXIT) H(TRAP) H(BR_NZ)

#define INTERP_BINARY_LIST(H)  INTERP_BINARY_X(H)
#define INTERP_BINARY_X(H)                                                                         \
	BINARY_FORMS(H, ADD) BINARY_FORMS(H, SUB) BINARY_FORMS(H, MUL) BINARY_FORMS(H, MULHU)      \
	BINARY_FORMS(H, MULHS) BINARY_FORMS(H, MULHSU) BINARY_FORMS(H, DIVU) BINARY_FORMS(H, DIVS) \
	BINARY_FORMS(H, REMU) BINARY_FORMS(H, REMS) BINARY_FORMS(H, AND) BINARY_FORMS(H, OR)       \
	BINARY_FORMS(H, XOR) BINARY_FORMS(H, ANDN) BINARY_FORMS(H, SHL) BINARY_FORMS(H, SHR)       \
	BINARY_FORMS(H, SAR) BINARY_FORMS(H, ROTL) BINARY_FORMS(H, ROTR)
#define INTERP_COMPARE_LIST(H)                                                                     \
	COMPARE_FORMS(H, EQ) COMPARE_FORMS(H, NE) COMPARE_FORMS(H, LTS) COMPARE_FORMS(H, LTU)      \
	COMPARE_FORMS(H, GES) COMPARE_FORMS(H, GEU) BRANCH_FORMS(H, EQ) BRANCH_FORMS(H, NE)        \
	BRANCH_FORMS(H, LTS) BRANCH_FORMS(H, LTU) BRANCH_FORMS(H, GES) BRANCH_FORMS(H, GEU)
#define INTERP_UNARY_LIST(H)                                                                       \
	UNARY_FORMS(H, NOT) UNARY_FORMS(H, NEG) UNARY_FORMS(H, CLZ) UNARY_FORMS(H, CTZ)            \
	UNARY_FORMS(H, POPCNT) UNARY_FORMS(H, BSWAP) UNARY_FORMS(H, ORCB)
#define INTERP_EXTEND_LIST(H)                                                                      \
	H(ZEXT_8_16) H(ZEXT_8_32) H(ZEXT_8_64) H(ZEXT_16_32) H(ZEXT_16_64) H(ZEXT_32_64)           \
	H(SEXT_8_16) H(SEXT_8_32) H(SEXT_8_64) H(SEXT_16_32) H(SEXT_16_64) H(SEXT_32_64)

enum interp_handler {
#define H(id) H_##id,
	INTERP_HANDLERS(H)
#undef H
	INTERP_HANDLER_COUNT
};

/* The handlers' addresses, by enum interp_handler (exec.c). */
const void *const *interp_handlers(void);
const void *const *interp_handlers_flat(void);

/* An edge of a block is two words: the target's guest address, and a link: the address of the
 * target's code; or, odd, INTERP_NO_LINK (the target is in another page) or interp_page_tag() of
 * the page where the block begins, until it is linked. */
#define INTERP_NO_LINK UINT64_C(1)

/* Longest operation in words, but for nothing. */
enum { INTERP_MAX_WORDS = 8 };

/* A result that may be a fault (cpu_head.fault is then set). */
struct interp_result {
	uint64_t value;
	bool ok;
};

struct interp_result interp_load_slow(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags);
bool interp_store_slow(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t value);
/* atomic.c; bytes is 4 or 8, the value's upper bits are unspecified for 4. */
struct interp_result interp_rmw(void *cpu, uint64_t addr, enum ir_rmw op, unsigned bytes, uint64_t b);
struct interp_result interp_cmpxchg(void *cpu, uint64_t addr, unsigned bytes, uint64_t expected,
	uint64_t desired);
/* On host memory; *expected becomes what was there. */
bool interp_compare_exchange(void *p, unsigned bytes, uint64_t *expected, uint64_t desired);
struct interp_result interp_load_reserved(void *cpu, uint64_t addr, unsigned bytes);
struct interp_result interp_store_conditional(void *cpu, uint64_t addr, unsigned bytes, uint64_t v);
/* atomic_flat.c: the same when cpu_head.flat; the others call them. */
struct interp_result interp_rmw_flat(struct cpu_head *h, uint64_t addr, enum ir_rmw op, unsigned bytes,
	uint64_t b);
struct interp_result interp_cmpxchg_flat(struct cpu_head *h, uint64_t addr, unsigned bytes,
	uint64_t expected, uint64_t desired);
struct interp_result interp_load_reserved_flat(struct cpu_head *h, uint64_t addr, unsigned bytes);
struct interp_result interp_store_conditional_flat(struct cpu_head *h, uint64_t addr, unsigned bytes,
	uint64_t v);

/* A floating-point op: arguments and result are bit patterns; aux as in IR (fp.c). */
typedef uint64_t interp_fp_fn(struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c);
/* The function for an op on arguments of type `from` with result `to`. */
interp_fp_fn *interp_fp(enum ir_op op, enum ir_type from, enum ir_type to);

static inline uint64_t interp_orcb(uint64_t a)
{
	/* Bit 0 of each byte: any bit of the byte is set. */
	uint64_t low7 = UINT64_C(0x7f7f7f7f7f7f7f7f);
	uint64_t any = (((a & low7) + low7) | a) >> 7 & UINT64_C(0x0101010101010101);
	return any * 0xff;
}

#endif
