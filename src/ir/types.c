// SPDX-License-Identifier: Apache-2.0
#include "ir/ir.h"

const struct ir_op_info ir_ops[IR_OP_COUNT] = {
#define IR_OP(id, name, nargs, sig, flags) [IR_##id] = {name, sig, nargs, flags},
#include "ir/ops.h"
#undef IR_OP
};

static const struct {
	const char *name;
	uint8_t bytes;
} types[IR_TYPE_COUNT] = {
	[IR_VOID] = {"void", 0},
	[IR_I8] = {"i8", 1},
	[IR_I16] = {"i16", 2},
	[IR_I32] = {"i32", 4},
	[IR_I64] = {"i64", 8},
	[IR_F32] = {"f32", 4},
	[IR_F64] = {"f64", 8},
};

unsigned ir_type_bytes(enum ir_type t)
{
	return types[t].bytes;
}

const char *ir_type_name(enum ir_type t)
{
	return types[t].name;
}

bool ir_type_is_int(enum ir_type t)
{
	return t >= IR_I8 && t <= IR_I64;
}

bool ir_type_is_float(enum ir_type t)
{
	return t == IR_F32 || t == IR_F64;
}

uint64_t ir_type_mask(enum ir_type t)
{
	return types[t].bytes ? UINT64_MAX >> (64 - 8 * types[t].bytes) : 0;
}
