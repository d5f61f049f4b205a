// SPDX-License-Identifier: Apache-2.0
// Random verified functions of the toy architecture. A test sets `seed` first: the same seed gives
// the same function.
#ifndef STRATA_TESTS_GENERATE_H
#define STRATA_TESTS_GENERATE_H

#include "toy.h"

enum { MEMORY = 2 * GUEST_PAGE_BYTES, VALUES = 512 };
#define BASE UINT64_C(0x10000000)

static uint64_t seed;
static inline uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * UINT64_C(0x2545f4914f6cdd1d);
}
static inline unsigned below(unsigned n)
{
	return (unsigned)((rnd() >> 33) % n);
}

/* What the surroundings of the memory at BASE do. */
static inline bool fault(void *cpu, uint64_t addr)
{
	struct cpu_head *h = cpu;
	h->fault.pending = true;
	h->fault.cause = 1;
	h->fault.value = addr;
	return false;
}
static inline bool inside(uint64_t addr, unsigned bytes, unsigned flags)
{
	return addr >= BASE && addr + bytes <= BASE + MEMORY &&
	       (!(flags & IR_MEM_ALIGNED) || !(addr % bytes));
}

/* Numbers that matter more often than chance has them. */
static inline uint64_t interesting(void)
{
	static const uint64_t some[] = {0, 1, 2, 7, 31, 63, 64, UINT64_MAX, INT64_MAX,
		UINT64_C(1) << 63, INT32_MAX, UINT32_MAX, UINT64_C(0x80000000), 0x7f, 0x80, 0xff,
		0x7fff, 0x8000, 0xffff};
	return below(3) ? some[below(ARRAY_SIZE(some))] : rnd();
}

/* For a compiler: loops, several accesses near one address, and little of what it refuses. Such a
 * function ends because TOY_COUNT comes to 0; blocks may be entered at any of them. */
struct generate_options {
	bool region, fp;
};

struct generator {
	struct ir_func *f;
	struct generate_options options;
	ir_ref values[IR_TYPE_COUNT][VALUES];
	unsigned count[IR_TYPE_COUNT];
	ir_ref bases[4]; /* addresses, for accesses near them */
	unsigned base_count;
	uint64_t pc;
};

static inline ir_ref pick(struct generator *g, enum ir_type t)
{
	if (!g->count[t] || !below(8)) {
		if (ir_type_is_int(t) || below(2))
			return ir_const(g->f, t, interesting());
		return ir_get(g->f, (t == IR_F64 ? TOY_D0 : TOY_F0) + below(2));
	}
	return g->values[t][below(g->count[t])];
}
static inline void keep(struct generator *g, ir_ref r)
{
	enum ir_type t = ir_at(g->f, r)->type;
	if (g->count[t] < VALUES)
		g->values[t][g->count[t]++] = r;
}
static inline enum ir_type wide_int(void)
{
	return below(2) ? IR_I32 : IR_I64;
}
static inline enum ir_type any_int(void)
{
	static const enum ir_type t[] = {IR_I64, IR_I64, IR_I64, IR_I32, IR_I32, IR_I16, IR_I8};
	return t[below(ARRAY_SIZE(t))];
}
/* Near an address that is near memory's middle or ends. */
static inline ir_ref near_address(struct generator *g)
{
	static const uint64_t middles[] = {0, 8, GUEST_PAGE_BYTES / 2, GUEST_PAGE_BYTES - 8,
		GUEST_PAGE_BYTES, GUEST_PAGE_BYTES + 100, MEMORY - 300};
	unsigned n = below(4);
	if (n >= g->base_count) {
		ir_ref low = ir_bin(g->f, IR_AND, IR_I64, pick(g, IR_I64),
			ir_const(g->f, IR_I64, below(2) ? 0xf8 : 0xff));
		n = g->base_count++;
		g->bases[n] = ir_bin(g->f, IR_ADD, IR_I64, low,
			ir_const(g->f, IR_I64, BASE + middles[below(ARRAY_SIZE(middles))]));
	}
	uint64_t disp = below(20) ? below(64) * 8 : below(4096);
	return ir_bin(g->f, IR_ADD, IR_I64, g->bases[n],
		ir_const(g->f, IR_I64, below(3) ? disp : below(64)));
}
/* Mostly inside memory. */
static inline ir_ref address(struct generator *g)
{
	if (g->options.region && below(4))
		return near_address(g);
	ir_ref base = below(2) ? ir_bin(g->f, IR_AND, IR_I64, pick(g, IR_I64),
					 ir_const(g->f, IR_I64, MEMORY - 1))
			       : ir_const(g->f, IR_I64, 8 * below(MEMORY / 8));
	return ir_bin(g->f, IR_ADD, IR_I64, base,
		ir_const(g->f, IR_I64, BASE + (below(4) ? 0 : below(16)) - (below(20) ? 0 : 64)));
}

static inline void emit_integer(struct generator *g)
{
	struct ir_func *f = g->f;
	enum ir_type t = any_int(), to = any_int();
	unsigned op;
	if (g->options.region && below(4000))
		t = wide_int();
	switch (below(6)) {
	case 0:
		op = IR_EQ + below(IR_GEU - IR_EQ + 1);
		keep(g, ir_cmp(f, op, pick(g, t), pick(g, t)));
		if (below(2))
			keep(g, ir_select(f, g->values[IR_I64][g->count[IR_I64] - 1], pick(g, t),
					pick(g, t)));
		break;
	case 1:
		op = IR_NOT + below(IR_ORCB - IR_NOT + 1);
		if (op == IR_ORCB)
			t = IR_I64;
		else if (op != IR_NOT && op != IR_NEG && t < IR_I32)
			t = IR_I32;
		keep(g, ir_un(f, op, t, pick(g, t)));
		break;
	case 2:
		if (to > t)
			keep(g, ir_un(f, below(2) ? IR_ZEXT : IR_SEXT, to, pick(g, t)));
		else if (to < t)
			keep(g, ir_un(f, IR_TRUNC, to, pick(g, t)));
		else
			keep(g, ir_select(f, pick(g, IR_I64), pick(g, t), pick(g, t)));
		break;
	case 3: {
		/* as an index is added */
		ir_ref a = pick(g, t),
		       b = ir_bin(f, IR_SHL, t, pick(g, t), ir_const(f, t, below(5)));
		if (!below(4))
			keep(g, b);
		keep(g, below(2) ? ir_bin(f, IR_ADD, t, a, b) : ir_bin(f, IR_ADD, t, b, a));
		break;
	}
	default:
		op = IR_ADD + below(IR_ROTR - IR_ADD + 1);
		if (op >= IR_MULHU && op <= IR_REMS && t < IR_I32)
			t = IR_I32;
		if (g->options.region && op >= IR_MULHU && op <= IR_MULHSU && below(4000))
			t = IR_I64;
		keep(g, ir_bin(f, op, t, pick(g, t), pick(g, t)));
		if (t == IR_I32 && below(2))
			keep(g, ir_un(f, IR_SEXT, IR_I64, g->values[t][g->count[t] - 1]));
		break;
	}
}

static inline void emit_memory(struct generator *g)
{
	struct ir_func *f = g->f;
	enum ir_type t = any_int(), w = below(2) ? IR_I32 : IR_I64;
	unsigned aligned = below(g->options.region ? 4000 : 4) ? 0 : IR_MEM_ALIGNED;
	ir_ref a = address(g), r;
	if (!below(16)) { /* by a pointer in memory */
		ir_ref at = ir_const(f, IR_I64, BASE + 8 * below(MEMORY / 8));
		ir_store(f, 0, at, ir_const(f, IR_I32, BASE + below(MEMORY - 8)));
		a = ir_un(f, below(2) ? IR_ZEXT : IR_SEXT, IR_I64, ir_load(f, IR_I32, 0, at));
	}
	switch (below(8)) {
	case 0:
		keep(g, ir_emit(f, IR_RMW, w, below(IR_RMW_COUNT), a, pick(g, w), IR_NONE, 0));
		break;
	case 1:
		keep(g, ir_emit(f, IR_CMPXCHG, w, 0, a, pick(g, w), pick(g, w), 0));
		break;
	case 2:
		keep(g, ir_emit(f, IR_LOADR, w, 0, a, IR_NONE, IR_NONE, 0));
		if (!below(4))
			w = wide_int();
		if (below(2))
			keep(g, ir_emit(f, IR_STOREC, IR_I64, 0, a, pick(g, w), IR_NONE, 0));
		break;
	case 3:
	case 4:
	case 5:
		r = ir_load(f, t, aligned, a);
		keep(g, r);
		if (t != IR_I64 && below(2))
			keep(g, ir_un(f, below(2) ? IR_ZEXT : IR_SEXT, IR_I64, r));
		break;
	default:
		ir_store(f, aligned, a, pick(g, t));
		break;
	}
}

static inline uint64_t interesting_float(enum ir_type t)
{
	static const uint64_t f64[] = {0, UINT64_C(1) << 63, UINT64_C(0x3ff0000000000000),
		UINT64_C(0xbff8000000000000), UINT64_C(0x7ff0000000000000),
		UINT64_C(0xfff0000000000000), UINT64_C(0x7ff8000000000000),
		UINT64_C(0x7ff0000000000001), UINT64_C(0xfff8000000000123), 1,
		UINT64_C(0x0010000000000000), UINT64_C(0x7fefffffffffffff),
		UINT64_C(0x41dfffffffe00000), UINT64_C(0x41e0000000000000),
		UINT64_C(0xc1e0000000000000), UINT64_C(0x43e0000000000000),
		UINT64_C(0xc3e0000000000000), UINT64_C(0x43f0000000000000),
		UINT64_C(0x41d0000000000000), UINT64_C(0x47efffffe0000000)};
	static const uint32_t f32[] = {0, 0x80000000, 0x3f800000, 0xbfc00000, 0x7f800000,
		0xff800000, 0x7fc00000, 0x7f800001, 0xffc00123, 1, 0x00800000, 0x7f7fffff,
		0x4f000000, 0xcf000000, 0x5f000000, 0xdf000000, 0x5f800000, 0x4e800000};
	if (t == IR_F64)
		return below(2) ? f64[below(ARRAY_SIZE(f64))]
				: (rnd() & UINT64_C(0x800fffffffffffff)) |
					  (UINT64_C(0x3ff) - 40 + below(80)) << 52;
	return below(2) ? f32[below(ARRAY_SIZE(f32))]
			: ((uint32_t)rnd() & 0x807fffff) | (0x7f - 20 + below(40)) << 23;
}
static inline ir_ref pick_float(struct generator *g, enum ir_type t)
{
	return below(4) ? pick(g, t) : ir_const(g->f, t, interesting_float(t));
}
static inline void emit_float(struct generator *g)
{
	static const uint8_t modes[] = {IR_RM_DYNAMIC, IR_RM_DYNAMIC, IR_RM_DYNAMIC,
		IR_RM_NEAREST_EVEN, IR_RM_ZERO, IR_RM_DOWN, IR_RM_UP, IR_RM_NEAREST_AWAY};
	struct ir_func *f = g->f;
	enum ir_type t = below(2) ? IR_F64 : IR_F32, w = wide_int();
	unsigned aux = modes[below(sizeof(modes))] | (below(8) ? IR_FP_DEFAULT_NAN : 0);
	ir_ref a = pick_float(g, t), b = pick_float(g, t), c = pick_float(g, t);
	enum ir_op op = (enum ir_op)(IR_FADD + below(IR_FFLAGS_SET - IR_FADD + 1));
	switch (op) {
	case IR_FFLAGS:
		keep(g, ir_emit(f, op, IR_I64, 0, IR_NONE, IR_NONE, IR_NONE, 0));
		break;
	case IR_FFLAGS_SET:
		ir_emit(f, op, IR_VOID, 0, pick(g, IR_I64), IR_NONE, IR_NONE, 0);
		break;
	case IR_FEQ:
	case IR_FLT:
	case IR_FLE:
		aux = below(2) ? IR_FP_SIGNALING : 0;
		keep(g, ir_emit(f, op, IR_I64, aux, a, b, IR_NONE, 0));
		break;
	case IR_F2F:
		keep(g, ir_emit(f, op, t == IR_F64 ? IR_F32 : IR_F64, aux, a, IR_NONE, IR_NONE, 0));
		break;
	case IR_F2I:
		aux = (aux & IR_RM_MASK) | (below(2) ? IR_FP_UNSIGNED : 0) | IR_FP_SATURATE;
		keep(g, ir_emit(f, op, w, aux, a, IR_NONE, IR_NONE, 0));
		break;
	case IR_I2F:
		aux = (aux & IR_RM_MASK) | (below(2) ? IR_FP_UNSIGNED : 0);
		keep(g, ir_emit(f, op, t, aux, pick(g, w), IR_NONE, IR_NONE, 0));
		break;
	case IR_FCLASS:
		keep(g, ir_emit(f, op, IR_I64, 0, a, IR_NONE, IR_NONE, 0));
		break;
	default:
		keep(g, ir_emit(f, op, t, aux, a, ir_ops[op].nargs > 1 ? b : IR_NONE,
				ir_ops[op].nargs > 2 ? c : IR_NONE, 0));
	}
}

static inline void emit_any(struct generator *g)
{
	struct ir_func *f = g->f;
	unsigned slot = below(TOY_COUNT);
	if (g->options.fp && !below(3)) {
		emit_float(g);
		return;
	}
	if (g->options.region && below(2))
		slot = below(TOY_REGS);
	switch (below(12)) {
	case 0:
	case 1:
		keep(g, ir_get(f, slot));
		break;
	case 2:
	case 3:
	case 4:
		ir_put(f, slot, pick(g, toy_slots[slot].type));
		break;
	case 5:
		emit_memory(g);
		if (g->options.region && below(2))
			emit_memory(g);
		break;
	case 6:
		if (!below(3))
			ir_insn(f, g->pc += 4, 4);
		else if (below(2))
			keep(g, ir_un(f, IR_BITCAST, IR_F64, pick(g, IR_I64)));
		else
			keep(g, ir_un(f, IR_BITCAST, IR_I32, pick(g, IR_F32)));
		break;
	case 7:
		if (!below(4)) {
			unsigned helper = below(g->options.region ? TOY_HELPERS : TOY_NUDGE);
			bool three = helper == TOY_SUM;
			keep(g, ir_call(f, helper, pick(g, IR_I64),
					three ? pick(g, IR_I64) : IR_NONE,
					three ? pick(g, IR_I64) : IR_NONE));
		}
		break;
	default:
		emit_integer(g);
		break;
	}
}

enum { GENERATED_BLOCKS = 8, GENERATED_PC = 0x4000, GENERATED_BLOCK_BYTES = 0x100 };

/* Where one of the blocks is, if there are so many. */
static inline uint64_t some_block(void)
{
	return GENERATED_PC + below(GENERATED_BLOCKS) * (uint64_t)GENERATED_BLOCK_BYTES;
}

/* Jumps, calls or returns. */
static inline void emit_goto(struct ir_func *f, ir_ref pc)
{
	if (below(2))
		ir_goto_call(f, pc, some_block());
	else
		ir_goto(f, pc,
			!below(3)  ? IR_JUMP_STEADY
			: below(2) ? IR_JUMP_PLAIN
				   : IR_JUMP_RETURN);
}

/* How a function of one or several blocks leaves. */
static inline void emit_leave(struct generator *g)
{
	struct ir_func *f = g->f;
	if (below(2)) {
		enum ir_type t = g->options.region ? wide_int() : any_int();
		ir_goto_if(f, ir_cmp(f, IR_EQ + below(6), pick(g, t), pick(g, t)), 0x4f00, 0x9000);
	} else if (g->options.region && below(3)) {
		emit_goto(f, ir_const(f, IR_I64, below(2) ? 0x4f00 : 0x9000));
	} else if (below(2)) {
		emit_goto(f, pick(g, IR_I64));
	} else if (below(2)) {
		ir_trap(f, 5, pick(g, IR_I64));
	} else {
		ir_exit(f, pick(g, IR_I64));
	}
}

static inline void emit_jump_to(struct ir_func *f, unsigned block)
{
	ir_emit(f, IR_JUMP, IR_VOID, 0, IR_NONE, IR_NONE, IR_NONE, block);
}
static inline void emit_branch_to(struct ir_func *f, ir_ref cond, unsigned yes, unsigned no)
{
	ir_emit(f, IR_BRANCH, IR_VOID, 0, cond, IR_NONE, IR_NONE, yes | (uint64_t)no << 32);
}

/* Back, as long as the count lasts, or on; either side of the branch. */
static inline void emit_loop(struct generator *g, unsigned block, unsigned on)
{
	struct ir_func *f = g->f;
	unsigned back = below(block + 1);
	ir_ref left = ir_bin(f, IR_SUB, IR_I64, ir_get(f, TOY_COUNT), ir_const(f, IR_I64, 1));
	ir_put(f, TOY_COUNT, left);
	if (!below(4)) { /* always, until a fault ends it */
		ir_ref over = ir_cmp(f, IR_LTS, left, ir_const(f, IR_I64, (uint64_t)-20));
		ir_call(f, TOY_PICKY, over, IR_NONE, IR_NONE);
		emit_jump_to(f, back);
	} else if (below(2))
		emit_branch_to(f, ir_cmp(f, IR_LTS, ir_const(f, IR_I64, 0), left), back, on);
	else
		emit_branch_to(f, ir_cmp(f, IR_LTS, left, ir_const(f, IR_I64, 1)), on, back);
}

static inline void emit_end(struct generator *g, unsigned block, unsigned blocks)
{
	struct ir_func *f = g->f;
	unsigned left = blocks - 1 - block;
	if (!left || (g->options.region && !below(20))) {
		emit_leave(g);
		return;
	}
	unsigned on = block + 1 + below(left);
	if (g->options.region && below(3) == 0)
		emit_loop(g, block, on);
	else if (below(2))
		emit_jump_to(f, g->options.region ? on : block + 1);
	else
		emit_branch_to(
			f, pick(g, g->options.region ? wide_int() : any_int()), block + 1, on);
}

static inline void generate(struct ir_func *f, struct arena *arena, unsigned length,
	const struct generate_options *options)
{
	struct generator g = {.f = f, .options = *options};
	ir_func_init(f, &toy_target, arena, GENERATED_PC);
	unsigned blocks = 1 + below(options->region ? GENERATED_BLOCKS : 3);
	for (unsigned n = 0; n < blocks; n++) {
		memset(g.count, 0, sizeof(g.count));
		g.base_count = 0;
		g.pc = GENERATED_PC + n * (uint64_t)GENERATED_BLOCK_BYTES;
		ir_block_begin(f, g.pc);
		ir_insn(f, g.pc, 4);
		for (unsigned i = 0; i < length; i++)
			emit_any(&g);
		emit_end(&g, n, blocks);
	}
	f->insns = 1;
}

#endif
