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

/* --- what stands between load-reserved and store-conditional --- */
enum kind { COMPUTES, BRANCHES, CONDITIONAL, LEAVES, OTHER };

static enum kind kind_of_short(unsigned w)
{
	unsigned funct = w >> 13;
	switch (w & 3) {
	case 0: /* c.addi4spn; loads and stores */
		return funct == 0 ? COMPUTES : OTHER;
	case 1: /* arithmetic, c.j, c.beqz, c.bnez */
		return funct < 5 ? COMPUTES : funct == 5 ? LEAVES : BRANCHES;
	default: /* c.slli; c.mv, c.add; c.jr, c.jalr; loads and stores */
		if (funct == 4)
			return w & 0x7c ? COMPUTES : LEAVES;
		return funct == 0 ? COMPUTES : OTHER;
	}
}

static enum kind kind_of(const struct rv64_insn *i)
{
	enum { STORE_CONDITIONAL = 3, LOAD_RESERVED = 2 };
	if (i->bytes == 2)
		return kind_of_short(i->raw);
	switch (i->raw & 0x7f) {
	case 0x13: /* OP-IMM, OP, their *W forms, LUI, AUIPC */
	case 0x1b:
	case 0x33:
	case 0x3b:
	case 0x37:
	case 0x17:
		return COMPUTES;
	case 0x63:
		return BRANCHES;
	case 0x67: /* JALR, JAL */
	case 0x6f:
		return LEAVES;
	case 0x2f:
		return i->raw >> 27 == STORE_CONDITIONAL ? CONDITIONAL
		       : i->raw >> 27 == LOAD_RESERVED	 ? LEAVES
							 : OTHER;
	default:
		return OTHER;
	}
}

/* Whether a store-conditional follows within a few instructions that could tell whether others have
 * stored to the reserved word meanwhile: because one of them is no mere computation (13.3 calls the
 * sequences without such constrained), or, where aside is set, wherever it comes. */
static bool can_tell(const uint8_t *code, size_t bytes, bool aside)
{
	enum { FAR = 16 };
	bool tells = aside;
	size_t at = 0;
	for (unsigned n = 0; n < FAR && bytes - at >= 2; n++) {
		struct rv64_insn i;
		uint32_t w = load_le16(code + at);
		if ((w & 3) == 3) {
			if (bytes - at < 4)
				return false;
			w = load_le32(code + at);
		}
		if (!rv64_decode(w, &i))
			return false;
		enum kind kind = kind_of(&i);
		if (kind == CONDITIONAL)
			return tells;
		if (kind == LEAVES)
			return false;
		if (kind == OTHER)
			tells = true;
		uint64_t to = at + (uint64_t)(int64_t)i.imm;
		if (kind == BRANCHES && !aside && to < bytes &&
			can_tell(code + to, bytes - to, true))
			return true;
		at += i.bytes;
	}
	return false;
}

static void load_reserved(struct rv64_lift *l, const struct rv64_insn *i, enum ir_type type)
{
	ir_ref addr = get_x(l, i->rs1), v;
	if (!can_tell(l->ahead, l->ahead_bytes, false)) {
		v = ir_emit(l->f, IR_LOADR, type, mem_flags(i), addr, IR_NONE, IR_NONE, 0);
		set_typed(l, i->rd, type, v);
		return;
	}
	v = ir_call(l->f, HELPER_LOAD_RESERVED, addr, k64(l, ir_type_bytes(type)), IR_NONE);
	set_x(l, i->rd,
		type == IR_I32 ? ir_un(l->f, IR_SEXT, IR_I64, ir_un(l->f, IR_TRUNC, IR_I32, v))
			       : v);
	/* It may have waited for others, and a fence been done for this CPU meanwhile. */
	end_exit(l, k64(l, next_pc(l, i)));
}

uint64_t rv64_helper_load_reserved(void *cpu, uint64_t addr, uint64_t bytes, uint64_t c)
{
	struct cpu_head *h = cpu;
	uint64_t value = 0;
	h->env->load_reserved(cpu, addr, (unsigned)bytes, &value);
	return value;
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
