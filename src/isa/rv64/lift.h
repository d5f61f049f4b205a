// SPDX-License-Identifier: Apache-2.0
// For the files that hold lifter bodies (lift_*.c): one body per instruction, LIFT(name), named in
// the table's last column. A body reads operands, emits IR and sets the destination last, after
// everything that may fault.
#ifndef STRATA_ISA_RV64_LIFT_H
#define STRATA_ISA_RV64_LIFT_H

#include "isa/rv64/internal.h"

/* The block that is being lifted. */
struct rv64_lift {
	struct ir_func *f;
	uint64_t pc;	/* of the current instruction */
	uint32_t flags; /* translation flags */
	bool fs_dirty;	/* FS is known to be dirty here */
	bool ended;	/* the block has its terminator */
	/* The code behind the current instruction, as far as it is known. */
	const uint8_t *ahead;
	size_t ahead_bytes;
};

#define LIFT(name) void rv64_lift_##name(struct rv64_lift *l, const struct rv64_insn *i)

static inline bool in_supervisor(const struct rv64_lift *l)
{
	return l->flags & FLAG_SUPERVISOR;
}

static inline ir_ref k64(struct rv64_lift *l, uint64_t value)
{
	return ir_const(l->f, IR_I64, value);
}

static inline uint64_t next_pc(const struct rv64_lift *l, const struct rv64_insn *i)
{
	return l->pc + i->bytes;
}

/* --- integer registers --- */
static inline ir_ref get_x(struct rv64_lift *l, unsigned r)
{
	return r ? ir_get(l->f, SLOT_X + r) : k64(l, 0);
}
static inline void set_x(struct rv64_lift *l, unsigned r, ir_ref value)
{
	if (r)
		ir_put(l->f, SLOT_X + r, value);
}
/* The low half, for the *W instructions. */
static inline ir_ref get_w(struct rv64_lift *l, unsigned r)
{
	return r ? ir_un(l->f, IR_TRUNC, IR_I32, get_x(l, r)) : ir_const(l->f, IR_I32, 0);
}
static inline void set_w(struct rv64_lift *l, unsigned r, ir_ref value)
{
	set_x(l, r, ir_un(l->f, IR_SEXT, IR_I64, value));
}
static inline ir_ref bin64(struct rv64_lift *l, enum ir_op op, ir_ref a, ir_ref b)
{
	return ir_bin(l->f, op, IR_I64, a, b);
}
static inline ir_ref bin32(struct rv64_lift *l, enum ir_op op, ir_ref a, ir_ref b)
{
	return ir_bin(l->f, op, IR_I32, a, b);
}
/* rs1 + imm */
static inline ir_ref address(struct rv64_lift *l, const struct rv64_insn *i)
{
	return bin64(l, IR_ADD, get_x(l, i->rs1), k64(l, (uint64_t)(int64_t)i->imm));
}

/* --- ends of a block --- */
static inline void end_illegal(struct rv64_lift *l, const struct rv64_insn *i)
{
	ir_trap(l->f, RV64_CAUSE_ILLEGAL, k64(l, i->raw));
	l->ended = true;
}
static inline void end_exit(struct rv64_lift *l, ir_ref pc)
{
	ir_exit(l->f, pc);
	l->ended = true;
}

#endif
