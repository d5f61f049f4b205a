// SPDX-License-Identifier: Apache-2.0
#include "interp/softfloat.h"

#include <fenv.h>

typedef unsigned __int128 u128;

struct format {
	int precision; /* significand bits, the hidden one included */
	int bias;      /* also the largest exponent */
	unsigned bits;
};

static const struct format formats[] = {[IR_F32] = {24, 127, 32}, [IR_F64] = {53, 1023, 64}};

enum class { ZERO, FINITE, INFINITE, NAN_ };

/* FINITE: sig * 2^exp, sig not 0. */
struct number {
	enum class class;
	bool negative;
	int exp;
	u128 sig;
};

static uint64_t sign_bit(enum ir_type t)
{
	return UINT64_C(1) << (formats[t].bits - 1);
}

static uint64_t infinity(enum ir_type t)
{
	const struct format *f = &formats[t];
	return (uint64_t)(2 * f->bias + 1) << (f->precision - 1);
}

static uint64_t quiet_bit(enum ir_type t)
{
	return UINT64_C(1) << (formats[t].precision - 2);
}

bool softfloat_is_nan(enum ir_type t, uint64_t a)
{
	return (a & (sign_bit(t) - 1)) > infinity(t);
}

bool softfloat_is_signaling(enum ir_type t, uint64_t a)
{
	return softfloat_is_nan(t, a) && !(a & quiet_bit(t));
}

uint64_t softfloat_default_nan(enum ir_type t)
{
	return infinity(t) | quiet_bit(t);
}

static struct number unpack(enum ir_type t, uint64_t a)
{
	const struct format *f = &formats[t];
	struct number n = {.negative = a & sign_bit(t)};
	uint64_t magnitude = a & (sign_bit(t) - 1);
	int field = (int)(magnitude >> (f->precision - 1));
	uint64_t fraction = magnitude & ((UINT64_C(1) << (f->precision - 1)) - 1);
	if (!magnitude) {
		n.class = ZERO;
	} else if (magnitude >= infinity(t)) {
		n.class = magnitude == infinity(t) ? INFINITE : NAN_;
	} else {
		n.class = FINITE;
		n.sig = field ? fraction | UINT64_C(1) << (f->precision - 1) : fraction;
		n.exp = (field ? field : 1) - f->bias - (f->precision - 1);
	}
	return n;
}

static int top_bit(u128 v)
{
	uint64_t high = (uint64_t)(v >> 64);
	return high ? 127 - __builtin_clzll(high) : 63 - __builtin_clzll((uint64_t)v);
}

/* v >> n; bits that fall out stay visible in bit 0. */
static u128 shift_right_jam(u128 v, int n)
{
	if (n <= 0)
		return v;
	if (n > 127)
		return v != 0;
	return v >> n | ((v & (((u128)1 << n) - 1)) != 0);
}

/* Is the magnitude q, followed by `rest` of `one` (a power of two), rounded up? */
static bool rounds_up(unsigned mode, bool negative, bool odd, u128 rest, u128 one)
{
	switch (mode) {
	case IR_RM_NEAREST_EVEN:
		return rest > one / 2 || (rest == one / 2 && odd);
	case IR_RM_NEAREST_AWAY:
		return rest >= one / 2;
	case IR_RM_DOWN:
		return rest && negative;
	case IR_RM_UP:
		return rest && !negative;
	default:
		return false;
	}
}

static uint64_t overflow(struct softfloat *s, enum ir_type t, bool negative)
{
	s->flags |= FE_OVERFLOW | FE_INEXACT;
	bool to_infinity = s->rounding == IR_RM_NEAREST_EVEN || s->rounding == IR_RM_NEAREST_AWAY ||
			   s->rounding == (negative ? IR_RM_DOWN : IR_RM_UP);
	return (negative ? sign_bit(t) : 0) | (infinity(t) - !to_infinity);
}

/* Rounds sig * 2^exp (bit 0 may be a jam bit; sig not 0) to the format. */
static uint64_t round_pack(struct softfloat *s, enum ir_type t, bool negative, int exp, u128 sig)
{
	const struct format *f = &formats[t];
	int shift = 125 - top_bit(sig); /* normalise: the leading bit at 125 */
	sig = shift >= 0 ? sig << shift : shift_right_jam(sig, -shift);
	int e = exp - shift + 125; /* of the leading bit */
	int emin = 1 - f->bias, drop = 126 - f->precision;
	bool tiny = false;
	if (e < emin) {
		u128 one = (u128)1 << drop;
		bool carries =
			rounds_up(s->rounding, negative, sig >> drop & 1, sig & (one - 1), one) &&
			(sig >> drop) + 1 == (u128)1 << f->precision;
		tiny = e < emin - 1 || !carries;
		sig = shift_right_jam(sig, emin - e);
		e = emin;
	}
	u128 one = (u128)1 << drop, rest = sig & (one - 1);
	uint64_t q = (uint64_t)(sig >> drop);
	q += rounds_up(s->rounding, negative, q & 1, rest, one);
	/* The hidden bit adds one to the exponent field; a carry adds another; a subnormal has
	 * none. */
	uint64_t magnitude = ((uint64_t)(e - emin) << (f->precision - 1)) + q;
	if (magnitude >= infinity(t))
		return overflow(s, t, negative);
	if (rest)
		s->flags |= FE_INEXACT | (tiny ? FE_UNDERFLOW : 0);
	return (negative ? sign_bit(t) : 0) | magnitude;
}

static uint64_t pack_special(enum ir_type t, enum class class, bool negative)
{
	return (negative ? sign_bit(t) : 0) | (class == INFINITE ? infinity(t) : 0);
}

static uint64_t invalid(struct softfloat *s, enum ir_type t)
{
	s->flags |= FE_INVALID;
	return softfloat_default_nan(t);
}

/* The result when an argument is a NaN. Pass an argument twice when there are fewer. */
static uint64_t nan_result(struct softfloat *s, enum ir_type t, uint64_t a, uint64_t b, uint64_t c)
{
	if (softfloat_is_signaling(t, a) || softfloat_is_signaling(t, b) ||
		softfloat_is_signaling(t, c))
		s->flags |= FE_INVALID;
	if (s->aux & IR_FP_DEFAULT_NAN)
		return softfloat_default_nan(t);
	uint64_t first = softfloat_is_nan(t, a) ? a : softfloat_is_nan(t, b) ? b : c;
	return first | quiet_bit(t);
}

/* x + y of finite numbers. Jam bits are harmless: the smaller number loses bits only when it is so
 * much smaller that at most one leading bit cancels. */
static uint64_t add_finite(struct softfloat *s, enum ir_type t, struct number x, struct number y)
{
	int up = 125 - top_bit(x.sig);
	x.sig <<= up;
	x.exp -= up;
	up = 125 - top_bit(y.sig);
	y.sig <<= up;
	y.exp -= up;
	if (x.exp < y.exp || (x.exp == y.exp && x.sig < y.sig)) {
		struct number swap = x;
		x = y;
		y = swap;
	}
	y.sig = shift_right_jam(y.sig, x.exp - y.exp);
	if (x.negative == y.negative)
		return round_pack(s, t, x.negative, x.exp, x.sig + y.sig);
	if (x.sig == y.sig)
		return pack_special(t, ZERO, s->rounding == IR_RM_DOWN);
	return round_pack(s, t, x.negative, x.exp, x.sig - y.sig);
}

/* No NaN among them. */
static uint64_t add_numbers(struct softfloat *s, enum ir_type t, struct number x, struct number y)
{
	if (x.class == INFINITE || y.class == INFINITE) {
		if (x.class == y.class && x.negative != y.negative)
			return invalid(s, t);
		return pack_special(t, INFINITE, x.class == INFINITE ? x.negative : y.negative);
	}
	if (x.class == ZERO && y.class == ZERO)
		return pack_special(
			t, ZERO, x.negative == y.negative ? x.negative : s->rounding == IR_RM_DOWN);
	if (x.class == ZERO)
		return round_pack(s, t, y.negative, y.exp, y.sig);
	if (y.class == ZERO)
		return round_pack(s, t, x.negative, x.exp, x.sig);
	return add_finite(s, t, x, y);
}

uint64_t softfloat_add(struct softfloat *s, enum ir_type t, uint64_t a, uint64_t b)
{
	if (softfloat_is_nan(t, a) || softfloat_is_nan(t, b))
		return nan_result(s, t, a, b, b);
	return add_numbers(s, t, unpack(t, a), unpack(t, b));
}

uint64_t softfloat_sub(struct softfloat *s, enum ir_type t, uint64_t a, uint64_t b)
{
	if (softfloat_is_nan(t, a) || softfloat_is_nan(t, b))
		return nan_result(s, t, a, b, b);
	return add_numbers(s, t, unpack(t, a), unpack(t, b ^ sign_bit(t)));
}

/* No NaN among them; false: infinity * 0. */
static bool multiply(struct number x, struct number y, struct number *out)
{
	*out = (struct number){.negative = x.negative != y.negative};
	if (x.class == INFINITE || y.class == INFINITE) {
		out->class = INFINITE;
		return x.class != ZERO && y.class != ZERO;
	}
	if (x.class == ZERO || y.class == ZERO) {
		out->class = ZERO;
		return true;
	}
	out->class = FINITE;
	out->sig = x.sig * y.sig; /* at most 106 bits */
	out->exp = x.exp + y.exp;
	return true;
}

uint64_t softfloat_mul(struct softfloat *s, enum ir_type t, uint64_t a, uint64_t b)
{
	if (softfloat_is_nan(t, a) || softfloat_is_nan(t, b))
		return nan_result(s, t, a, b, b);
	struct number p;
	if (!multiply(unpack(t, a), unpack(t, b), &p))
		return invalid(s, t);
	if (p.class != FINITE)
		return pack_special(t, p.class, p.negative);
	return round_pack(s, t, p.negative, p.exp, p.sig);
}

uint64_t softfloat_fma(struct softfloat *s, enum ir_type t, uint64_t a, uint64_t b, uint64_t c)
{
	struct number p, x = unpack(t, a), y = unpack(t, b);
	bool numbers = x.class != NAN_ && y.class != NAN_;
	bool valid = !numbers || multiply(x, y, &p);
	if (!valid)
		s->flags |= FE_INVALID;
	if (!numbers || softfloat_is_nan(t, c))
		return nan_result(s, t, a, b, c);
	if (!valid)
		return softfloat_default_nan(t);
	return add_numbers(s, t, p, unpack(t, c));
}

uint64_t softfloat_div(struct softfloat *s, enum ir_type t, uint64_t a, uint64_t b)
{
	if (softfloat_is_nan(t, a) || softfloat_is_nan(t, b))
		return nan_result(s, t, a, b, b);
	struct number x = unpack(t, a), y = unpack(t, b);
	bool negative = x.negative != y.negative;
	if ((x.class == INFINITE && y.class == INFINITE) || (x.class == ZERO && y.class == ZERO))
		return invalid(s, t);
	if (x.class == INFINITE || y.class == ZERO) {
		if (x.class == FINITE)
			s->flags |= FE_DIVBYZERO;
		return pack_special(t, INFINITE, negative);
	}
	if (x.class == ZERO || y.class == INFINITE)
		return pack_special(t, ZERO, negative);
	/* The dividend's leading bit at 126, a divisor of 1 to 53 bits: 73 to 127 bits of quotient,
	 * and one for what remains. */
	int up = 126 - top_bit(x.sig);
	x.sig <<= up;
	x.exp -= up;
	u128 q = x.sig / y.sig;
	q = q << 1 | (x.sig % y.sig != 0);
	return round_pack(s, t, negative, x.exp - y.exp - 1, q);
}

uint64_t softfloat_sqrt(struct softfloat *s, enum ir_type t, uint64_t a)
{
	if (softfloat_is_nan(t, a))
		return nan_result(s, t, a, a, a);
	struct number x = unpack(t, a);
	if (x.class == ZERO)
		return a;
	if (x.negative)
		return invalid(s, t);
	if (x.class == INFINITE)
		return a;
	int up = 124 - top_bit(x.sig);
	up += (x.exp - up) & 1; /* the exponent even */
	u128 rest = x.sig << up, root = 0;
	for (u128 bit = (u128)1 << 126; bit; bit >>= 2) {
		if (rest >= root + bit) {
			rest -= root + bit;
			root = (root >> 1) + bit;
		} else {
			root >>= 1;
		}
	}
	return round_pack(s, t, false, (x.exp - up) / 2 - 1, root << 1 | (rest != 0));
}

uint64_t softfloat_convert(struct softfloat *s, enum ir_type from, enum ir_type to, uint64_t a)
{
	struct number x = unpack(from, a);
	if (x.class == NAN_) {
		if (softfloat_is_signaling(from, a))
			s->flags |= FE_INVALID;
		if (s->aux & IR_FP_DEFAULT_NAN)
			return softfloat_default_nan(to);
		/* The payload's upper bits. */
		int up = formats[to].precision - formats[from].precision;
		uint64_t payload = a & (quiet_bit(from) - 1);
		payload = up >= 0 ? payload << up : payload >> -up;
		return (x.negative ? sign_bit(to) : 0) | softfloat_default_nan(to) | payload;
	}
	if (x.class != FINITE)
		return pack_special(to, x.class, x.negative);
	return round_pack(s, to, x.negative, x.exp, x.sig);
}

static uint64_t out_of_range(struct softfloat *s, unsigned bits, bool to_maximum)
{
	s->flags |= FE_INVALID;
	uint64_t all = UINT64_MAX >> (64 - bits), smallest = UINT64_C(1) << (bits - 1);
	if (!(s->aux & IR_FP_SATURATE))
		return smallest;
	if (s->aux & IR_FP_UNSIGNED)
		return to_maximum ? all : 0;
	return to_maximum ? smallest - 1 : smallest;
}

uint64_t softfloat_to_int(struct softfloat *s, enum ir_type from, unsigned bits, uint64_t a)
{
	struct number x = unpack(from, a);
	if (x.class == ZERO)
		return 0;
	if (x.class != FINITE)
		return out_of_range(s, bits, x.class == NAN_ || !x.negative);
	u128 q = x.sig, rest = 0;
	if (x.exp >= 0) {
		if (x.exp > 64)
			return out_of_range(s, bits, !x.negative);
		q <<= x.exp;
	} else {
		/* Far below one half, -60 will do as well as less. */
		int down = MIN(-x.exp, 60);
		u128 one = (u128)1 << down;
		if (down < -x.exp)
			q = 1;
		rest = q & (one - 1);
		q >>= down;
		q += rounds_up(s->rounding, x.negative, q & 1, rest, one);
	}
	u128 limit = s->aux & IR_FP_UNSIGNED ? (x.negative ? 0 : ((u128)1 << bits) - 1)
					     : ((u128)1 << (bits - 1)) - !x.negative;
	if (q > limit)
		return out_of_range(s, bits, !x.negative);
	if (rest)
		s->flags |= FE_INEXACT;
	uint64_t magnitude = (uint64_t)q;
	return (x.negative ? 0 - magnitude : magnitude) & (UINT64_MAX >> (64 - bits));
}

uint64_t softfloat_from_int(struct softfloat *s, enum ir_type to, bool negative, uint64_t magnitude)
{
	return magnitude ? round_pack(s, to, negative, 0, magnitude) : 0;
}
