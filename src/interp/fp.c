// SPDX-License-Identifier: Apache-2.0
// Floating-point ops on bit patterns. Arithmetic runs on the host's FPU, which is in the guest's
// dynamic rounding mode (isa/fpu.h); an op with a mode of its own changes MXCSR for its duration.
// "Nearest, ties away", which the host has not, and everything rare goes to softfloat.h.
//
// The compiler does not know that MXCSR is an input of arithmetic: PIN() keeps an operand or a
// result on its side of a change.
#include <fenv.h>

#include "interp/code.h"
#include "interp/softfloat.h"
#include "isa/fpu.h"

#define PIN(v) __asm__ volatile("" : "+x"(v))

static unsigned rounding_of(const struct cpu_head *h, unsigned aux)
{
	unsigned rm = aux & IR_RM_MASK;
	return rm == IR_RM_DYNAMIC ? h->fp_rounding : rm;
}

static struct softfloat soft(const struct cpu_head *h, unsigned aux)
{
	return (struct softfloat){.rounding = rounding_of(h, aux), .aux = aux};
}

/* Puts the host in the op's mode; returns what to give to host_end(). */
static unsigned host_begin(const struct cpu_head *h, unsigned aux)
{
	unsigned csr = _mm_getcsr();
	if ((aux & IR_RM_MASK) != IR_RM_DYNAMIC)
		_mm_setcsr((csr & ~(unsigned)FPU_ROUND) | fpu_host_rounding(aux & IR_RM_MASK));
	return csr;
}

static void host_end(unsigned csr, unsigned aux)
{
	if ((aux & IR_RM_MASK) != IR_RM_DYNAMIC)
		_mm_setcsr(csr | (_mm_getcsr() & FPU_FLAGS));
}

static float f32(uint64_t bits)
{
	uint32_t b = (uint32_t)bits;
	float v;
	memcpy(&v, &b, sizeof(v));
	return v;
}
static double f64(uint64_t bits)
{
	double v;
	memcpy(&v, &bits, sizeof(v));
	return v;
}
static uint64_t bits_f32(float v)
{
	uint32_t b;
	memcpy(&b, &v, sizeof(b));
	return b;
}
static uint64_t bits_f64(double v)
{
	uint64_t b;
	memcpy(&b, &v, sizeof(b));
	return b;
}
#define NAN_BITS_32 UINT64_C(0x7fc00000)
#define NAN_BITS_64 UINT64_C(0x7ff8000000000000)

static uint64_t finish(struct cpu_head *h, const struct softfloat *s, uint64_t result)
{
	h->fp_flags |= s->flags;
	return result;
}

/* Defines name_32 and name_64: `host` computes v from x, y, z, `in_soft` from bits with s. */
#define DEFINE_ARITHMETIC(name, bits, type, ctype, attributes, host, in_soft)                      \
	attributes static uint64_t name##_##bits(                                                  \
		struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c)              \
	{                                                                                          \
		const enum ir_type t = type;                                                       \
		if (UNLIKELY(rounding_of(h, aux) == IR_RM_NEAREST_AWAY)) {                         \
			struct softfloat s = soft(h, aux);                                         \
			uint64_t r = in_soft;                                                      \
			return finish(h, &s, r);                                                   \
		}                                                                                  \
		(void)t;                                                                           \
		ctype x = f##bits(a), y = f##bits(b), z = f##bits(c), v;                           \
		unsigned csr = host_begin(h, aux);                                                 \
		PIN(x);                                                                            \
		PIN(y);                                                                            \
		PIN(z);                                                                            \
		v = host;                                                                          \
		PIN(v);                                                                            \
		host_end(csr, aux);                                                                \
		if (UNLIKELY(v != v) && (aux & IR_FP_DEFAULT_NAN))                                 \
			return NAN_BITS_##bits;                                                    \
		return bits_f##bits(v);                                                            \
	}
#define DEFINE_BOTH(name, host, in_soft)                                                           \
	DEFINE_ARITHMETIC(name, 32, IR_F32, float, , host, in_soft)                                \
	DEFINE_ARITHMETIC(name, 64, IR_F64, double, , host, in_soft)

DEFINE_BOTH(fadd, x + y, softfloat_add(&s, t, a, b))
DEFINE_BOTH(fsub, x - y, softfloat_sub(&s, t, a, b))
DEFINE_BOTH(fmul, x *y, softfloat_mul(&s, t, a, b))
DEFINE_BOTH(fdiv, x / y, softfloat_div(&s, t, a, b))

static float sqrt_host_32(float x)
{
	return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
}
static double sqrt_host_64(double x)
{
	__m128d v = _mm_set_sd(x);
	return _mm_cvtsd_f64(_mm_sqrt_sd(v, v));
}
DEFINE_ARITHMETIC(fsqrt, 32, IR_F32, float, , sqrt_host_32(x), softfloat_sqrt(&s, t, a))
DEFINE_ARITHMETIC(fsqrt, 64, IR_F64, double, , sqrt_host_64(x), softfloat_sqrt(&s, t, a))

/* --- fused multiply-add --- */
/* The sign changes that make the four ops of one: of the product, of the addend. */
#define SIGN_32 UINT64_C(0x80000000)
#define SIGN_64 UINT64_C(0x8000000000000000)

static uint64_t fma_soft(
	struct cpu_head *h, enum ir_type t, unsigned aux, uint64_t a, uint64_t b, uint64_t c)
{
	struct softfloat s = soft(h, aux);
	uint64_t r = softfloat_fma(&s, t, a, b, c);
	return finish(h, &s, r);
}

#define DEFINE_FMA_HOST(bits, type, ctype)                                                         \
	__attribute__((target("fma"))) static uint64_t fma_host_##bits(                            \
		struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c)              \
	{                                                                                          \
		if (UNLIKELY(rounding_of(h, aux) == IR_RM_NEAREST_AWAY))                           \
			return fma_soft(h, type, aux, a, b, c);                                    \
		ctype x = f##bits(a), y = f##bits(b), z = f##bits(c), v;                           \
		unsigned csr = host_begin(h, aux);                                                 \
		PIN(x);                                                                            \
		PIN(y);                                                                            \
		PIN(z);                                                                            \
		__asm__ volatile("vfmadd213s" FMA_SUFFIX_##bits " %2, %1, %0"                      \
				 : "=x"(v)                                                         \
				 : "x"(y), "x"(z), "0"(x));                                        \
		host_end(csr, aux);                                                                \
		if (LIKELY(v == v))                                                                \
			return bits_f##bits(v);                                                    \
		/* The host lets infinity * 0 + NaN pass; and for the payload see there. */        \
		return fma_soft(h, type, aux, a, b, c);                                            \
	}
#define FMA_SUFFIX_32 "s"
#define FMA_SUFFIX_64 "d"
DEFINE_FMA_HOST(32, IR_F32, float)
DEFINE_FMA_HOST(64, IR_F64, double)

#define DEFINE_FMA(name, bits, type, product_sign, addend_sign)                                    \
	static uint64_t name##_host_##bits(                                                        \
		struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c)              \
	{                                                                                          \
		return fma_host_##bits(h, aux, a ^ (product_sign), b, c ^ (addend_sign));          \
	}                                                                                          \
	static uint64_t name##_soft_##bits(                                                        \
		struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c)              \
	{                                                                                          \
		return fma_soft(h, type, aux, a ^ (product_sign), b, c ^ (addend_sign));           \
	}
DEFINE_FMA(fmadd, 32, IR_F32, 0, 0)
DEFINE_FMA(fmsub, 32, IR_F32, 0, SIGN_32)
DEFINE_FMA(fnmadd, 32, IR_F32, SIGN_32, SIGN_32)
DEFINE_FMA(fnmsub, 32, IR_F32, SIGN_32, 0)
DEFINE_FMA(fmadd, 64, IR_F64, 0, 0)
DEFINE_FMA(fmsub, 64, IR_F64, 0, SIGN_64)
DEFINE_FMA(fnmadd, 64, IR_F64, SIGN_64, SIGN_64)
DEFINE_FMA(fnmsub, 64, IR_F64, SIGN_64, 0)

/* --- comparisons: integer work, faster than asking the FPU to be quiet --- */
static void raise_invalid(struct cpu_head *h)
{
	h->fp_flags |= FE_INVALID;
}

/* Floats without NaNs compare as sign-magnitude integers; -0 equals +0. */
static int64_t ordered_key(uint64_t bits, uint64_t sign)
{
	uint64_t magnitude = bits & (sign - 1);
	return bits & sign ? -(int64_t)magnitude : (int64_t)magnitude;
}

#define DEFINE_COMPARE(name, bits, type, oper)                                                     \
	static uint64_t name##_##bits(                                                             \
		struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c)              \
	{                                                                                          \
		if (UNLIKELY(softfloat_is_nan(type, a) || softfloat_is_nan(type, b))) {            \
			if ((aux & IR_FP_SIGNALING) || softfloat_is_signaling(type, a) ||          \
				softfloat_is_signaling(type, b))                                   \
				raise_invalid(h);                                                  \
			return 0;                                                                  \
		}                                                                                  \
		return ordered_key(a, SIGN_##bits) oper ordered_key(b, SIGN_##bits);               \
	}
DEFINE_COMPARE(feq, 32, IR_F32, ==)
DEFINE_COMPARE(flt, 32, IR_F32, <)
DEFINE_COMPARE(fle, 32, IR_F32, <=)
DEFINE_COMPARE(feq, 64, IR_F64, ==)
DEFINE_COMPARE(flt, 64, IR_F64, <)
DEFINE_COMPARE(fle, 64, IR_F64, <=)

static uint64_t minmax(
	struct cpu_head *h, enum ir_type t, uint64_t sign, bool max, uint64_t a, uint64_t b)
{
	bool nan_a = softfloat_is_nan(t, a), nan_b = softfloat_is_nan(t, b);
	if (softfloat_is_signaling(t, a) || softfloat_is_signaling(t, b))
		raise_invalid(h);
	if (nan_a && nan_b)
		return softfloat_default_nan(t);
	if (nan_a || nan_b)
		return nan_a ? b : a;
	int64_t ka = ordered_key(a, sign), kb = ordered_key(b, sign);
	bool a_less = ka < kb || (ka == kb && (a & sign)); /* -0 < +0 */
	return a_less != max ? a : b;
}
#define DEFINE_MINMAX(name, bits, type, max)                                                       \
	static uint64_t name##_##bits(                                                             \
		struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c)              \
	{                                                                                          \
		return minmax(h, type, SIGN_##bits, max, a, b);                                    \
	}
DEFINE_MINMAX(fmin, 32, IR_F32, false)
DEFINE_MINMAX(fmax, 32, IR_F32, true)
DEFINE_MINMAX(fmin, 64, IR_F64, false)
DEFINE_MINMAX(fmax, 64, IR_F64, true)

/* --- conversions --- */
static uint64_t f32_to_f64(struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c)
{
	float x = f32(a);
	double v = x;
	if (UNLIKELY(x != x)) {
		struct softfloat s = soft(h, aux);
		uint64_t r = softfloat_convert(&s, IR_F32, IR_F64, a);
		return finish(h, &s, r);
	}
	return bits_f64(v);
}

static uint64_t f64_to_f32(struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c)
{
	double x = f64(a);
	if (UNLIKELY(x != x || rounding_of(h, aux) == IR_RM_NEAREST_AWAY)) {
		struct softfloat s = soft(h, aux);
		uint64_t r = softfloat_convert(&s, IR_F64, IR_F32, a);
		return finish(h, &s, r);
	}
	unsigned csr = host_begin(h, aux);
	PIN(x);
	float v = (float)x;
	PIN(v);
	host_end(csr, aux);
	return bits_f32(v);
}

/* The host converts to signed integers, and out of range gives the smallest one. Everything
 * unsigned above its range, and everything out of range, goes the slow way. */
#define DEFINE_TO_INT(name, type, fbits, ibits, itype, convert, truncate)                          \
	static uint64_t name(struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c) \
	{                                                                                          \
		unsigned rm = aux & IR_RM_MASK;                                                    \
		bool host = rm == IR_RM_ZERO ||                                                    \
			    (rm == IR_RM_DYNAMIC && h->fp_rounding != IR_RM_NEAREST_AWAY);         \
		/* 0 <= x < 2^30: in any range however it is rounded */                            \
		bool small = a < fbits##_2_TO_30;                                                  \
		if (LIKELY(host && (small || !(aux & IR_FP_UNSIGNED)))) {                          \
			itype v = rm == IR_RM_ZERO ? truncate : convert;                           \
			if (LIKELY((u##itype)v != (u##itype)1 << (ibits - 1)))                     \
				return (u##itype)v;                                                \
		}                                                                                  \
		struct softfloat s = soft(h, aux);                                                 \
		uint64_t r = softfloat_to_int(&s, type, ibits, a);                                 \
		return finish(h, &s, r);                                                           \
	}
#define F32_2_TO_30 UINT64_C(0x4e800000)
#define F64_2_TO_30 UINT64_C(0x41d0000000000000)
DEFINE_TO_INT(f32_to_i32, IR_F32, F32, 32, int32_t, _mm_cvtss_si32(_mm_set_ss(f32(a))),
	_mm_cvttss_si32(_mm_set_ss(f32(a))))
DEFINE_TO_INT(f32_to_i64, IR_F32, F32, 64, int64_t, _mm_cvtss_si64(_mm_set_ss(f32(a))),
	_mm_cvttss_si64(_mm_set_ss(f32(a))))
DEFINE_TO_INT(f64_to_i32, IR_F64, F64, 32, int32_t, _mm_cvtsd_si32(_mm_set_sd(f64(a))),
	_mm_cvttsd_si32(_mm_set_sd(f64(a))))
DEFINE_TO_INT(f64_to_i64, IR_F64, F64, 64, int64_t, _mm_cvtsd_si64(_mm_set_sd(f64(a))),
	_mm_cvttsd_si64(_mm_set_sd(f64(a))))

static uint64_t from_int(struct cpu_head *h, unsigned aux, enum ir_type to, int64_t v,
	bool negative, uint64_t magnitude, bool fits)
{
	if (UNLIKELY(!fits || rounding_of(h, aux) == IR_RM_NEAREST_AWAY)) {
		struct softfloat s = soft(h, aux);
		uint64_t r = softfloat_from_int(&s, to, negative, magnitude);
		return finish(h, &s, r);
	}
	unsigned csr = host_begin(h, aux);
	__asm__ volatile("" : "+r"(v));
	uint64_t bits;
	if (to == IR_F32) {
		float x = (float)v;
		PIN(x);
		bits = bits_f32(x);
	} else {
		double x = (double)v;
		PIN(x);
		bits = bits_f64(x);
	}
	host_end(csr, aux);
	return bits;
}

static uint64_t from_i64(struct cpu_head *h, unsigned aux, enum ir_type to, uint64_t a)
{
	bool negative = !(aux & IR_FP_UNSIGNED) && (int64_t)a < 0;
	bool fits = !(aux & IR_FP_UNSIGNED) || (int64_t)a >= 0;
	return from_int(h, aux, to, (int64_t)a, negative, negative ? 0 - a : a, fits);
}

/* An int of 32 bits is exact as one of 64. */
static uint64_t widen(unsigned aux, uint64_t a)
{
	return aux & IR_FP_UNSIGNED ? (uint32_t)a : (uint64_t)(int64_t)(int32_t)a;
}
#define DEFINE_FROM_INT(name, to, value)                                                           \
	static uint64_t name(struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c) \
	{                                                                                          \
		return from_i64(h, aux, to, value);                                                \
	}
DEFINE_FROM_INT(i32_to_f32, IR_F32, widen(aux, a))
DEFINE_FROM_INT(i32_to_f64, IR_F64, widen(aux, a))
DEFINE_FROM_INT(i64_to_f32, IR_F32, a)
DEFINE_FROM_INT(i64_to_f64, IR_F64, a)

/* The mask of RISC-V's FCLASS: -inf, -normal, -subnormal, -0, +0, +subnormal, +normal, +inf, sNaN,
 * qNaN. */
static uint64_t classify(enum ir_type t, uint64_t a, uint64_t sign, uint64_t smallest_normal)
{
	uint64_t magnitude = a & (sign - 1);
	uint64_t inf = softfloat_default_nan(t) & ~(smallest_normal >> 1);
	if (magnitude > inf)
		return softfloat_is_signaling(t, a) ? 1 << 8 : 1 << 9;
	unsigned kind = magnitude == 0		      ? 0
			: magnitude < smallest_normal ? 1
			: magnitude < inf	      ? 2
						      : 3;
	return UINT64_C(1) << (a & sign ? 3 - kind : 4 + kind);
}
static uint64_t fclass_32(struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c)
{
	return classify(IR_F32, a & UINT32_MAX, SIGN_32, UINT64_C(1) << 23);
}
static uint64_t fclass_64(struct cpu_head *h, unsigned aux, uint64_t a, uint64_t b, uint64_t c)
{
	return classify(IR_F64, a, SIGN_64, UINT64_C(1) << 52);
}

static interp_fp_fn *conversion(enum ir_op op, enum ir_type from, enum ir_type to)
{
	if (op == IR_F2F)
		return from == IR_F32 ? f32_to_f64 : f64_to_f32;
	if (op == IR_F2I && from == IR_F32)
		return to == IR_I32 ? f32_to_i32 : f32_to_i64;
	if (op == IR_F2I)
		return to == IR_I32 ? f64_to_i32 : f64_to_i64;
	if (from == IR_I32)
		return to == IR_F32 ? i32_to_f32 : i32_to_f64;
	return to == IR_F32 ? i64_to_f32 : i64_to_f64;
}

interp_fp_fn *interp_fp(enum ir_op op, enum ir_type from, enum ir_type to)
{
	bool fma = __builtin_cpu_supports("fma"), d = from == IR_F64;
#define PICK(name)  (d ? name##_64 : name##_32)
#define PICK_FMA(n) (fma ? PICK(n##_host) : PICK(n##_soft))
	switch (op) {
	case IR_FADD:
		return PICK(fadd);
	case IR_FSUB:
		return PICK(fsub);
	case IR_FMUL:
		return PICK(fmul);
	case IR_FDIV:
		return PICK(fdiv);
	case IR_FSQRT:
		return PICK(fsqrt);
	case IR_FMADD:
		return PICK_FMA(fmadd);
	case IR_FMSUB:
		return PICK_FMA(fmsub);
	case IR_FNMADD:
		return PICK_FMA(fnmadd);
	case IR_FNMSUB:
		return PICK_FMA(fnmsub);
	case IR_FMIN:
		return PICK(fmin);
	case IR_FMAX:
		return PICK(fmax);
	case IR_FEQ:
		return PICK(feq);
	case IR_FLT:
		return PICK(flt);
	case IR_FLE:
		return PICK(fle);
	case IR_FCLASS:
		return PICK(fclass);
	default:
		return conversion(op, from, to);
	}
}
