// SPDX-License-Identifier: Apache-2.0
// Guest loads and stores: a look into the software TLB, inline; what misses goes out of the way.
//
// Accesses of a block near the same base share one look: the first finds the host address of the
// page when all of them lie in it, and the others only ask whether that is not 0. It stays right to
// the block's end: a page that a CPU may access is taken away at block boundaries alone.
#include "jit/x86_64/gen.h"

enum { INDEX_SHIFT = GUEST_PAGE_SHIFT - TLB_ENTRY_SHIFT };

static int32_t tag_offset(bool write)
{
	return (int32_t)(write ? offsetof(struct tlb_entry, write)
			       : offsetof(struct tlb_entry, read));
}

static void lea_or_mov(struct gen *g, unsigned bytes, int to, int base, int64_t disp)
{
	if (disp)
		asm_lea(&g->a, bytes, to, MEM(base, disp));
	else
		asm_mov(&g->a, bytes, to, base);
}

/* mask: the bits of the last byte's address that must be the tag's. */
static uint8_t *look_up(
	struct gen *g, int base, int64_t low, int64_t high, int32_t mask, bool write, int t, int t2)
{
	lea_or_mov(g, 4, t, base, low);
	asm_shift(&g->a, 4, SHIFT_SHR, t, INDEX_SHIFT);
	asm_alu_mem(&g->a, 4, ALU_AND, t, HEAD_MEM(tlb_mask));
	asm_alu_mem(&g->a, 8, ALU_ADD, t, HEAD_MEM(tlb_entries));
	lea_or_mov(g, 8, t2, base, high);
	asm_alu_imm(&g->a, 8, ALU_AND, t2, mask);
	asm_alu_mem(&g->a, 8, ALU_CMP, t2, MEM(t, tag_offset(write)));
	uint8_t *miss = asm_jcc(&g->a, CC_NE);
	asm_load(&g->a, 8, t, MEM(t, offsetof(struct tlb_entry, addend)));
	return miss;
}

uint8_t *gen_look_up(struct gen *g, int base, int64_t low, int64_t high, bool write, int t, int t2)
{
	return look_up(g, base, low, high, -GUEST_PAGE_BYTES, write, t, t2);
}

/* The same for one aligned access at base: what is not aligned is not its page's tag. */
uint8_t *gen_look_up_aligned(struct gen *g, int base, unsigned bytes, bool write, int t, int t2)
{
	int32_t mask = -GUEST_PAGE_BYTES | (int32_t)(bytes - 1);
	return look_up(g, base, 0, 0, mask, write, t, t2);
}

/* The group's register gets its address here. */
static void hold(struct gen *g, struct gen_group *group, int reg)
{
	group->reg = (int8_t)reg;
	g->owner[reg] = OWNER_GROUP + (ir_ref)(group - g->groups);
}

struct access {
	int base; /* register */
	int64_t disp;
	struct gen_group *group; /* NULL: alone */
	bool first;		 /* finds the group's address */
	int host;		 /* register that is added */
	int spare;		 /* for the look-up */
	int64_t low, high;	 /* of the look-up */
	bool write;
	uint8_t *miss;
};

/* Chooses registers. Whatever that costs in code comes before the check: between the check and
 * where its stub returns there is nothing but the access. */
static struct access prepare(struct gen *g, ir_ref r, unsigned bytes, bool write)
{
	const struct ir_ins *i = gen_at(g, r);
	ir_ref base = gen_root(g, i->a);
	struct access x = {.host = NO_REG, .write = write};
	if (gen_is_displaced(g, base)) {
		x.disp = (int64_t)gen_at(g, gen_at(g, base)->b)->imm;
		base = gen_at(g, base)->a;
	}
	x.base = gen_use(g, base);
	x.low = x.disp;
	x.high = x.disp + bytes - 1;
	if (g->j->flat)
		return x;
	struct gen_group *group = g->v[r].group >= 0 ? &g->groups[g->v[r].group] : NULL;
	if (group && group->reg != NO_REG) {
		x.group = group;
		x.host = group->reg;
		g->locked |= 1u << group->reg;
		return x;
	}
	if (group && group->count > 1 && group->last > r) {
		x.group = group;
		x.first = true;
		x.low = group->low;
		x.high = group->high;
		x.write = group->store;
	}
	x.host = gen_temp(g);
	x.spare = gen_temp(g);
	gen_free_temp(g, x.spare);
	if (x.first)
		hold(g, group, x.host);
	else
		gen_free_temp(g, x.host); /* a load's result may go there */
	return x;
}

static void check(struct gen *g, struct access *x)
{
	if (g->j->flat) {
		gen_may_fault(g);
	} else if (x->group && !x->first) {
		asm_test(&g->a, 8, x->host, x->host);
		x->miss = asm_jcc(&g->a, CC_E);
	} else {
		x->miss = gen_look_up(g, x->base, x->low, x->high, x->write, x->host, x->spare);
	}
}

static struct asm_mem place(const struct access *x)
{
	return x->host == NO_REG ? MEM(x->base, x->disp) : MEMX(x->base, x->host, 1, x->disp);
}

void gen_may_fault(struct gen *g)
{
	if (g->access_count == g->access_cap) {
		g->access_cap = g->access_cap ? 2 * g->access_cap : 64;
		g->accesses = xrealloc(g->accesses, g->access_cap * sizeof(*g->accesses));
	}
	g->accesses[g->access_count++] =
		(struct jit_access){(uint32_t)(g->a.p - g->a.start), g->pc};
}

static struct gen_stub *miss_stub(
	struct gen *g, const struct access *x, enum gen_stub_kind kind, unsigned bytes)
{
	struct gen_stub *s = gen_stub(g, kind, x->miss);
	unsigned log2 = (unsigned)__builtin_ctz(bytes);
	s->bytes = (uint8_t)bytes;
	s->base = (int8_t)x->base;
	s->disp = (int32_t)x->disp;
	s->pc = g->pc;
	s->back = g->a.p;
	s->save_xmm = gen_xmm_used(g);
	s->group_reg = NO_REG;
	s->group = x->group;
	s->first = x->first;
	s->info = JIT_SITE(log2, x->first, x->first && x->group->store);
	if (x->first) {
		const struct gen_group *group = x->group;
		s->group_reg = group->reg;
		s->fp_info = (uint16_t)(group->low - x->disp) |
			     (uint32_t)(uint16_t)(group->high - x->disp) << 16;
	}
	return s;
}

static void load(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned bytes = ir_type_bytes((enum ir_type)i->type);
	ir_ref result = g->v[r].result;
	bool fp = ir_type_is_float((enum ir_type)i->type), sext = gen_at(g, result)->op == IR_SEXT;
	struct access x = prepare(g, r, bytes, false);
	int d = fp ? gen_def_xmm(g, result) : gen_def(g, result);
	check(g, &x);
	if (fp)
		asm_fp_load(&g->a, bytes, d, place(&x));
	else if (sext && result != r)
		asm_load_sext(&g->a, bytes, d, place(&x));
	else
		asm_load(&g->a, bytes, d, place(&x));
	if (g->j->flat)
		return;
	struct gen_stub *s = miss_stub(g, &x, STUB_LOAD, bytes);
	s->dst = (int8_t)d;
	s->fp = fp;
	s->sext = sext && result != r;
}

static void store(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	enum ir_type type = (enum ir_type)gen_at(g, i->b)->type;
	unsigned bytes = ir_type_bytes(type);
	ir_ref value = gen_root(g, i->b);
	bool fp = ir_type_is_float(type);
	uint64_t imm = gen_is_const(g, value) ? gen_at(g, value)->imm : 0;
	bool constant = gen_is_const(g, value) && !fp && (bytes < 8 || gen_fits32(imm));
	int v = constant ? NO_REG : fp ? gen_use_xmm(g, i->b) : gen_use(g, value);
	struct access x = prepare(g, r, bytes, true);
	check(g, &x);
	if (constant)
		asm_store_imm(&g->a, bytes, place(&x), (int32_t)imm);
	else if (fp)
		asm_fp_store(&g->a, bytes, place(&x), v);
	else
		asm_store(&g->a, bytes, place(&x), v);
	if (g->j->flat)
		return;
	struct gen_stub *s = miss_stub(g, &x, STUB_STORE, bytes);
	s->value = (int8_t)v;
	s->imm_value = constant;
	s->imm = (int32_t)imm;
	s->fp = fp;
}

void gen_memory(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	if (i->aux & IR_MEM_ALIGNED)
		g->refused = true; /* atomics have ops of their own */
	else if (i->op == IR_LOAD)
		load(g, r);
	else
		store(g, r);
}

/* --- out of the way --- */
static void emit_site(struct gen *g, const struct gen_stub *s)
{
	struct jit_site site = {.pc_offset = (uint16_t)(s->pc & (GUEST_PAGE_BYTES - 1)),
		.info = (uint16_t)s->info,
		.back = (uint32_t)(g->a.p - g->a.start)};
	uint64_t bits;
	memcpy(&bits, &site, sizeof(bits));
	asm_64(&g->a, bits);
	if (!s->first)
		return;
	asm_8(&g->a, JIT_SITE_GROUP); /* test eax, imm: does nothing */
	asm_32(&g->a, s->fp_info);
}

/* What the access is goes to exec.args; the rest is common to all of its kind. An access that
 * shares a check first makes one for itself: the group's bytes may lie in two pages. */
void gen_access_stub(struct gen *g, const struct gen_stub *s)
{
	bool write = s->kind == STUB_STORE;
	asm_store(&g->a, 8, gen_arg(0), s->base);
	if (s->disp)
		asm_alu_mem_imm(&g->a, 8, ALU_ADD, gen_arg(0), s->disp);
	if (write && s->imm_value)
		asm_store_imm(&g->a, 8, gen_arg(2), s->imm);
	else if (write && s->fp)
		asm_fp_store(&g->a, 8, gen_arg(2), s->value);
	else if (write)
		asm_store(&g->a, 8, gen_arg(2), s->value);
	unsigned log2 = (unsigned)__builtin_ctz(s->bytes);
	enum jit_slow slow = write ? JIT_SLOW_STORE : JIT_SLOW_LOAD;
	asm_fix(&g->a, asm_call(&g->a),
		s->group ? g->j->alone[write][log2][s->save_xmm] : g->j->slow[slow][s->save_xmm]);
	emit_site(g, s);
	if (s->kind == STUB_LOAD && s->fp)
		asm_fp_load(&g->a, s->bytes, s->dst, gen_arg(0));
	else if (s->kind == STUB_LOAD && s->sext)
		asm_load_sext(&g->a, s->bytes, s->dst, gen_arg(0));
	else if (s->kind == STUB_LOAD)
		asm_load(&g->a, s->bytes, s->dst, gen_arg(0));
	if (s->group_reg != NO_REG)
		asm_load(&g->a, 8, s->group_reg, gen_arg(1));
	asm_jmp_to(&g->a, s->back);
}

/* The bytes at args[0] are accessed directly, if that can be: as slow_load() and slow_store(). */
static void emit_alone(struct asm_buf *a, struct jit *j, bool write, unsigned log2, bool xmm)
{
	struct gen g = {.j = j, .a = *a};
	unsigned bytes = 1u << log2;
	j->alone[write][log2][xmm] = g.a.p;
	asm_push(&g.a, RAX);
	asm_push(&g.a, RCX);
	asm_push(&g.a, RDX);
	asm_load(&g.a, 8, RDX, gen_arg(0));
	uint8_t *miss = gen_look_up(&g, RDX, 0, bytes - 1, write, RAX, RCX);
	if (write) {
		asm_load(&g.a, 8, RCX, gen_arg(2));
		asm_store(&g.a, bytes, MEMX(RDX, RAX, 1, 0), RCX);
	} else {
		asm_load(&g.a, bytes, RCX, MEMX(RDX, RAX, 1, 0));
		asm_store(&g.a, 8, gen_arg(0), RCX);
	}
	asm_store_imm(&g.a, 8, gen_arg(1), 0);
	asm_alu_mem_imm(&g.a, 8, ALU_ADD, MEM(RSP, 24), sizeof(struct jit_site));
	asm_pop(&g.a, RDX);
	asm_pop(&g.a, RCX);
	asm_pop(&g.a, RAX);
	asm_ret(&g.a);
	asm_fix(&g.a, miss, g.a.p);
	asm_pop(&g.a, RDX);
	asm_pop(&g.a, RCX);
	asm_pop(&g.a, RAX);
	asm_jmp_to(&g.a, j->slow[write ? JIT_SLOW_STORE : JIT_SLOW_LOAD][xmm]);
	*a = g.a;
}

void gen_common_accesses(struct asm_buf *a, struct jit *j)
{
	for (unsigned n = 0; n < 16; n++)
		emit_alone(a, j, n & 1, n >> 1 & 3, n >> 3);
}
