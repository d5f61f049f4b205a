// SPDX-License-Identifier: Apache-2.0
// Random functions of many blocks, with loops, compiled: entered at any block, stopped at any
// check of attention and gone on with, linked to other code. They must end as the reference ends,
// and with floating point as the interpreter does: registers, memory, flags, counts, where they go
// or fault.
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "interp/generate.h"
#include "interp/reference.h"
#include "isa/fpu.h"
#include "jit/jit.h"
#include "mem/flat.h"
#include "tap.h"

enum {
	ROUNDS = 8000,
	BLOCKS = 16,
	TAIL = 0x4f00,
	FAR = 0x9000,
	CONTEXT = 99,
	ALL_MEMORY = 4 * GUEST_PAGE_BYTES
};

/* --- memory: what the reference sees, and what is at BASE in this process, between two pages that
 * nobody may touch --- */
static uint8_t expected[MEMORY], *memory;
/* The same memory twice more: TLBs point to one of them, and when they are flushed to the other. A
 * page there can be accessed as its entry says: an access that was not checked is refused. */
static uint8_t *views[2];
static unsigned view;
static struct toy want, *got, *running;
static struct jit *jit;
static bool flat;
static unsigned slow_accesses, refused, compiled, stops, misaligned;

static uint8_t *show(uint64_t page, int protection)
{
	uint8_t *at = views[view] + (page - BASE);
	mprotect(at, GUEST_PAGE_BYTES, protection);
	return at;
}
static void other_view(void)
{
	mprotect(views[view], MEMORY, PROT_NONE);
	view ^= 1;
}
static struct tlb_entry random_entry(uint64_t page)
{
	bool writable = below(4);
	uint8_t *at = show(page, writable ? PROT_READ | PROT_WRITE : PROT_READ);
	return (struct tlb_entry){
		page, writable ? page : TLB_NO_TAG, TLB_NO_TAG, (uintptr_t)at - page};
}

static void refuse(void *cpu, gva_t addr, enum isa_access access)
{
	fault(cpu, addr.v);
}
/* As a machine does it: the page is known from now on, sometimes for reading alone. */
static void fill(uint64_t addr)
{
	uint64_t page = align_down(addr, GUEST_PAGE_BYTES);
	slow_accesses++;
	struct tlb_entry *e = flat ? NULL : tlb_slot(&got->tlb, addr);
	/* What may be done is not taken back within a block. */
	if (e && e->read != page && below(2))
		*e = random_entry(page);
}
static bool slow_load(void *cpu, uint64_t addr, unsigned bytes, unsigned flags, uint64_t *value)
{
	misaligned += (uintptr_t)__builtin_frame_address(0) % 16 != 0; /* the ABI's stack */
	if (!inside(addr, bytes, flags))
		return fault(cpu, addr);
	fill(addr);
	*value = 0;
	memcpy(value, memory + (addr - BASE), bytes);
	return true;
}
static bool slow_store(void *cpu, uint64_t addr, unsigned bytes, unsigned flags, uint64_t value)
{
	if (!inside(addr, bytes, flags))
		return fault(cpu, addr);
	fill(addr);
	memcpy(memory + (addr - BASE), &value, bytes);
	return true;
}
static void *slow_atomic(void *cpu, uint64_t addr, unsigned bytes, bool write)
{
	if (!inside(addr, bytes, IR_MEM_ALIGNED)) {
		fault(cpu, addr);
		return NULL;
	}
	if (flat)
		return memory + (addr - BASE);
	return show(align_down(addr, GUEST_PAGE_BYTES), PROT_READ | PROT_WRITE) +
	       addr % GUEST_PAGE_BYTES;
}
static const struct cpu_env env = {.load = slow_load, .store = slow_store, .atomic = slow_atomic};

static const struct isa toy_isa = {
	.name = "toy",
	.state_bytes = sizeof(struct toy),
	.misaligned_fault = refuse,
	.access_fault = refuse,
	.target = {.name = "toy",
		.slots = toy_slots,
		.slot_count = TOY_SLOTS,
		.helpers = toy_helpers,
		.helper_count = TOY_HELPERS,
		.pinned = toy_pinned,
		.pinned_count = ARRAY_SIZE(toy_pinned)},
};

static void on_segv(int sig, siginfo_t *info, void *ucontext)
{
	greg_t *pc = &((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP];
	uintptr_t landing = flat_landing((uintptr_t)*pc);
	if (landing)
		*pc = (greg_t)landing;
	else if (!jit_recover(jit, got, ucontext))
		signal(sig, SIG_DFL);
	fault(running, (uintptr_t)info->si_addr);
}

static void setup(void)
{
	struct toy *t = &want;
	memset(t, 0, sizeof(*t));
	for (unsigned n = 0; n < TOY_REGS; n++)
		t->r[n] = interesting();
	for (unsigned n = 0; n < 4; n++)
		t->w[n] = (uint32_t)rnd();
	for (unsigned n = 0; n < 2; n++) {
		uint64_t d = interesting_float(IR_F64);
		uint32_t f = (uint32_t)interesting_float(IR_F32);
		t->h[n] = (uint16_t)rnd();
		t->b[n] = (uint8_t)rnd();
		memcpy(&t->d[n], &d, sizeof(d));
		memcpy(&t->f[n], &f, sizeof(f));
	}
	t->count = 1 + below(20);
	t->head.fp_rounding = below(4);
	t->head.exec.context = CONTEXT;
	t->head.env = &env;
	t->head.isa = &toy_isa;
	t->head.flat = flat;
	for (unsigned n = 0; n < MEMORY; n++)
		expected[n] = (uint8_t)rnd();
}

/* A CPU like `want`, with a TLB of its own. */
static void clone(struct toy *to)
{
	tlb_done(&to->tlb);
	*to = want;
	tlb_init(&to->tlb);
	other_view();
	to->head.tlbs = &to->tlb;
	to->head.tlb_count = 1;
	cpu_use_tlb(&to->head, &to->tlb);
	for (unsigned n = 0; n < MEMORY / GUEST_PAGE_BYTES; n++) {
		uint64_t page = BASE + n * (uint64_t)GUEST_PAGE_BYTES;
		if (below(2))
			*tlb_slot(&to->tlb, page) = random_entry(page);
	}
	memcpy(memory, expected, MEMORY);
}

static bool registers_equal(const struct toy *a, const struct toy *b)
{
	return !memcmp(a->r, b->r, offsetof(struct toy, tlb) - offsetof(struct toy, r));
}

/* --- how a function ends --- */
struct end {
	enum interp_exit exit;
	uint64_t pc;
};

static bool same_end(const struct end *a, const struct end *b, const struct toy *x)
{
	bool ok = a->exit == b->exit && a->pc == b->pc && registers_equal(x, got) &&
		  !memcmp(expected, memory, MEMORY);
	if (a->exit != INTERP_FAULT)
		return ok && !got->head.fault.pending;
	/* The host names the first byte that it refuses, which may be a later one. */
	uint64_t value = got->head.fault.value - x->head.fault.value;
	return ok && got->head.fault.pending && x->head.fault.cause == got->head.fault.cause &&
	       (flat ? value < 8 : !value);
}

static struct end run_reference(struct ir_func *f, unsigned block)
{
	static const enum interp_exit ends[] = {
		[REF_GOTO] = INTERP_MISS, [REF_EXIT] = INTERP_EXIT, [REF_FAULT] = INTERP_FAULT};
	struct reference m = {(char *)&want, expected, BASE, MEMORY, &toy_target};
	struct end end = {0};
	end.exit = ends[ref_run_from(&m, f, block, &end.pc)];
	return end;
}

static const void *entry_at(const struct jit_region *r, uint64_t pc)
{
	for (unsigned n = 0; n < r->entry_count; n++)
		if (r->entries[n].pc == pc)
			return r->entries[n].code;
	return NULL;
}

/* Runs compiled code to its end; where it must stop, from there again. */
static struct end run_compiled(const struct jit_region *r, uint64_t pc)
{
	enum interp_exit exit;
	running = got;
	if (!below(4))
		cpu_want_attention(&got->head);
	fpu_enter(&got->head);
	for (;;) {
		/* As the CPU's loop does it; code that stays is stopped again later. */
		if (below(2)) {
			got->head.exec.context = CONTEXT;
			got->head.exec.stack_limit =
				(uintptr_t)__builtin_frame_address(0) - 256 * below(20);
		}
		exit = jit_run(jit, got, entry_at(r, pc));
		if (exit != INTERP_ATTENTION)
			break;
		stops++;
		pc = got->head.pc;
		got->head.attention = 0;
		if (!entry_at(r, pc)) { /* stopped on the way out */
			got->head.exec.link = NULL;
			exit = INTERP_MISS;
			break;
		}
	}
	fpu_leave(&got->head);
	return (struct end){exit, got->head.pc};
}

static bool compile(struct ir_func *f, struct jit_region **out)
{
	struct error err _error_ = ERROR_INIT;
	f->insns = 1;
	int ret = jit_compile(jit, f, f->block_count, out, &err);
	if (ret == -ENOTSUP)
		refused++;
	else if (ret < 0)
		printf("# %s\n", err.message);
	compiled += ret == 0;
	return ret == 0;
}

static void make(struct ir_func *f, struct arena *arena, bool fp)
{
	struct error err _error_ = ERROR_INIT;
	unsigned longest = below(fp ? 3 : 10) ? 30 : fp ? 250 : 100;
	generate(f, arena, 1 + below(longest), &(struct generate_options){true, fp});
	CHECK_EQ(ir_verify(f, &err), 0);
}

static void optimise_some(struct ir_func *f)
{
	struct error err _error_ = ERROR_INIT;
	if (below(4))
		CHECK_EQ(ir_optimise(f, true, NULL, NULL, &err), 0);
}

static void print(unsigned n, const struct strbuf *text, const struct end *w, const struct end *g,
	const struct toy *x)
{
	printf("# round %u: exit %d pc %" PRIx64 ", want %d pc %" PRIx64 "\n", n, g->exit, g->pc,
		w->exit, w->pc);
	printf("# fault %" PRIx64 " want %" PRIx64 ", flags %x want %x, insns %" PRIu64
	       " want %" PRIu64 "\n",
		got->head.fault.value, x->head.fault.value, got->head.fp_flags, x->head.fp_flags,
		got->head.insns_retired, x->head.insns_retired);
	for (unsigned k = 0; k < TOY_REGS; k++)
		if (x->r[k] != got->r[k])
			printf("# r%u %016" PRIx64 " want %016" PRIx64 "\n", k, got->r[k], x->r[k]);
	for (unsigned k = 0; k < MEMORY; k++)
		if (expected[k] != memory[k])
			printf("# memory %x: %02x want %02x\n", k, memory[k], expected[k]);
	printf("%s", text->data);
}

/* One function without floating point, from a few of its entries. */
static bool against_reference(unsigned round, struct arena *arena)
{
	struct ir_func f;
	struct jit_region *r;
	bool ok = true;
	make(&f, arena, false);
	struct strbuf text _strbuf_ = STRBUF_INIT;
	optimise_some(&f);
	ir_print(&f, &text);
	if (!compile(&f, &r))
		return true;
	for (unsigned n = 0; n < 3 && ok; n++) {
		unsigned block = n ? below(f.block_count) : 0;
		setup();
		clone(got);
		struct end w = run_reference(&f, block);
		struct end g = run_compiled(r, f.blocks[block].pc);
		ok = same_end(&w, &g, &want);
		if (!ok)
			print(round, &text, &w, &g, &want);
	}
	jit_region_free(jit, r);
	return ok;
}

/* One with floating point: the interpreter is the reference. A machine's counts of instructions are
 * compared too. */
static bool against_interpreter(unsigned round, struct arena *arena, struct interp_lowerer *l)
{
	static struct interp_jump jumps[INTERP_JUMPS];
	static struct toy other;
	struct error err _error_ = ERROR_INIT;
	struct ir_func f;
	struct jit_region *r;
	struct interp_code *code;
	make(&f, arena, true);
	struct strbuf text _strbuf_ = STRBUF_INIT;
	optimise_some(&f);
	ir_print(&f, &text);
	if (!compile(&f, &r))
		return true;
	setup();
	clone(&other);
	struct end w = {INTERP_ATTENTION, 0}, g;
	bool ok = interp_lower(l, &f, NULL, &code, &err) == 0;
	if (ok) {
		struct interp_run run = {.cpu = &other, .jumps = jumps, .context = 1};
		running = &other;
		fpu_enter(&other.head);
		w.exit = flat ? interp_run_flat(&run, code->code) : interp_run(&run, code->code);
		w.pc = other.head.pc;
		fpu_leave(&other.head);
		free(code);
	}
	/* It stops where the compiler's code need not: that is for the other test. */
	if (ok && w.exit != INTERP_ATTENTION) {
		static uint8_t after[MEMORY];
		memcpy(after, memory, MEMORY);
		clone(got);
		memcpy(expected, after, MEMORY);
		g = run_compiled(r, f.blocks[0].pc);
		ok = same_end(&w, &g, &other) && got->head.fp_flags == other.head.fp_flags &&
		     (flat || got->head.insns_retired == other.head.insns_retired);
		if (!ok)
			print(round, &text, &w, &g, &other);
	} else if (!ok) {
		ok = err.code == E2BIG;
	}
	jit_region_free(jit, r);
	return ok;
}

/* Regions that lead to each other: by a link inside the page, by the table to other pages, and by
 * returns, which lead back. */
enum { PARTS = 3 };
struct part {
	struct ir_func f;
	struct jit_region *region;
};

/* Changes all registers, and goes to one of the blocks until TOY_COUNT is 0. */
static void make_end(struct ir_func *f, struct arena *arena, uint64_t pc)
{
	ir_func_init(f, &toy_target, arena, pc);
	ir_block_begin(f, pc);
	ir_insn(f, pc, 4);
	for (unsigned k = 0; k < TOY_REGS; k++)
		ir_put(f, TOY_R0 + k,
			ir_bin(f, IR_ADD, IR_I64, ir_get(f, TOY_R0 + k),
				ir_const(f, IR_I64, k + pc)));
	ir_ref left = ir_bin(f, IR_SUB, IR_I64, ir_get(f, TOY_COUNT), ir_const(f, IR_I64, 1));
	ir_put(f, TOY_COUNT, left);
	ir_ref again = ir_cmp(f, IR_LTS, ir_const(f, IR_I64, 0), left);
	ir_ref to = ir_select(
		f, again, ir_const(f, IR_I64, some_block()), ir_const(f, IR_I64, pc + 16));
	if (below(4))
		ir_goto(f, to, IR_JUMP_RETURN);
	else
		ir_goto_call(f, to, below(2) ? TAIL : FAR);
}

static struct part *find_part(struct part parts[PARTS], uint64_t pc, unsigned *block)
{
	for (unsigned n = 0; n < PARTS; n++)
		for (unsigned b = 0; b < parts[n].f.block_count; b++)
			if (parts[n].f.blocks[b].pc == pc) {
				*block = b;
				return &parts[n];
			}
	return NULL;
}

/* What is left is made known in one of the ways. */
static void lead_to(const struct part *p, uint64_t pc)
{
	const void *code = entry_at(p->region, pc);
	struct jit_link *link = got->head.exec.link;
	jit_jump_add(&toy_isa, got, pc, CONTEXT, code);
	if (below(2)) /* that moves over */
		jit_jump_add(&toy_isa, got, pc + 2 * CPU_JUMPS, CONTEXT, jit);
	if (link && link->cell && link->cell[0] == JIT_CELL_EMPTY)
		link->pc = pc;
	if (link && link->pc == pc)
		jit_link_to(jit, link, code);
}

static bool linked_once(unsigned round, struct part parts[PARTS], const struct strbuf *text)
{
	bool in_table = false;
	unsigned block;
	setup();
	clone(got);
	got->head.exec.link = NULL;
	struct end w = run_reference(&parts[0].f, 0);
	for (struct part *p; w.exit == INTERP_MISS && (p = find_part(parts, w.pc, &block));)
		w = run_reference(&p->f, block);
	struct end g = run_compiled(parts[0].region, parts[0].f.pc);
	unsigned before = stops;
	for (struct part *p; g.exit == INTERP_MISS && (p = find_part(parts, g.pc, &block));) {
		bool undisturbed = stops == before && got->head.exec.context == CONTEXT;
		if (g.pc == FAR && in_table && undisturbed)
			TAP_FAIL_("round %u: known to the table, and not found", round);
		in_table |= g.pc == FAR && !flat;
		lead_to(p, g.pc);
		before = stops;
		g = run_compiled(p->region, g.pc);
	}
	bool ok = same_end(&w, &g, &want);
	if (!ok)
		print(round, text, &w, &g, &want);
	return ok;
}

static bool linked(unsigned round, struct arena *arena)
{
	struct arena arenas[2] = {ARENA_INIT, ARENA_INIT};
	struct part parts[PARTS];
	bool ok = true;
	make(&parts[0].f, arena, false);
	optimise_some(&parts[0].f);
	struct strbuf text _strbuf_ = STRBUF_INIT;
	ir_print(&parts[0].f, &text);
	if (!compile(&parts[0].f, &parts[0].region))
		return true;
	for (unsigned n = 1; n < PARTS; n++) {
		make_end(&parts[n].f, &arenas[n - 1], n == 1 ? TAIL : FAR);
		ir_print(&parts[n].f, &text);
		CHECK(compile(&parts[n].f, &parts[n].region));
	}
	for (unsigned n = 0; n < 3 && ok; n++)
		ok = linked_once(round, parts, &text);
	for (unsigned n = 0; n < PARTS; n++)
		jit_region_free(jit, parts[n].region);
	for (unsigned n = 0; n < 2; n++)
		arena_done(&arenas[n]);
	memset(cpu_jumps(&toy_isa, got), 0, CPU_JUMPS * sizeof(struct cpu_jump));
	return ok;
}

static void begin(bool is_flat)
{
	struct error err _error_ = ERROR_INIT;
	flat = is_flat;
	slow_accesses = refused = compiled = stops = misaligned = 0;
	REQUIRE(jit_new(&jit, &toy_isa, flat, !flat, JIT_MIN_BYTES, &err) == 0);
}
static void end(void)
{
	printf("# %u compiled, %u refused, %u slow accesses, %u stops\n", compiled, refused,
		slow_accesses, stops);
	CHECK(compiled > 40 * refused);
	CHECK(stops > 0);
	CHECK(flat || slow_accesses > 0);
	CHECK_EQ(misaligned, 0);
	jit_free(jit);
}

static void random_functions(bool is_flat)
{
	struct arena arena = ARENA_INIT;
	struct interp_lowerer *l = interp_lowerer_new(is_flat);
	const char *one = getenv("ROUND");
	begin(is_flat);
	bool ok = true;
	for (unsigned n = one ? (unsigned)atoi(one) : 1; n <= ROUNDS && ok; n++) {
		seed = n * UINT64_C(0x9e3779b97f4a7c15) + 1;
		arena_reset(&arena);
		ok = n % 8 == 0 ? linked(n, &arena)
		     : n % 2	? against_reference(n, &arena)
				: against_interpreter(n, &arena, l);
		if (one)
			break;
	}
	CHECK(ok);
	end();
	interp_lowerer_free(l);
	arena_done(&arena);
}
static void random_functions_of_a_machine(void)
{
	random_functions(false);
}
static void random_functions_of_a_process(void)
{
	random_functions(true);
}

/* A function that calls itself and never returns: it stops when others want that, and when the
 * host's stack is as deep as may be. */
static void calls_stop(void)
{
	struct arena arena = ARENA_INIT;
	struct ir_func f;
	struct jit_region *r;
	for (unsigned n = 0; n < 4; n++) {
		begin(n & 1);
		arena_reset(&arena);
		setup();
		clone(got);
		ir_func_init(&f, &toy_target, &arena, TAIL);
		ir_block_begin(&f, TAIL);
		ir_put(&f, TOY_COUNT,
			ir_bin(&f, IR_ADD, IR_I64, ir_get(&f, TOY_COUNT), ir_const(&f, IR_I64, 1)));
		ir_goto_call(&f, n & 2 ? ir_get(&f, TOY_R0) : ir_const(&f, IR_I64, TAIL), TAIL + 4);
		REQUIRE(compile(&f, &r));
		got->r[0] = TAIL;
		jit_jump_add(&toy_isa, got, TAIL, CONTEXT, r->entries[0].code);
		if (r->link_count && (r->links[0].pc = TAIL))
			jit_link_to(jit, &r->links[0], r->entries[0].code);
		got->count = 0;
		uintptr_t limit = (uintptr_t)__builtin_frame_address(0) - 4096;
		got->head.exec.stack_limit = limit;
		CHECK_EQ(jit_run(jit, got, r->entries[0].code), INTERP_ATTENTION);
		CHECK_EQ(got->head.pc, TAIL);
		CHECK(got->count > 100 && got->count < 520);
		got->count = 0;
		cpu_want_attention(&got->head);
		got->head.exec.context = CONTEXT;
		CHECK_EQ(jit_run(jit, got, r->entries[0].code), INTERP_ATTENTION);
		CHECK_EQ(got->count, 1);
		jit_region_free(jit, r);
		jit_free(jit);
	}
	arena_done(&arena);
}

/* Between the two halves of a cell's writing, a jump to 0 is no jump to the cell's code. */
static void a_cell_that_is_half_written(void)
{
	struct arena arena = ARENA_INIT;
	struct ir_func from, to;
	struct jit_region *r, *target;
	begin(true);
	setup();
	clone(got);
	ir_func_init(&from, &toy_target, &arena, TAIL);
	ir_block_begin(&from, TAIL);
	ir_goto(&from, ir_get(&from, TOY_R0), IR_JUMP_STEADY);
	ir_func_init(&to, &toy_target, &arena, FAR);
	ir_block_begin(&to, FAR);
	ir_goto(&to, ir_const(&to, IR_I64, FAR + 64), IR_JUMP_PLAIN);
	REQUIRE(compile(&from, &r) && compile(&to, &target));
	REQUIRE(r->link_count == 1 && r->links[0].cell);
	uint64_t *cell = r->links[0].cell;
	got->head.attention = 0;
	got->head.exec.context = CONTEXT;
	got->r[0] = 0;
	cell[1] = (uintptr_t)target->entries[0].code;
	CHECK_EQ(jit_run(jit, got, r->entries[0].code), INTERP_MISS);
	CHECK_EQ(got->head.pc, 0u);
	CHECK(got->head.exec.link == &r->links[0]);
	/* and whole */
	r->links[0].pc = got->r[0] = FAR;
	jit_link_to(jit, &r->links[0], target->entries[0].code);
	CHECK_EQ(jit_run(jit, got, r->entries[0].code), INTERP_MISS);
	CHECK_EQ(got->head.pc, (uint64_t)FAR + 64);
	jit_region_free(jit, target);
	jit_region_free(jit, r);
	jit_free(jit);
	arena_done(&arena);
}

/* --- conversions where ranges end, in every rounding mode --- */
static const double ends[] = {0, 0.5, 1, 1.5, 2.5, 1e-300, 1073741823.5, 1073741824, 2147483646.5,
	2147483647, 2147483647.5, 2147483648, 2147483648.5, 4294967295, 4294967295.5, 4294967296,
	9007199254740991, 9223372036854774784.0, 9223372036854775808.0, 1.8446744073709550e19,
	1.8446744073709552e19, 1e30};
static const uint64_t wholes[] = {0, 1, 0xffffff, 0x1000000, 0x1000001, 0x1ffffff, 0x2000001,
	0x7fffffff, 0x80000000, 0xffffffff, 0x1fffffffffffff, 0x20000000000000, 0x20000000000001,
	0x3fffffffffffff, 0x40000000000001, INT64_MAX, UINT64_C(1) << 63};

struct conversion {
	uint8_t op, from, to;
	uint16_t aux;
};

static unsigned conversion_slot(enum ir_type t)
{
	return t == IR_F64 ? TOY_D0 : t == IR_F32 ? TOY_F0 : t == IR_I64 ? TOY_R0 : TOY_W0;
}

static void set_operand(enum ir_type t, unsigned n)
{
	double d = ends[n / 2 % ARRAY_SIZE(ends)] * (n & 1 ? -1 : 1);
	float f = (float)d;
	uint64_t w =
		n & 1 ? -wholes[n / 2 % ARRAY_SIZE(wholes)] : wholes[n / 2 % ARRAY_SIZE(wholes)];
	memcpy(&want.d[0], &d, sizeof(d));
	memcpy(&want.f[0], &f, sizeof(f));
	want.r[0] = w;
	want.w[0] = (uint32_t)w;
}

static unsigned differing(const struct conversion *c, struct arena *arena, struct interp_lowerer *l)
{
	static struct interp_jump jumps[INTERP_JUMPS];
	static struct toy other;
	struct error err _error_ = ERROR_INIT;
	struct ir_func f;
	struct jit_region *r;
	struct interp_code *code;
	unsigned bad = 0;
	arena_reset(arena);
	ir_func_init(&f, &toy_target, arena, TAIL);
	ir_block_begin(&f, TAIL);
	ir_insn(&f, TAIL, 4);
	ir_ref v = ir_get(&f, conversion_slot(c->from));
	v = ir_emit(&f, c->op, c->to, c->aux, v, IR_NONE, IR_NONE, 0);
	ir_put(&f, conversion_slot(c->to) + 1, v);
	ir_exit(&f, ir_const(&f, IR_I64, FAR));
	if (!compile(&f, &r) || interp_lower(l, &f, NULL, &code, &err) < 0)
		return UINT_MAX;
	for (unsigned n = 0; n < 4 * 2 * ARRAY_SIZE(ends); n++) {
		setup();
		want.head.fp_rounding = n % 4;
		set_operand(c->from, n / 4);
		clone(&other);
		clone(got);
		struct interp_run run = {.cpu = &other, .jumps = jumps, .context = 1};
		fpu_enter(&other.head);
		interp_run(&run, code->code);
		fpu_leave(&other.head);
		run_compiled(r, TAIL);
		bad += !registers_equal(&other, got) || other.head.fp_flags != got->head.fp_flags;
	}
	free(code);
	jit_region_free(jit, r);
	return bad;
}

static void conversions_in_every_mode(void)
{
	static const enum ir_type floats[] = {IR_F32, IR_F64}, ints[] = {IR_I32, IR_I64};
	struct arena arena = ARENA_INIT;
	struct interp_lowerer *l = interp_lowerer_new(false);
	begin(false);
	for (unsigned n = 0; n < 2 * 2 * 2 * 2 * 5; n++) {
		enum ir_type f = floats[n & 1], i = ints[n >> 1 & 1];
		unsigned rm = n >> 4 == 4 ? IR_RM_DYNAMIC : n >> 4;
		unsigned aux = rm | IR_FP_DEFAULT_NAN | (n >> 2 & 1 ? IR_FP_UNSIGNED : 0);
		struct conversion c = {IR_I2F, i, f, (uint16_t)aux};
		if (n >> 3 & 1)
			c = (struct conversion){IR_F2I, f, i, (uint16_t)(aux | IR_FP_SATURATE)};
		unsigned bad = differing(&c, &arena, l);
		if (bad)
			TAP_FAIL_("%s %s %s, aux %u: %u differ", ir_ops[c.op].name,
				ir_type_name(c.from), ir_type_name(c.to), c.aux, bad);
	}
	jit_free(jit);
	interp_lowerer_free(l);
	arena_done(&arena);
}

int main(void)
{
	struct error err _error_ = ERROR_INIT;
	if (jit_new(&jit, &toy_isa, false, false, JIT_MIN_BYTES, &err) == -ENOTSUP) {
		printf("1..0 # SKIP %s\n", err.message);
		return 0;
	}
	jit_free(jit);
	int fd = memfd_create("memory", MFD_CLOEXEC);
	void *at = mmap((void *)(uintptr_t)(BASE - GUEST_PAGE_BYTES), ALL_MEMORY, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	memory = (uint8_t *)(uintptr_t)BASE;
	bool ok = ftruncate(fd, MEMORY) == 0 && at != MAP_FAILED &&
		  mmap(memory, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
			  memory;
	for (unsigned n = 0; n < 2 && ok; n++) {
		at = mmap(NULL, MEMORY, PROT_NONE, MAP_SHARED, fd, 0);
		views[n] = at;
		ok = at != MAP_FAILED;
	}
	if (!ok) {
		printf("Bail out! no memory at 0x%" PRIx64 "\n", BASE);
		return 1;
	}
	toy_flushed = other_view;
	struct sigaction segv = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER};
	sigaction(SIGSEGV, &segv, NULL);
	got = xcalloc(1, cpu_state_bytes(&toy_isa));
	RUN(calls_stop);
	RUN(a_cell_that_is_half_written);
	RUN(conversions_in_every_mode);
	RUN(random_functions_of_a_machine);
	RUN(random_functions_of_a_process);
	return tap_done();
}
