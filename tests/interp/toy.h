// SPDX-License-Identifier: Apache-2.0
// A made-up architecture for tests of IR and interpreter: registers of all types, some of which
// overlap, and helpers of each kind.
#ifndef STRATA_TESTS_TOY_H
#define STRATA_TESTS_TOY_H

#include "isa/isa.h"

enum { TOY_REGS = 12 };

struct toy {
	struct cpu_head head;
	uint64_t r[TOY_REGS];
	uint64_t count; /* of a function's loops: random code leaves it alone */
	uint32_t w[4];
	uint16_t h[2];
	uint8_t b[2];
	double d[2];
	float f[2];
	struct tlb tlb;
};

enum {
	TOY_R0,
	TOY_W0 = TOY_R0 + TOY_REGS,
	TOY_H0 = TOY_W0 + 4,
	TOY_B0 = TOY_H0 + 2,
	TOY_D0 = TOY_B0 + 2,
	TOY_F0 = TOY_D0 + 2,
	TOY_LOW0 = TOY_F0 + 2, /* the low half of r0, the low byte of r1 */
	TOY_BYTE1,
	TOY_COUNT,
	TOY_SLOTS
};

#define TOY_SLOT(n, field, t)                                                                      \
	{                                                                                          \
		n, offsetof(struct toy, field), t                                                  \
	}
static const struct ir_slot toy_slots[TOY_SLOTS] = {
	TOY_SLOT("r0", r[0], IR_I64),
	TOY_SLOT("r1", r[1], IR_I64),
	TOY_SLOT("r2", r[2], IR_I64),
	TOY_SLOT("r3", r[3], IR_I64),
	TOY_SLOT("r4", r[4], IR_I64),
	TOY_SLOT("r5", r[5], IR_I64),
	TOY_SLOT("r6", r[6], IR_I64),
	TOY_SLOT("r7", r[7], IR_I64),
	TOY_SLOT("r8", r[8], IR_I64),
	TOY_SLOT("r9", r[9], IR_I64),
	TOY_SLOT("r10", r[10], IR_I64),
	TOY_SLOT("r11", r[11], IR_I64),
	TOY_SLOT("w0", w[0], IR_I32),
	TOY_SLOT("w1", w[1], IR_I32),
	TOY_SLOT("w2", w[2], IR_I32),
	TOY_SLOT("w3", w[3], IR_I32),
	TOY_SLOT("h0", h[0], IR_I16),
	TOY_SLOT("h1", h[1], IR_I16),
	TOY_SLOT("b0", b[0], IR_I8),
	TOY_SLOT("b1", b[1], IR_I8),
	TOY_SLOT("d0", d[0], IR_F64),
	TOY_SLOT("d1", d[1], IR_F64),
	TOY_SLOT("f0", f[0], IR_F32),
	TOY_SLOT("f1", f[1], IR_F32),
	TOY_SLOT("low0", r[0], IR_I32),
	TOY_SLOT("byte1", r[1], IR_I8),
	TOY_SLOT("count", count, IR_I64),
};

/* More than any host has registers for. */
static const uint16_t toy_pinned[] = {TOY_COUNT, TOY_R0 + 2, TOY_R0 + 3, TOY_R0 + 4, TOY_R0 + 5,
	TOY_R0 + 6, TOY_R0 + 7, TOY_R0 + 8, TOY_R0 + 9, TOY_R0 + 10, TOY_R0 + 11};

static inline uint64_t toy_sum(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	return a + 3 * b + 5 * c;
}
/* Reads and writes registers behind the caller's back. */
static inline uint64_t toy_stir(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	struct toy *t = cpu;
	uint64_t old = t->r[2];
	t->r[2] = t->r[3] ^ a;
	return old;
}
/* Faults when a is odd. */
static inline uint64_t toy_picky(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	struct toy *t = cpu;
	if (a & 1) {
		t->head.fault.pending = true;
		t->head.fault.cause = 77;
		t->head.fault.value = a;
	}
	return a / 2;
}

/* Somebody wants the CPU to stop at the next block. */
static inline uint64_t toy_nudge(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	struct toy *t = cpu;
	cpu_want_attention(&t->head);
	return a + 1;
}
/* Mappings change, though they stay what they were. A test may take the old ones away. */
static void (*toy_flushed)(void) __attribute__((unused));
static inline uint64_t toy_flush(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	struct toy *t = cpu;
	t->head.reservation.host = NULL;
	if (t->head.tlb_count) {
		tlb_flush(&t->tlb);
		cpu_use_tlb(&t->head, &t->tlb);
		if (toy_flushed)
			toy_flushed();
	}
	return a - 1;
}

enum { TOY_SUM, TOY_STIR, TOY_PICKY, TOY_NUDGE, TOY_FLUSH, TOY_HELPERS };
static const struct ir_helper toy_helpers[TOY_HELPERS] = {
	{"sum", toy_sum, 3, IR_HELPER_PURE},
	{"stir", toy_stir, 1, IR_HELPER_READS_SLOTS | IR_HELPER_WRITES_SLOTS},
	{"picky", toy_picky, 1, IR_HELPER_FAULT},
	{"nudge", toy_nudge, 1, 0},
	{"flush", toy_flush, 1, 0},
};

static const struct ir_target toy_target __attribute__((unused)) = {
	.name = "toy",
	.slots = toy_slots,
	.slot_count = TOY_SLOTS,
	.helpers = toy_helpers,
	.helper_count = TOY_HELPERS,
	.pinned = toy_pinned,
	.pinned_count = ARRAY_SIZE(toy_pinned),
};

#endif
