// SPDX-License-Identifier: Apache-2.0
// What an integer op comes to when arguments are constant, when an identity makes it one of its
// arguments, or when something simpler does the same. Used while building and by pass_fold.
#ifndef STRATA_IR_FOLD_H
#define STRATA_IR_FOLD_H

#include "ir/ir.h"

struct ir_folded {
	enum { IR_FOLD_NOTHING, IR_FOLD_CONST, IR_FOLD_VALUE, IR_FOLD_UNARY } kind;
	uint64_t value; /* IR_FOLD_CONST */
	ir_ref ref;	/* IR_FOLD_VALUE; the argument of IR_FOLD_UNARY */
	enum ir_op op;	/* IR_FOLD_UNARY: of the same type */
};

struct ir_folded ir_fold(const struct ir_func *f, const struct ir_ins *i);

#endif
