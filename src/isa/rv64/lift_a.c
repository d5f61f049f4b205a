// SPDX-License-Identifier: Apache-2.0
// A and Zawrs: atomics. Misaligned ones raise an exception (Zam is not implemented).
#include "isa/rv64/lift.h"

static unsigned mem_flags(const struct rv64_insn *i)
{
	return IR_MEM_ALIGNED | (i->aqrl & 2 ? IR_MEM_ACQUIRE : 0) |
	       (i->aqrl & 1 ? IR_MEM_RELEASE : 0);
}

static void set_typed(struct rv64_lift *l, unsigned rd, enum ir_type type, ir_ref v)
{
	if (type == IR_I32)
		set_w(l, rd, v);
	else
		set_x(l, rd, v);
}

static ir_ref get_typed(struct rv64_lift *l, unsigned r, enum ir_type type)
{
	return type == IR_I32 ? get_w(l, r) : get_x(l, r);
}

static void load_reserved(struct rv64_lift *l, const struct rv64_insn *i, enum ir_type type)
{
	ir_ref v =
		ir_emit(l->f, IR_LOADR, type, mem_flags(i), get_x(l, i->rs1), IR_NONE, IR_NONE, 0);
	set_typed(l, i->rd, type, v);
}
static void store_conditional(struct rv64_lift *l, const struct rv64_insn *i, enum ir_type type)
{
	ir_ref addr = get_x(l, i->rs1), v = get_typed(l, i->rs2, type);
	set_x(l, i->rd, ir_emit(l->f, IR_STOREC, IR_I64, mem_flags(i), addr, v, IR_NONE, 0));
}
LIFT(lr_w)
{
	load_reserved(l, i, IR_I32);
}
LIFT(lr_d)
{
	load_reserved(l, i, IR_I64);
}
LIFT(sc_w)
{
	store_conditional(l, i, IR_I32);
}
LIFT(sc_d)
{
	store_conditional(l, i, IR_I64);
}

static void amo(struct rv64_lift *l, const struct rv64_insn *i, enum ir_type type, enum ir_rmw op)
{
	ir_ref addr = get_x(l, i->rs1), v = get_typed(l, i->rs2, type);
	set_typed(l, i->rd, type, ir_emit(l->f, IR_RMW, type, op, addr, v, IR_NONE, 0));
}
#define AMO(name, op)                                                                              \
	LIFT(name##_w)                                                                             \
	{                                                                                          \
		amo(l, i, IR_I32, op);                                                             \
	}                                                                                          \
	LIFT(name##_d)                                                                             \
	{                                                                                          \
		amo(l, i, IR_I64, op);                                                             \
	}
AMO(amoswap, IR_RMW_SWAP)
AMO(amoadd, IR_RMW_ADD)
AMO(amoxor, IR_RMW_XOR)
AMO(amoand, IR_RMW_AND)
AMO(amoor, IR_RMW_OR)
AMO(amomin, IR_RMW_MIN)
AMO(amomax, IR_RMW_MAX)
AMO(amominu, IR_RMW_MINU)
AMO(amomaxu, IR_RMW_MAXU)

/* Waiting on the reservation set may end at any time: a spin-loop hint will do. */
LIFT(wrs_nto)
{
	rv64_lift_pause(l, i);
}
LIFT(wrs_sto)
{
	rv64_lift_pause(l, i);
}
