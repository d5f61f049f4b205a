// SPDX-License-Identifier: Apache-2.0
// F and D. A single-precision value in a 64-bit register is NaN-boxed: its upper half is all ones,
// and anything else reads as the canonical NaN (21.2).
#include "isa/rv64/lift.h"

#define BOX   UINT64_C(0xffffffff00000000)
#define NAN32 UINT64_C(0x7fc00000)

/* --- state and rounding --- */

/* False, with the block ended, when floating point is switched off. */
static bool fp_on(struct rv64_lift *l, const struct rv64_insn *i)
{
	if (l->flags >> FLAG_FS_SHIFT & 3)
		return true;
	end_illegal(l, i);
	return false;
}

/* The same for an instruction that changes registers or flags: once per block, FS becomes dirty. */
static bool fp_writes(struct rv64_lift *l, const struct rv64_insn *i)
{
	if (!fp_on(l, i))
		return false;
	if (!l->fs_dirty)
		ir_put(l->f, SLOT_FS, ir_const(l->f, IR_I32, 3));
	l->fs_dirty = true;
	return true;
}

/* The same for one that rounds. *fp is what its IR op needs in aux. */
static bool fp_rounds(struct rv64_lift *l, const struct rv64_insn *i, unsigned *fp)
{
	unsigned frm = l->flags >> FLAG_FRM_SHIFT & 3;
	if (!(l->flags >> FLAG_FS_SHIFT & 3) || i->rm == 5 || i->rm == 6 ||
		(i->rm == 7 && frm == FRM_RESERVED)) {
		end_illegal(l, i);
		return false;
	}
	*fp = IR_FP_DEFAULT_NAN | (i->rm == 7 && frm == FRM_RMM ? IR_RM_NEAREST_AWAY : i->rm);
	return fp_writes(l, i);
}

/* --- registers --- */
static ir_ref get_d(struct rv64_lift *l, unsigned r)
{
	return ir_get(l->f, SLOT_F + r);
}
static void set_d(struct rv64_lift *l, unsigned r, ir_ref v)
{
	ir_put(l->f, SLOT_F + r, v);
}
static ir_ref bits64(struct rv64_lift *l, ir_ref d)
{
	return ir_un(l->f, IR_BITCAST, IR_I64, d);
}
static void set_bits64(struct rv64_lift *l, unsigned r, ir_ref bits)
{
	set_d(l, r, ir_un(l->f, IR_BITCAST, IR_F64, bits));
}
/* The bits of a single-precision operand. */
static ir_ref bits32(struct rv64_lift *l, unsigned r)
{
	ir_ref bits = bits64(l, get_d(l, r)), low = ir_un(l->f, IR_TRUNC, IR_I32, bits);
	ir_ref boxed = ir_cmp(l->f, IR_GEU, bits, k64(l, BOX));
	return ir_select(l->f, boxed, low, ir_const(l->f, IR_I32, NAN32));
}
static void set_bits32(struct rv64_lift *l, unsigned r, ir_ref bits)
{
	set_bits64(l, r, bin64(l, IR_OR, ir_un(l->f, IR_ZEXT, IR_I64, bits), k64(l, BOX)));
}
static ir_ref get_f(struct rv64_lift *l, unsigned r, enum ir_type type)
{
	return type == IR_F64 ? get_d(l, r) : ir_un(l->f, IR_BITCAST, IR_F32, bits32(l, r));
}
static void set_f(struct rv64_lift *l, unsigned r, enum ir_type type, ir_ref v)
{
	if (type == IR_F64)
		set_d(l, r, v);
	else
		set_bits32(l, r, ir_un(l->f, IR_BITCAST, IR_I32, v));
}

/* --- loads, stores, moves of bits --- */
LIFT(flw)
{
	if (!fp_on(l, i))
		return;
	ir_ref v = ir_load(l->f, IR_I32, 0, address(l, i));
	if (fp_writes(l, i))
		set_bits32(l, i->rd, v);
}
LIFT(fld)
{
	if (!fp_on(l, i))
		return;
	ir_ref v = ir_load(l->f, IR_F64, 0, address(l, i));
	if (fp_writes(l, i))
		set_d(l, i->rd, v);
}
LIFT(fsw)
{
	if (fp_on(l, i)) /* as it is, boxed or not */
		ir_store(l->f, 0, address(l, i),
			ir_un(l->f, IR_TRUNC, IR_I32, bits64(l, get_d(l, i->rs2))));
}
LIFT(fsd)
{
	if (fp_on(l, i))
		ir_store(l->f, 0, address(l, i), get_d(l, i->rs2));
}
LIFT(fmv_x_w)
{
	if (fp_on(l, i))
		set_w(l, i->rd, ir_un(l->f, IR_TRUNC, IR_I32, bits64(l, get_d(l, i->rs1))));
}
LIFT(fmv_x_d)
{
	if (fp_on(l, i))
		set_x(l, i->rd, bits64(l, get_d(l, i->rs1)));
}
LIFT(fmv_w_x)
{
	if (fp_writes(l, i))
		set_bits32(l, i->rd, get_w(l, i->rs1));
}
LIFT(fmv_d_x)
{
	if (fp_writes(l, i))
		set_bits64(l, i->rd, get_x(l, i->rs1));
}

/* --- arithmetic, in both precisions --- */
static void arithmetic(
	struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op, enum ir_type type)
{
	unsigned fp, operands = ir_ops[op].nargs;
	if (!fp_rounds(l, i, &fp))
		return;
	ir_ref a = get_f(l, i->rs1, type), b = IR_NONE, c = IR_NONE;
	if (operands > 1)
		b = get_f(l, i->rs2, type);
	if (operands > 2)
		c = get_f(l, i->rs3, type);
	set_f(l, i->rd, type, ir_fp(l->f, op, type, fp, a, b, c));
}
static void min_max(
	struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op, enum ir_type type)
{
	if (!fp_writes(l, i))
		return;
	ir_ref a = get_f(l, i->rs1, type), b = get_f(l, i->rs2, type);
	set_f(l, i->rd, type, ir_fp(l->f, op, type, IR_FP_DEFAULT_NAN, a, b, IR_NONE));
}
static void compare(
	struct rv64_lift *l, const struct rv64_insn *i, enum ir_op op, enum ir_type type)
{
	if (!fp_writes(l, i))
		return;
	ir_ref a = get_f(l, i->rs1, type), b = get_f(l, i->rs2, type);
	unsigned fp = op == IR_FEQ ? 0 : IR_FP_SIGNALING;
	set_x(l, i->rd, ir_fp(l->f, op, IR_I64, fp, a, b, IR_NONE));
}
static void classify(struct rv64_lift *l, const struct rv64_insn *i, enum ir_type type)
{
	if (fp_on(l, i))
		set_x(l, i->rd, ir_un(l->f, IR_FCLASS, IR_I64, get_f(l, i->rs1, type)));
}

/* fsgnj*: the sign of b, inverted or multiplied with a's. */
enum sign { SIGN_COPY, SIGN_NOT, SIGN_XOR };
static void sign_inject(
	struct rv64_lift *l, const struct rv64_insn *i, enum ir_type type, enum sign how)
{
	if (!fp_writes(l, i))
		return;
	bool wide = type == IR_F64;
	enum ir_type t = wide ? IR_I64 : IR_I32;
	ir_ref sign = ir_const(l->f, t, wide ? UINT64_C(1) << 63 : UINT64_C(1) << 31);
	ir_ref a = wide ? bits64(l, get_d(l, i->rs1)) : bits32(l, i->rs1);
	ir_ref b = wide ? bits64(l, get_d(l, i->rs2)) : bits32(l, i->rs2);
	if (how == SIGN_NOT)
		b = ir_un(l->f, IR_NOT, t, b);
	b = ir_bin(l->f, IR_AND, t, b, sign);
	if (how != SIGN_XOR)
		a = ir_bin(l->f, IR_ANDN, t, a, sign);
	ir_ref v = ir_bin(l->f, how == SIGN_XOR ? IR_XOR : IR_OR, t, a, b);
	if (wide)
		set_bits64(l, i->rd, v);
	else
		set_bits32(l, i->rd, v);
}

#define BOTH(name, ...)                                                                            \
	LIFT(name##_s)                                                                             \
	{                                                                                          \
		const enum ir_type type = IR_F32;                                                  \
		__VA_ARGS__;                                                                       \
	}                                                                                          \
	LIFT(name##_d)                                                                             \
	{                                                                                          \
		const enum ir_type type = IR_F64;                                                  \
		__VA_ARGS__;                                                                       \
	}
BOTH(fadd, arithmetic(l, i, IR_FADD, type))
BOTH(fsub, arithmetic(l, i, IR_FSUB, type))
BOTH(fmul, arithmetic(l, i, IR_FMUL, type))
BOTH(fdiv, arithmetic(l, i, IR_FDIV, type))
BOTH(fsqrt, arithmetic(l, i, IR_FSQRT, type))
BOTH(fmadd, arithmetic(l, i, IR_FMADD, type))
BOTH(fmsub, arithmetic(l, i, IR_FMSUB, type))
BOTH(fnmadd, arithmetic(l, i, IR_FNMADD, type))
BOTH(fnmsub, arithmetic(l, i, IR_FNMSUB, type))
BOTH(fmin, min_max(l, i, IR_FMIN, type))
BOTH(fmax, min_max(l, i, IR_FMAX, type))
BOTH(feq, compare(l, i, IR_FEQ, type))
BOTH(flt, compare(l, i, IR_FLT, type))
BOTH(fle, compare(l, i, IR_FLE, type))
BOTH(fclass, classify(l, i, type))
BOTH(fsgnj, sign_inject(l, i, type, SIGN_COPY))
BOTH(fsgnjn, sign_inject(l, i, type, SIGN_NOT))
BOTH(fsgnjx, sign_inject(l, i, type, SIGN_XOR))

/* --- conversions --- */
static void to_int(struct rv64_lift *l, const struct rv64_insn *i, enum ir_type from,
	enum ir_type to, unsigned sign)
{
	unsigned fp;
	if (!fp_rounds(l, i, &fp))
		return;
	ir_ref v = ir_fp(l->f, IR_F2I, to, fp | sign | IR_FP_SATURATE, get_f(l, i->rs1, from),
		IR_NONE, IR_NONE);
	/* 32-bit results are sign-extended, the unsigned ones too (21.7). */
	if (to == IR_I32)
		set_w(l, i->rd, v);
	else
		set_x(l, i->rd, v);
}
static void from_int(struct rv64_lift *l, const struct rv64_insn *i, enum ir_type to,
	enum ir_type from, unsigned sign)
{
	unsigned fp;
	if (!fp_rounds(l, i, &fp))
		return;
	ir_ref v = from == IR_I32 ? get_w(l, i->rs1) : get_x(l, i->rs1);
	set_f(l, i->rd, to, ir_fp(l->f, IR_I2F, to, fp | sign, v, IR_NONE, IR_NONE));
}
static void change_precision(
	struct rv64_lift *l, const struct rv64_insn *i, enum ir_type from, enum ir_type to)
{
	unsigned fp;
	if (fp_rounds(l, i, &fp))
		set_f(l, i->rd, to,
			ir_fp(l->f, IR_F2F, to, fp, get_f(l, i->rs1, from), IR_NONE, IR_NONE));
}
LIFT(fcvt_w_s)
{
	to_int(l, i, IR_F32, IR_I32, 0);
}
LIFT(fcvt_wu_s)
{
	to_int(l, i, IR_F32, IR_I32, IR_FP_UNSIGNED);
}
LIFT(fcvt_l_s)
{
	to_int(l, i, IR_F32, IR_I64, 0);
}
LIFT(fcvt_lu_s)
{
	to_int(l, i, IR_F32, IR_I64, IR_FP_UNSIGNED);
}
LIFT(fcvt_w_d)
{
	to_int(l, i, IR_F64, IR_I32, 0);
}
LIFT(fcvt_wu_d)
{
	to_int(l, i, IR_F64, IR_I32, IR_FP_UNSIGNED);
}
LIFT(fcvt_l_d)
{
	to_int(l, i, IR_F64, IR_I64, 0);
}
LIFT(fcvt_lu_d)
{
	to_int(l, i, IR_F64, IR_I64, IR_FP_UNSIGNED);
}
LIFT(fcvt_s_w)
{
	from_int(l, i, IR_F32, IR_I32, 0);
}
LIFT(fcvt_s_wu)
{
	from_int(l, i, IR_F32, IR_I32, IR_FP_UNSIGNED);
}
LIFT(fcvt_s_l)
{
	from_int(l, i, IR_F32, IR_I64, 0);
}
LIFT(fcvt_s_lu)
{
	from_int(l, i, IR_F32, IR_I64, IR_FP_UNSIGNED);
}
LIFT(fcvt_d_w)
{
	from_int(l, i, IR_F64, IR_I32, 0);
}
LIFT(fcvt_d_wu)
{
	from_int(l, i, IR_F64, IR_I32, IR_FP_UNSIGNED);
}
LIFT(fcvt_d_l)
{
	from_int(l, i, IR_F64, IR_I64, 0);
}
LIFT(fcvt_d_lu)
{
	from_int(l, i, IR_F64, IR_I64, IR_FP_UNSIGNED);
}
LIFT(fcvt_s_d)
{
	change_precision(l, i, IR_F64, IR_F32);
}
LIFT(fcvt_d_s)
{
	change_precision(l, i, IR_F32, IR_F64);
}
