// SPDX-License-Identifier: Apache-2.0
// Floating-point ops: results and flags of fp.c and of softfloat.c against the host's C arithmetic
// in each rounding mode; the mode that the host has not against exact arithmetic in a wider type
// and against a table worked out by hand.
#include <fenv.h>
#include <math.h>

#include "interp/code.h"
#include "interp/softfloat.h"
#include "isa/fpu.h"
#include "tap.h"

static const struct {
	unsigned ir;
	int fe;
} modes[] = {{IR_RM_NEAREST_EVEN, FE_TONEAREST}, {IR_RM_ZERO, FE_TOWARDZERO},
	{IR_RM_DOWN, FE_DOWNWARD}, {IR_RM_UP, FE_UPWARD}};

enum { FLAGS = FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INEXACT };

static uint64_t seed = 88172645463325252;
static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static const uint64_t special_64[] = {0, UINT64_C(1) << 63, 1, UINT64_C(0x8000000000000001),
	0x000fffffffffffff, 0x0010000000000000, 0x0010000000000001, 0x3ff0000000000000,
	0xbff0000000000000, 0x3ff0000000000001, 0x3fefffffffffffff, 0x4000000000000000,
	0x3fe0000000000000, 0xbfe0000000000000, 0x4008000000000000, 0x7fefffffffffffff,
	0xffefffffffffffff, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000,
	0xfff8000000000001, 0x7ff0000000000001, 0xfff4000000000000, 0x41dfffffffc00000,
	0x41e0000000000000, 0xc1e0000000000000, 0xc1e0000000100000, 0x41efffffffe00000,
	0x41f0000000000000, 0x43e0000000000000, 0xc3e0000000000000, 0x43efffffffffffff,
	0x43f0000000000000, 0x3ff8000000000000, 0x4004000000000000, 0xc004000000000000,
	0x36a0000000000000, 0x369fffffffffffff, 0x380fffffffffffff, 0x380ffffff0000000,
	0x47efffffefffffff, 0x47effffff0000000, 0x1e60000000000000, 0x7fe0000000000000};
static const uint64_t special_32[] = {0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000,
	0x00800001, 0x3f800000, 0xbf800000, 0x3f800001, 0x3f7fffff, 0x40000000, 0x3f000000,
	0xbf000000, 0x40400000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000,
	0xffc00001, 0x7f800001, 0xffa00000, 0x4effffff, 0x4f000000, 0xcf000000, 0xcf000001,
	0x4f7fffff, 0x4f800000, 0x5f000000, 0xdf000000, 0x5f7fffff, 0x5f800000, 0x3fc00000,
	0x40200000, 0xc0200000, 0x20000000, 0x7f000000};

/* n-th value of a type: specials, then random ones with exponents that meet. */
static uint64_t value(enum ir_type t, unsigned n)
{
	if (t == IR_F64) {
		if (n < ARRAY_SIZE(special_64))
			return special_64[n];
		uint64_t v = rnd();
		switch (n % 4) {
		case 0:
			return v;
		case 1:
			return (v & ~(UINT64_C(0x7ff) << 52)) | (1000 + v % 40) << 52;
		case 2:
			return (v & UINT64_C(0x800fffffffffffff)) >> (v % 52) |
			       (v & UINT64_C(1) << 63);
		default:
			return (v & UINT64_C(0xffffffff00000000)) | (uint64_t)0;
		}
	}
	if (n < ARRAY_SIZE(special_32))
		return special_32[n];
	uint64_t v = rnd() >> 32;
	switch (n % 4) {
	case 0:
		return v;
	case 1:
		return (v & 0x807fffff) | (110 + v % 40) << 23;
	case 2:
		return (v & 0x7fffff) >> (v % 23) | (v & 0x80000000);
	default:
		return v & 0xfffff000;
	}
}
enum { VALUES = 120 };

static double f64(uint64_t b)
{
	double v;
	memcpy(&v, &b, 8);
	return v;
}
static float f32(uint64_t b)
{
	uint32_t w = (uint32_t)b;
	float v;
	memcpy(&v, &w, 4);
	return v;
}
static uint64_t bits64(double v)
{
	uint64_t b;
	memcpy(&b, &v, 8);
	return v != v ? UINT64_C(0x7ff8000000000000) : b;
}
static uint64_t bits32(float v)
{
	uint32_t b;
	memcpy(&b, &v, 4);
	return v != v ? 0x7fc00000 : b;
}

/* C's own arithmetic, in the mode that is set; volatile keeps it at run time and in place. */
static uint64_t host_op(enum ir_op op, enum ir_type t, uint64_t a, uint64_t b, uint64_t c)
{
#define COMPUTE(ctype, get, put, root, fused)                                                      \
	{                                                                                          \
		volatile ctype x = get(a), y = get(b), z = get(c), r = 0;                          \
		switch (op) {                                                                      \
		case IR_FADD:                                                                      \
			r = x + y;                                                                 \
			break;                                                                     \
		case IR_FSUB:                                                                      \
			r = x - y;                                                                 \
			break;                                                                     \
		case IR_FMUL:                                                                      \
			r = x * y;                                                                 \
			break;                                                                     \
		case IR_FDIV:                                                                      \
			r = x / y;                                                                 \
			break;                                                                     \
		case IR_FSQRT:                                                                     \
			r = root(x);                                                               \
			break;                                                                     \
		case IR_FMADD:                                                                     \
			r = fused(x, y, z);                                                        \
			break;                                                                     \
		case IR_FMSUB:                                                                     \
			r = fused(x, y, -z);                                                       \
			break;                                                                     \
		case IR_FNMADD:                                                                    \
			r = fused(-x, y, -z);                                                      \
			break;                                                                     \
		default:                                                                           \
			r = fused(-x, y, z);                                                       \
			break;                                                                     \
		}                                                                                  \
		return put(r);                                                                     \
	}
	if (t == IR_F64)
		COMPUTE(double, f64, bits64, sqrt, fma)
	COMPUTE(float, f32, bits32, sqrtf, fmaf)
}

static bool is_zero(enum ir_type t, uint64_t a)
{
	return !(t == IR_F64 ? a << 1 : (uint32_t)(a << 1));
}
static bool is_inf(enum ir_type t, uint64_t a)
{
	return t == IR_F64 ? a << 1 == UINT64_C(0x7ff) << 53 : (uint32_t)(a << 1) == 0xff000000;
}

static unsigned failures;
static void expect(const char *what, unsigned mode, uint64_t a, uint64_t b, uint64_t c,
	uint64_t got, unsigned got_flags, uint64_t want, unsigned want_flags)
{
	if (got == want && got_flags == want_flags)
		return;
	if (failures++ < 10)
		TAP_FAIL_("%s mode %u (%" PRIx64 ", %" PRIx64 ", %" PRIx64 "): %" PRIx64
			  " flags %x, expected %" PRIx64 " flags %x",
			what, mode, a, b, c, got, got_flags, want, want_flags);
}

/* Through fp.c, as an executor does it. */
static uint64_t run_op(enum ir_op op, enum ir_type from, enum ir_type to, unsigned dynamic,
	unsigned aux, uint64_t a, uint64_t b, uint64_t c, unsigned *flags)
{
	static struct cpu_head h;
	h.fp_rounding = dynamic;
	h.fp_flags = 0;
	fpu_enter(&h);
	uint64_t r = interp_fp(op, from, to)(&h, aux, a, b, c);
	fpu_leave(&h);
	*flags = h.fp_flags & FLAGS;
	return r & (ir_type_bytes(to) == 4 ? UINT32_MAX : UINT64_MAX);
}

static uint64_t soft_op(
	struct softfloat *s, enum ir_op op, enum ir_type t, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t sign = t == IR_F64 ? UINT64_C(1) << 63 : 1u << 31;
	switch (op) {
	case IR_FADD:
		return softfloat_add(s, t, a, b);
	case IR_FSUB:
		return softfloat_sub(s, t, a, b);
	case IR_FMUL:
		return softfloat_mul(s, t, a, b);
	case IR_FDIV:
		return softfloat_div(s, t, a, b);
	case IR_FSQRT:
		return softfloat_sqrt(s, t, a);
	case IR_FMADD:
		return softfloat_fma(s, t, a, b, c);
	case IR_FMSUB:
		return softfloat_fma(s, t, a, b, c ^ sign);
	case IR_FNMADD:
		return softfloat_fma(s, t, a ^ sign, b, c ^ sign);
	default:
		return softfloat_fma(s, t, a ^ sign, b, c);
	}
}

static void one_arithmetic(
	enum ir_op op, enum ir_type t, unsigned m, uint64_t a, uint64_t b, uint64_t c)
{
	const char *name = ir_ops[op].name;
	unsigned flags;
	fesetround(modes[m].fe);
	feclearexcept(FE_ALL_EXCEPT);
	uint64_t want = host_op(op, t, a, b, c);
	unsigned want_flags = (unsigned)fetestexcept(FLAGS);
	fesetround(FE_TONEAREST);
	/* The host does not call infinity * 0 + quiet NaN invalid; IR does. */
	if (op >= IR_FMADD && ((is_inf(t, a) && is_zero(t, b)) || (is_zero(t, a) && is_inf(t, b))))
		want_flags |= FE_INVALID;

	uint64_t got =
		run_op(op, t, t, modes[m].ir, IR_RM_DYNAMIC | IR_FP_DEFAULT_NAN, a, b, c, &flags);
	expect(name, m, a, b, c, got, flags, want, want_flags);
	got = run_op(
		op, t, t, modes[(m + 1) % 4].ir, modes[m].ir | IR_FP_DEFAULT_NAN, a, b, c, &flags);
	expect(name, m + 10, a, b, c, got, flags, want, want_flags);
	struct softfloat s = {.rounding = modes[m].ir, .aux = IR_FP_DEFAULT_NAN};
	got = soft_op(&s, op, t, a, b, c);
	expect(name, m + 100, a, b, c, got, s.flags, want, want_flags);
}

static void arithmetic(void)
{
	failures = 0;
	for (enum ir_type t = IR_F32; t <= IR_F64; t++)
		for (enum ir_op op = IR_FADD; op <= IR_FNMSUB; op++)
			for (unsigned m = 0; m < 4; m++)
				for (unsigned i = 0; i < VALUES; i++)
					for (unsigned j = 0; j < VALUES; j++) {
						uint64_t c = value(t, (unsigned)(rnd() % VALUES));
						one_arithmetic(
							op, t, m, value(t, i), value(t, j), c);
						if (op == IR_FSQRT)
							break;
					}
	CHECK_EQ(failures, 0u);
}

/* Nearest, ties away: exact in 113 bits, then decided by comparing distances. Operands are chosen
 * so that the exact result fits. */
static double away_64(__float128 exact)
{
	fesetround(FE_TOWARDZERO);
	volatile double low = (double)exact; /* libgcc rounds as the FPU's mode says */
	fesetround(FE_TONEAREST);
	double v = low;
	if ((__float128)v == exact)
		return v;
	double high = nextafter(v, exact < 0 ? -INFINITY : INFINITY);
	__float128 down = exact - v, up = (__float128)high - exact;
	if (exact < 0) {
		down = -down;
		up = -up;
	}
	return up <= down ? high : v;
}
static float away_32(__float128 exact)
{
	fesetround(FE_TOWARDZERO);
	volatile float low = (float)exact;
	fesetround(FE_TONEAREST);
	float v = low;
	if ((__float128)v == exact)
		return v;
	float high = nextafterf(v, exact < 0 ? -INFINITY : INFINITY);
	__float128 down = exact - v, up = (__float128)high - exact;
	if (exact < 0) {
		down = -down;
		up = -up;
	}
	return up <= down ? high : v;
}

static uint64_t near_one(enum ir_type t)
{
	uint64_t v = rnd(), cut = rnd() % 4 ? rnd() % 50 : 0;
	/* Trailing zeros make ties likely. */
	if (t == IR_F64)
		return ((v & UINT64_C(0x800fffffffffffff)) >> cut << cut) | (1017 + rnd() % 12)
										    << 52;
	v &= 0x807fffff;
	cut %= 23;
	return (v >> cut << cut & 0xffffffff) | (121 + rnd() % 12) << 23;
}

static void ties_away(void)
{
	failures = 0;
	unsigned aux = IR_RM_DYNAMIC | IR_FP_DEFAULT_NAN, flags;
	for (unsigned n = 0; n < 60000; n++) {
		enum ir_type t = n & 1 ? IR_F64 : IR_F32;
		uint64_t a = near_one(t), b = near_one(t), c = near_one(t), want[4];
		__float128 x = t == IR_F64 ? (__float128)f64(a) : (__float128)f32(a);
		__float128 y = t == IR_F64 ? (__float128)f64(b) : (__float128)f32(b);
		__float128 z = t == IR_F64 ? (__float128)f64(c) : (__float128)f32(c);
		/* The product of two doubles leaves no room to add: fma only in F32. */
		const __float128 exact[4] = {x + y, x - y, x * y, x * y + z};
		const enum ir_op ops[4] = {IR_FADD, IR_FSUB, IR_FMUL, IR_FMADD};
		for (unsigned k = 0; k < (t == IR_F32 ? 4u : 3u); k++) {
			want[k] =
				t == IR_F64 ? bits64(away_64(exact[k])) : bits32(away_32(exact[k]));
			uint64_t got =
				run_op(ops[k], t, t, IR_RM_NEAREST_AWAY, aux, a, b, c, &flags);
			__float128 back =
				t == IR_F64 ? (__float128)f64(want[k]) : (__float128)f32(want[k]);
			expect(ir_ops[ops[k]].name, 4, a, b, c, got, flags, want[k],
				back == exact[k] ? 0 : FE_INEXACT);
		}
	}
	CHECK_EQ(failures, 0u);
}

struct away_case {
	enum ir_op op;
	enum ir_type from, to;
	unsigned aux;
	uint64_t a, b, want;
	unsigned flags;
};
static void ties_away_by_hand(void)
{
	static const struct away_case cases[] = {
		/* 1 + 2^-53 is half way: up; even would give 1 */
		{IR_FADD, IR_F64, IR_F64, 0, 0x3ff0000000000000, 0x3ca0000000000000,
			0x3ff0000000000001, FE_INEXACT},
		{IR_FADD, IR_F64, IR_F64, 0, 0xbff0000000000000, 0xbca0000000000000,
			0xbff0000000000001, FE_INEXACT},
		/* just below half way: down */
		{IR_FADD, IR_F64, IR_F64, 0, 0x3ff0000000000000, 0x3c9fffffffffffff,
			0x3ff0000000000000, FE_INEXACT},
		/* the largest number and half an ulp: infinity */
		{IR_FADD, IR_F64, IR_F64, 0, 0x7fefffffffffffff, 0x7c90000000000000,
			0x7ff0000000000000, FE_OVERFLOW | FE_INEXACT},
		/* the smallest subnormal halved: away from zero, tiny */
		{IR_FMUL, IR_F64, IR_F64, 0, 1, 0x3fe0000000000000, 1, FE_UNDERFLOW | FE_INEXACT},
		{IR_FDIV, IR_F64, IR_F64, 0, 1, 0x4000000000000000, 1, FE_UNDERFLOW | FE_INEXACT},
		{IR_FDIV, IR_F32, IR_F32, 0, 3, 0x40000000, 2, FE_UNDERFLOW | FE_INEXACT},
		{IR_FSUB, IR_F32, IR_F32, 0, 0x3f800000, 0x3f800000, 0, 0}, /* +0, not -0 */
		{IR_FSQRT, IR_F64, IR_F64, 0, 0x4000000000000000, 0, 0x3ff6a09e667f3bcd,
			FE_INEXACT},
		{IR_F2F, IR_F64, IR_F32, 0, 0x3ff0000010000000, 0, 0x3f800001, FE_INEXACT},
		{IR_F2I, IR_F64, IR_I32, IR_FP_SATURATE, 0x4004000000000000, 0, 3,
			FE_INEXACT}, /* 2.5 */
		{IR_F2I, IR_F64, IR_I32, IR_FP_SATURATE, 0xc004000000000000, 0, 0xfffffffd,
			FE_INEXACT},							/* -2.5 */
		{IR_F2I, IR_F32, IR_I64, IR_FP_SATURATE, 0x3f000000, 0, 1, FE_INEXACT}, /* 0.5 */
		{IR_F2I, IR_F32, IR_I64, IR_FP_SATURATE, 0x3effffff, 0, 0, FE_INEXACT},
		{IR_F2I, IR_F64, IR_I32, IR_FP_SATURATE | IR_FP_UNSIGNED, 0xbfe0000000000000, 0, 0,
			FE_INVALID}, /* -0.5: -1 */
		{IR_I2F, IR_I64, IR_F64, 0, 0x20000000000001, 0, 0x4340000000000001,
			FE_INEXACT}, /* 2^53 + 1 */
		{IR_I2F, IR_I32, IR_F32, 0, 0x01000001, 0, 0x4b800001, FE_INEXACT},
	};
	failures = 0;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		const struct away_case *c = &cases[n];
		unsigned flags;
		for (unsigned is_static = 0; is_static < 2; is_static++) {
			uint64_t got = run_op(c->op, c->from, c->to,
				is_static ? IR_RM_ZERO : IR_RM_NEAREST_AWAY,
				c->aux | IR_FP_DEFAULT_NAN |
					(is_static ? IR_RM_NEAREST_AWAY : IR_RM_DYNAMIC),
				c->a, c->b, 0, &flags);
			expect(ir_ops[c->op].name, n, c->a, c->b, 0, got, flags, c->want, c->flags);
		}
	}
	CHECK_EQ(failures, 0u);
}

/* C's conversion after rint() says the value; range and flags by comparing in wider arithmetic. */
static void to_int(void)
{
	failures = 0;
	for (unsigned n = 0; n < 40000; n++) {
		enum ir_type from = n & 1 ? IR_F64 : IR_F32, to = n & 2 ? IR_I64 : IR_I32;
		unsigned is_unsigned = n & 4 ? IR_FP_UNSIGNED : 0, m = (n >> 3) & 3,
			 bits = to == IR_I64 ? 64 : 32;
		uint64_t a = value(from, n < 4000 ? (n >> 5) : n);
		if (n % 3 == 0 && n >= 4000) /* near the ranges' ends */
			a = from == IR_F64
				    ? (a & UINT64_C(0x800fffffffffffff)) | (1023 - 2 + a % 70) << 52
				    : (a & 0x807fffff) | (127 - 2 + a % 70) << 23;
		double x = from == IR_F64 ? f64(a) : (double)f32(a);
		fesetround(modes[m].fe);
		double (*volatile in_this_mode)(double) = rint; /* not the compiler's inline one */
		volatile double v = x, rounded = in_this_mode(v);
		fesetround(FE_TONEAREST);
		long double r = rounded, low = is_unsigned ? 0 : -ldexpl(1, (int)bits - 1);
		long double high = ldexpl(1, (int)bits - !is_unsigned) - 1;
		uint64_t want, all = UINT64_MAX >> (64 - bits);
		unsigned want_flags = 0, flags;
		if (x != x || r > high || r < low) {
			bool max = x != x || r > 0;
			want = is_unsigned ? (max ? all : 0) : max ? all >> 1 : (all >> 1) + 1;
			want_flags = FE_INVALID;
		} else {
			want = r < 0 ? 0 - (uint64_t)(-r) : (uint64_t)r;
			want_flags = rounded != x ? FE_INEXACT : 0;
		}
		want &= all;
		unsigned aux = is_unsigned | IR_FP_SATURATE | IR_FP_DEFAULT_NAN;
		uint64_t got =
			run_op(IR_F2I, from, to, modes[m].ir, aux | IR_RM_DYNAMIC, a, 0, 0, &flags);
		expect("f2i", m, a, to, is_unsigned, got, flags, want, want_flags);
		got = run_op(IR_F2I, from, to, IR_RM_UP, aux | modes[m].ir, a, 0, 0, &flags);
		expect("f2i static", m, a, to, is_unsigned, got, flags, want, want_flags);
	}
	CHECK_EQ(failures, 0u);
}

static void from_int_and_between(void)
{
	failures = 0;
	for (unsigned n = 0; n < 20000; n++) {
		unsigned m = n & 3, flags;
		uint64_t a = rnd() >> (rnd() % 64);
		if (n % 5 == 0)
			a = 0 - a;
		unsigned aux = IR_RM_DYNAMIC | IR_FP_DEFAULT_NAN;
		uint64_t want[10];
		unsigned want_flags[10];
		volatile int64_t s64 = (int64_t)a;
		volatile uint64_t u64 = a;
		volatile int32_t s32 = (int32_t)a;
		volatile uint32_t u32 = (uint32_t)a;
		uint64_t d = value(IR_F64, n % 400), f = value(IR_F32, n % 400);
		volatile double vd = f64(d);
		volatile float vf = f32(f);
		fesetround(modes[m].fe);
#define WANT(k, put, ctype, expr)                                                                  \
	do {                                                                                       \
		feclearexcept(FE_ALL_EXCEPT);                                                      \
		volatile ctype r_ = (ctype)(expr);                                                 \
		want_flags[k] = (unsigned)fetestexcept(FLAGS);                                     \
		want[k] = put(r_);                                                                 \
	} while (0)
		WANT(0, bits64, double, s64);
		WANT(1, bits32, float, s64);
		WANT(2, bits64, double, u64);
		WANT(3, bits32, float, u64);
		WANT(4, bits64, double, s32);
		WANT(5, bits32, float, s32);
		WANT(6, bits64, double, u32);
		WANT(7, bits32, float, u32);
		WANT(8, bits32, float, vd);
		WANT(9, bits64, double, vf);
		fesetround(FE_TONEAREST);
		for (unsigned k = 0; k < 10; k++) {
			enum ir_type to = k < 8	   ? (k & 1 ? IR_F32 : IR_F64)
					  : k == 8 ? IR_F32
						   : IR_F64;
			enum ir_type from = k < 4    ? IR_I64
					    : k < 8  ? IR_I32
					    : k == 8 ? IR_F64
						     : IR_F32;
			unsigned more = k < 8 && (k & 2) ? IR_FP_UNSIGNED : 0;
			uint64_t arg = k < 8 ? a : k == 8 ? d : f;
			uint64_t got = run_op(k < 8 ? IR_I2F : IR_F2F, from, to, modes[m].ir,
				aux | more, arg, 0, 0, &flags);
			/* C's own conversion of a large unsigned number rounds in two steps in
			 * GCC's code: compare with the 80-bit format, which holds it exactly. */
			if ((k == 2 || k == 3) && (int64_t)a < 0) {
				fesetround(modes[m].fe);
				volatile long double l = (long double)a;
				if (k == 2)
					WANT(2, bits64, double, l);
				else
					WANT(3, bits32, float, l);
				fesetround(FE_TONEAREST);
			}
			expect("convert", k, arg, m, 0, got, flags, want[k], want_flags[k]);
		}
	}
	CHECK_EQ(failures, 0u);
}

static void comparisons(void)
{
	failures = 0;
	for (enum ir_type t = IR_F32; t <= IR_F64; t++)
		for (unsigned i = 0; i < VALUES; i++)
			for (unsigned j = 0; j < VALUES; j++) {
				uint64_t a = value(t, i), b = value(t, j);
				double x = t == IR_F64 ? f64(a) : (double)f32(a);
				double y = t == IR_F64 ? f64(b) : (double)f32(b);
				uint64_t got;
				bool nan = isunordered(x, y), snan;
				uint64_t quiet = t == IR_F64 ? UINT64_C(1) << 51 : 1u << 22;
				snan = (x != x && !(a & quiet)) || (y != y && !(b & quiet));
				unsigned flags, nv = snan ? FE_INVALID : 0,
						snv = nan ? FE_INVALID : 0;
				uint64_t nan_bits =
					t == IR_F64 ? UINT64_C(0x7ff8000000000000) : 0x7fc00000;
				got = run_op(IR_FEQ, t, IR_I64, 0, 0, a, b, 0, &flags);
				expect("feq", 0, a, b, 0, got, flags, x == y, nv);
				got = run_op(
					IR_FLT, t, IR_I64, 0, IR_FP_SIGNALING, a, b, 0, &flags);
				expect("flt", 0, a, b, 0, got, flags, isless(x, y), snv);
				got = run_op(IR_FLE, t, IR_I64, 0, 0, a, b, 0, &flags);
				expect("fle", 0, a, b, 0, got, flags, islessequal(x, y), nv);
				bool a_first = x < y || (x == y && signbit(x));
				uint64_t min = x != x		   ? (y != y ? nan_bits : b)
					       : y != y || a_first ? a
								   : b;
				uint64_t max = x != x		    ? (y != y ? nan_bits : b)
					       : y != y || !a_first ? a
								    : b;
				got = run_op(IR_FMIN, t, t, 0, IR_FP_DEFAULT_NAN, a, b, 0, &flags);
				expect("fmin", 0, a, b, 0, got, flags, min, nv);
				got = run_op(IR_FMAX, t, t, 0, IR_FP_DEFAULT_NAN, a, b, 0, &flags);
				expect("fmax", 0, a, b, 0, got, flags, max, nv);
			}
	CHECK_EQ(failures, 0u);
}

static void classes(void)
{
	static const struct {
		enum ir_type t;
		uint64_t bits;
		unsigned bit;
	} cases[] = {{IR_F64, 0xfff0000000000000, 0}, {IR_F64, 0xbff0000000000000, 1},
		{IR_F64, 0x8000000000000001, 2}, {IR_F64, 0x8000000000000000, 3}, {IR_F64, 0, 4},
		{IR_F64, 0x000fffffffffffff, 5}, {IR_F64, 0x0010000000000000, 6},
		{IR_F64, 0x7ff0000000000000, 7}, {IR_F64, 0x7ff0000000000001, 8},
		{IR_F64, 0xfff8000000000000, 9}, {IR_F32, 0xff800000, 0}, {IR_F32, 0xff7fffff, 1},
		{IR_F32, 0x807fffff, 2}, {IR_F32, 0x80000000, 3}, {IR_F32, 0, 4}, {IR_F32, 1, 5},
		{IR_F32, 0x00800000, 6}, {IR_F32, 0x7f800000, 7}, {IR_F32, 0x7fbfffff, 8},
		{IR_F32, 0x7fc00000, 9}};
	unsigned flags;
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		CHECK_EQ(run_op(IR_FCLASS, cases[n].t, IR_I64, 0, 0, cases[n].bits, 0, 0, &flags),
			UINT64_C(1) << cases[n].bit);
		CHECK_EQ(flags, 0u);
	}
}

int main(void)
{
	RUN(arithmetic);
	RUN(ties_away);
	RUN(ties_away_by_hand);
	RUN(to_int);
	RUN(from_int_and_between);
	RUN(comparisons);
	RUN(classes);
	return tap_done();
}
