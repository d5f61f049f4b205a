// SPDX-License-Identifier: Apache-2.0
// Random programs of supervisor mode, interpreted and compiled: at each checkpoint registers and
// memory must be the same. Blocks as in test_random.c, with loops around them, at two virtual
// addresses; and between them page tables and address spaces change, functions are written to, and
// calls go to pages that are now here and now there. Usage: rv64_lockstep PROGRAMS [SEED]
#include <inttypes.h>
#include <stdio.h>

#include "isa/fpu.h"
#include "machine.h"
#include "randblock.h"
#include "randprog.h"

#define RAM UINT64_C(0x10000000)
enum {
	RAM_BYTES = 4 << 20,
	BLOCKS = 24,
	PASSES = 6,
	/* Physical, from RAM. */
	VARS = 0x2000, /* two values for satp */
	TABLES = 0x4000,
	DATA = 0x10000,
	DATA_PAGES = 16,
	DATA_BYTES = DATA_PAGES * GUEST_PAGE_BYTES,
	FUNCTIONS = 0x30000, /* pages with functions at the same places */
	FUNCTION_PAGES = 3,
	FUNCTION_BYTES = 64,
	CODE = 0x140000,
	/* Virtual, from RAM: the first 2 MiB are as they are, and here again. */
	ALIAS = 0x8000000,
	FUNCTIONS_AT = 0x200000,
	DATA_AT = 0x10000000,
	/* Entries of page tables. */
	PTE_V = 1,
	PTE_R = 2,
	PTE_W = 4,
	PTE_X = 8,
	PTE_A = 64,
	PTE_D = 128,
	/* Registers that blocks leave alone. */
	X_PASSES = 25,
	X_TRAPS = 26,
	X_RESUME = 27,
	X_TEMP = 28,
	X_LOOP = 29,
	X_LINK = 30,
	X_END = 31,
};
static const uint32_t reserved = 0xfe000001;

struct program {
	struct gen g;
	uint8_t *image; /* RAM's first 2 MiB; owned by g.code */
	uint64_t entries[BLOCKS + 1];
};

/* --- page tables --- */
static uint64_t table(unsigned space, unsigned n)
{
	return TABLES + (4 * space + n) * (uint64_t)GUEST_PAGE_BYTES;
}
static uint64_t pte(uint64_t offset, unsigned flags)
{
	return (RAM + offset) >> 12 << 10 | flags | PTE_V;
}
static uint64_t random_pte(struct gen *g, bool code)
{
	static const uint8_t flags[] = {PTE_R | PTE_W | PTE_A | PTE_D,
		PTE_R | PTE_W | PTE_A | PTE_D, PTE_R | PTE_W | PTE_A | PTE_D, PTE_R | PTE_A,
		PTE_R | PTE_W | PTE_A, PTE_R | PTE_W, PTE_X | PTE_A};
	if (code)
		return pte(FUNCTIONS + below(g, FUNCTION_PAGES) * (uint64_t)GUEST_PAGE_BYTES,
			PTE_R | PTE_X | PTE_A);
	if (chance(g, 8))
		return 0;
	return pte(DATA + below(g, DATA_PAGES) * (uint64_t)GUEST_PAGE_BYTES,
		flags[below(g, sizeof(flags))]);
}
static void set_entry(struct program *p, uint64_t table, uint64_t n, uint64_t pte)
{
	memcpy(p->image + table + 8 * n, &pte, 8);
}
/* Each space has a root, its second level, and last levels for data and functions. */
static void make_space(struct program *p, unsigned space)
{
	unsigned all = PTE_R | PTE_W | PTE_X | PTE_A | PTE_D;
	uint64_t second = table(space, 1);
	set_entry(p, table(space, 0), 0, pte(second, 0));
	set_entry(p, second, RAM >> 21, pte(0, all));
	set_entry(p, second, (RAM + ALIAS) >> 21, pte(0, all));
	set_entry(p, second, (RAM + DATA_AT) >> 21, pte(table(space, 2), 0));
	set_entry(p, second, (RAM + FUNCTIONS_AT) >> 21, pte(table(space, 3), 0));
	for (unsigned n = 0; n < 2 * DATA_PAGES; n++)
		set_entry(p, table(space, 2), n, random_pte(&p->g, false));
	set_entry(p, table(space, 3), 0, random_pte(&p->g, true));
	uint64_t satp =
		UINT64_C(8) << 60 | (uint64_t)(space + 1) << 44 | (RAM + table(space, 0)) >> 12;
	memcpy(p->image + VARS + 8 * space, &satp, 8);
}

/* --- code --- */
static uint32_t enc_csrw(unsigned csr, unsigned rs1)
{
	return enc_i(RV64_CSRRW, 0, rs1, (int)csr);
}
static uint32_t enc_r(enum rv64_row row, unsigned rd, unsigned rs1, unsigned rs2)
{
	return rv64_rows[row].match | rd << 7 | rs1 << 15 | rs2 << 20;
}
static unsigned free_register(struct gen *g)
{
	return 1 + below(g, X_PASSES - 1);
}
/* What a function begins with, and what is written there later. */
static uint32_t random_insn(struct gen *g)
{
	static const uint16_t rows[] = {RV64_ADDI, RV64_XORI, RV64_ADDIW, RV64_SLTI, RV64_ORI};
	return enc_i(rows[below(g, ARRAY_SIZE(rows))], free_register(g), free_register(g),
		(int)below(g, 4096) - 2048);
}

static void emit_trap_handler(struct gen *g)
{
	static const uint16_t csrs[] = {0x142, 0x141, 0x143}; /* scause, sepc, stval */
	for (unsigned n = 0; n < ARRAY_SIZE(csrs); n++) {
		emit(g, enc_i(RV64_CSRRS, X_TEMP, 0, csrs[n]));
		emit(g, enc_i(RV64_RORI, X_TRAPS, X_TRAPS, 7));
		emit(g, enc_r(RV64_ADD, X_TRAPS, X_TRAPS, X_TEMP));
	}
	emit(g, enc_csrw(0x141, X_RESUME));
	emit(g, enc_i(RV64_ADDI, X_TEMP, 0, 0x100));
	emit(g, enc_i(RV64_CSRRS, 0, X_TEMP, 0x100)); /* sstatus.SPP */
	emit(g, rv64_rows[RV64_SRET].match);
}

static void make_functions(struct program *p)
{
	struct gen *g = &p->g;
	size_t end = g->code.len;
	for (unsigned page = 0; page < FUNCTION_PAGES; page++)
		for (unsigned n = 0; n < GUEST_PAGE_BYTES / FUNCTION_BYTES; n++) {
			g->code.len = FUNCTIONS + page * GUEST_PAGE_BYTES + n * FUNCTION_BYTES;
			/* The room is there: emit() only moves within it. */
			emit(g, random_insn(g));
			emit(g, enc_i(RV64_ADDI, X_TEMP, 0, 1 + (int)below(g, 3)));
			uint64_t loop = here(g);
			emit(g, random_insn(g));
			emit(g, random_insn(g));
			emit(g, enc_i(RV64_ADDI, X_TEMP, X_TEMP, -1));
			emit_branch_to(g, RV64_BNE, X_TEMP, 0, loop);
			emit(g, enc_i(RV64_JALR, 0, X_LINK, 0));
		}
	g->code.len = end;
}

static uint64_t random_function(struct gen *g)
{
	return below(g, 6) * (uint64_t)FUNCTION_BYTES;
}

static void emit_remap(struct gen *g, bool code)
{
	unsigned space = below(g, 2), n = code ? 0 : below(g, 2 * DATA_PAGES);
	emit_la(g, X_TEMP, RAM + table(space, code ? 3 : 2) + 8 * (uint64_t)n);
	emit_la(g, X_LINK, random_pte(g, code));
	emit(g, enc_s(RV64_SD, X_LINK, X_TEMP, 0));
	if (chance(g, 60)) {
		emit_la(g, X_TEMP,
			RAM + (code ? FUNCTIONS_AT : DATA_AT) + (uint64_t)n * GUEST_PAGE_BYTES);
		emit(g, enc_r(RV64_SFENCE_VMA, 0, X_TEMP, 0));
	} else {
		emit(g, rv64_rows[RV64_SFENCE_VMA].match);
	}
}

static void emit_switch(struct gen *g)
{
	emit_la(g, X_TEMP, RAM + VARS + 8 * below(g, 2));
	emit(g, enc_i(RV64_LD, X_TEMP, X_TEMP, 0));
	emit(g, enc_csrw(0x180, X_TEMP));
}

/* By its physical address, which is mapped as itself. */
static void emit_write_code(struct gen *g)
{
	emit_la(g, X_TEMP,
		RAM + FUNCTIONS + below(g, FUNCTION_PAGES) * (uint64_t)GUEST_PAGE_BYTES +
			random_function(g) + (chance(g, 50) ? 8 : 0));
	emit_la(g, X_LINK, (int32_t)random_insn(g));
	emit(g, enc_s(RV64_SW, X_LINK, X_TEMP, 0));
	emit(g, rv64_rows[RV64_FENCE_I].match);
}

static void emit_function_call(struct gen *g, bool aliased)
{
	uint64_t target = RAM + FUNCTIONS_AT + random_function(g);
	if (aliased || chance(g, 30)) {
		emit_la(g, X_TEMP, target);
		emit(g, enc_i(RV64_JALR, X_LINK, X_TEMP, 0));
	} else {
		emit(g, enc_j(rv64_rows[RV64_JAL].match | X_LINK << 7,
				(int64_t)(target - here(g))));
	}
}

static void emit_actions(struct gen *g, bool aliased)
{
	for (unsigned n = below(g, 4); n > 0; n--)
		switch (below(g, 8)) {
		case 0:
			emit_remap(g, false);
			break;
		case 1:
			emit_remap(g, true);
			break;
		case 2:
			emit_switch(g);
			break;
		case 3:
			emit_write_code(g);
			break;
		default:
			emit_function_call(g, aliased);
		}
}

/* next_at: where the next block's address is to be patched in, when it is known. */
static void emit_program_block(struct gen *g, uint64_t *next_at)
{
	struct block b = {.base = 1 + below(g, X_PASSES - 1)};
	bool aliased = chance(g, 30);
	b.reserved = reserved | 1u << b.base;
	/* Somewhere in the data, often where one page ends. */
	uint64_t page = below(g, 2 * DATA_PAGES) * (uint64_t)GUEST_PAGE_BYTES;
	next_at[0] = here(g);
	emit_la(g, X_RESUME, 0);
	emit_la(g, b.base,
		RAM + DATA_AT + page +
			(chance(g, 50) ? below(g, 512) * 8 : 4096 - 8 * below(g, 40)));
	emit(g, enc_i(RV64_ADDI, X_LOOP, 0, 1 + (int)below(g, 4)));
	if (aliased) { /* from here on at the other address */
		emit_la(g, X_TEMP, here(g) + 12 + ALIAS);
		emit(g, enc_i(RV64_JALR, 0, X_TEMP, 0));
	}
	uint64_t top = here(g);
	emit_actions(g, aliased);
	if (chance(g, 50))
		rb_reserve_for_loops(g, &b);
	rb_emit_body(g, &b, 1 + below(g, MAX_BLOCK_INSNS));
	emit_actions(g, aliased);
	emit(g, enc_i(RV64_ADDI, X_LOOP, X_LOOP, -1));
	emit(g, enc_b(rv64_rows[RV64_BEQ].match | X_LOOP << 15, 8));
	emit_jump_to(g, top);
	if (chance(g, 50))
		emit(g, rv64_rows[RV64_ECALL].match);
	next_at[1] = here(g);
	emit_la(g, X_TEMP, 0);
	emit(g, enc_i(RV64_JALR, 0, X_TEMP, 0));
	rb_finish(g, &b);
}

static void patch_la(struct gen *g, uint64_t at, uint64_t address)
{
	size_t end = g->code.len;
	uint32_t rd = (uint32_t)g->code.items[at - g->base] >> 7 |
		      (g->code.items[at - g->base + 1] & 15u) << 1;
	g->code.len = at - g->base;
	emit_la(g, rd, address);
	g->code.len = end;
}

static void make_program(struct program *p, uint64_t seed)
{
	uint64_t next_at[BLOCKS][2];
	struct gen *g = &p->g;
	*g = (struct gen){.seed = seed, .base = RAM, .row = -1, .supervisor = true};
	vec_reserve(&g->code, FUNCTIONS_AT);
	memset(g->code.items, 0, g->code.cap);
	p->image = g->code.items;
	emit_trap_handler(g);
	make_functions(p);
	make_space(p, 0);
	make_space(p, 1);
	for (unsigned n = 0; n < DATA_BYTES / 8; n++) {
		uint64_t v = random_int(&g->seed);
		memcpy(p->image + DATA + 8 * n, &v, 8);
	}
	g->code.len = CODE;
	for (unsigned n = 0; n < BLOCKS; n++) {
		p->entries[n] = here(g);
		emit_program_block(g, next_at[n]);
		/* The next begins right behind it, or about where a page does. */
		size_t end = align_up(g->code.len, 2);
		g->code.len = align_up(end, GUEST_PAGE_BYTES) - 2 * below(g, 20);
		if (g->code.len < end || chance(g, 50))
			g->code.len = end;
	}
	p->entries[BLOCKS] = here(g);
	for (unsigned n = 0; n < BLOCKS; n++) {
		patch_la(g, next_at[n][0], p->entries[n + 1]);
		patch_la(g, next_at[n][1], p->entries[n + 1]);
	}
	/* The next pass, or the end. */
	emit(g, enc_i(RV64_ADDI, X_PASSES, X_PASSES, -1));
	emit(g, enc_b(rv64_rows[RV64_BEQ].match | X_PASSES << 15, 16));
	emit_la(g, X_TEMP, p->entries[0]);
	emit(g, enc_i(RV64_JALR, 0, X_TEMP, 0));
	emit(g, enc_i(RV64_ADDI, X_END, 0, 1));
	emit(g, rv64_rows[RV64_ECALL].match);
}

/* --- running --- */
enum { CHECKPOINTS = BLOCKS * PASSES + 1 };
struct checkpoint {
	uint64_t pc, x[32], f[32], fcsr, memory, insns;
};
struct trace {
	struct memory *memory;
	struct checkpoint points[CHECKPOINTS];
	unsigned count;
	uint64_t compiled, refused;
};

static uint64_t hash_memory(struct memory *m)
{
	static uint64_t words[DATA_BYTES / 8];
	uint64_t h = 1;
	memory_read(m, GPA(RAM + DATA), words, sizeof(words));
	for (unsigned n = 0; n < ARRAY_SIZE(words); n++)
		h = (h ^ words[n]) * UINT64_C(0x9e3779b97f4a7c15) + (h >> 29);
	return h;
}

static bool serve(void *opaque, struct rv64_cpu *c)
{
	struct trace *t = opaque;
	struct checkpoint *k = &t->points[t->count++];
	k->pc = c->head.pc;
	memcpy(k->x, c->x, sizeof(k->x));
	memcpy(k->f, c->f, sizeof(k->f));
	fpu_harvest(&c->head);
	k->fcsr = rv64_fflags_from_host(c->head.fp_flags) | c->frm << 5;
	k->memory = hash_memory(t->memory);
	k->insns = c->head.insns_retired;
	return !c->x[X_END] && t->count < CHECKPOINTS;
}

static bool run(const struct program *p, const char *jit, struct trace *t)
{
	struct machine m;
	struct vcpu_stats stats;
	setenv("STRATA_JIT", jit, 1);
	t->count = 0;
	machine_init(&m, RAM, RAM_BYTES, serve, t);
	t->memory = m.memory;
	memory_write(m.memory, GPA(RAM), p->image, FUNCTIONS_AT);
	rv64_reset(m.cpu, p->entries[0], 0, 0);
	m.cpu->fs = 1;
	m.cpu->stvec = RAM;
	memset(&m.cpu->x[1], 0, sizeof(m.cpu->x) - 8);
	m.cpu->x[X_PASSES] = PASSES;
	memcpy(&m.cpu->f, p->image + DATA, sizeof(m.cpu->f));
	uint64_t satp;
	memcpy(&satp, p->image + VARS, 8);
	rv64_mmu_set_satp(m.cpu, satp);
	bool ended = machine_run(&m, 60);
	vcpu_stats(m.vcpu, &stats);
	t->compiled += stats.regions_compiled;
	t->refused += stats.regions_refused;
	machine_done(&m);
	return ended && t->points[t->count - 1].x[X_END];
}

static void print_word(const char *name, uint64_t want, uint64_t got)
{
	if (want != got)
		printf("#   %s: interpreted %016" PRIx64 ", compiled %016" PRIx64 "\n", name, want,
			got);
}

static bool same(const struct program *p, const struct trace *want, const struct trace *got)
{
	for (unsigned n = 0; n < MIN(want->count, got->count); n++) {
		const struct checkpoint *w = &want->points[n], *g = &got->points[n];
		if (!memcmp(w, g, sizeof(*w)))
			continue;
		unsigned block = 0;
		while (block < BLOCKS && p->entries[block + 1] < (w->pc & ~(uint64_t)ALIAS))
			block++;
		printf("# checkpoint %u of %u, %u, in block %u (%" PRIx64 "):\n", n, want->count,
			got->count, block, p->entries[block]);
		print_word("pc", w->pc, g->pc);
		print_word("fcsr", w->fcsr, g->fcsr);
		print_word("memory", w->memory, g->memory);
		print_word("insns", w->insns, g->insns);
		for (unsigned r = 1; r < 32; r++)
			print_word(rv64_x_names[r], w->x[r], g->x[r]);
		for (unsigned r = 0; r < 32; r++)
			print_word(rv64_f_names[r], w->f[r], g->f[r]);
		return false;
	}
	return want->count == got->count;
}

int main(int argc, char **argv)
{
	static const char *const jits[] = {"1", "2", "4"};
	static struct trace want, got;
	unsigned programs = argc > 1 ? (unsigned)atoi(argv[1]) : 100;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1, checkpoints = 0;
	bool ok = true;
	for (unsigned n = 0; n < programs && ok; n++) {
		struct program p;
		make_program(&p, seed + n);
		ok = run(&p, "off", &want);
		if (!ok)
			printf("# seed %" PRIu64 " did not end when interpreted\n", seed + n);
		for (unsigned k = 0; k < ARRAY_SIZE(jits) && ok; k++) {
			bool ended = run(&p, jits[k], &got);
			ok = same(&p, &want, &got) && ended;
			if (!ok)
				printf("# seed %" PRIu64 " with STRATA_JIT=%s%s\n", seed + n,
					jits[k], ended ? "" : " did not end");
		}
		checkpoints += want.count;
		vec_done(&p.g.code);
	}
	printf("# %" PRIu64 " checkpoints, %" PRIu64 " regions, %" PRIu64 " refused\n", checkpoints,
		got.compiled, got.refused);
	if (ok && got.compiled < 100 * (uint64_t)programs)
		ok = got.compiled > 0 && printf("# too few were compiled\n") < 0;
	printf("%s 1 - compiled code leaves what interpreted code leaves\n1..1\n",
		ok ? "ok" : "not ok");
	return !ok;
}
