// SPDX-License-Identifier: Apache-2.0
// Drops values that nobody uses and PUTs that nobody can see: a later PUT overwrites the slot, and
// no GET, precise point or block's end stands between. Then closes the gaps.
#include "ir/pass.h"

/* What is seen of the slots at this instruction, looking backward. overwritten[g] is the slot + 1
 * of a later PUT that nothing has read since. */
static bool put_is_dead(const struct ir_func *f, const struct ir_ins *i, uint32_t *overwritten)
{
	uint32_t *o = &overwritten[ir_granule(f->target, i->aux)];
	if (*o == i->aux + 1u)
		return true;
	*o = i->aux + 1u;
	return false;
}

static bool observes_slots(const struct ir_func *f, const struct ir_ins *i)
{
	if (i->op == IR_CALL) {
		const struct ir_helper *h = &f->target->helpers[i->imm];
		return h->flags &
		       (IR_HELPER_FAULT | IR_HELPER_READS_SLOTS | IR_HELPER_WRITES_SLOTS);
	}
	return ir_ops[i->op].flags & (IR_FAULT | IR_TERM);
}

static bool call_is_pure(const struct ir_func *f, const struct ir_ins *i)
{
	return i->op == IR_CALL && (f->target->helpers[i->imm].flags & IR_HELPER_PURE);
}

static void dead_block(struct ir_func *f, const struct ir_block *b, uint8_t *used)
{
	uint32_t overwritten[IR_GRANULES] = {0};
	for (ir_ref r = b->end; r-- > b->first;) {
		struct ir_ins *i = &f->ins[r];
		bool removable =
			(ir_ops[i->op].flags & IR_PURE) || i->op == IR_GET || call_is_pure(f, i);
		if (removable && !used[r]) {
			ir_make_nop(i);
			continue;
		}
		if (observes_slots(f, i))
			memset(overwritten, 0, sizeof(overwritten));
		if (i->op == IR_GET)
			overwritten[ir_granule(f->target, i->aux)] = 0;
		if (i->op == IR_PUT && put_is_dead(f, i, overwritten)) {
			ir_make_nop(i);
			continue;
		}
		if (i->a != IR_NONE)
			used[i->a] = 1;
		if (i->b != IR_NONE)
			used[i->b] = 1;
		if (i->c != IR_NONE)
			used[i->c] = 1;
	}
}

static void close_gaps(struct ir_func *f)
{
	ir_ref *map = ARENA_ARRAY(f->arena, ir_ref, f->len);
	ir_ref to = 0;
	for (unsigned n = 0; n < f->block_count; n++) {
		struct ir_block *b = &f->blocks[n];
		ir_ref first = to;
		for (ir_ref r = b->first; r < b->end; r++) {
			struct ir_ins i = f->ins[r];
			if (i.op == IR_NOP)
				continue;
			ir_rename_args(&i, map);
			map[r] = to;
			f->ins[to++] = i;
		}
		b->first = first;
		b->end = to;
	}
	f->len = to;
}

void ir_pass_dead(struct ir_func *f)
{
	uint8_t *used = ARENA_ARRAY(f->arena, uint8_t, f->len);
	for (unsigned n = 0; n < f->block_count; n++)
		dead_block(f, &f->blocks[n], used);
	close_gaps(f);
}
