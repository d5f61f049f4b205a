// SPDX-License-Identifier: Apache-2.0
// Writes x86-64 machine code into a buffer. Intel SDM volume 2: 2.1 (ModRM, SIB), 2.2.1 (REX), 2.3
// (VEX). What does not fit sets `overflow` and is dropped; the caller looks once, at the end.
#ifndef STRATA_JIT_X86_64_ASM_H
#define STRATA_JIT_X86_64_ASM_H

#include "base/base.h"

enum host_reg {
	RAX,
	RCX,
	RDX,
	RBX,
	RSP,
	RBP,
	RSI,
	RDI,
	R8,
	R9,
	R10,
	R11,
	R12,
	R13,
	R14,
	R15,
	NO_REG = -1
};

struct asm_buf {
	uint8_t *start, *p, *end;
	bool overflow;
};

/* [base + index * scale + disp]; index NO_REG: none. scale 1, 2, 4, 8. */
struct asm_mem {
	int8_t base, index;
	uint8_t scale;
	int32_t disp;
};
#define MEM(b, d)	 ((struct asm_mem){(int8_t)(b), NO_REG, 1, (int32_t)(d)})
#define MEMX(b, x, s, d) ((struct asm_mem){(int8_t)(b), (int8_t)(x), (uint8_t)(s), (int32_t)(d)})

/* An opcode with its map and mandatory prefix. */
enum {
	X_0F = 1 << 8,
	X_0F38 = 2 << 8,
	X_0F3A = 3 << 8,
	X_66 = 1 << 10,
	X_F3 = 2 << 10,
	X_F2 = 3 << 10,
};

/* ALU operations: opcode = base + 3 for "reg, r/m"; their number for the immediate form. */
enum alu { ALU_ADD = 0, ALU_OR = 1, ALU_AND = 4, ALU_SUB = 5, ALU_XOR = 6, ALU_CMP = 7 };
enum shift { SHIFT_ROL = 0, SHIFT_ROR = 1, SHIFT_SHL = 4, SHIFT_SHR = 5, SHIFT_SAR = 7 };
enum cond {
	CC_O,
	CC_NO,
	CC_B,
	CC_AE,
	CC_E,
	CC_NE,
	CC_BE,
	CC_A,
	CC_S,
	CC_NS,
	CC_P,
	CC_NP,
	CC_L,
	CC_GE,
	CC_LE,
	CC_G
};

static inline void asm_8(struct asm_buf *a, unsigned v)
{
	if (LIKELY(a->p < a->end))
		*a->p++ = (uint8_t)v;
	else
		a->overflow = true;
}
static inline void asm_32(struct asm_buf *a, uint32_t v)
{
	if (LIKELY(a->end - a->p >= 4)) {
		memcpy(a->p, &v, 4);
		a->p += 4;
	} else {
		a->overflow = true;
	}
}
static inline void asm_64(struct asm_buf *a, uint64_t v)
{
	asm_32(a, (uint32_t)v);
	asm_32(a, (uint32_t)(v >> 32));
}

/* --- general forms --- */
static inline void asm_prefix(struct asm_buf *a, unsigned bytes, unsigned op)
{
	static const uint8_t prefix[4] = {0, 0x66, 0xf3, 0xf2};
	if (bytes == 2 && !(op >> 10))
		asm_8(a, 0x66);
	if (op >> 10)
		asm_8(a, prefix[op >> 10]);
}
static inline void asm_opcode(struct asm_buf *a, unsigned op)
{
	unsigned map = op >> 8 & 3;
	if (map)
		asm_8(a, 0x0f);
	if (map >= 2)
		asm_8(a, map == 2 ? 0x38 : 0x3a);
	asm_8(a, op & 0xff);
}
/* bytes: operand size; 8 sets REX.W, 1 makes sil and dil reachable. */
static inline void asm_rr(struct asm_buf *a, unsigned bytes, unsigned op, int reg, int rm)
{
	unsigned rex = (bytes == 8 ? 8u : 0u) | (reg & 8 ? 4u : 0u) | (rm & 8 ? 1u : 0u);
	asm_prefix(a, bytes, op);
	if (rex || (bytes == 1 && (reg >= RSP || rm >= RSP)))
		asm_8(a, 0x40 | rex);
	asm_opcode(a, op);
	asm_8(a, 0xc0 | (unsigned)(reg & 7) << 3 | (unsigned)(rm & 7));
}
static inline void asm_modrm(struct asm_buf *a, int reg, struct asm_mem m)
{
	unsigned r = (unsigned)(reg & 7) << 3, b = (unsigned)(m.base & 7);
	unsigned mod = m.disp == 0 && b != 5 ? 0 : m.disp == (int8_t)m.disp ? 1 : 2;
	if (m.index != NO_REG || b == 4) {
		unsigned x = m.index == NO_REG ? 4u : (unsigned)(m.index & 7);
		asm_8(a, mod << 6 | r | 4);
		asm_8(a, (unsigned)__builtin_ctz(m.scale) << 6 | x << 3 | b);
	} else {
		asm_8(a, mod << 6 | r | b);
	}
	if (mod == 1)
		asm_8(a, (uint8_t)m.disp);
	else if (mod == 2)
		asm_32(a, (uint32_t)m.disp);
}
static inline void asm_rm(struct asm_buf *a, unsigned bytes, unsigned op, int reg, struct asm_mem m)
{
	unsigned rex = (bytes == 8 ? 8u : 0u) | (reg & 8 ? 4u : 0u) |
		       (m.index != NO_REG && (m.index & 8) ? 2u : 0u) | (m.base & 8 ? 1u : 0u);
	asm_prefix(a, bytes, op);
	if (rex || (bytes == 1 && reg >= RSP))
		asm_8(a, 0x40 | rex);
	asm_opcode(a, op);
	asm_modrm(a, reg, m);
}

/* VEX-coded instructions of three operands: reg = f(vvvv, rm). */
static inline void asm_vex_rr(
	struct asm_buf *a, unsigned bytes, unsigned op, int reg, int vvvv, int rm)
{
	unsigned map = op >> 8 & 3, pp = op >> 10;
	asm_8(a, 0xc4);
	asm_8(a, (reg & 8 ? 0u : 0x80u) | 0x40u | (rm & 8 ? 0u : 0x20u) | map);
	asm_8(a, (bytes == 8 ? 0x80u : 0u) | (unsigned)(~vvvv & 15) << 3 | pp);
	asm_8(a, op & 0xff);
	asm_8(a, 0xc0 | (unsigned)(reg & 7) << 3 | (unsigned)(rm & 7));
}

/* --- moves --- */
static inline void asm_mov(struct asm_buf *a, unsigned bytes, int to, int from)
{
	if (to != from || bytes == 4)
		asm_rr(a, bytes < 4 ? 4 : bytes, 0x8b, to, from);
}
static inline void asm_mov64(struct asm_buf *a, int to, int from)
{
	if (to != from)
		asm_rr(a, 8, 0x8b, to, from);
}
static inline void asm_mov_imm(struct asm_buf *a, int to, uint64_t v)
{
	if (!v) {
		asm_rr(a, 4, 0x33, to, to); /* xor: changes the flags */
	} else if (v <= UINT32_MAX) {
		if (to & 8)
			asm_8(a, 0x41);
		asm_8(a, 0xb8 | (unsigned)(to & 7));
		asm_32(a, (uint32_t)v);
	} else if ((int64_t)v == (int32_t)v) {
		asm_rr(a, 8, 0xc7, 0, to);
		asm_32(a, (uint32_t)v);
	} else {
		asm_8(a, 0x48 | (to & 8 ? 1u : 0u));
		asm_8(a, 0xb8 | (unsigned)(to & 7));
		asm_64(a, v);
	}
}
/* The same without touching the flags. */
static inline void asm_mov_imm_flags(struct asm_buf *a, int to, uint64_t v)
{
	if (v) {
		asm_mov_imm(a, to, v);
		return;
	}
	if (to & 8)
		asm_8(a, 0x41);
	asm_8(a, 0xb8 | (unsigned)(to & 7));
	asm_32(a, 0);
}
static inline void asm_load(struct asm_buf *a, unsigned bytes, int to, struct asm_mem m)
{
	if (bytes >= 4)
		asm_rm(a, bytes, 0x8b, to, m);
	else
		asm_rm(a, 4, X_0F | (bytes == 1 ? 0xb6u : 0xb7u), to, m);
}
static inline void asm_load_sext(struct asm_buf *a, unsigned bytes, int to, struct asm_mem m)
{
	unsigned op = bytes == 4 ? 0x63u : X_0F | (bytes == 1 ? 0xbeu : 0xbfu);
	asm_rm(a, 8, op, to, m);
}
static inline void asm_store(struct asm_buf *a, unsigned bytes, struct asm_mem m, int from)
{
	asm_rm(a, bytes, bytes == 1 ? 0x88 : 0x89, from, m);
}
/* imm: sign-extended from 32 bits */
static inline void asm_store_imm(struct asm_buf *a, unsigned bytes, struct asm_mem m, int32_t imm)
{
	asm_rm(a, bytes, bytes == 1 ? 0xc6 : 0xc7, 0, m);
	if (bytes == 1) {
		asm_8(a, (uint8_t)imm);
	} else if (bytes == 2) {
		asm_8(a, (uint8_t)imm);
		asm_8(a, (uint8_t)(imm >> 8));
	} else {
		asm_32(a, (uint32_t)imm);
	}
}
static inline void asm_lea(struct asm_buf *a, unsigned bytes, int to, struct asm_mem m)
{
	asm_rm(a, bytes, 0x8d, to, m);
}

/* --- arithmetic --- */
static inline void asm_alu(struct asm_buf *a, unsigned bytes, enum alu op, int to, int from)
{
	asm_rr(a, bytes, (unsigned)op << 3 | 3, to, from);
}
static inline void asm_alu_mem(
	struct asm_buf *a, unsigned bytes, enum alu op, int to, struct asm_mem m)
{
	asm_rm(a, bytes, (unsigned)op << 3 | 3, to, m);
}
static inline void asm_alu_imm(struct asm_buf *a, unsigned bytes, enum alu op, int to, int32_t imm)
{
	bool small = imm == (int8_t)imm;
	asm_rr(a, bytes, small ? 0x83 : 0x81, (int)op, to);
	if (small)
		asm_8(a, (uint8_t)imm);
	else
		asm_32(a, (uint32_t)imm);
}
static inline void asm_alu_mem_imm(
	struct asm_buf *a, unsigned bytes, enum alu op, struct asm_mem m, int32_t imm)
{
	bool small = imm == (int8_t)imm;
	asm_rm(a, bytes, small ? 0x83 : 0x81, (int)op, m);
	if (small)
		asm_8(a, (uint8_t)imm);
	else
		asm_32(a, (uint32_t)imm);
}
static inline void asm_test(struct asm_buf *a, unsigned bytes, int x, int y)
{
	asm_rr(a, bytes, 0x85, x, y);
}
static inline void asm_shift(
	struct asm_buf *a, unsigned bytes, enum shift op, int to, unsigned count)
{
	asm_rr(a, bytes, 0xc1, (int)op, to);
	asm_8(a, count);
}
static inline void asm_neg(struct asm_buf *a, unsigned bytes, int r)
{
	asm_rr(a, bytes, 0xf7, 3, r);
}
/* cdq, cqo: the sign of rax in all of rdx */
static inline void asm_sign(struct asm_buf *a, unsigned bytes)
{
	if (bytes == 8)
		asm_8(a, 0x48);
	asm_8(a, 0x99);
}
static inline void asm_not(struct asm_buf *a, unsigned bytes, int r)
{
	asm_rr(a, bytes, 0xf7, 2, r);
}
static inline void asm_setcc(struct asm_buf *a, enum cond cc, int r)
{
	asm_rr(a, 1, X_0F | 0x90u | (unsigned)cc, 0, r);
}
static inline void asm_movzx8(struct asm_buf *a, int to, int from)
{
	unsigned rex = (to & 8 ? 4u : 0u) | (from & 8 ? 1u : 0u);
	if (rex || from >= RSP)
		asm_8(a, 0x40 | rex);
	asm_8(a, 0x0f);
	asm_8(a, 0xb6);
	asm_8(a, 0xc0 | (unsigned)(to & 7) << 3 | (unsigned)(from & 7));
}
static inline void asm_movsx8(struct asm_buf *a, int to, int from)
{
	asm_rr(a, 8, X_0F | 0xbe, to, from);
}
static inline void asm_cmov(struct asm_buf *a, unsigned bytes, enum cond cc, int to, int from)
{
	asm_rr(a, bytes < 4 ? 4 : bytes, X_0F | 0x40u | (unsigned)cc, to, from);
}

/* --- jumps: each returns where its 32-bit distance stands, for asm_fix() --- */
static inline uint8_t *asm_jcc(struct asm_buf *a, enum cond cc)
{
	asm_8(a, 0x0f);
	asm_8(a, 0x80u | (unsigned)cc);
	asm_32(a, 0);
	return a->p - 4;
}
static inline uint8_t *asm_jmp(struct asm_buf *a)
{
	asm_8(a, 0xe9);
	asm_32(a, 0);
	return a->p - 4;
}
static inline uint8_t *asm_call(struct asm_buf *a)
{
	asm_8(a, 0xe8);
	asm_32(a, 0);
	return a->p - 4;
}
/* With a memory operand behind rip. */
static inline uint8_t *asm_rip(struct asm_buf *a, unsigned bytes, unsigned op, int reg)
{
	if (bytes == 8 || (reg & 8))
		asm_8(a, 0x40u | (bytes == 8 ? 8 : 0) | ((reg & 8) ? 4 : 0));
	asm_8(a, op);
	asm_8(a, ((unsigned)reg & 7) << 3 | 5);
	asm_32(a, 0);
	return a->p - 4;
}
static inline void asm_fix(struct asm_buf *a, uint8_t *at, const uint8_t *target)
{
	int32_t distance = (int32_t)(target - (at + 4));
	if (!a->overflow)
		memcpy(at, &distance, 4);
}
/* The same within 127 bytes. */
static inline uint8_t *asm_jcc_short(struct asm_buf *a, enum cond cc)
{
	asm_8(a, 0x70u | (unsigned)cc);
	asm_8(a, 0);
	return a->p - 1;
}
static inline void asm_fix_short(struct asm_buf *a, uint8_t *at, const uint8_t *target)
{
	if (!a->overflow)
		*at = (uint8_t)(target - (at + 1));
}
static inline void asm_jmp_to(struct asm_buf *a, const uint8_t *target)
{
	asm_fix(a, asm_jmp(a), target);
}
static inline void asm_jcc_to(struct asm_buf *a, enum cond cc, const uint8_t *target)
{
	asm_fix(a, asm_jcc(a, cc), target);
}
static inline void asm_call_reg(struct asm_buf *a, int r)
{
	asm_rr(a, 4, 0xff, 2, r);
}
static inline void asm_ret(struct asm_buf *a)
{
	asm_8(a, 0xc3);
}
static inline void asm_push(struct asm_buf *a, int r)
{
	if (r & 8)
		asm_8(a, 0x41);
	asm_8(a, 0x50 | (unsigned)(r & 7));
}
static inline void asm_pop(struct asm_buf *a, int r)
{
	if (r & 8)
		asm_8(a, 0x41);
	asm_8(a, 0x58 | (unsigned)(r & 7));
}

/* --- SSE; bytes 4: single, 8: double --- */
static inline unsigned asm_fp_prefix(unsigned bytes)
{
	return bytes == 4 ? X_F3 | X_0F : X_F2 | X_0F;
}
static inline void asm_movaps(struct asm_buf *a, int to, int from)
{
	if (to != from)
		asm_rr(a, 4, X_0F | 0x28, to, from);
}
static inline void asm_fp_load(struct asm_buf *a, unsigned bytes, int to, struct asm_mem m)
{
	asm_rm(a, 4, asm_fp_prefix(bytes) | 0x10, to, m);
}
static inline void asm_fp_store(struct asm_buf *a, unsigned bytes, struct asm_mem m, int from)
{
	asm_rm(a, 4, asm_fp_prefix(bytes) | 0x11, from, m);
}
/* Between a general register and an xmm register, the bits. */
static inline void asm_movq_to_xmm(struct asm_buf *a, unsigned bytes, int xmm, int gpr)
{
	asm_rr(a, bytes, X_66 | X_0F | 0x6e, xmm, gpr);
}
static inline void asm_movq_from_xmm(struct asm_buf *a, unsigned bytes, int gpr, int xmm)
{
	asm_rr(a, bytes, X_66 | X_0F | 0x7e, xmm, gpr);
}
/* ucomis (0x2e), comis (0x2f) */
static inline void asm_fp_compare(struct asm_buf *a, unsigned bytes, unsigned op, int x, int y)
{
	asm_rr(a, 4, (bytes == 8 ? X_66 : 0u) | X_0F | op, x, y);
}

#endif
