// SPDX-License-Identifier: Apache-2.0
#include "ir/range.h"

enum { DEPTH = 5 };

static struct ir_range range_of(const struct ir_func *f, ir_ref r, unsigned depth);

static struct ir_range constant(uint64_t v, unsigned bits)
{
	uint64_t top = v << (64 - bits), other = (int64_t)top < 0 ? ~top : top;
	unsigned same = other ? (unsigned)__builtin_clzll(other) : 64,
		 zero = (int64_t)top < 0 ? 0 : same;
	return (struct ir_range){MIN(same, bits), MIN(zero, bits)};
}

static struct ir_range either(struct ir_range a, struct ir_range b)
{
	return (struct ir_range){MIN(a.sign, b.sign), MIN(a.zero, b.zero)};
}

/* `count` bits more, or fewer, above. */
static unsigned plus(unsigned n, int count, unsigned bits)
{
	int sum = (int)n + count;
	return sum < 0 ? 0 : MIN((unsigned)sum, bits);
}

static struct ir_range unary(
	const struct ir_func *f, const struct ir_ins *i, unsigned bits, unsigned depth)
{
	struct ir_range a = range_of(f, i->a, depth);
	int wider = (int)bits - (int)(8 * ir_type_bytes((enum ir_type)ir_at(f, i->a)->type));
	switch (i->op) {
	case IR_SEXT:
		return (struct ir_range){
			a.sign + (unsigned)wider, a.zero ? a.zero + (unsigned)wider : 0};
	case IR_ZEXT:
		return (struct ir_range){0, a.zero + (unsigned)wider};
	case IR_TRUNC:
		return (struct ir_range){plus(a.sign, wider, bits), plus(a.zero, wider, bits)};
	case IR_NOT:
		return (struct ir_range){a.sign, 0};
	case IR_NEG: /* of the least number: itself */
		return (struct ir_range){a.zero ? a.zero : a.sign - 1, 0};
	case IR_CLZ:
	case IR_CTZ:
	case IR_POPCNT:
		return (struct ir_range){0, bits - 7};
	default:
		return (struct ir_range){0};
	}
}

static struct ir_range shifted(
	const struct ir_func *f, const struct ir_ins *i, unsigned bits, unsigned depth)
{
	if (!ir_is_const(f, i->b))
		return (struct ir_range){0};
	struct ir_range a = range_of(f, i->a, depth);
	int n = (int)(ir_at(f, i->b)->imm & (bits - 1));
	switch (i->op) {
	case IR_SHR:
		return (struct ir_range){n ? 0 : a.sign, plus(a.zero, n, bits)};
	case IR_SAR:
		return (struct ir_range){plus(a.sign, n, bits), a.zero ? plus(a.zero, n, bits) : 0};
	default:
		return (struct ir_range){plus(a.sign, -n, bits), plus(a.zero, -n, bits)};
	}
}

static struct ir_range binary(
	const struct ir_func *f, const struct ir_ins *i, unsigned bits, unsigned depth)
{
	struct ir_range a = range_of(f, i->a, depth), b = range_of(f, i->b, depth);
	struct ir_range r = either(a, b);
	switch (i->op) {
	case IR_AND:
		r.zero = MAX(a.zero, b.zero);
		return r;
	case IR_OR:
	case IR_XOR:
		return r;
	case IR_ANDN:
		r.zero = a.zero;
		return r;
	case IR_ADD: /* one bit more */
		return (struct ir_range){r.sign - 1, r.zero ? r.zero - 1 : 0};
	case IR_SUB:
		return (struct ir_range){r.sign - 1, 0};
	default:
		return (struct ir_range){0};
	}
}

static struct ir_range range_of(const struct ir_func *f, ir_ref r, unsigned depth)
{
	const struct ir_ins *i = ir_at(f, r);
	unsigned bits = 8 * ir_type_bytes((enum ir_type)i->type);
	struct ir_range known = {0};
	if (i->op == IR_CONST)
		known = constant(i->imm, bits);
	else if (i->op >= IR_EQ && i->op <= IR_GEU)
		known.zero = bits - 1;
	else if (!depth || !ir_type_is_int((enum ir_type)i->type))
		; /* nothing is known */
	else if (i->op == IR_SELECT)
		known = either(range_of(f, i->b, depth - 1), range_of(f, i->c, depth - 1));
	else if (i->op >= IR_SHL && i->op <= IR_SAR)
		known = shifted(f, i, bits, depth - 1);
	else if (ir_ops[i->op].nargs == 1 && (ir_ops[i->op].flags & IR_PURE) &&
		 ir_type_is_int((enum ir_type)ir_at(f, i->a)->type))
		known = unary(f, i, bits, depth - 1);
	else if (ir_ops[i->op].nargs == 2 && (ir_ops[i->op].flags & IR_PURE))
		known = binary(f, i, bits, depth - 1);
	/* Zeros are copies of the sign. */
	known.sign = MAX(MAX(known.sign, known.zero), 1);
	return known;
}

struct ir_range ir_range(const struct ir_func *f, ir_ref r)
{
	return range_of(f, r, DEPTH);
}
