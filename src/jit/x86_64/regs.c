// SPDX-License-Identifier: Apache-2.0
// Where values are. A value may be in a temporary register, in a slot (pinned register or memory),
// in scratch memory, or a constant; it is loaded when an instruction wants it, and a register whose
// value is also elsewhere is given up for nothing.
#include "jit/x86_64/gen.h"

/* Registers that C code saves come first: they hold what is wanted most. */
const uint8_t gen_pinned[GEN_PINNED] = {RBX, R12, R13, R14, R15, RSI, RDI, R8, R9};
const uint8_t gen_temps[GEN_TEMPS] = {RAX, RCX, RDX, R10, R11};

static unsigned bit(int reg)
{
	return 1u << reg;
}

void gen_begin_block(struct gen *g)
{
	for (unsigned n = 0; n < 16; n++)
		g->owner[n] = g->xmm_owner[n] = IR_NONE;
	for (unsigned n = 0; n < g->f->target->slot_count; n++)
		g->slot_value[n] = IR_NONE;
	g->locked = g->xmm_locked = 0;
	memset(g->scratch_used, 0, sizeof(g->scratch_used));
}

int gen_home(const struct gen *g, int32_t slot)
{
	const struct ir_target *t = g->f->target;
	for (unsigned n = 0; n < MIN(t->pinned_count, (unsigned)GEN_PINNED); n++)
		if (t->pinned[n] == slot)
			return gen_pinned[n];
	return NO_REG;
}

static unsigned type_bytes(const struct gen *g, ir_ref r)
{
	return ir_type_bytes((enum ir_type)gen_at(g, r)->type);
}

/* --- giving registers up --- */
static int16_t new_scratch(struct gen *g)
{
	for (int16_t n = 0; n < CPU_SCRATCH; n++)
		if (!(g->scratch_used[n / 64] >> (n % 64) & 1)) {
			g->scratch_used[n / 64] |= UINT64_C(1) << (n % 64);
			return n;
		}
	g->refused = true;
	return 0;
}

static bool elsewhere(const struct gen *g, ir_ref r)
{
	return g->v[r].slot >= 0 || g->v[r].scratch >= 0 || gen_is_const(g, r);
}

static struct asm_mem scratch_mem(int16_t n)
{
	return MEM(RBP, offsetof(struct cpu_head, scratch) + 8 * (size_t)n);
}

static void evict(struct gen *g, int reg)
{
	ir_ref r = g->owner[reg];
	g->owner[reg] = IR_NONE;
	if (r == IR_NONE)
		return;
	if (r >= OWNER_GROUP) {
		g->groups[r - OWNER_GROUP].reg = NO_REG;
		return;
	}
	if (!elsewhere(g, r)) {
		g->v[r].scratch = new_scratch(g);
		asm_store(&g->a, 8, scratch_mem(g->v[r].scratch), reg);
	}
	g->v[r].reg = NO_REG;
}

static void evict_xmm(struct gen *g, int reg)
{
	ir_ref r = g->xmm_owner[reg];
	g->xmm_owner[reg] = IR_NONE;
	if (r == IR_NONE)
		return;
	if (!elsewhere(g, r)) {
		g->v[r].scratch = new_scratch(g);
		asm_fp_store(&g->a, 8, scratch_mem(g->v[r].scratch), reg);
	}
	g->v[r].reg = NO_REG;
}

/* How little it hurts to evict: larger is better. */
static uint64_t spare(const struct gen *g, ir_ref r)
{
	if (r >= OWNER_GROUP)
		return g->groups[r - OWNER_GROUP].last;
	return (uint64_t)g->v[r].last_use + (elsewhere(g, r) ? UINT64_C(1) << 32 : 0);
}

int gen_temp(struct gen *g)
{
	int best = NO_REG;
	for (unsigned n = 0; n < GEN_TEMPS; n++) {
		int reg = gen_temps[n];
		if (g->locked & bit(reg))
			continue;
		if (g->owner[reg] == IR_NONE) {
			best = reg;
			break;
		}
		if (best == NO_REG || spare(g, g->owner[reg]) > spare(g, g->owner[best]))
			best = reg;
	}
	if (best == NO_REG) {
		g->refused = true;
		return RAX;
	}
	evict(g, best);
	g->locked |= bit(best);
	return best;
}

void gen_free_temp(struct gen *g, int reg)
{
	g->locked &= ~bit(reg);
}

/* Empties a certain temporary, before the instruction's operands are looked for. */
void gen_take(struct gen *g, int reg)
{
	ir_ref r = g->owner[reg];
	g->locked |= bit(reg);
	if (r == IR_NONE)
		return;
	if (r >= OWNER_GROUP || elsewhere(g, r)) {
		evict(g, reg);
		return;
	}
	int to = gen_temp(g);
	asm_mov64(&g->a, to, reg);
	g->locked &= ~bit(to);
	g->owner[reg] = IR_NONE;
	g->owner[to] = r;
	g->v[r].reg = (int8_t)to;
}

int gen_xmm(struct gen *g)
{
	int best = NO_REG;
	for (int reg = 0; reg < GEN_XMMS; reg++) {
		if (g->xmm_locked & bit(reg))
			continue;
		if (g->xmm_owner[reg] == IR_NONE) {
			best = reg;
			break;
		}
		if (best == NO_REG || spare(g, g->xmm_owner[reg]) > spare(g, g->xmm_owner[best]))
			best = reg;
	}
	if (best == NO_REG) {
		g->refused = true;
		return 0;
	}
	evict_xmm(g, best);
	g->xmm_locked |= bit(best);
	return best;
}

/* --- operands --- */
static void own(struct gen *g, int reg, ir_ref r)
{
	g->owner[reg] = r;
	g->v[r].reg = (int8_t)reg;
}

/* A mistake of ours. */
static void never_computed(struct gen *g)
{
	if (IR_CHECKED)
		abort();
	g->refused = true;
}

int gen_use(struct gen *g, ir_ref r)
{
	r = gen_root(g, r);
	struct gen_value *v = &g->v[r];
	int reg = v->reg;
	if (reg == NO_REG && v->slot >= 0)
		reg = gen_home(g, v->slot);
	if (reg == NO_REG) {
		reg = gen_temp(g);
		if (gen_is_const(g, r))
			asm_mov_imm_flags(&g->a, reg, gen_at(g, r)->imm);
		else if (v->slot >= 0)
			asm_load(&g->a, type_bytes(g, r), reg, SLOT_MEM(g, v->slot));
		else if (v->scratch >= 0)
			asm_load(&g->a, 8, reg, scratch_mem(v->scratch));
		else
			never_computed(g);
		own(g, reg, r);
	}
	g->locked |= bit(reg);
	return reg;
}

int gen_use_xmm(struct gen *g, ir_ref r)
{
	struct gen_value *v = &g->v[r];
	unsigned bytes = type_bytes(g, r);
	if (v->reg == NO_REG) {
		int reg = gen_xmm(g);
		if (gen_is_const(g, r)) {
			int t = gen_temp(g);
			asm_mov_imm_flags(&g->a, t, gen_at(g, r)->imm);
			asm_movq_to_xmm(&g->a, bytes, reg, t);
			gen_free_temp(g, t);
		} else if (v->slot >= 0) {
			asm_fp_load(&g->a, bytes, reg, SLOT_MEM(g, v->slot));
		} else if (v->scratch >= 0) {
			asm_fp_load(&g->a, 8, reg, scratch_mem(v->scratch));
		} else {
			never_computed(g);
		}
		g->xmm_owner[reg] = r;
		v->reg = (int8_t)reg;
	}
	g->xmm_locked |= bit(v->reg);
	return v->reg;
}

bool gen_in_memory(const struct gen *g, ir_ref r, struct asm_mem *m)
{
	r = gen_root(g, r);
	const struct gen_value *v = &g->v[r];
	if (v->reg != NO_REG || v->slot < 0 || gen_home(g, v->slot) != NO_REG ||
		v->last_use > g->pos)
		return false;
	*m = SLOT_MEM(g, v->slot);
	return true;
}

/* --- results --- */
static void forget_slot(struct gen *g, int32_t slot)
{
	ir_ref r = g->slot_value[slot];
	if (r != IR_NONE && g->v[r].slot == slot)
		g->v[r].slot = -1;
	g->slot_value[slot] = IR_NONE;
}

int gen_def(struct gen *g, ir_ref r)
{
	struct gen_value *v = &g->v[r];
	if (v->hint != IR_NONE) {
		int32_t slot = gen_at(g, v->hint)->aux;
		ir_ref old = g->slot_value[slot];
		bool needed = old != IR_NONE && g->v[old].slot == slot &&
			      g->v[old].last_use > g->pos && g->v[old].reg == NO_REG;
		if (!needed) {
			forget_slot(g, slot);
			g->slot_value[slot] = r;
			v->slot = slot;
			return gen_home(g, slot);
		}
	}
	int reg = gen_temp(g);
	own(g, reg, r);
	return reg;
}

int gen_def_xmm(struct gen *g, ir_ref r)
{
	int reg = gen_xmm(g);
	gen_def_in_xmm(g, r, reg);
	return reg;
}

void gen_def_in(struct gen *g, ir_ref r, int reg)
{
	own(g, reg, r);
}

void gen_def_in_xmm(struct gen *g, ir_ref r, int reg)
{
	g->xmm_owner[reg] = r;
	g->v[r].reg = (int8_t)reg;
}

/* --- slots --- */
void gen_get(struct gen *g, ir_ref r)
{
	int32_t slot = gen_at(g, r)->aux;
	ir_ref old = g->slot_value[slot];
	struct gen_value *v = &g->v[r];
	if (old != IR_NONE && g->v[old].slot == slot && g->v[old].last_use > g->pos) {
		/* One value at a time can be known to be in a slot. */
		v->slot = slot;
		if (gen_is_float(g, r)) {
			gen_use_xmm(g, r);
		} else {
			int reg = gen_temp(g), home = gen_home(g, slot);
			if (home != NO_REG)
				asm_mov64(&g->a, reg, home);
			else
				asm_load(&g->a, type_bytes(g, r), reg, SLOT_MEM(g, slot));
			own(g, reg, r);
		}
		v->slot = -1;
		return;
	}
	forget_slot(g, slot);
	g->slot_value[slot] = r;
	v->slot = slot;
}

static bool overlap(const struct ir_target *t, unsigned a, unsigned b)
{
	uint32_t a_at = t->slots[a].offset, b_at = t->slots[b].offset;
	uint32_t a_end = a_at + ir_type_bytes((enum ir_type)t->slots[a].type);
	uint32_t b_end = b_at + ir_type_bytes((enum ir_type)t->slots[b].type);
	return a_at < b_end && b_at < a_end;
}

/* The slot is about to change: a value that lives there and is still needed moves out. */
static void rescue(struct gen *g, int32_t slot, ir_ref incoming)
{
	ir_ref r = g->slot_value[slot];
	if (r == IR_NONE || g->v[r].slot != slot) {
		g->slot_value[slot] = IR_NONE;
		return;
	}
	if ((g->v[r].last_use > g->pos || r == incoming) && g->v[r].reg == NO_REG) {
		int home = gen_home(g, slot);
		if (gen_is_float(g, r)) {
			gen_use_xmm(g, r);
		} else if (home != NO_REG) {
			int reg = gen_temp(g);
			asm_mov64(&g->a, reg, home);
			own(g, reg, r);
		} else {
			gen_use(g, r);
		}
	}
	forget_slot(g, slot);
}

static void store_const(struct gen *g, int32_t slot, uint64_t imm, unsigned bytes)
{
	int home = gen_home(g, slot);
	if (home != NO_REG) {
		asm_mov_imm(&g->a, home, imm);
	} else if (bytes < 8 || gen_fits32(imm)) {
		asm_store_imm(&g->a, bytes, SLOT_MEM(g, slot), (int32_t)imm);
	} else {
		int t = gen_temp(g);
		asm_mov_imm(&g->a, t, imm);
		asm_store(&g->a, bytes, SLOT_MEM(g, slot), t);
		gen_free_temp(g, t);
	}
}

/* The value goes to the slot, and from now on may be found there. */
static void store_value(struct gen *g, int32_t slot, ir_ref value, unsigned bytes)
{
	struct gen_value *v = &g->v[value];
	int home = gen_home(g, slot);
	if (gen_is_float(g, value)) {
		asm_fp_store(&g->a, bytes, SLOT_MEM(g, slot), gen_use_xmm(g, value));
	} else if (home == NO_REG) {
		asm_store(&g->a, bytes, SLOT_MEM(g, slot), gen_use(g, value));
	} else if (v->reg == NO_REG && v->slot >= 0 && gen_home(g, v->slot) == NO_REG) {
		asm_load(&g->a, bytes, home, SLOT_MEM(g, v->slot));
	} else {
		asm_mov64(&g->a, home, gen_use(g, value));
	}
}

void gen_put(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	const struct ir_target *t = g->f->target;
	int32_t slot = i->aux;
	unsigned bytes = ir_type_bytes((enum ir_type)t->slots[slot].type);
	ir_ref value = gen_root(g, i->a);
	bool bits = g->v[value].folded && gen_at(g, value)->op == IR_BITCAST;
	if (bits)
		value = gen_root(g, gen_at(g, value)->a);
	else if (g->slot_value[slot] == value && g->v[value].slot == slot)
		return; /* computed in place */
	rescue(g, slot, value);
	if (gen_home(g, slot) == NO_REG)
		for (unsigned n = 0; n < t->slot_count; n++)
			if (n != (unsigned)slot && g->slot_value[n] != IR_NONE &&
				overlap(t, n, (unsigned)slot))
				rescue(g, (int32_t)n, value);
	struct gen_value *v = &g->v[value];
	if (gen_is_const(g, value) && v->reg == NO_REG && !gen_is_float(g, value)) {
		store_const(g, slot, gen_at(g, value)->imm, bytes);
		return;
	}
	store_value(g, slot, value, bytes);
	if (bits || v->slot >= 0 || gen_is_const(g, value) || type_bytes(g, value) != bytes)
		return;
	v->slot = slot;
	g->slot_value[slot] = value;
	if (gen_home(g, slot) != NO_REG && v->reg != NO_REG) {
		g->owner[v->reg] = IR_NONE;
		v->reg = NO_REG;
	}
}

void gen_forget_slots(struct gen *g)
{
	for (unsigned n = 0; n < g->f->target->slot_count; n++)
		if (g->slot_value[n] != IR_NONE)
			rescue(g, (int32_t)n, IR_NONE);
}

/* --- the end of an instruction --- */
void gen_free_scratch(struct gen *g, struct gen_value *v)
{
	if (v->scratch >= 0)
		g->scratch_used[v->scratch / 64] &= ~(UINT64_C(1) << (v->scratch % 64));
	v->scratch = -1;
}

void gen_end_ins(struct gen *g)
{
	for (unsigned n = 0; n < GEN_TEMPS; n++) {
		ir_ref r = g->owner[gen_temps[n]];
		if (r == IR_NONE)
			continue;
		if (r >= OWNER_GROUP) {
			if (g->groups[r - OWNER_GROUP].last <= g->pos) {
				g->groups[r - OWNER_GROUP].reg = NO_REG;
				g->owner[gen_temps[n]] = IR_NONE;
			}
		} else if (g->v[r].last_use <= g->pos) {
			g->v[r].reg = NO_REG;
			g->owner[gen_temps[n]] = IR_NONE;
			gen_free_scratch(g, &g->v[r]);
		}
	}
	for (unsigned n = 0; n < GEN_XMMS; n++) {
		ir_ref r = g->xmm_owner[n];
		if (r != IR_NONE && g->v[r].last_use <= g->pos) {
			g->v[r].reg = NO_REG;
			g->xmm_owner[n] = IR_NONE;
			gen_free_scratch(g, &g->v[r]);
		}
	}
	g->locked = g->xmm_locked = 0;
}

bool gen_xmm_used(const struct gen *g)
{
	if (g->xmm_locked)
		return true;
	for (unsigned n = 0; n < GEN_XMMS; n++)
		if (g->xmm_owner[n] != IR_NONE)
			return true;
	return false;
}
