// SPDX-License-Identifier: Apache-2.0
// A GET of a slot whose value is known in the block (from a PUT or an earlier GET) is that value.
#include "ir/pass.h"

struct known {
	uint32_t slot; /* + 1; 0: nothing known */
	ir_ref value;
};

static void copy_block(struct ir_func *f, const struct ir_block *b, ir_ref *map)
{
	struct known known[IR_GRANULES] = {0};
	for (ir_ref r = b->first; r < b->end; r++) {
		struct ir_ins *i = &f->ins[r];
		map[r] = r;
		ir_rename_args(i, map);
		if (i->op == IR_GET) {
			struct known *k = &known[ir_granule(f->target, i->aux)];
			if (k->slot == i->aux + 1u) {
				map[r] = k->value;
				ir_make_nop(i);
			} else {
				*k = (struct known){i->aux + 1u, r};
			}
		} else if (i->op == IR_PUT) {
			known[ir_granule(f->target, i->aux)] = (struct known){i->aux + 1u, i->a};
		} else if (i->op == IR_CALL &&
			   (f->target->helpers[i->imm].flags & IR_HELPER_WRITES_SLOTS)) {
			memset(known, 0, sizeof(known));
		}
	}
}

void ir_pass_copy(struct ir_func *f)
{
	ir_ref *map = ARENA_ARRAY(f->arena, ir_ref, f->len);
	for (unsigned n = 0; n < f->block_count; n++)
		copy_block(f, &f->blocks[n], map);
}
