// SPDX-License-Identifier: Apache-2.0
// M: multiplication and division. IR's division is total in the way that RISC-V asks for.
#include "isa/rv64/lift.h"

static void reg64(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op)
{
	set_x(l, i->rd, bin64(l, op, get_x(l, i->rs1), get_x(l, i->rs2)));
}
static void reg32(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op)
{
	set_w(l, i->rd, bin32(l, op, get_w(l, i->rs1), get_w(l, i->rs2)));
}
LIFT(mul)
{
	reg64(l, i, IR_MUL);
}
LIFT(mulh)
{
	reg64(l, i, IR_MULHS);
}
LIFT(mulhsu)
{
	reg64(l, i, IR_MULHSU);
}
LIFT(mulhu)
{
	reg64(l, i, IR_MULHU);
}
LIFT(div)
{
	reg64(l, i, IR_DIVS);
}
LIFT(divu)
{
	reg64(l, i, IR_DIVU);
}
LIFT(rem)
{
	reg64(l, i, IR_REMS);
}
LIFT(remu)
{
	reg64(l, i, IR_REMU);
}
LIFT(mulw)
{
	reg32(l, i, IR_MUL);
}
LIFT(divw)
{
	reg32(l, i, IR_DIVS);
}
LIFT(divuw)
{
	reg32(l, i, IR_DIVU);
}
LIFT(remw)
{
	reg32(l, i, IR_REMS);
}
LIFT(remuw)
{
	reg32(l, i, IR_REMU);
}
