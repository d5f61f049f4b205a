// SPDX-License-Identifier: Apache-2.0
// Zba, Zbb, Zbc, Zbs: bit manipulation; Zicond: conditional zero.
#include "isa/rv64/lift.h"

static ir_ref zext_w(struct rv64_lift *l, unsigned r)
{
	return ir_un(l->f, IR_ZEXT, IR_I64, get_w(l, r));
}

/* --- Zba --- */
static void shift_add(struct rv64_lift *l, const struct rv64_insn *i, ir_ref a, unsigned shift)
{
	set_x(l, i->rd, bin64(l, IR_ADD, bin64(l, IR_SHL, a, k64(l, shift)), get_x(l, i->rs2)));
}
LIFT(sh1add)
{
	shift_add(l, i, get_x(l, i->rs1), 1);
}
LIFT(sh2add)
{
	shift_add(l, i, get_x(l, i->rs1), 2);
}
LIFT(sh3add)
{
	shift_add(l, i, get_x(l, i->rs1), 3);
}
LIFT(add_uw)
{
	shift_add(l, i, zext_w(l, i->rs1), 0);
}
LIFT(sh1add_uw)
{
	shift_add(l, i, zext_w(l, i->rs1), 1);
}
LIFT(sh2add_uw)
{
	shift_add(l, i, zext_w(l, i->rs1), 2);
}
LIFT(sh3add_uw)
{
	shift_add(l, i, zext_w(l, i->rs1), 3);
}
LIFT(slli_uw)
{
	set_x(l, i->rd, bin64(l, IR_SHL, zext_w(l, i->rs1), k64(l, (uint64_t)i->imm)));
}

/* --- Zbb --- */
static void reg64(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op)
{
	set_x(l, i->rd, bin64(l, op, get_x(l, i->rs1), get_x(l, i->rs2)));
}
LIFT(andn)
{
	reg64(l, i, IR_ANDN);
}
LIFT(orn)
{
	ir_ref b = ir_un(l->f, IR_NOT, IR_I64, get_x(l, i->rs2));
	set_x(l, i->rd, bin64(l, IR_OR, get_x(l, i->rs1), b));
}
LIFT(xnor)
{
	ir_ref v = bin64(l, IR_XOR, get_x(l, i->rs1), get_x(l, i->rs2));
	set_x(l, i->rd, ir_un(l->f, IR_NOT, IR_I64, v));
}

static void count64(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op)
{
	set_x(l, i->rd, ir_un(l->f, op, IR_I64, get_x(l, i->rs1)));
}
static void count32(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op)
{
	ir_ref n = ir_un(l->f, op, IR_I32, get_w(l, i->rs1));
	set_x(l, i->rd, ir_un(l->f, IR_ZEXT, IR_I64, n));
}
LIFT(clz)
{
	count64(l, i, IR_CLZ);
}
LIFT(clzw)
{
	count32(l, i, IR_CLZ);
}
LIFT(ctz)
{
	count64(l, i, IR_CTZ);
}
LIFT(ctzw)
{
	count32(l, i, IR_CTZ);
}
LIFT(cpop)
{
	count64(l, i, IR_POPCNT);
}
LIFT(cpopw)
{
	count32(l, i, IR_POPCNT);
}

static void extend(struct rv64_lift *l, const struct rv64_insn *i, enum ir_type from, enum ir_op op)
{
	ir_ref v = ir_un(l->f, IR_TRUNC, from, get_x(l, i->rs1));
	set_x(l, i->rd, ir_un(l->f, op, IR_I64, v));
}
LIFT(sext_b)
{
	extend(l, i, IR_I8, IR_SEXT);
}
LIFT(sext_h)
{
	extend(l, i, IR_I16, IR_SEXT);
}
LIFT(zext_h)
{
	extend(l, i, IR_I16, IR_ZEXT);
}

/* rs1 when it compares so with rs2, else rs2 */
static void pick(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op compare)
{
	ir_ref a = get_x(l, i->rs1), b = get_x(l, i->rs2);
	set_x(l, i->rd, ir_select(l->f, ir_cmp(l->f, compare, a, b), a, b));
}
LIFT(max)
{
	pick(l, i, IR_GES);
}
LIFT(maxu)
{
	pick(l, i, IR_GEU);
}
LIFT(min)
{
	pick(l, i, IR_LTS);
}
LIFT(minu)
{
	pick(l, i, IR_LTU);
}

static void rotate32(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op, ir_ref count)
{
	set_w(l, i->rd, bin32(l, op, get_w(l, i->rs1), count));
}
LIFT(rol)
{
	reg64(l, i, IR_ROTL);
}
LIFT(ror)
{
	reg64(l, i, IR_ROTR);
}
LIFT(rori)
{
	set_x(l, i->rd, bin64(l, IR_ROTR, get_x(l, i->rs1), k64(l, (uint64_t)i->imm)));
}
LIFT(rolw)
{
	rotate32(l, i, IR_ROTL, get_w(l, i->rs2));
}
LIFT(rorw)
{
	rotate32(l, i, IR_ROTR, get_w(l, i->rs2));
}
LIFT(roriw)
{
	rotate32(l, i, IR_ROTR, ir_const(l->f, IR_I32, (uint64_t)i->imm));
}
LIFT(orc_b)
{
	count64(l, i, IR_ORCB);
}
LIFT(rev8)
{
	count64(l, i, IR_BSWAP);
}

/* --- Zbc: rare enough to be calls --- */
static void call2(struct rv64_lift *l, const struct rv64_insn *i, unsigned helper)
{
	set_x(l, i->rd, ir_call(l->f, helper, get_x(l, i->rs1), get_x(l, i->rs2), IR_NONE));
}
LIFT(clmul)
{
	call2(l, i, HELPER_CLMUL);
}
LIFT(clmulh)
{
	call2(l, i, HELPER_CLMULH);
}
LIFT(clmulr)
{
	call2(l, i, HELPER_CLMULR);
}

/* The 128-bit carry-less product. */
static unsigned __int128 carryless(uint64_t a, uint64_t b)
{
	unsigned __int128 product = 0;
	for (; b; b &= b - 1)
		product ^= (unsigned __int128)a << __builtin_ctzll(b);
	return product;
}
uint64_t rv64_helper_clmul(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	return (uint64_t)carryless(a, b);
}
uint64_t rv64_helper_clmulh(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	return (uint64_t)(carryless(a, b) >> 64);
}
uint64_t rv64_helper_clmulr(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	return (uint64_t)(carryless(a, b) >> 63);
}

/* --- Zbs: the bit number is taken modulo 64 --- */
static ir_ref bit(struct rv64_lift *l, ir_ref number)
{
	return bin64(l, IR_SHL, k64(l, 1), number);
}
static ir_ref imm_number(struct rv64_lift *l, const struct rv64_insn *i)
{
	return k64(l, (uint64_t)i->imm);
}
static void with_bit(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op, ir_ref number)
{
	set_x(l, i->rd, bin64(l, op, get_x(l, i->rs1), bit(l, number)));
}
static void extract(struct rv64_lift *l, const struct rv64_insn *i, ir_ref number)
{
	set_x(l, i->rd, bin64(l, IR_AND, bin64(l, IR_SHR, get_x(l, i->rs1), number), k64(l, 1)));
}
LIFT(bclr)
{
	with_bit(l, i, IR_ANDN, get_x(l, i->rs2));
}
LIFT(bclri)
{
	with_bit(l, i, IR_ANDN, imm_number(l, i));
}
LIFT(binv)
{
	with_bit(l, i, IR_XOR, get_x(l, i->rs2));
}
LIFT(binvi)
{
	with_bit(l, i, IR_XOR, imm_number(l, i));
}
LIFT(bset)
{
	with_bit(l, i, IR_OR, get_x(l, i->rs2));
}
LIFT(bseti)
{
	with_bit(l, i, IR_OR, imm_number(l, i));
}
LIFT(bext)
{
	extract(l, i, get_x(l, i->rs2));
}
LIFT(bexti)
{
	extract(l, i, imm_number(l, i));
}

/* --- Zicond --- */
static void zero_if(struct rv64_lift *l, const struct rv64_insn *i, enum ir_op compare)
{
	ir_ref zero = k64(l, 0), cond = ir_cmp(l->f, compare, get_x(l, i->rs2), zero);
	set_x(l, i->rd, ir_select(l->f, cond, zero, get_x(l, i->rs1)));
}
LIFT(czero_eqz)
{
	zero_if(l, i, IR_EQ);
}
LIFT(czero_nez)
{
	zero_if(l, i, IR_NE);
}
