// SPDX-License-Identifier: Apache-2.0
// RV64I: integer computation, loads and stores, jumps and branches, fences.
#include "isa/rv64/lift.h"

LIFT(lui)
{
	set_x(l, i->rd, k64(l, (uint64_t)(int64_t)i->imm));
}
LIFT(auipc)
{
	set_x(l, i->rd, k64(l, l->pc + (uint64_t)(int64_t)i->imm));
}

/* --- jumps --- */

/* x1 and x5 are link registers: table 3 of 2.5.1 says which jumps are calls and returns. */
static bool is_link(unsigned r)
{
	return r == 1 || r == 5;
}

static void jump(struct rv64_lift *l, const struct rv64_insn *i, ir_ref target, enum ir_jump other)
{
	set_x(l, i->rd, k64(l, next_pc(l, i)));
	if (is_link(i->rd))
		ir_goto_call(l->f, target, next_pc(l, i));
	else
		ir_goto(l->f, target, other);
	l->ended = true;
}

LIFT(jal)
{
	jump(l, i, k64(l, l->pc + (uint64_t)(int64_t)i->imm), IR_JUMP_PLAIN);
}
LIFT(jalr)
{
	ir_ref target = bin64(l, IR_AND, address(l, i), k64(l, ~UINT64_C(1)));
	/* psABI, 8.4.6: an entry of the procedure linkage table leaves its address in t1. */
	enum ir_jump kind = is_link(i->rs1) ? IR_JUMP_RETURN
			    : i->rd	    ? IR_JUMP_STEADY
					    : IR_JUMP_PLAIN;
	jump(l, i, target, kind);
}

static void branch(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op)
{
	ir_ref cond = ir_cmp(l->f, op, get_x(l, i->rs1), get_x(l, i->rs2));
	ir_goto_if(l->f, cond, l->pc + (uint64_t)(int64_t)i->imm, next_pc(l, i));
	l->ended = true;
}
LIFT(beq)
{
	branch(l, i, IR_EQ);
}
LIFT(bne)
{
	branch(l, i, IR_NE);
}
LIFT(blt)
{
	branch(l, i, IR_LTS);
}
LIFT(bge)
{
	branch(l, i, IR_GES);
}
LIFT(bltu)
{
	branch(l, i, IR_LTU);
}
LIFT(bgeu)
{
	branch(l, i, IR_GEU);
}

/* --- loads and stores --- */
static void load(
	struct rv64_lift *l, const struct rv64_insn *i, enum ir_type type, enum ir_op extend)
{
	ir_ref v = ir_load(l->f, type, 0, address(l, i));
	set_x(l, i->rd, type == IR_I64 ? v : ir_un(l->f, extend, IR_I64, v));
}
LIFT(lb)
{
	load(l, i, IR_I8, IR_SEXT);
}
LIFT(lh)
{
	load(l, i, IR_I16, IR_SEXT);
}
LIFT(lw)
{
	load(l, i, IR_I32, IR_SEXT);
}
LIFT(ld)
{
	load(l, i, IR_I64, IR_SEXT);
}
LIFT(lbu)
{
	load(l, i, IR_I8, IR_ZEXT);
}
LIFT(lhu)
{
	load(l, i, IR_I16, IR_ZEXT);
}
LIFT(lwu)
{
	load(l, i, IR_I32, IR_ZEXT);
}

static void store(struct rv64_lift *l, const struct rv64_insn *i, enum ir_type type)
{
	ir_ref addr = address(l, i), v = get_x(l, i->rs2);
	ir_store(l->f, 0, addr, type == IR_I64 ? v : ir_un(l->f, IR_TRUNC, type, v));
}
LIFT(sb)
{
	store(l, i, IR_I8);
}
LIFT(sh)
{
	store(l, i, IR_I16);
}
LIFT(sw)
{
	store(l, i, IR_I32);
}
LIFT(sd)
{
	store(l, i, IR_I64);
}

/* --- register with immediate --- */
static void imm64(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op)
{
	set_x(l, i->rd, bin64(l, op, get_x(l, i->rs1), k64(l, (uint64_t)(int64_t)i->imm)));
}
static void imm32(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op)
{
	set_w(l, i->rd, bin32(l, op, get_w(l, i->rs1), ir_const(l->f, IR_I32, (uint32_t)i->imm)));
}
LIFT(addi)
{
	imm64(l, i, IR_ADD);
}
LIFT(xori)
{
	imm64(l, i, IR_XOR);
}
LIFT(ori)
{
	imm64(l, i, IR_OR);
}
LIFT(andi)
{
	imm64(l, i, IR_AND);
}
LIFT(slli)
{
	imm64(l, i, IR_SHL);
}
LIFT(srli)
{
	imm64(l, i, IR_SHR);
}
LIFT(srai)
{
	imm64(l, i, IR_SAR);
}
LIFT(slti)
{
	set_x(l, i->rd, ir_cmp(l->f, IR_LTS, get_x(l, i->rs1), k64(l, (uint64_t)(int64_t)i->imm)));
}
LIFT(sltiu)
{
	set_x(l, i->rd, ir_cmp(l->f, IR_LTU, get_x(l, i->rs1), k64(l, (uint64_t)(int64_t)i->imm)));
}
LIFT(addiw)
{
	imm32(l, i, IR_ADD);
}
LIFT(slliw)
{
	imm32(l, i, IR_SHL);
}
LIFT(srliw)
{
	imm32(l, i, IR_SHR);
}
LIFT(sraiw)
{
	imm32(l, i, IR_SAR);
}

/* --- register with register; shift counts are taken modulo the width, as IR does --- */
static void reg64(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op)
{
	set_x(l, i->rd, bin64(l, op, get_x(l, i->rs1), get_x(l, i->rs2)));
}
static void reg32(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op)
{
	set_w(l, i->rd, bin32(l, op, get_w(l, i->rs1), get_w(l, i->rs2)));
}
LIFT(add)
{
	reg64(l, i, IR_ADD);
}
LIFT(sub)
{
	reg64(l, i, IR_SUB);
}
LIFT(sll)
{
	reg64(l, i, IR_SHL);
}
LIFT(srl)
{
	reg64(l, i, IR_SHR);
}
LIFT(sra)
{
	reg64(l, i, IR_SAR);
}
LIFT(xor)
{
	reg64(l, i, IR_XOR);
}
LIFT(or)
{
	reg64(l, i, IR_OR);
}
LIFT(and)
{
	reg64(l, i, IR_AND);
}
LIFT(slt)
{
	set_x(l, i->rd, ir_cmp(l->f, IR_LTS, get_x(l, i->rs1), get_x(l, i->rs2)));
}
LIFT(sltu)
{
	set_x(l, i->rd, ir_cmp(l->f, IR_LTU, get_x(l, i->rs1), get_x(l, i->rs2)));
}
LIFT(addw)
{
	reg32(l, i, IR_ADD);
}
LIFT(subw)
{
	reg32(l, i, IR_SUB);
}
LIFT(sllw)
{
	reg32(l, i, IR_SHL);
}
LIFT(srlw)
{
	reg32(l, i, IR_SHR);
}
LIFT(sraw)
{
	reg32(l, i, IR_SAR);
}

/* --- fences --- */
static void emit_fence(struct rv64_lift *l, unsigned kinds)
{
	if (kinds)
		ir_emit(l->f, IR_FENCE, IR_VOID, kinds, IR_NONE, IR_NONE, IR_NONE, 0);
}
LIFT(fence)
{
	/* pred and succ are sets of I O R W; device input is a read, device output a write. */
	unsigned pred = (unsigned)i->imm >> 4 & 15, succ = (unsigned)i->imm & 15, kinds = 0;
	bool pr = pred & 10, pw = pred & 5, sr = succ & 10, sw = succ & 5;
	kinds |= pr && sr ? IR_FENCE_RR : 0;
	kinds |= pr && sw ? IR_FENCE_RW : 0;
	kinds |= pw && sr ? IR_FENCE_WR : 0;
	kinds |= pw && sw ? IR_FENCE_WW : 0;
	emit_fence(l, kinds);
}
LIFT(fence_tso)
{
	emit_fence(l, IR_FENCE_RR | IR_FENCE_RW | IR_FENCE_WW);
}
LIFT(pause)
{
	ir_emit(l->f, IR_PAUSE, IR_VOID, 0, IR_NONE, IR_NONE, IR_NONE, 0);
}
