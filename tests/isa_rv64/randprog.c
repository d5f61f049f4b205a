// SPDX-License-Identifier: Apache-2.0
#include "randprog.h"

#include <assert.h>
#include <elf.h>
#include <stdio.h>

#include "base/vec.h"
#include "isa/rv64/internal.h"
#include "randvalues.h"

#define BASE UINT64_C(0x10000000)
enum { POOL = 4096, MAX_BLOCK_INSNS = 24, PAGE = 4096 };

typedef VEC(uint8_t) bytes;

struct gen {
	uint64_t seed;
	bytes code;
	uint64_t loaders[32], savers[32];
	int row;
};

/* --- random values --- */
static uint64_t rnd(struct gen *g)
{
	return random_word(&g->seed);
}
static unsigned below(struct gen *g, unsigned n)
{
	return random_below(&g->seed, n);
}
static bool chance(struct gen *g, unsigned percent)
{
	return below(g, 100) < percent;
}

/* --- emitting --- */
static uint64_t here(const struct gen *g)
{
	return BASE + g->code.len;
}
static void emit_bytes(struct gen *g, uint32_t w, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vec_push(&g->code, (uint8_t)(w >> 8 * i));
}
static void emit(struct gen *g, uint32_t w)
{
	emit_bytes(g, w, 4);
}
static uint32_t enc_i(enum rv64_row row, unsigned rd, unsigned rs1, int imm)
{
	return rv64_rows[row].match | rd << 7 | rs1 << 15 | (uint32_t)imm << 20;
}
static uint32_t enc_s(enum rv64_row row, unsigned rs2, unsigned rs1, int imm)
{
	uint32_t u = (uint32_t)imm;
	return rv64_rows[row].match | (u & 31) << 7 | rs1 << 15 | rs2 << 20 | (u >> 5 & 127) << 25;
}
static uint32_t enc_b(uint32_t w, int64_t off)
{
	uint32_t u = (uint32_t)off;
	return (w & 0x01fff07f) | (u >> 11 & 1) << 7 | (u >> 1 & 15) << 8 | (u >> 5 & 63) << 25 |
	       (u >> 12 & 1) << 31;
}
static uint32_t enc_j(uint32_t w, int64_t off)
{
	uint32_t u = (uint32_t)off;
	return (w & 0xfff) | (u & 0xff000) | (u >> 11 & 1) << 20 | (u >> 1 & 0x3ff) << 21 |
	       (u >> 20 & 1) << 31;
}
static uint32_t enc_cj(uint32_t w, int64_t off)
{
	uint32_t u = (uint32_t)off;
	return (w & 0xe003) | (u >> 5 & 1) << 2 | (u >> 1 & 7) << 3 | (u >> 7 & 1) << 6 |
	       (u >> 6 & 1) << 7 | (u >> 10 & 1) << 8 | (u >> 8 & 3) << 9 | (u >> 4 & 1) << 11 |
	       (u >> 11 & 1) << 12;
}
static uint32_t enc_cb(uint32_t w, int64_t off)
{
	uint32_t u = (uint32_t)off;
	return (w & 0xe383) | (u >> 5 & 1) << 2 | (u >> 1 & 3) << 3 | (u >> 6 & 3) << 5 |
	       (u >> 3 & 3) << 10 | (u >> 8 & 1) << 12;
}
/* rd = address, below 2 GiB */
static void emit_la(struct gen *g, unsigned rd, uint64_t address)
{
	uint32_t high = (uint32_t)(address + 0x800) & 0xfffff000;
	emit(g, rv64_rows[RV64_LUI].match | rd << 7 | high);
	emit(g, enc_i(RV64_ADDI, rd, rd, (int)(address - high)));
}
static void emit_jump_to(struct gen *g, uint64_t target)
{
	emit(g, enc_j(rv64_rows[RV64_JAL].match, (int64_t)(target - here(g))));
}
static void emit_branch_to(
	struct gen *g, enum rv64_row row, unsigned a, unsigned b, uint64_t target)
{
	emit(g, enc_b(rv64_rows[row].match | a << 15 | b << 20, (int64_t)(target - here(g))));
}
static void patch(struct gen *g, uint64_t at, uint32_t w, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		g->code.items[at - BASE + i] = (uint8_t)(w >> 8 * i);
}

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

/* --- random instructions --- */
bool randprog_knows(unsigned row)
{
	static const char *const unknown[] = {"Zicond", "Zicbom", "Zicboz", "Zawrs"};
	for (unsigned n = 0; n < ARRAY_SIZE(unknown); n++)
		if (!strcmp(rv64_rows[row].extension, unknown[n]))
			return false;
	return row != RV64_ECALL;
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

static bool writes_x(unsigned row)
{
	return strchr(rv64_rows[row].operands, 'd') || row == RV64_C_ADDI16SP || row == RV64_C_JALR;
}
static unsigned destination(const struct rv64_insn *i)
{
	return i->row == RV64_C_JALR ? 1 : i->rd;
}

static bool rounds(unsigned row)
{
	return (rv64_rows[row].match & 0x7f) == 0x53 ? !(rv64_rows[row].mask & 0x7000)
						     : (rv64_rows[row].match & 0x73) == 0x43;
}

/* A random word of the row that leaves the base register alone. False: this row cannot be had. */
static bool draw(struct gen *g, const struct block *b, unsigned row, struct rv64_insn *i)
{
	bool wide = (rv64_rows[row].match & 3) == 3, memory = strchr(rv64_rows[row].operands, '(');
	for (unsigned tries = 0; tries < 2000; tries++) {
		uint32_t w = ((uint32_t)rnd(g) & ~rv64_rows[row].mask) | rv64_rows[row].match;
		if (memory && wide)
			w = (w & ~(31u << 15)) | b->base << 15;
		if (!wide)
			w &= 0xffff;
		if (!rv64_decode(w, i) || i->row != row)
			continue;
		if (writes_x(row) && b->reserved >> destination(i) & 1)
			continue;
		if (memory && i->rs1 != b->base)
			continue;
		/* Reserved rounding modes end a block: seldom. */
		if (rounds(row) && (i->rm == 5 || i->rm == 6) && !chance(g, 2))
			continue;
		if (memory &&
			(i->imm < -RP_SCRATCH_BASE || i->imm > RP_SCRATCH - RP_SCRATCH_BASE - 8))
			continue;
		return true;
	}
	return false;
}

static unsigned other_register(struct gen *g, const struct block *b)
{
	unsigned r;
	do
		r = 1 + below(g, 31);
	while (b->reserved >> r & 1);
	return r;
}

/* Jumps get their targets when the whole block is known. */
static void emit_jump(struct gen *g, struct block *b, const struct rv64_insn *i)
{
	b->jumps[b->jump_count].at = here(g);
	b->jumps[b->jump_count].w = i->raw;
	b->jumps[b->jump_count++].bytes = i->bytes;
	emit_bytes(g, i->raw, i->bytes);
}

/* An indirect jump to just behind it. */
static void emit_indirect(struct gen *g, struct block *b, unsigned row)
{
	unsigned r = other_register(g, b);
	bool narrow = row != RV64_JALR;
	int after = (narrow ? 10 : 12) + (chance(g, 30) ? 1 : 0); /* bit 0 is dropped */
	emit(g, rv64_rows[RV64_AUIPC].match | r << 7);
	if (narrow) {
		emit(g, enc_i(RV64_ADDI, r, r, after));
		emit_bytes(g, rv64_rows[row].match | r << 7, 2);
		return;
	}
	unsigned rd = chance(g, 30) ? 0 : other_register(g, b);
	int split = (int)below(g, 100);
	emit(g, enc_i(RV64_ADDI, r, r, after - split));
	emit(g, enc_i(RV64_JALR, rd, r, split));
}

/* Address of an aligned word of scratch memory into r. */
static void emit_scratch_address(struct gen *g, const struct block *b, unsigned r)
{
	emit(g, enc_i(RV64_ADDI, r, b->base, (int)below(g, RP_SCRATCH / 8) * 8 - RP_SCRATCH_BASE));
}

static void emit_atomic(struct gen *g, const struct block *b, unsigned row)
{
	bool wide = rv64_rows[row].match >> 12 & 1, reserves = row == RV64_LR_W ||
							       row == RV64_LR_D ||
							       row == RV64_SC_W || row == RV64_SC_D;
	unsigned address = other_register(g, b);
	uint32_t random_order = (uint32_t)below(g, 4) << 25;
	unsigned rd = chance(g, 10) ? 0 : other_register(g, b), rs2 = below(g, 32);
	emit_scratch_address(g, b, address);
	if (!reserves) {
		emit(g, rv64_rows[row].match | random_order | rd << 7 | address << 15 | rs2 << 20);
		return;
	}
	/* lr, something, sc that succeeds, and perhaps one that must not. */
	unsigned lr = wide ? RV64_LR_D : RV64_LR_W, sc = wide ? RV64_SC_D : RV64_SC_W;
	if (rd == address)
		rd = 0;
	emit(g, rv64_rows[lr].match | random_order | rd << 7 | address << 15);
	if (rd && chance(g, 50))
		emit(g, enc_i(RV64_ADDI, rd, rd, 3));
	emit(g, rv64_rows[sc].match | random_order | rd << 7 | address << 15 | rs2 << 20);
	if (chance(g, 30))
		emit(g, rv64_rows[sc].match | rd << 7 | address << 15 | rs2 << 20);
}

static void emit_csr(struct gen *g, const struct block *b, unsigned row)
{
	static const uint16_t numbers[] = {1, 1, 1, 2, 3, 3};
	unsigned rd = chance(g, 20) ? 0 : other_register(g, b), source = below(g, 32);
	unsigned number = numbers[below(g, ARRAY_SIZE(numbers))];
	if (chance(g, 4)) { /* not there, or not for user mode; never a counter */
		do
			number = below(g, 4096);
		while (number >> 5 == 0xc00 >> 5);
	}
	if (number == 2 && chance(g, 70)) {
		/* A mode that exists. */
		emit(g, enc_i(RV64_CSRRWI, rd, below(g, 5), (int)number));
		return;
	}
	if (number == 3 && chance(g, 60))
		source = 0;
	emit(g, enc_i(row, rd, source, (int)number));
}

static void emit_wild_access(
	struct gen *g, const struct block *b, unsigned row, const struct rv64_insn *i)
{
	unsigned r = other_register(g, b);
	emit(g, rv64_rows[RV64_LUI].match | r << 7 | (0x30000000u + below(g, 4096) * 4096u));
	emit(g, (i->raw & ~(31u << 15)) | r << 15);
}

static void emit_illegal(struct gen *g)
{
	struct rv64_insn i;
	uint32_t w;
	do {
		w = (uint32_t)rnd(g);
		if (chance(g, 50))
			w = (w & ~0x7fu) | (rv64_rows[below(g, RV64_ROW_COUNT)].match & 0x7f);
		w = chance(g, 30) ? w & 0xffff : w;
		/* Longer encodings: how much of them is fetched differs. */
	} while (rv64_decode(w, &i) || (w & 0x1f) == 0x1f);
	emit_bytes(g, w, i.bytes);
}

/* QEMU 7.2 counts on into the upper word when the lower one is zero (mended in 8.0, "target/riscv:
 * fix ctzw behavior"; Zbb: the result is then 32). So that it is not: test_system.c has that case.
 */
static void emit_ctzw(struct gen *g, const struct block *b, const struct rv64_insn *i)
{
	if (!i->rs1 || (i->rs1 != b->base && b->reserved >> i->rs1 & 1))
		return;
	if (i->rs1 != b->base)
		emit(g, enc_i(RV64_BSETI, i->rs1, i->rs1, (int)below(g, 32)));
	emit(g, i->raw);
}

static void emit_random(struct gen *g, struct block *b, unsigned row)
{
	struct rv64_insn i;
	const struct rv64_row_info *info = &rv64_rows[row];
	if (!randprog_knows(row))
		return;
	if (!strcmp(info->extension, "A"))
		emit_atomic(g, b, row);
	else if (row == RV64_JALR || row == RV64_C_JR ||
		 (row == RV64_C_JALR && !(b->reserved >> 1 & 1)))
		emit_indirect(g, b, row);
	else if (row >= RV64_CSRRW && row <= RV64_CSRRCI)
		emit_csr(g, b, row);
	else if (!draw(g, b, row, &i))
		return;
	else if (row == RV64_CTZW)
		emit_ctzw(g, b, &i);
	else if (strchr(info->operands, 'p'))
		emit_jump(g, b, &i);
	else if (strchr(info->operands, '(') && i.bytes == 4 && chance(g, 3))
		emit_wild_access(g, b, row, &i);
	else
		emit_bytes(g, i.raw, i.bytes);
}

static void settle_jumps(struct gen *g, struct block *b)
{
	for (unsigned n = 0; n < b->jump_count; n++) {
		uint64_t at = b->jumps[n].at;
		unsigned first = 0;
		while (b->targets[first] <= at)
			first++;
		unsigned pick = first + below(g, MIN(b->target_count - first, 3u));
		int64_t off = (int64_t)(b->targets[pick] - at);
		uint32_t w = b->jumps[n].w;
		struct rv64_insn i;
		rv64_decode(w, &i);
		switch (i.row) {
		case RV64_JAL:
			w = enc_j(w, off);
			break;
		case RV64_C_J:
			w = enc_cj(w, off);
			break;
		case RV64_C_BEQZ:
		case RV64_C_BNEZ:
			w = enc_cb(w, MIN(off, 254));
			break;
		default:
			w = enc_b(w, off);
		}
		patch(g, at, w, b->jumps[n].bytes);
	}
}

static unsigned random_row(struct gen *g)
{
	/* Half of the table is floating point: let the rest have its share. */
	unsigned row;
	do
		row = below(g, RV64_ROW_COUNT);
	while (strchr(rv64_rows[row].operands, 'D') && chance(g, 40));
	bool rare = row == RV64_SRET || row == RV64_WFI || row == RV64_SFENCE_VMA ||
		    row == RV64_EBREAK || row == RV64_C_EBREAK || row == RV64_FENCE_I;
	return rare && chance(g, 80) ? RV64_ADD : row;
}

static void emit_any(struct gen *g, struct block *b, bool focus)
{
	if (g->row >= 0 && (focus || chance(g, 60)))
		emit_random(g, b, (unsigned)g->row);
	else if (chance(g, 1))
		emit_illegal(g);
	else
		emit_random(g, b, random_row(g));
}

/* Back to somewhere in the block, as long as the count lasts. */
static void emit_loop(struct gen *g, const struct block *b)
{
	emit(g, enc_i(RV64_ADDI, b->count, b->count, -1));
	emit_branch_to(g, RV64_BLT, 0, b->count, b->targets[below(g, b->target_count)]);
}

static void emit_call(struct gen *g, struct block *b)
{
	if (b->call_count == ARRAY_SIZE(b->calls))
		return;
	b->calls[b->call_count++] = here(g);
	emit(g, rv64_rows[RV64_JAL].match | b->link << 7);
}

/* A few instructions, and back to where the calls came from. */
static void emit_functions(struct gen *g, struct block *b)
{
	while (b->call_count) {
		unsigned callers = 1 + below(g, b->call_count);
		for (unsigned n = 0; n < callers; n++) {
			uint64_t at = b->calls[--b->call_count];
			patch(g, at,
				enc_j(rv64_rows[RV64_JAL].match | b->link << 7,
					(int64_t)(here(g) - at)),
				4);
		}
		for (unsigned n = below(g, 6); n > 0; n--) {
			unsigned row = random_row(g);
			if (!strchr(rv64_rows[row].operands, 'p'))
				emit_random(g, b, row);
		}
		if (chance(g, 50))
			emit(g, enc_i(RV64_JALR, 0, b->link, 0));
		else
			emit_bytes(g, rv64_rows[RV64_C_JR].match | b->link << 7, 2);
	}
}

static void reserve_for_loops(struct gen *g, struct block *b)
{
	b->count = other_register(g, b);
	b->reserved |= 1u << b->count;
	/* Those by which a CPU knows calls, mostly. */
	b->link = chance(g, 60) ? 1 : 5;
	if (b->reserved >> b->link & 1)
		b->link = other_register(g, b);
	b->reserved |= 1u << b->link;
	emit(g, enc_i(RV64_ADDI, b->count, 0, 1 + (int)below(g, 12)));
	emit(g, enc_i(RV64_ADDI, b->link, 0, 0));
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
	bool loops = chance(g, 40);
	if (loops)
		reserve_for_loops(g, &b);
	unsigned insns = 1 + below(g, MAX_BLOCK_INSNS), focus = below(g, insns);
	for (unsigned n = 0; n < insns; n++) {
		b.targets[b.target_count++] = here(g);
		emit_any(g, &b, n == focus);
		if (loops && chance(g, 15))
			emit_loop(g, &b);
		if (loops && chance(g, 15))
			emit_call(g, &b);
	}
	b.targets[b.target_count++] = here(g);
	emit_la(g, b.base, g->savers[b.base]);
	emit(g, enc_i(RV64_JALR, 0, b.base, 0));
	emit_functions(g, &b);
	settle_jumps(g, &b);
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
	struct gen g = {.seed = seed};
	*p = (struct randprog){.base = BASE, .blocks = blocks};
	/* data, inputs, then code from a page of its own, then what only memory has: stack, records
	 */
	size_t inputs_at = align_up(sizeof(struct data), 64);
	size_t code_at = align_up(inputs_at + blocks * sizeof(struct rp_input), PAGE);
	size_t code_max = align_up(32768 + (size_t)blocks * (MAX_BLOCK_INSNS * 32 + 1024), PAGE);
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
