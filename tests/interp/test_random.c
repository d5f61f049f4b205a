// SPDX-License-Identifier: Apache-2.0
// Random blocks: the reference, and the optimised and lowered block in the interpreter, must end
// alike: registers, memory, where they go or fault.
#include <stdlib.h>

#include "interp/interp.h"
#include "generate.h"
#include "isa/fpu.h"
#include "reference.h"
#include "tap.h"

/* --- the interpreter's surroundings --- */
static uint8_t memory[2][MEMORY] __attribute__((aligned(4096)));

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
	for (unsigned n = 0; n < TOY_REGS; n++)
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

	if (below(4) && ir_optimise(f, true, NULL, NULL, &err) < 0) {
		printf("# %s\n", err.message);
		return false;
	}
	struct interp_code *code;
	if (interp_lower(l, f, NULL, &code, &err) < 0) {
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
		generate(&f, &arena, 1 + below(n % 10 ? 40 : 150), &(struct generate_options){0});
		struct strbuf text _strbuf_ = STRBUF_INIT;
		ir_print(&f, &text);
		if (compare(&f, l))
			continue;
		printf("# seed %u, pc %" PRIx64 " fault %d\n", n, got.head.pc,
			got.head.fault.pending);
		for (unsigned k = 0; k < TOY_REGS; k++)
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
