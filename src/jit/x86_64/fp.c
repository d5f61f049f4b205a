// SPDX-License-Identifier: Apache-2.0
// Floating point on the host's FPU, in the guest's dynamic rounding mode. A result that is not a
// number, another rounding mode, and conversions out of range go out of the way: to the
// interpreter's functions, which know every rule. The exception flags gather in MXCSR.
#include <fenv.h>

#include "jit/x86_64/gen.h"

static unsigned bytes_of(const struct gen *g, ir_ref r)
{
	return ir_type_bytes((enum ir_type)gen_at(g, r)->type);
}

/* A stub that does the whole op by the interpreter's function; the operands must still be in these
 * registers. */
static struct gen_stub *slow(struct gen *g, ir_ref r, uint8_t *from, const int args[3])
{
	const struct ir_ins *i = gen_at(g, r);
	const ir_ref refs[3] = {i->a, i->b, i->c};
	enum ir_type from_type = (enum ir_type)gen_at(g, i->a)->type;
	struct gen_stub *s = gen_stub(g, STUB_FP, from);
	s->slow = JIT_SLOW_FP;
	s->save_xmm = true;
	s->info = (uint32_t)i->op | (uint32_t)from_type << 8 | (uint32_t)i->type << 16;
	s->fp_info = i->aux;
	s->bytes = (uint8_t)bytes_of(g, r);
	s->fp = gen_is_float(g, r);
	for (unsigned n = 0; n < 3; n++) {
		s->args[n] = (int8_t)(refs[n] == IR_NONE ? NO_REG : args[n]);
		s->arg_fp[n] = refs[n] != IR_NONE && gen_is_float(g, refs[n]);
	}
	return s;
}

/* Ends a stub's description: where it comes back, with what. */
static void slow_end(struct gen *g, unsigned first_stub, int dst)
{
	for (unsigned n = first_stub; n < g->stub_count; n++) {
		g->stubs[n].back = g->a.p;
		g->stubs[n].dst = (int8_t)dst;
	}
}

/* An op with a rounding mode of its own is inline when that is the current one. */
static void check_rounding(struct gen *g, ir_ref r, const int args[3])
{
	unsigned rm = gen_at(g, r)->aux & IR_RM_MASK;
	if (rm == IR_RM_DYNAMIC)
		return;
	asm_alu_mem_imm(&g->a, 4, ALU_CMP, HEAD_MEM(fp_rounding), (int32_t)rm);
	slow(g, r, asm_jcc(&g->a, CC_NE), args);
}

static void check_nan(struct gen *g, ir_ref r, int dst)
{
	unsigned bytes = bytes_of(g, r);
	asm_fp_compare(&g->a, bytes, 0x2e, dst, dst);
	gen_stub(g, STUB_NAN, asm_jcc(&g->a, CC_P))->bytes = (uint8_t)bytes;
}

/* add, sub, mul, div, sqrt */
static void arithmetic(struct gen *g, ir_ref r, unsigned op, bool unary)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned bytes = bytes_of(g, r), stubs = g->stub_count;
	int a = gen_use_xmm(g, i->a), b = unary ? NO_REG : gen_use_xmm(g, i->b);
	const int args[3] = {a, b, NO_REG};
	int d = gen_def_xmm(g, r);
	check_rounding(g, r, args);
	/* The upper bits come from the second operand; were it d, this would wait for d's last
	 * value. */
	asm_vex_rr(&g->a, 4, asm_fp_prefix(bytes) | op, d, a, unary ? a : b);
	check_nan(g, r, d);
	slow_end(g, stubs, d);
}

/* Fused: d = c; d = +-(a * b) +- d. */
static void fused(struct gen *g, ir_ref r, unsigned op)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned bytes = bytes_of(g, r), stubs = g->stub_count;
	int a = gen_use_xmm(g, i->a), b = gen_use_xmm(g, i->b), c = gen_use_xmm(g, i->c);
	const int args[3] = {a, b, c};
	int d = gen_def_xmm(g, r);
	check_rounding(g, r, args);
	asm_movaps(&g->a, d, c);
	asm_vex_rr(&g->a, bytes, X_66 | X_0F38 | op, d, a, b);
	/* NaN: whether inf * 0 counts as invalid differs from the host. */
	asm_fp_compare(&g->a, bytes, 0x2e, d, d);
	slow(g, r, asm_jcc(&g->a, CC_P), args);
	slow_end(g, stubs, d);
}

static void min_max(struct gen *g, ir_ref r, unsigned op)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned bytes = bytes_of(g, r), stubs = g->stub_count;
	int a = gen_use_xmm(g, i->a), b = gen_use_xmm(g, i->b);
	const int args[3] = {a, b, NO_REG};
	int d = gen_def_xmm(g, r);
	/* Equal may be 0 and -0; unordered sets the same flag. */
	asm_fp_compare(&g->a, bytes, 0x2e, a, b);
	slow(g, r, asm_jcc(&g->a, CC_E), args);
	asm_vex_rr(&g->a, 4, asm_fp_prefix(bytes) | op, d, a, b);
	slow_end(g, stubs, d);
}

static void compare(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned bytes = bytes_of(g, i->a), op = i->aux & IR_FP_SIGNALING ? 0x2f : 0x2e;
	int a = gen_use_xmm(g, i->a), b = gen_use_xmm(g, i->b);
	if (i->op == IR_FEQ) {
		int t = gen_temp(g), d = gen_def(g, r);
		asm_fp_compare(&g->a, bytes, op, a, b);
		asm_setcc(&g->a, CC_NP, t);
		asm_setcc(&g->a, CC_E, d);
		asm_rr(&g->a, 4, 0x23, d, t);
		asm_movzx8(&g->a, d, d);
		gen_free_temp(g, t);
		return;
	}
	int d = gen_def(g, r);
	asm_fp_compare(&g->a, bytes, op, b, a); /* "above" is false when unordered */
	asm_setcc(&g->a, i->op == IR_FLT ? CC_A : CC_AE, d);
	asm_movzx8(&g->a, d, d);
}

static void convert(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned from = bytes_of(g, i->a), stubs = g->stub_count;
	int a = gen_use_xmm(g, i->a);
	const int args[3] = {a, NO_REG, NO_REG};
	int d = gen_def_xmm(g, r);
	if (from == 8) /* widening is exact */
		check_rounding(g, r, args);
	asm_vex_rr(&g->a, 4, asm_fp_prefix(from) | 0x5a, d, a, a);
	check_nan(g, r, d);
	slow_end(g, stubs, d);
}

/* roundsd, roundss: to an integer, in the op's own mode. */
static void round_in_mode(struct gen *g, unsigned bytes, int d, int a, unsigned rm, bool inexact)
{
	static const uint8_t modes[] = {
		[IR_RM_NEAREST_EVEN] = 0, [IR_RM_DOWN] = 1, [IR_RM_UP] = 2, [IR_RM_ZERO] = 3};
	enum { NO_INEXACT = 8 };
	asm_movaps(&g->a, d, a); /* else it waits for what d held */
	asm_rr(&g->a, 4, X_66 | X_0F3A | (bytes == 8 ? 0x0bu : 0x0au), d, d);
	asm_8(&g->a, modes[rm] | (inexact ? 0 : NO_INEXACT));
}

/* A rounding mode that is the op's own. What is out of range must raise one flag alone: 32 bits are
 * rounded once to see the range and once more for the flag. */
static void to_int_in_mode(
	struct gen *g, ir_ref r, int a, int t, int rounded, int low, const int args[3])
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned from = bytes_of(g, i->a), rm = i->aux & IR_RM_MASK;
	bool wide = bytes_of(g, r) == 8, in_range = i->aux & IR_FP_UNSIGNED;
	round_in_mode(g, from, rounded, a, rm, wide || in_range);
	asm_rr(&g->a, 8, asm_fp_prefix(from) | 0x2cu, t, rounded);
	if (wide && !in_range) { /* out of range is the smallest number */
		asm_alu_imm(&g->a, 8, ALU_CMP, t, 1);
		slow(g, r, asm_jcc(&g->a, CC_O), args);
	} else if (!in_range) {
		asm_rr(&g->a, 8, 0x63, low, t); /* movsxd */
		asm_alu(&g->a, 8, ALU_CMP, low, t);
		slow(g, r, asm_jcc(&g->a, CC_NE), args);
		round_in_mode(g, from, rounded, a, rm, true);
	}
}

static void to_int(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned from = bytes_of(g, i->a), bytes = bytes_of(g, r), stubs = g->stub_count;
	unsigned rm = i->aux & IR_RM_MASK;
	bool is_unsigned = i->aux & IR_FP_UNSIGNED;
	int a = gen_use_xmm(g, i->a), t = gen_temp(g);
	const int args[3] = {a, NO_REG, NO_REG};
	bool in_mode = rm != IR_RM_ZERO && rm != IR_RM_DYNAMIC;
	/* Before the first jump: what must make room is stored on both ways. */
	int rounded = in_mode ? gen_xmm(g) : NO_REG, low = in_mode ? gen_temp(g) : NO_REG;
	if (is_unsigned) { /* 0 <= a < 2^30 is in any range; by the bits, so that no flag is raised
			    */
		asm_movq_from_xmm(&g->a, from, t, a);
		if (from == 8)
			asm_shift(&g->a, 8, SHIFT_SHR, t, 32);
		asm_alu_imm(&g->a, 4, ALU_CMP, t, from == 8 ? 0x41d00000 : 0x4e800000);
		slow(g, r, asm_jcc(&g->a, CC_AE), args);
	}
	if (in_mode)
		to_int_in_mode(g, r, a, t, rounded, low, args);
	else
		asm_rr(&g->a, bytes, asm_fp_prefix(from) | (rm == IR_RM_ZERO ? 0x2cu : 0x2du), t,
			a);
	if (!is_unsigned && !in_mode) { /* out of range is the smallest number */
		asm_alu_imm(&g->a, bytes, ALU_CMP, t, 1);
		slow(g, r, asm_jcc(&g->a, CC_O), args);
	}
	slow_end(g, stubs, t);
	if (in_mode)
		gen_free_temp(g, low);
	gen_def_in(g, r, t);
}

static void from_int(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned from = bytes_of(g, i->a), to = bytes_of(g, r), stubs = g->stub_count;
	bool is_unsigned = i->aux & IR_FP_UNSIGNED;
	int a = gen_use(g, i->a), d = gen_def_xmm(g, r), t = a;
	if (is_unsigned && from == 4)
		t = gen_temp(g);
	const int args[3] = {a, NO_REG, NO_REG};
	bool own_mode = (i->aux & IR_RM_MASK) != IR_RM_DYNAMIC;
	if (from == 8 && own_mode) { /* what has few bits is exact in any mode */
		unsigned bits = to == 8 ? 53 : 24;
		int sum = gen_temp(g);
		asm_mov_imm(&g->a, sum, UINT64_C(1) << bits);
		asm_alu(&g->a, 8, ALU_ADD, sum, a);
		asm_shift(&g->a, 8, SHIFT_SHR, sum, (uint8_t)(bits + 1));
		slow(g, r, asm_jcc(&g->a, CC_NE), args);
		gen_free_temp(g, sum);
	} else if (to == 4) { /* 32 bits to double is exact */
		check_rounding(g, r, args);
	}
	if (is_unsigned && from == 8) {
		asm_test(&g->a, 8, a, a);
		slow(g, r, asm_jcc(&g->a, CC_S), args);
	} else if (is_unsigned) {
		asm_rr(&g->a, 4, 0x8b, t, a);
		from = 8;
	}
	asm_rr(&g->a, 4, X_0F | 0x57, d, d); /* else it waits for what d held */
	asm_rr(&g->a, from, asm_fp_prefix(to) | 0x2a, d, t);
	slow_end(g, stubs, d);
}

/* What is rare: by the interpreter's function. */
static void by_function(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	const ir_ref refs[3] = {i->a, i->b, i->c};
	int args[3] = {NO_REG, NO_REG, NO_REG};
	for (unsigned n = 0; n < 3; n++)
		if (refs[n] != IR_NONE)
			args[n] = gen_is_float(g, refs[n]) ? gen_use_xmm(g, refs[n])
							   : gen_use(g, refs[n]);
	unsigned stubs = g->stub_count;
	int d = gen_is_float(g, r) ? gen_def_xmm(g, r) : gen_def(g, r);
	slow(g, r, asm_jmp(&g->a), args);
	slow_end(g, stubs, d);
}

/* Inline code is for the rules that guests have: default NaNs, saturation; and not for the rounding
 * mode that the host lacks. */
static bool is_inline(const struct ir_ins *i)
{
	if ((i->aux & IR_RM_MASK) == IR_RM_NEAREST_AWAY)
		return false;
	return i->op == IR_F2I			    ? i->aux & IR_FP_SATURATE
	       : i->op >= IR_FEQ && i->op <= IR_FLE ? true
	       : i->op == IR_I2F		    ? true
						    : i->aux & IR_FP_DEFAULT_NAN;
}

/* --- the sticky flags: what MXCSR has gathered, and what has been moved from there --- */
enum { STMXCSR = 3, LDMXCSR = 2, MXCSR_FLAGS = 0x3f };

static void move_mxcsr(struct gen *g, int extension)
{
	asm_rm(&g->a, 4, X_0F | 0xae, extension, gen_arg(0));
}

static void get_flags(struct gen *g, ir_ref r)
{
	int d = gen_def(g, r);
	move_mxcsr(g, STMXCSR);
	asm_load(&g->a, 4, d, gen_arg(0));
	asm_alu_mem(&g->a, 4, ALU_OR, d, HEAD_MEM(fp_flags));
	asm_alu_imm(&g->a, 4, ALU_AND, d, FE_ALL_EXCEPT);
}

/* MXCSR is slow to write: it keeps flags that are among the new ones anyway. */
static void set_flags(struct gen *g, ir_ref r)
{
	int a = gen_use(g, gen_at(g, r)->a), t = gen_temp(g);
	move_mxcsr(g, STMXCSR);
	asm_mov(&g->a, 4, t, a);
	asm_alu_imm(&g->a, 4, ALU_AND, t, FE_ALL_EXCEPT);
	asm_store(&g->a, 4, HEAD_MEM(fp_flags), t);
	asm_not(&g->a, 4, t);
	asm_alu_mem(&g->a, 4, ALU_AND, t, gen_arg(0));
	asm_alu_imm(&g->a, 4, ALU_AND, t, FE_ALL_EXCEPT);
	uint8_t *among = asm_jcc_short(&g->a, CC_E);
	asm_alu_mem_imm(&g->a, 4, ALU_AND, gen_arg(0), ~MXCSR_FLAGS);
	move_mxcsr(g, LDMXCSR);
	asm_fix_short(&g->a, among, g->a.p);
	gen_free_temp(g, t);
}

void gen_fp(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	if (i->op == IR_FFLAGS) {
		get_flags(g, r);
		return;
	}
	if (i->op == IR_FFLAGS_SET) {
		set_flags(g, r);
		return;
	}
	if (!(ir_ops[i->op].flags & IR_FP) && i->op != IR_FCLASS) {
		g->refused = true;
		return;
	}
	if (i->op == IR_FCLASS || !is_inline(i)) {
		by_function(g, r);
		return;
	}
	switch (i->op) {
	case IR_FADD:
		arithmetic(g, r, 0x58, false);
		break;
	case IR_FSUB:
		arithmetic(g, r, 0x5c, false);
		break;
	case IR_FMUL:
		arithmetic(g, r, 0x59, false);
		break;
	case IR_FDIV:
		arithmetic(g, r, 0x5e, false);
		break;
	case IR_FSQRT:
		arithmetic(g, r, 0x51, true);
		break;
	case IR_FMADD:
		fused(g, r, 0xb9);
		break;
	case IR_FMSUB:
		fused(g, r, 0xbb);
		break;
	case IR_FNMADD: /* -(a * b) - c: the host's fnmsub */
		fused(g, r, 0xbf);
		break;
	case IR_FNMSUB: /* -(a * b) + c */
		fused(g, r, 0xbd);
		break;
	case IR_FMIN:
		min_max(g, r, 0x5d);
		break;
	case IR_FMAX:
		min_max(g, r, 0x5f);
		break;
	case IR_FEQ:
	case IR_FLT:
	case IR_FLE:
		compare(g, r);
		break;
	case IR_F2F:
		convert(g, r);
		break;
	case IR_F2I:
		to_int(g, r);
		break;
	case IR_I2F:
		from_int(g, r);
		break;
	default:
		g->refused = true;
	}
}
