// SPDX-License-Identifier: Apache-2.0
// The builders: folding, identities, constants.
#include "interp/toy.h"
#include "ir/range.h"
#include "tap.h"

static struct arena arena;
static struct ir_func f;

static void begin(void)
{
	arena_reset(&arena);
	ir_func_init(&f, &toy_target, &arena, 0x1000);
	ir_block_begin(&f, 0x1000);
}
static ir_ref k(enum ir_type t, uint64_t v)
{
	return ir_const(&f, t, v);
}

static void constants_are_shared_within_a_block(void)
{
	begin();
	ir_ref a = k(IR_I64, 5);
	CHECK_EQ(k(IR_I64, 5), a);
	CHECK(k(IR_I32, 5) != a);
	CHECK_EQ(ir_at(&f, k(IR_I8, 0x1ff))->imm, UINT64_C(0xff));
	ir_goto(&f, a, IR_JUMP_PLAIN);
	ir_block_begin(&f, 0x2000);
	CHECK(k(IR_I64, 5) != a);
}

static void constants_fold(void)
{
	static const struct {
		enum ir_op op;
		enum ir_type t;
		uint64_t a, b, want;
	} cases[] = {
		{IR_ADD, IR_I8, 200, 100, 44},
		{IR_SUB, IR_I64, 0, 1, UINT64_MAX},
		{IR_MULHS, IR_I32, 0x80000000, 2, 0xffffffff},
		{IR_MULHSU, IR_I64, UINT64_MAX, UINT64_MAX, UINT64_MAX},
		{IR_DIVU, IR_I32, 7, 0, 0xffffffff},
		{IR_DIVS, IR_I32, 0x80000000, 0xffffffff, 0x80000000},
		{IR_REMS, IR_I64, (uint64_t)-7, 2, (uint64_t)-1},
		{IR_REMS, IR_I32, 9, 0, 9},
		{IR_SHL, IR_I32, 1, 33, 2},
		{IR_SAR, IR_I16, 0x8000, 4, 0xf800},
		{IR_ROTR, IR_I8, 1, 1, 0x80},
		{IR_LTS, IR_I32, 0xffffffff, 0, 1},
		{IR_GEU, IR_I32, 0xffffffff, 0, 1},
	};
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		begin();
		enum ir_type result = cases[n].op >= IR_EQ ? IR_I64 : cases[n].t;
		ir_ref r = ir_bin(&f, cases[n].op, result, k(cases[n].t, cases[n].a),
			k(cases[n].t, cases[n].b));
		CHECK_EQ(ir_at(&f, r)->op, IR_CONST);
		CHECK_EQ(ir_at(&f, r)->imm, cases[n].want);
		CHECK_EQ(ir_at(&f, r)->type, result);
	}
}

static void identities(void)
{
	begin();
	ir_ref x = ir_get(&f, TOY_R0), w = ir_get(&f, TOY_W0), zero = k(IR_I64, 0);
	CHECK_EQ(ir_bin(&f, IR_ADD, IR_I64, x, zero), x);
	CHECK_EQ(ir_bin(&f, IR_ADD, IR_I64, zero, x), x); /* constants go right */
	CHECK_EQ(ir_bin(&f, IR_AND, IR_I64, x, zero), zero);
	CHECK_EQ(ir_bin(&f, IR_XOR, IR_I64, x, x), zero);
	CHECK_EQ(ir_un(&f, IR_TRUNC, IR_I32, ir_un(&f, IR_SEXT, IR_I64, w)), w);
	CHECK_EQ(ir_select(&f, k(IR_I64, 2), x, zero), x);
	ir_goto_if(&f, zero, 0x10, 0x20);
	CHECK_EQ(f.ins[f.len - 1].op, IR_GOTO);
	CHECK_EQ(ir_at(&f, f.ins[f.len - 1].a)->imm, UINT64_C(0x20));
	CHECK_EQ(ir_verify(&f, NULL), 0);
}

/* Extensions go where the upper bits are known already; test_random.c checks what ir_range()
 * claims. */
static void extensions(void)
{
	begin();
	ir_ref x = ir_get(&f, TOY_R0), w = ir_get(&f, TOY_W0), one = k(IR_I64, 1);
	ir_ref a = ir_un(&f, IR_SEXT, IR_I64, w),
	       b = ir_un(&f, IR_SEXT, IR_I64, ir_load(&f, IR_I8, 0, x));
	ir_ref both = ir_bin(&f, IR_XOR, IR_I64, a, b), low = ir_bin(&f, IR_AND, IR_I64, x, one);
	CHECK_EQ(ir_un(&f, IR_SEXT, IR_I64, ir_un(&f, IR_TRUNC, IR_I32, both)), both);
	CHECK_EQ(ir_un(&f, IR_ZEXT, IR_I64, ir_un(&f, IR_TRUNC, IR_I8, low)), low);
	/* not of what may have anything there */
	ir_ref sum = ir_bin(&f, IR_ADD, IR_I64, a, b);
	CHECK(ir_un(&f, IR_SEXT, IR_I64, ir_un(&f, IR_TRUNC, IR_I32, sum)) != sum);
	CHECK(ir_un(&f, IR_ZEXT, IR_I64, ir_un(&f, IR_TRUNC, IR_I8, b)) != b);
	/* 0 - x; which is as narrow as x unless that is the least number */
	ir_ref neg = ir_bin(&f, IR_SUB, IR_I32, k(IR_I32, 0), ir_un(&f, IR_TRUNC, IR_I32, low));
	CHECK_EQ(ir_at(&f, neg)->op, IR_NEG);
	neg = ir_un(&f, IR_SEXT, IR_I64, neg);
	CHECK_EQ(ir_at(&f, neg)->op, IR_NEG);
	CHECK_EQ(ir_at(&f, neg)->a, low);
	CHECK_EQ(ir_range(&f, neg).sign, 63);
	CHECK_EQ(ir_range(&f, ir_un(&f, IR_NEG, IR_I64, b)).sign, 56);
	neg = ir_un(&f, IR_NEG, IR_I32, ir_un(&f, IR_TRUNC, IR_I32, both)); /* of any 32 bits */
	CHECK_EQ(ir_at(&f, ir_un(&f, IR_SEXT, IR_I64, neg))->op, IR_SEXT);
	for (unsigned bits = 8; bits <= 9; bits++) {
		low = ir_bin(&f, IR_AND, IR_I64, x, k(IR_I64, (1u << bits) - 1));
		CHECK_EQ(ir_un(&f, IR_ZEXT, IR_I64, ir_un(&f, IR_TRUNC, IR_I8, low)) == low,
			bits == 8);
	}
}

int main(void)
{
	RUN(constants_are_shared_within_a_block);
	RUN(constants_fold);
	RUN(identities);
	RUN(extensions);
	arena_done(&arena);
	return tap_done();
}
