// SPDX-License-Identifier: Apache-2.0
#include "ir/fold.h"

#include "ir/range.h"

static int64_t sign_extend(uint64_t v, unsigned bits)
{
	return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

/* Division is total: see ops.h. Both arguments are sign- or zero-extended from `bits`. */
static uint64_t divide_signed(int64_t a, int64_t b, bool remainder)
{
	if (!b)
		return remainder ? (uint64_t)a : UINT64_MAX;
	if (b == -1)
		return remainder ? 0 : 0 - (uint64_t)a;
	return (uint64_t)(remainder ? a % b : a / b);
}

static uint64_t bytes_or(uint64_t a)
{
	uint64_t r = 0;
	for (unsigned i = 0; i < 64; i += 8)
		if (a >> i & 0xff)
			r |= UINT64_C(0xff) << i;
	return r;
}

/* Evaluates an op on constants of `bits` bits (the arguments' width); false: not evaluated here. */
static bool evaluate_binary(unsigned op, unsigned bits, uint64_t a, uint64_t b, uint64_t *out)
{
	int64_t sa = sign_extend(a, bits), sb = sign_extend(b, bits);
	unsigned n = b & (bits - 1);
	unsigned __int128 wide;
	switch (op) {
	case IR_ADD:
		*out = a + b;
		return true;
	case IR_SUB:
		*out = a - b;
		return true;
	case IR_MUL:
		*out = a * b;
		return true;
	case IR_MULHU:
		wide = (unsigned __int128)a * b;
		*out = (uint64_t)(wide >> bits);
		return true;
	case IR_MULHS:
		wide = (unsigned __int128)((__int128)sa * sb);
		*out = (uint64_t)(wide >> bits);
		return true;
	case IR_MULHSU:
		wide = (unsigned __int128)((__int128)sa * (__int128)b);
		*out = (uint64_t)(wide >> bits);
		return true;
	case IR_DIVU:
		*out = b ? a / b : UINT64_MAX;
		return true;
	case IR_REMU:
		*out = b ? a % b : a;
		return true;
	case IR_DIVS:
		*out = divide_signed(sa, sb, false);
		return true;
	case IR_REMS:
		*out = divide_signed(sa, sb, true);
		return true;
	case IR_AND:
		*out = a & b;
		return true;
	case IR_OR:
		*out = a | b;
		return true;
	case IR_XOR:
		*out = a ^ b;
		return true;
	case IR_ANDN:
		*out = a & ~b;
		return true;
	case IR_SHL:
		*out = a << n;
		return true;
	case IR_SHR:
		*out = a >> n;
		return true;
	case IR_SAR:
		*out = (uint64_t)(sa >> n);
		return true;
	case IR_ROTL:
		*out = n ? a << n | a >> (bits - n) : a;
		return true;
	case IR_ROTR:
		*out = n ? a >> n | a << (bits - n) : a;
		return true;
	case IR_EQ:
		*out = a == b;
		return true;
	case IR_NE:
		*out = a != b;
		return true;
	case IR_LTS:
		*out = sa < sb;
		return true;
	case IR_LTU:
		*out = a < b;
		return true;
	case IR_GES:
		*out = sa >= sb;
		return true;
	case IR_GEU:
		*out = a >= b;
		return true;
	default:
		return false;
	}
}

static bool evaluate_unary(unsigned op, unsigned bits, uint64_t a, uint64_t *out)
{
	switch (op) {
	case IR_NOT:
		*out = ~a;
		return true;
	case IR_NEG:
		*out = 0 - a;
		return true;
	case IR_CLZ:
		*out = a ? (unsigned)__builtin_clzll(a) - (64 - bits) : bits;
		return true;
	case IR_CTZ:
		*out = a ? (unsigned)__builtin_ctzll(a) : bits;
		return true;
	case IR_POPCNT:
		*out = (unsigned)__builtin_popcountll(a);
		return true;
	case IR_BSWAP:
		*out = __builtin_bswap64(a) >> (64 - bits);
		return true;
	case IR_ORCB:
		*out = bytes_or(a);
		return true;
	case IR_ZEXT:
	case IR_TRUNC:
	case IR_BITCAST:
		*out = a;
		return true;
	case IR_SEXT:
		*out = (uint64_t)sign_extend(a, bits);
		return true;
	default:
		return false;
	}
}

static struct ir_folded value_of(ir_ref r)
{
	return (struct ir_folded){.kind = IR_FOLD_VALUE, .ref = r};
}
static struct ir_folded constant_of(uint64_t v)
{
	return (struct ir_folded){.kind = IR_FOLD_CONST, .value = v};
}

static struct ir_folded unary_of(enum ir_op op, ir_ref a)
{
	return (struct ir_folded){.kind = IR_FOLD_UNARY, .op = op, .ref = a};
}

/* An extension that changes nothing, or that may come before the operation. */
static struct ir_folded extension(const struct ir_func *f, const struct ir_ins *i)
{
	const struct ir_ins *a = ir_at(f, i->a);
	bool sext = i->op == IR_SEXT;
	if (a->op == IR_TRUNC && ir_at(f, a->a)->type == i->type) {
		unsigned cut = 8 * (ir_type_bytes(i->type) - ir_type_bytes(a->type));
		struct ir_range x = ir_range(f, a->a);
		if (sext ? x.sign > cut : x.zero >= cut)
			return value_of(a->a);
	}
	/* sext(-trunc(x)): -x, where neither truncation nor negation loses anything */
	if (sext && a->op == IR_NEG && ir_at(f, a->a)->op == IR_TRUNC) {
		ir_ref x = ir_at(f, a->a)->a;
		unsigned cut = 8 * (ir_type_bytes(i->type) - ir_type_bytes(a->type));
		if (ir_at(f, x)->type == i->type && ir_range(f, x).sign >= cut + 2)
			return unary_of(IR_NEG, x);
	}
	return (struct ir_folded){0};
}

/* x op c, for a constant c on the right. */
static struct ir_folded identity_right(const struct ir_ins *i, uint64_t c, uint64_t ones)
{
	switch (i->op) {
	case IR_ADD:
	case IR_SUB:
	case IR_XOR:
	case IR_OR:
	case IR_ANDN:
	case IR_SHL:
	case IR_SHR:
	case IR_SAR:
	case IR_ROTL:
	case IR_ROTR:
		/* x + 0, x - 0, x ^ 0, x | 0, x & ~0, x << 0: x */
		if (c == 0)
			return value_of(i->a);
		if (i->op == IR_OR && c == ones)
			return constant_of(ones);
		break;
	case IR_AND:
		if (c == 0)
			return constant_of(0);
		if (c == ones)
			return value_of(i->a);
		break;
	case IR_MUL:
		if (c == 0)
			return constant_of(0);
		if (c == 1)
			return value_of(i->a);
		break;
	case IR_LTU: /* x < 0 */
		if (c == 0)
			return constant_of(0);
		break;
	case IR_GEU: /* x >= 0 */
		if (c == 0)
			return constant_of(1);
		break;
	default:
		break;
	}
	return (struct ir_folded){0};
}

/* x op x */
static struct ir_folded identity_same(const struct ir_ins *i)
{
	switch (i->op) {
	case IR_SUB:
	case IR_XOR:
	case IR_ANDN:
	case IR_NE:
	case IR_LTS:
	case IR_LTU:
		return constant_of(0);
	case IR_AND:
	case IR_OR:
		return value_of(i->a);
	case IR_EQ:
	case IR_GES:
	case IR_GEU:
		return constant_of(1);
	default:
		return (struct ir_folded){0};
	}
}

struct ir_folded ir_fold(const struct ir_func *f, const struct ir_ins *i)
{
	struct ir_folded none = {0};
	if (!(ir_ops[i->op].flags & IR_PURE) || !ir_ops[i->op].nargs || i->op == IR_FCLASS)
		return none;
	if (i->op == IR_SELECT) {
		if (i->b == i->c)
			return value_of(i->b);
		if (!ir_is_const(f, i->a))
			return none;
		return value_of(ir_at(f, i->a)->imm ? i->b : i->c);
	}
	const struct ir_ins *a = ir_at(f, i->a);
	unsigned bits = 8 * ir_type_bytes(a->type);
	uint64_t v;
	if (ir_ops[i->op].nargs == 1) {
		if (a->op == IR_CONST && evaluate_unary(i->op, bits, a->imm, &v))
			return constant_of(v);
		/* trunc(ext(x)) to x's own type: x */
		if (i->op == IR_TRUNC && (a->op == IR_ZEXT || a->op == IR_SEXT) &&
			ir_at(f, a->a)->type == i->type)
			return value_of(a->a);
		return i->op == IR_SEXT || i->op == IR_ZEXT ? extension(f, i) : none;
	}
	const struct ir_ins *b = ir_at(f, i->b);
	if (a->op == IR_CONST && b->op == IR_CONST &&
		evaluate_binary(i->op, bits, a->imm, b->imm, &v))
		return constant_of(v);
	if (b->op == IR_CONST) {
		struct ir_folded r = identity_right(i, b->imm, ir_type_mask(a->type));
		if (r.kind != IR_FOLD_NOTHING)
			return r;
	}
	if (i->op == IR_SUB && a->op == IR_CONST && !a->imm)
		return unary_of(IR_NEG, i->b);
	return i->a == i->b ? identity_same(i) : none;
}
