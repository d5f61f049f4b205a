// SPDX-License-Identifier: Apache-2.0
// What the passes share.
#ifndef STRATA_IR_PASS_H
#define STRATA_IR_PASS_H

#include "ir/ir.h"

ir_pass_fn ir_pass_copy;
ir_pass_fn ir_pass_fold;
ir_pass_fn ir_pass_dead;

/* Slots that share bytes share a granule: slots are naturally aligned and at most eight bytes wide.
 * Passes keep one entry per granule, in a small table where distant granules may collide; a
 * collision must only lose an optimisation. */
enum { IR_GRANULES = 256 };
static inline unsigned ir_granule(const struct ir_target *t, unsigned slot)
{
	return (t->slots[slot].offset >> 3) % IR_GRANULES;
}

/* Replaces each argument r by map[r]. */
static inline void ir_rename_args(struct ir_ins *i, const ir_ref *map)
{
	if (i->a != IR_NONE)
		i->a = map[i->a];
	if (i->b != IR_NONE)
		i->b = map[i->b];
	if (i->c != IR_NONE)
		i->c = map[i->c];
}

static inline void ir_make_nop(struct ir_ins *i)
{
	*i = (struct ir_ins){.op = IR_NOP, .a = IR_NONE, .b = IR_NONE, .c = IR_NONE};
}

#endif
