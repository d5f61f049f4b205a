// SPDX-License-Identifier: Apache-2.0
// What needs no code of its own in a block, where values are used last, which results can be
// computed in a pinned register, and which memory accesses share a check.
#include "jit/x86_64/gen.h"

bool gen_is_compare(unsigned op)
{
	return op >= IR_EQ && op <= IR_GEU;
}

static bool is_access(const struct ir_ins *i)
{
	return (i->op == IR_LOAD || i->op == IR_STORE) && !(i->aux & IR_MEM_ALIGNED);
}

static void count_uses(struct gen *g, const struct ir_block *b)
{
	for (ir_ref r = b->first; r < b->end; r++)
		g->v[r] = (struct gen_value){.result = r,
			.hint = IR_NONE,
			.slot = -1,
			.scratch = -1,
			.group = -1,
			.reg = NO_REG};
	for (ir_ref r = b->first; r < b->end; r++) {
		const struct ir_ins *i = gen_at(g, r);
		const ir_ref args[3] = {i->a, i->b, i->c};
		for (unsigned n = 0; n < 3; n++)
			if (args[n] != IR_NONE)
				g->v[args[n]].uses++;
		if (is_access(i))
			g->v[i->a].address_uses++;
	}
}

/* With the access's own bytes it fits too. */
static bool is_displacement(uint64_t v)
{
	return (int64_t)v >= -(INT64_C(1) << 30) && (int64_t)v < INT64_C(1) << 30;
}

static unsigned operand_bytes(const struct gen *g, ir_ref compare)
{
	return ir_type_bytes((enum ir_type)gen_at(g, gen_at(g, compare)->a)->type);
}

/* The host adds a register times 2, 4 or 8. */
static void fold_scale(struct gen *g, ir_ref add)
{
	const struct ir_ins *i = gen_at(g, add);
	const ir_ref args[2] = {i->b, i->a};
	if (i->type != IR_I64 || gen_is_const(g, i->b))
		return;
	for (unsigned n = 0; n < 2; n++) {
		const struct ir_ins *shl = gen_at(g, args[n]);
		if (shl->op != IR_SHL || g->v[args[n]].uses != 1 || !gen_is_const(g, shl->b) ||
			gen_is_const(g, shl->a))
			continue;
		uint64_t count = gen_at(g, shl->b)->imm;
		if (count >= 1 && count <= 3) {
			g->v[args[n]].folded = true;
			return;
		}
	}
}

static void fold(struct gen *g, const struct ir_block *b)
{
	for (ir_ref r = b->first; r < b->end; r++) {
		const struct ir_ins *i = gen_at(g, r);
		struct gen_value *v = &g->v[r], *a = i->a == IR_NONE ? NULL : &g->v[i->a];
		switch (i->op) {
		case IR_TRUNC:
			v->folded = true;
			break;
		case IR_ADD:
			v->folded = i->type == IR_I64 && v->uses && v->uses == v->address_uses &&
				    gen_is_const(g, i->b) &&
				    is_displacement(gen_at(g, i->b)->imm) && !gen_is_const(g, i->a);
			fold_scale(g, r);
			break;
		case IR_SEXT:
		case IR_ZEXT: {
			const struct ir_ins *load = gen_at(g, i->a);
			if (load->op == IR_LOAD && is_access(load) && a->uses == 1 &&
				i->type == IR_I64) {
				a->result = r;
				v->folded = true;
			}
			break;
		}
		case IR_BRANCH:
		case IR_GOTO_IF:
		case IR_SELECT:
			a->folded |= gen_is_compare(gen_at(g, i->a)->op) && a->uses == 1 &&
				     operand_bytes(g, i->a) >= 4;
			break;
		case IR_PUT: /* of an integer's bits to a float's slot */
			a->folded |= gen_at(g, i->a)->op == IR_BITCAST && a->uses == 1 &&
				     !gen_is_float(g, gen_at(g, i->a)->a);
			break;
		default:
			break;
		}
	}
}

/* The instruction at `user` reads r: what it really reads, through what is folded. */
static void mark_use(struct gen *g, ir_ref user, ir_ref r)
{
	if (r == IR_NONE)
		return;
	r = gen_root(g, r);
	const struct ir_ins *i = gen_at(g, r);
	struct gen_value *v = &g->v[r];
	if (v->folded && (i->op == IR_ADD || i->op == IR_SHL || i->op == IR_BITCAST)) {
		mark_use(g, user, i->a);
		return;
	}
	if (v->folded && gen_is_compare(i->op)) {
		mark_use(g, user, i->a);
		mark_use(g, user, i->b);
		return;
	}
	v->last_use = MAX(v->last_use, user);
}

static void mark_uses(struct gen *g, const struct ir_block *b)
{
	for (ir_ref r = b->first; r < b->end; r++) {
		const struct ir_ins *i = gen_at(g, r);
		if (g->v[r].folded)
			continue;
		mark_use(g, r, i->a);
		mark_use(g, r, i->b);
		mark_use(g, r, i->c);
	}
}

/* Must the slots be exact when this instruction begins? */
static bool observes(const struct gen *g, const struct ir_ins *i)
{
	if (i->op == IR_CALL)
		return g->f->target->helpers[i->imm].flags &
		       (IR_HELPER_FAULT | IR_HELPER_READS_SLOTS | IR_HELPER_WRITES_SLOTS);
	return ir_ops[i->op].flags & IR_FAULT;
}

/* The instruction that has v's code: the load, for a folded extension. */
static ir_ref maker(const struct gen *g, ir_ref r)
{
	return g->v[r].folded ? gen_at(g, r)->a : r;
}

/* A PUT to a pinned register whose value may be made right there: between the two nobody looks at
 * the slot. */
static void find_hints(struct gen *g, const struct ir_block *b)
{
	enum { FAR = 12 };
	for (ir_ref r = b->first; r < b->end; r++) {
		const struct ir_ins *put = gen_at(g, r);
		if (put->op != IR_PUT || gen_home(g, put->aux) == NO_REG)
			continue;
		ir_ref value = gen_root(g, put->a);
		struct gen_value *v = &g->v[value];
		ir_ref from = maker(g, value);
		if (v->hint != IR_NONE || r - from > FAR || gen_is_const(g, value) ||
			gen_at(g, value)->op == IR_GET)
			continue;
		bool free = true;
		for (ir_ref n = from + 1; n < r && free; n++) {
			const struct ir_ins *i = gen_at(g, n);
			free = !observes(g, i) &&
			       !((i->op == IR_GET || i->op == IR_PUT) && i->aux == put->aux);
		}
		if (free)
			v->hint = r;
	}
}

/* --- groups --- */
static struct gen_group *find_group(struct gen *g, ir_ref base)
{
	for (unsigned n = g->group_count; n-- > 0;)
		if (g->groups[n].open && g->groups[n].base == base)
			return &g->groups[n];
	if (g->group_count == GEN_MAX_GROUPS)
		return NULL;
	struct gen_group *new = &g->groups[g->group_count++];
	*new = (struct gen_group){.base = base, .reg = NO_REG, .open = true};
	return new;
}

static void find_groups(struct gen *g, const struct ir_block *b)
{
	enum { SPAN = 2048 };
	g->group_count = 0;
	for (ir_ref r = b->first; r < b->end; r++) {
		const struct ir_ins *i = gen_at(g, r);
		if (i->op == IR_CALL && !(g->f->target->helpers[i->imm].flags & IR_HELPER_PURE))
			for (unsigned n = 0; n < g->group_count; n++)
				g->groups[n].open = false;
		if (!is_access(i))
			continue;
		ir_ref base = gen_root(g, i->a);
		int64_t low = 0;
		if (gen_is_displaced(g, base)) {
			low = (int64_t)gen_at(g, gen_at(g, base)->b)->imm;
			base = gen_root(g, gen_at(g, base)->a);
		}
		if (gen_is_const(g, base) || low < -SPAN || low > SPAN)
			continue;
		enum ir_type type =
			(enum ir_type)(i->op == IR_LOAD ? i->type : gen_at(g, i->b)->type);
		int64_t high = low + ir_type_bytes(type) - 1;
		struct gen_group *group = find_group(g, base);
		if (!group)
			continue;
		if (group->count && MAX(group->high, high) - MIN(group->low, low) >= SPAN) {
			group->open = false;
			if (!(group = find_group(g, base)))
				continue;
		}
		group->low = group->count ? MIN(group->low, low) : low;
		group->high = group->count ? MAX(group->high, high) : high;
		group->store |= i->op == IR_STORE;
		group->last = r;
		group->count++;
		g->v[r].group = (int16_t)(group - g->groups);
	}
}

void gen_analyse(struct gen *g, const struct ir_block *b)
{
	count_uses(g, b);
	fold(g, b);
	mark_uses(g, b);
	find_hints(g, b);
	find_groups(g, b);
}
