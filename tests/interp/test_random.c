// SPDX-License-Identifier: Apache-2.0
// Random blocks: the reference, and the optimised and lowered block in the interpreter, must end
// alike: registers, memory, where they go or fault.
#include <stdlib.h>

#include "interp/interp.h"
#include "isa/fpu.h"
#include "reference.h"
#include "tap.h"
#include "toy.h"

enum { MEMORY = 2 * GUEST_PAGE_BYTES, VALUES = 512 };
#define BASE UINT64_C(0x10000)

static uint64_t seed;
static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * UINT64_C(0x2545f4914f6cdd1d);
}
static unsigned below(unsigned n)
{
	return (unsigned)((rnd() >> 33) % n);
}

/* Numbers that matter more often than chance has them. */
static uint64_t interesting(void)
{
	static const uint64_t some[] = {0, 1, 2, 7, 31, 63, 64, UINT64_MAX, INT64_MAX,
		UINT64_C(1) << 63, INT32_MAX, UINT32_MAX, UINT64_C(0x80000000), 0x7f, 0x80, 0xff,
		0x7fff, 0x8000, 0xffff};
	return below(3) ? some[below(ARRAY_SIZE(some))] : rnd();
}

struct generator {
	struct ir_func *f;
	ir_ref values[IR_TYPE_COUNT][VALUES];
	unsigned count[IR_TYPE_COUNT];
};

static ir_ref pick(struct generator *g, enum ir_type t)
{
	if (!g->count[t] || !below(8)) {
		if (ir_type_is_int(t) || below(2))
			return ir_const(g->f, t, interesting());
		return ir_get(g->f, (t == IR_F64 ? TOY_D0 : TOY_F0) + below(2));
	}
	return g->values[t][below(g->count[t])];
}
static void keep(struct generator *g, ir_ref r)
{
	enum ir_type t = ir_at(g->f, r)->type;
	if (g->count[t] < VALUES)
		g->values[t][g->count[t]++] = r;
}
static enum ir_type any_int(void)
{
	static const enum ir_type t[] = {IR_I64, IR_I64, IR_I64, IR_I32, IR_I32, IR_I16, IR_I8};
	return t[below(ARRAY_SIZE(t))];
}
/* Mostly inside memory. */
static ir_ref address(struct generator *g)
{
	ir_ref base = below(2) ? ir_bin(g->f, IR_AND, IR_I64, pick(g, IR_I64),
					 ir_const(g->f, IR_I64, MEMORY - 1))
			       : ir_const(g->f, IR_I64, 8 * below(MEMORY / 8));
	return ir_bin(g->f, IR_ADD, IR_I64, base,
		ir_const(g->f, IR_I64, BASE + (below(4) ? 0 : below(16)) - (below(20) ? 0 : 64)));
}

static void emit_integer(struct generator *g)
{
	struct ir_func *f = g->f;
	enum ir_type t = any_int(), to = any_int();
	unsigned op;
	switch (below(5)) {
	case 0:
		op = IR_EQ + below(IR_GEU - IR_EQ + 1);
		keep(g, ir_cmp(f, op, pick(g, t), pick(g, t)));
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
	default:
		op = IR_ADD + below(IR_ROTR - IR_ADD + 1);
		if (op >= IR_MULHU && op <= IR_REMS && t < IR_I32)
			t = IR_I32;
		keep(g, ir_bin(f, op, t, pick(g, t), pick(g, t)));
		if (t == IR_I32 && below(2))
			keep(g, ir_un(f, IR_SEXT, IR_I64, g->values[t][g->count[t] - 1]));
		break;
	}
}

static void emit_memory(struct generator *g)
{
	struct ir_func *f = g->f;
	enum ir_type t = any_int(), w = below(2) ? IR_I32 : IR_I64;
	unsigned aligned = below(4) ? 0 : IR_MEM_ALIGNED;
	ir_ref a = address(g), r;
	switch (below(8)) {
	case 0:
		keep(g, ir_emit(f, IR_RMW, w, below(IR_RMW_COUNT), a, pick(g, w), IR_NONE, 0));
		break;
	case 1:
		keep(g, ir_emit(f, IR_CMPXCHG, w, 0, a, pick(g, w), pick(g, w), 0));
		break;
	case 2:
		keep(g, ir_emit(f, IR_LOADR, w, 0, a, IR_NONE, IR_NONE, 0));
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

static void emit_any(struct generator *g)
{
	struct ir_func *f = g->f;
	unsigned slot = below(TOY_SLOTS);
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
		break;
	case 6:
		if (!below(3))
			ir_insn(f, ir_at(f, 0)->imm + 4 * f->len, 4);
		else if (below(2))
			keep(g, ir_un(f, IR_BITCAST, IR_F64, pick(g, IR_I64)));
		else
			keep(g, ir_un(f, IR_BITCAST, IR_I32, pick(g, IR_F32)));
		break;
	case 7:
		if (!below(4)) {
			unsigned helper = below(TOY_HELPERS);
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

static void generate(struct ir_func *f, struct arena *arena, unsigned length)
{
	struct generator g = {.f = f};
	ir_func_init(f, &toy_target, arena, 0x4000);
	unsigned blocks = 1 + below(3); /* several: only forward jumps */
	for (unsigned n = 0; n < blocks; n++) {
		memset(g.count, 0, sizeof(g.count));
		ir_block_begin(f, 0x4000 + n * 0x100);
		ir_insn(f, 0x4000 + n * 0x100, 4);
		for (unsigned i = 0; i < length; i++)
			emit_any(&g);
		if (n + 1 < blocks && below(2)) {
			ir_emit(f, IR_JUMP, IR_VOID, 0, IR_NONE, IR_NONE, IR_NONE, n + 1);
		} else if (n + 1 < blocks) {
			ir_emit(f, IR_BRANCH, IR_VOID, 0, pick(&g, any_int()), IR_NONE, IR_NONE,
				(n + 1) | (uint64_t)(blocks - 1) << 32);
		} else if (below(2)) {
			enum ir_type t = any_int();
			ir_goto_if(f, ir_cmp(f, IR_EQ + below(6), pick(&g, t), pick(&g, t)), 0x4100,
				0x9000);
		} else if (below(2)) {
			ir_goto(f, pick(&g, IR_I64), IR_JUMP_PLAIN);
		} else if (below(2)) {
			ir_trap(f, 5, pick(&g, IR_I64));
		} else {
			ir_exit(f, pick(&g, IR_I64));
		}
	}
	f->insns = 1;
}

/* --- the interpreter's surroundings --- */
static uint8_t memory[2][MEMORY] __attribute__((aligned(4096)));

static bool fault(void *cpu, uint64_t addr)
{
	struct cpu_head *h = cpu;
	h->fault.pending = true;
	h->fault.cause = 1;
	h->fault.value = addr;
	return false;
}
static bool inside(uint64_t addr, unsigned bytes, unsigned flags)
{
	return addr >= BASE && addr + bytes <= BASE + MEMORY &&
	       (!(flags & IR_MEM_ALIGNED) || !(addr % bytes));
}
static bool slow_load(void *cpu, uint64_t addr, unsigned bytes, unsigned flags, uint64_t *value)
{
	if (!inside(addr, bytes, flags))
		return fault(cpu, addr);
	*value = 0;
	memcpy(value, memory[1] + (addr - BASE), bytes);
	return true;
}
static bool slow_store(void *cpu, uint64_t addr, unsigned bytes, unsigned flags, uint64_t value)
{
	if (!inside(addr, bytes, flags))
		return fault(cpu, addr);
	memcpy(memory[1] + (addr - BASE), &value, bytes);
	return true;
}
static void *slow_atomic(void *cpu, uint64_t addr, unsigned bytes, bool write)
{
	if (!inside(addr, bytes, IR_MEM_ALIGNED)) {
		fault(cpu, addr);
		return NULL;
	}
	return memory[1] + (addr - BASE);
}
static const struct cpu_env env = {.load = slow_load, .store = slow_store, .atomic = slow_atomic};

static void setup(struct toy *t, bool page_in_tlb)
{
	tlb_done(&t->tlb);
	memset(t, 0, sizeof(*t));
	for (unsigned n = 0; n < 8; n++)
		t->r[n] = interesting();
	for (unsigned n = 0; n < 4; n++)
		t->w[n] = (uint32_t)rnd();
	for (unsigned n = 0; n < 2; n++) {
		t->h[n] = (uint16_t)rnd();
		t->b[n] = (uint8_t)rnd();
		t->d[n] = (double)below(1000) / 3;
		t->f[n] = (float)below(1000) / 3;
	}
	t->head.env = &env;
	tlb_init(&t->tlb);
	t->head.tlbs = &t->tlb;
	t->head.tlb_count = 1;
	cpu_use_tlb(&t->head, &t->tlb);
	struct tlb_entry *e = tlb_slot(&t->tlb, BASE);
	*e = (struct tlb_entry){BASE, BASE, TLB_NO_TAG, (uintptr_t)memory[1] - BASE};
	if (!page_in_tlb)
		*e = (struct tlb_entry){TLB_NO_TAG, TLB_NO_TAG, TLB_NO_TAG, 0};
}

static bool registers_equal(const struct toy *a, const struct toy *b)
{
	return !memcmp(a->r, b->r, offsetof(struct toy, tlb) - offsetof(struct toy, r));
}

static struct toy want, got;
static struct interp_jump jumps[INTERP_JUMPS];

/* Compares one random function; false: print it. */
static bool compare(struct ir_func *f, struct interp_lowerer *l)
{
	struct error err _error_ = ERROR_INIT;
	setup(&want, below(2));
	got = want;
	cpu_use_tlb(&got.head, &got.tlb); /* the same entries */
	for (unsigned n = 0; n < MEMORY; n++)
		memory[0][n] = memory[1][n] = (uint8_t)rnd();
	struct reference m = {(char *)&want, memory[0], BASE, MEMORY, &toy_target};
	uint64_t pc = 0;
	if (ir_verify(f, &err) < 0) {
		printf("# %s\n", err.message);
		return false;
	}
	enum reference_end end = ref_run(&m, f, &pc);

	if (below(4) && ir_optimise(f, true, NULL, &err) < 0) {
		printf("# %s\n", err.message);
		return false;
	}
	struct interp_code *code;
	if (interp_lower(l, f, &code, &err) < 0) {
		printf("# %s\n", err.message);
		return err.code == E2BIG;
	}
	struct interp_run run = {.cpu = &got, .jumps = jumps, .context = 1};
	fpu_enter(&got.head);
	enum interp_exit exit = interp_run(&run, code->code);
	fpu_leave(&got.head);
	free(code);
	static const enum interp_exit ends[] = {
		[REF_GOTO] = INTERP_MISS, [REF_EXIT] = INTERP_EXIT, [REF_FAULT] = INTERP_FAULT};
	return exit == ends[end] && got.head.pc == pc && registers_equal(&want, &got) &&
	       !memcmp(memory[0], memory[1], MEMORY) &&
	       want.head.fault.pending == got.head.fault.pending &&
	       (end != REF_FAULT || (want.head.fault.cause == got.head.fault.cause &&
					    want.head.fault.value == got.head.fault.value));
}

static void random_functions(void)
{
	struct arena arena = ARENA_INIT;
	struct interp_lowerer *l = interp_lowerer_new(false);
	for (unsigned n = 1; n <= 30000; n++) {
		struct ir_func f;
		seed = n * UINT64_C(0x9e3779b97f4a7c15) + 1;
		arena_reset(&arena);
		generate(&f, &arena, 1 + below(n % 10 ? 40 : 150));
		struct strbuf text _strbuf_ = STRBUF_INIT;
		ir_print(&f, &text);
		if (compare(&f, l))
			continue;
		printf("# seed %u, pc %" PRIx64 " fault %d\n", n, got.head.pc,
			got.head.fault.pending);
		for (unsigned k = 0; k < 8; k++)
			printf("# r%u %016" PRIx64 " want %016" PRIx64 "\n", k, got.r[k],
				want.r[k]);
		printf("%s", text.data);
		CHECK(false);
		break;
	}
	interp_lowerer_free(l);
	arena_done(&arena);
}

int main(void)
{
	RUN(random_functions);
	return tap_done();
}
