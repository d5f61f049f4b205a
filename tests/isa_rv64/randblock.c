// SPDX-License-Identifier: Apache-2.0
#include "randblock.h"

#include "randprog.h"

/* --- random instructions --- */
bool randprog_knows(unsigned row)
{
	static const char *const unknown[] = {"Zicond", "Zicbom", "Zicboz", "Zawrs"};
	for (unsigned n = 0; n < ARRAY_SIZE(unknown); n++)
		if (!strcmp(rv64_rows[row].extension, unknown[n]))
			return false;
	return row != RV64_ECALL;
}

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

unsigned rb_other_register(struct gen *g, const struct block *b)
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
	unsigned r = rb_other_register(g, b);
	bool narrow = row != RV64_JALR;
	int after = (narrow ? 10 : 12) + (chance(g, 30) ? 1 : 0); /* bit 0 is dropped */
	emit(g, rv64_rows[RV64_AUIPC].match | r << 7);
	if (narrow) {
		emit(g, enc_i(RV64_ADDI, r, r, after));
		emit_bytes(g, rv64_rows[row].match | r << 7, 2);
		return;
	}
	unsigned rd = chance(g, 30) ? 0 : rb_other_register(g, b);
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
	unsigned address = rb_other_register(g, b);
	uint32_t random_order = (uint32_t)below(g, 4) << 25;
	unsigned rd = chance(g, 10) ? 0 : rb_other_register(g, b), rs2 = below(g, 32);
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
	unsigned rd = chance(g, 20) ? 0 : rb_other_register(g, b), source = below(g, 32);
	unsigned number = numbers[below(g, ARRAY_SIZE(numbers))];
	/* Not there, or not for user mode; never a counter. */
	if (!g->supervisor && chance(g, 4)) {
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
	unsigned r = rb_other_register(g, b);
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
	if (!randprog_knows(row) || (g->supervisor && (row == RV64_SRET || row == RV64_WFI)))
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

void rb_reserve_for_loops(struct gen *g, struct block *b)
{
	b->count = rb_other_register(g, b);
	b->reserved |= 1u << b->count;
	/* Those by which a CPU knows calls, mostly. */
	b->link = chance(g, 60) ? 1 : 5;
	if (b->reserved >> b->link & 1)
		b->link = rb_other_register(g, b);
	b->reserved |= 1u << b->link;
	emit(g, enc_i(RV64_ADDI, b->count, 0, 1 + (int)below(g, 12)));
	emit(g, enc_i(RV64_ADDI, b->link, 0, 0));
}

void rb_emit_body(struct gen *g, struct block *b, unsigned insns)
{
	unsigned focus = below(g, insns);
	for (unsigned n = 0; n < insns; n++) {
		b->targets[b->target_count++] = here(g);
		emit_any(g, b, n == focus);
		if (b->count && chance(g, 15))
			emit_loop(g, b);
		if (b->count && chance(g, 15))
			emit_call(g, b);
	}
	b->targets[b->target_count++] = here(g);
}

void rb_finish(struct gen *g, struct block *b)
{
	emit_functions(g, b);
	settle_jumps(g, b);
}
