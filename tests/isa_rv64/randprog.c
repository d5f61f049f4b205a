// SPDX-License-Identifier: Apache-2.0
#include "randprog.h"

#include <assert.h>
#include <elf.h>
#include <stdio.h>

#include "randblock.h"

#define BASE UINT64_C(0x10000000)
enum { POOL = 4096, PAGE = 4096 };

/* --- the program's own code --- */
enum {
	VAR_INPUT = 0,
	VAR_RECORD = 8,
	VAR_END = 16,
	VAR_CURRENT = 24,
	VAR_PASSES = 32, /* left */
	VAR_FIRST_INPUT = 40,
	VAR_FIRST_RECORD = 48
};
#define REC(field) ((int)offsetof(struct rp_record, field))
#define INP(field) ((int)offsetof(struct rp_input, field))

/* Copies `words` 64-bit words from [from] to [to]; clobbers both, t5 and t6. */
static void emit_copy(struct gen *g, unsigned to, unsigned from, int words)
{
	emit(g, enc_i(RV64_ADDI, 30, 0, words));
	uint64_t loop = here(g);
	emit(g, enc_i(RV64_LD, 31, from, 0));
	emit(g, enc_s(RV64_SD, 31, to, 0));
	emit(g, enc_i(RV64_ADDI, from, from, 8));
	emit(g, enc_i(RV64_ADDI, to, to, 8));
	emit(g, enc_i(RV64_ADDI, 30, 30, -1));
	emit_branch_to(g, RV64_BNE, 30, 0, loop);
}

static void emit_syscall(struct gen *g, int number)
{
	emit(g, enc_i(RV64_ADDI, 17, 0, number));
	emit(g, rv64_rows[RV64_ECALL].match);
}

/* Restores all registers from the record in x7 and goes to its entry. base is used to get there. */
static void emit_loader(struct gen *g, unsigned base)
{
	g->loaders[base] = here(g);
	emit(g, enc_i(RV64_ADDI, base, 7, 0));
	for (unsigned r = 1; r < 32; r++)
		if (r != base)
			emit(g, enc_i(RV64_LD, r, base, REC(x) + 8 * (int)r));
	emit(g, enc_i(RV64_LD, base, base, REC(entry)));
	emit(g, enc_i(RV64_JALR, 0, base, 0));
}

static void emit_save_fp(struct gen *g, unsigned record, unsigned temp)
{
	emit(g, enc_i(RV64_CSRRS, temp, 0, 3));
	emit(g, enc_s(RV64_SD, temp, record, REC(fcsr)));
	for (unsigned r = 0; r < 32; r++)
		emit(g, enc_s(RV64_FSD, r, record, REC(f) + 8 * (int)r));
}

static void emit_saver(struct gen *g, unsigned base, uint64_t vars, uint64_t next)
{
	g->savers[base] = here(g);
	emit_la(g, base, vars);
	emit(g, enc_i(RV64_LD, base, base, VAR_CURRENT));
	for (unsigned r = 1; r < 32; r++)
		if (r != base)
			emit(g, enc_s(RV64_SD, r, base, REC(x) + 8 * (int)r));
	emit_save_fp(g, base, base == 5 ? 6 : 5);
	emit_jump_to(g, next);
}

enum { UC_PC = 176 }; /* pc in struct ucontext of RISC-V Linux; x1 to x31 follow */

static uint64_t emit_handler(struct gen *g, uint64_t vars, uint64_t next)
{
	uint64_t at = here(g);
	emit_la(g, 5, vars);
	emit(g, enc_i(RV64_LD, 6, 5, VAR_CURRENT));
	emit(g, enc_s(RV64_SD, 10, 6, REC(signal)));
	/* si_addr means something with SIGSEGV alone */
	emit(g, enc_i(RV64_ADDI, 7, 10, -11));
	emit(g, enc_b(rv64_rows[RV64_BNE].match | 7u << 15, 12));
	emit(g, enc_i(RV64_LD, 7, 11, 16));
	emit(g, enc_s(RV64_SD, 7, 6, REC(addr)));
	emit(g, enc_i(RV64_LD, 7, 12, UC_PC));
	emit(g, enc_s(RV64_SD, 7, 6, REC(pc)));
	for (int r = 1; r < 32; r++) {
		emit(g, enc_i(RV64_LD, 7, 12, UC_PC + 8 * r));
		emit(g, enc_s(RV64_SD, 7, 6, REC(x) + 8 * r));
	}
	emit_save_fp(g, 6, 7);
	emit_jump_to(g, next);
	return at;
}

/* Takes the next input, or writes everything out and exits. */
static uint64_t emit_next(struct gen *g, uint64_t vars, uint64_t records, uint64_t records_bytes)
{
	uint64_t at = here(g);
	emit_la(g, 5, vars);
	emit(g, enc_i(RV64_LD, 6, 5, VAR_INPUT));
	emit(g, enc_i(RV64_LD, 7, 5, VAR_RECORD));
	emit(g, enc_i(RV64_LD, 8, 5, VAR_END));
	uint64_t branch = here(g);
	emit(g, 0);
	uint64_t take = here(g);
	emit(g, enc_i(RV64_ADDI, 9, 6, sizeof(struct rp_input)));
	emit(g, enc_s(RV64_SD, 9, 5, VAR_INPUT));
	emit(g, enc_s(RV64_SD, 7, 5, VAR_CURRENT));
	emit(g, enc_i(RV64_ADDI, 9, 7, sizeof(struct rp_record)));
	emit(g, enc_s(RV64_SD, 9, 5, VAR_RECORD));
	emit(g, enc_s(RV64_SD, 0, 7, REC(signal)));
	emit(g, enc_s(RV64_SD, 0, 7, REC(pc)));
	emit(g, enc_s(RV64_SD, 0, 7, REC(addr)));
	emit(g, enc_i(RV64_LD, 10, 6, INP(x)));
	emit(g, enc_i(RV64_ADDI, 11, 7, REC(x)));
	emit_copy(g, 11, 10, 32);
	emit(g, enc_i(RV64_LD, 10, 6, INP(scratch)));
	emit(g, enc_i(RV64_ADDI, 11, 7, REC(scratch)));
	emit_copy(g, 11, 10, RP_SCRATCH / 8);
	emit(g, enc_i(RV64_LD, 10, 6, INP(entry)));
	emit(g, enc_s(RV64_SD, 10, 7, REC(entry)));
	emit(g, enc_i(RV64_LD, 10, 6, INP(f)));
	for (unsigned r = 0; r < 32; r++)
		emit(g, enc_i(RV64_FLD, r, 10, 8 * (int)r));
	emit(g, enc_i(RV64_LD, 10, 6, INP(fcsr)));
	emit(g, enc_i(RV64_CSRRW, 0, 10, 3));
	emit(g, enc_i(RV64_LD, 11, 6, INP(loader)));
	emit(g, enc_i(RV64_JALR, 0, 11, 0));
	patch(g, branch,
		enc_b(rv64_rows[RV64_BEQ].match | 6u << 15 | 8u << 20, (int64_t)(here(g) - branch)),
		4);
	/* The next pass. */
	emit(g, enc_i(RV64_LD, 9, 5, VAR_PASSES));
	emit(g, enc_i(RV64_ADDI, 9, 9, -1));
	emit(g, enc_s(RV64_SD, 9, 5, VAR_PASSES));
	emit(g, enc_i(RV64_LD, 6, 5, VAR_FIRST_INPUT));
	emit(g, enc_i(RV64_LD, 7, 5, VAR_FIRST_RECORD));
	emit_branch_to(g, RV64_BNE, 9, 0, take);
	/* write(1, records, records_bytes), as often as it takes */
	emit_la(g, 18, records);
	emit_la(g, 19, records_bytes);
	uint64_t loop = here(g);
	emit(g, enc_i(RV64_ADDI, 10, 0, 1));
	emit(g, enc_i(RV64_ADDI, 11, 18, 0));
	emit(g, enc_i(RV64_ADDI, 12, 19, 0));
	emit_syscall(g, 64);
	emit(g, rv64_rows[RV64_ADD].match | 18u << 7 | 18u << 15 | 10u << 20);
	emit(g, rv64_rows[RV64_SUB].match | 19u << 7 | 19u << 15 | 10u << 20);
	uint64_t failed = here(g);
	emit(g, enc_b(rv64_rows[RV64_BLT].match | 10u << 15, 8));
	emit_branch_to(g, RV64_BNE, 19, 0, loop);
	(void)failed;
	emit(g, enc_i(RV64_SLTIU, 10, 19, 1));
	emit(g, enc_i(RV64_XORI, 10, 10, 1));
	emit_syscall(g, 93);
	return at;
}

static uint64_t emit_start(struct gen *g, uint64_t stack, uint64_t action, uint64_t next)
{
	static const uint8_t signals[] = {4, 5, 7, 8, 11};
	uint64_t at = here(g);
	emit_la(g, 10, stack);
	emit(g, enc_i(RV64_ADDI, 11, 0, 0));
	emit_syscall(g, 132); /* sigaltstack */
	for (unsigned n = 0; n < sizeof(signals); n++) {
		emit(g, enc_i(RV64_ADDI, 10, 0, signals[n]));
		emit_la(g, 11, action);
		emit(g, enc_i(RV64_ADDI, 12, 0, 0));
		emit(g, enc_i(RV64_ADDI, 13, 0, 8));
		emit_syscall(g, 134); /* rt_sigaction */
	}
	emit_jump_to(g, next);
	return at;
}

static void emit_block(struct gen *g, struct rp_input *input, uint64_t record)
{
	static const uint8_t bases[] = {2, 2, 2, 2, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10};
	struct block b = {
		.base = chance(g, 60) ? bases[below(g, sizeof(bases))] : 1 + below(g, 31)};
	b.reserved = 1u << b.base;
	input->entry = here(g);
	input->loader = g->loaders[b.base];
	emit_la(g, b.base, record + offsetof(struct rp_record, scratch) + RP_SCRATCH_BASE);
	if (chance(g, 40))
		rb_reserve_for_loops(g, &b);
	rb_emit_body(g, &b, 1 + below(g, MAX_BLOCK_INSNS));
	emit_la(g, b.base, g->savers[b.base]);
	emit(g, enc_i(RV64_JALR, 0, b.base, 0));
	rb_finish(g, &b);
}

/* --- putting it together --- */
static uint64_t random_fcsr(struct gen *g)
{
	uint64_t frm = chance(g, 4) ? 5 + below(g, 3) : chance(g, 40) ? 0 : below(g, 5);
	return frm << 5 | (chance(g, 70) ? 0 : below(g, 32));
}

static void fill_pools(struct gen *g, uint64_t *ints, uint64_t *floats)
{
	for (unsigned n = 0; n < POOL; n++) {
		ints[n] = random_int(&g->seed);
		floats[n] = random_float(&g->seed);
	}
}

/* The addresses of data are fixed before code is made: data first, code behind it. */
struct data {
	uint64_t vars[7];
	uint64_t stack[3];  /* stack_t */
	uint64_t action[4]; /* struct sigaction of the kernel: with or without sa_restorer */
	uint64_t ints[POOL], floats[POOL];
};

static void write_elf(struct randprog *p, size_t header_bytes)
{
	Elf64_Ehdr e = {.e_type = ET_EXEC,
		.e_machine = EM_RISCV,
		.e_version = EV_CURRENT,
		.e_entry = p->start,
		.e_phoff = sizeof(e),
		.e_flags = EF_RISCV_RVC | EF_RISCV_FLOAT_ABI_DOUBLE,
		.e_ehsize = sizeof(e),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1};
	memcpy(e.e_ident, ELFMAG, SELFMAG);
	e.e_ident[EI_CLASS] = ELFCLASS64;
	e.e_ident[EI_DATA] = ELFDATA2LSB;
	e.e_ident[EI_VERSION] = EV_CURRENT;
	Elf64_Phdr ph = {.p_type = PT_LOAD,
		.p_flags = PF_R | PF_W | PF_X,
		.p_offset = header_bytes,
		.p_vaddr = p->base,
		.p_paddr = p->base,
		.p_filesz = p->image_bytes,
		.p_memsz = p->memory_bytes,
		.p_align = PAGE};
	memcpy(p->elf, &e, sizeof(e));
	memcpy(p->elf + sizeof(e), &ph, sizeof(ph));
}

void randprog_make(struct randprog *p, uint64_t seed, unsigned blocks, unsigned passes)
{
	struct gen g = {.seed = seed, .base = BASE};
	*p = (struct randprog){.base = BASE, .blocks = blocks};
	/* data, inputs, then code from a page of its own, then what only memory has: stack, records
	 */
	size_t inputs_at = align_up(sizeof(struct data), 64);
	size_t code_at = align_up(inputs_at + blocks * sizeof(struct rp_input), PAGE);
	size_t code_max = align_up(32768 + (size_t)blocks * MAX_BLOCK_BYTES, PAGE);
	size_t stack_bytes = 64 * KiB, records_at = code_at + code_max + stack_bytes;
	size_t records_bytes = blocks * sizeof(struct rp_record);
	uint64_t vars = BASE + offsetof(struct data, vars);
	p->records = BASE + records_at;
	p->inputs = BASE + inputs_at;
	p->current = vars + VAR_CURRENT;
	p->memory_bytes = align_up(records_at + records_bytes, PAGE);

	/* The code vector stands for the whole image, so that addresses come out right. */
	vec_reserve(&g.code, code_at + code_max);
	memset(g.code.items, 0, g.code.cap);
	g.code.len = code_at;
	p->next = emit_next(&g, vars, p->records, records_bytes);
	uint64_t handler = emit_handler(&g, vars, p->next);
	for (unsigned r = 1; r < 32; r++) {
		emit_loader(&g, r);
		emit_saver(&g, r, vars, p->next);
	}
	p->start = emit_start(&g, BASE + offsetof(struct data, stack),
		BASE + offsetof(struct data, action), p->next);

	struct data *d = xcalloc(1, sizeof(*d));
	fill_pools(&g, d->ints, d->floats);
	struct rp_input *inputs = xcalloc(blocks, sizeof(*inputs));
	for (unsigned n = 0; n < blocks; n++) {
		struct rp_input *in = &inputs[n];
		in->x = BASE + offsetof(struct data, ints) + 8 * below(&g, POOL - 32);
		in->f = BASE + offsetof(struct data, floats) + 8 * below(&g, POOL - 32);
		in->scratch =
			BASE + offsetof(struct data, ints) + 8 * below(&g, POOL - RP_SCRATCH / 8);
		in->fcsr = random_fcsr(&g);
		/* Every other block is about one instruction. */
		g.row = n & 1 ? (int)((seed * blocks + n) / 2 % RV64_ROW_COUNT) : -1;
		emit_block(&g, in, p->records + n * sizeof(struct rp_record));
	}
	assert(g.code.len <= code_at + code_max);
	d->vars[0] = p->inputs;
	d->vars[1] = p->records;
	d->vars[2] = p->inputs + blocks * sizeof(struct rp_input);
	d->vars[VAR_PASSES / 8] = passes;
	d->vars[VAR_FIRST_INPUT / 8] = p->inputs;
	d->vars[VAR_FIRST_RECORD / 8] = p->records;
	d->stack[0] = BASE + code_at + code_max;
	d->stack[2] = stack_bytes;
	d->action[0] = handler;
	d->action[1] = 4 | 0x08000000 | 0x40000000; /* SA_SIGINFO, SA_ONSTACK, SA_NODEFER */
	memcpy(g.code.items, d, sizeof(*d));
	memcpy(g.code.items + inputs_at, inputs, blocks * sizeof(*inputs));

	p->image_bytes = g.code.len;
	p->elf_bytes = PAGE + p->image_bytes;
	p->elf = xcalloc(1, p->elf_bytes);
	memcpy(p->elf + PAGE, g.code.items, p->image_bytes);
	p->image = p->elf + PAGE;
	write_elf(p, PAGE);
	vec_done(&g.code);
	free(inputs);
	free(d);
}

void randprog_done(struct randprog *p)
{
	free(p->elf);
	*p = (struct randprog){0};
}

const struct rp_input *randprog_input(const struct randprog *p, unsigned block)
{
	return (const void *)(p->image + (p->inputs - p->base) + block * sizeof(struct rp_input));
}
