// SPDX-License-Identifier: Apache-2.0
// Folds what other passes made constant.
#include "ir/fold.h"
#include "ir/pass.h"

static void fold_ins(struct ir_func *f, ir_ref r, ir_ref *map)
{
	struct ir_ins *i = &f->ins[r];
	map[r] = r;
	ir_rename_args(i, map);
	struct ir_folded folded = ir_fold(f, i);
	if (folded.kind == IR_FOLD_CONST) {
		enum ir_type type = i->type;
		ir_make_nop(i);
		i->op = IR_CONST;
		i->type = (uint8_t)type;
		i->imm = folded.value & ir_type_mask(type);
	} else if (folded.kind == IR_FOLD_VALUE) {
		map[r] = folded.ref;
		ir_make_nop(i);
	} else if (folded.kind == IR_FOLD_UNARY) {
		enum ir_type type = i->type;
		ir_make_nop(i);
		i->op = (uint8_t)folded.op;
		i->type = (uint8_t)type;
		i->a = folded.ref;
	} else if (i->op == IR_GOTO_IF && ir_is_const(f, i->a)) {
		ir_ref target = ir_at(f, i->a)->imm ? i->b : i->c;
		ir_make_nop(i);
		i->op = IR_GOTO;
		i->a = target;
	} else if (i->op == IR_BRANCH && ir_is_const(f, i->a)) {
		uint64_t target = ir_at(f, i->a)->imm ? (uint32_t)i->imm : i->imm >> 32;
		ir_make_nop(i);
		i->op = IR_JUMP;
		i->imm = target;
	}
}

void ir_pass_fold(struct ir_func *f)
{
	ir_ref *map = ARENA_ARRAY(f->arena, ir_ref, f->len);
	for (ir_ref r = 0; r < f->len; r++)
		fold_ins(f, r, map);
}
