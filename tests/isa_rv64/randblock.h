// SPDX-License-Identifier: Apache-2.0
// Writes RISC-V code: a few instructions by name, and blocks of random ones.
#ifndef STRATA_TESTS_RANDBLOCK_H
#define STRATA_TESTS_RANDBLOCK_H

#include "base/vec.h"
#include "isa/rv64/internal.h"
#include "randvalues.h"

enum { MAX_BLOCK_INSNS = 24, MAX_BLOCK_BYTES = MAX_BLOCK_INSNS * 32 + 1024 };

typedef VEC(uint8_t) bytes;

struct gen {
	uint64_t seed;
	uint64_t base; /* address of the code's first byte */
	bytes code;
	uint64_t loaders[32], savers[32];
	int row; /* an instruction that is wanted often, or -1 */
	bool supervisor;
};

/* --- random values --- */
static inline uint64_t rnd(struct gen *g)
{
	return random_word(&g->seed);
}
static inline unsigned below(struct gen *g, unsigned n)
{
	return random_below(&g->seed, n);
}
static inline bool chance(struct gen *g, unsigned percent)
{
	return below(g, 100) < percent;
}

/* --- emitting --- */
static inline uint64_t here(const struct gen *g)
{
	return g->base + g->code.len;
}
static inline void emit_bytes(struct gen *g, uint32_t w, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vec_push(&g->code, (uint8_t)(w >> 8 * i));
}
static inline void emit(struct gen *g, uint32_t w)
{
	emit_bytes(g, w, 4);
}
static inline uint32_t enc_i(enum rv64_row row, unsigned rd, unsigned rs1, int imm)
{
	return rv64_rows[row].match | rd << 7 | rs1 << 15 | (uint32_t)imm << 20;
}
static inline uint32_t enc_s(enum rv64_row row, unsigned rs2, unsigned rs1, int imm)
{
	uint32_t u = (uint32_t)imm;
	return rv64_rows[row].match | (u & 31) << 7 | rs1 << 15 | rs2 << 20 | (u >> 5 & 127) << 25;
}
static inline uint32_t enc_b(uint32_t w, int64_t off)
{
	uint32_t u = (uint32_t)off;
	return (w & 0x01fff07f) | (u >> 11 & 1) << 7 | (u >> 1 & 15) << 8 | (u >> 5 & 63) << 25 |
	       (u >> 12 & 1) << 31;
}
static inline uint32_t enc_j(uint32_t w, int64_t off)
{
	uint32_t u = (uint32_t)off;
	return (w & 0xfff) | (u & 0xff000) | (u >> 11 & 1) << 20 | (u >> 1 & 0x3ff) << 21 |
	       (u >> 20 & 1) << 31;
}
static inline uint32_t enc_cj(uint32_t w, int64_t off)
{
	uint32_t u = (uint32_t)off;
	return (w & 0xe003) | (u >> 5 & 1) << 2 | (u >> 1 & 7) << 3 | (u >> 7 & 1) << 6 |
	       (u >> 6 & 1) << 7 | (u >> 10 & 1) << 8 | (u >> 8 & 3) << 9 | (u >> 4 & 1) << 11 |
	       (u >> 11 & 1) << 12;
}
static inline uint32_t enc_cb(uint32_t w, int64_t off)
{
	uint32_t u = (uint32_t)off;
	return (w & 0xe383) | (u >> 5 & 1) << 2 | (u >> 1 & 3) << 3 | (u >> 6 & 3) << 5 |
	       (u >> 3 & 3) << 10 | (u >> 8 & 1) << 12;
}
/* rd = address, below 2 GiB */
static inline void emit_la(struct gen *g, unsigned rd, uint64_t address)
{
	uint32_t high = (uint32_t)(address + 0x800) & 0xfffff000;
	emit(g, rv64_rows[RV64_LUI].match | rd << 7 | high);
	emit(g, enc_i(RV64_ADDI, rd, rd, (int)(address - high)));
}
static inline void emit_jump_to(struct gen *g, uint64_t target)
{
	emit(g, enc_j(rv64_rows[RV64_JAL].match, (int64_t)(target - here(g))));
}
static inline void emit_branch_to(
	struct gen *g, enum rv64_row row, unsigned a, unsigned b, uint64_t target)
{
	emit(g, enc_b(rv64_rows[row].match | a << 15 | b << 20, (int64_t)(target - here(g))));
}
static inline void patch(struct gen *g, uint64_t at, uint32_t w, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		g->code.items[at - g->base + i] = (uint8_t)(w >> 8 * i);
}

/* A block: where its instructions begin, which of them jump, and where jumps may go. Random
 * instructions do not write to the reserved registers: the base, and in a block with loops and
 * functions how often it may still jump back, and where functions return. */
struct block {
	unsigned base, count, link; /* count, link: 0: none */
	uint32_t reserved;
	uint64_t calls[8]; /* jumps to functions, which follow the block */
	unsigned call_count;
	uint64_t targets[64];
	unsigned target_count;
	struct {
		uint64_t at;
		uint32_t w;
		uint8_t bytes;
	} jumps[64];
	unsigned jump_count;
};

/* A register that random instructions may write. */
unsigned rb_other_register(struct gen *g, const struct block *b);
/* Reserves the registers for loops and functions, and sets them. */
void rb_reserve_for_loops(struct gen *g, struct block *b);
/* `insns` random instructions. Then the caller adds how the block ends, and calls rb_finish(). */
void rb_emit_body(struct gen *g, struct block *b, unsigned insns);
void rb_finish(struct gen *g, struct block *b);

#endif
