// SPDX-License-Identifier: Apache-2.0
// Guest atomics are the host's: one locked instruction, or a loop around cmpxchg. What is not
// aligned or misses in the TLB goes to the interpreter's functions.
#include "jit/x86_64/gen.h"

struct atomic {
	ir_ref r;
	unsigned bytes;
	int args[3]; /* registers of the operands; NO_REG: none */
	int base, t; /* address: base + t; t NO_REG: base alone */
	int dst;
	unsigned first_stub;
};

static void miss(struct gen *g, const struct atomic *x, uint8_t *from)
{
	static const uint8_t slow[IR_OP_COUNT] = {[IR_RMW] = JIT_SLOW_RMW,
		[IR_CMPXCHG] = JIT_SLOW_CMPXCHG,
		[IR_LOADR] = JIT_SLOW_LOADR,
		[IR_STOREC] = JIT_SLOW_STOREC};
	const struct ir_ins *i = gen_at(g, x->r);
	struct gen_stub *s = gen_stub(g, STUB_ATOMIC, from);
	s->slow = slow[i->op];
	s->info = x->bytes | (i->op == IR_RMW ? (uint32_t)i->aux << 8 : 0);
	s->bytes = 8;
	s->pc = g->pc;
	s->save_xmm = gen_xmm_used(g);
	for (unsigned n = 0; n < 3; n++)
		s->args[n] = (int8_t)x->args[n];
}

/* Finds the host address for an aligned access. */
static void find(struct gen *g, struct atomic *x, bool write)
{
	x->base = x->args[0];
	if (g->j->flat) {
		x->t = NO_REG;
		/* test base, bytes - 1 */
		asm_rr(&g->a, 4, 0xf7, 0, x->base);
		asm_32(&g->a, x->bytes - 1);
		miss(g, x, asm_jcc(&g->a, CC_NE));
		return;
	}
	miss(g, x, gen_look_up_aligned(g, x->base, x->bytes, write, x->t, x->dst));
}

static struct asm_mem place(const struct atomic *x)
{
	return x->t == NO_REG ? MEM(x->base, 0) : MEMX(x->base, x->t, 1, 0);
}

static void lock_prefix(struct gen *g)
{
	gen_may_fault(g);
	asm_8(&g->a, 0xf0);
}

/* What has no instruction: rax is the old value, dst the new one. */
static void loop(struct gen *g, const struct atomic *x, enum ir_rmw op, int value)
{
	static const uint8_t alu[IR_RMW_COUNT] = {
		[IR_RMW_AND] = ALU_AND, [IR_RMW_OR] = ALU_OR, [IR_RMW_XOR] = ALU_XOR};
	static const uint8_t keep_old[IR_RMW_COUNT] = {[IR_RMW_MIN] = CC_LE,
		[IR_RMW_MAX] = CC_GE,
		[IR_RMW_MINU] = CC_BE,
		[IR_RMW_MAXU] = CC_AE};
	unsigned w = x->bytes;
	gen_may_fault(g);
	asm_load(&g->a, w, RAX, place(x));
	const uint8_t *again = g->a.p;
	if (op >= IR_RMW_MIN) {
		asm_mov64(&g->a, x->dst, value);
		asm_alu(&g->a, w, ALU_CMP, RAX, value);
		asm_cmov(&g->a, w, (enum cond)keep_old[op], x->dst, RAX);
	} else {
		asm_mov64(&g->a, x->dst, RAX);
		asm_alu(&g->a, w, (enum alu)alu[op], x->dst, value);
	}
	lock_prefix(g);
	asm_rm(&g->a, w, X_0F | 0xb1, x->dst, place(x));
	asm_fix(&g->a, asm_jcc(&g->a, CC_NE), again);
	asm_mov64(&g->a, x->dst, RAX);
}

static void rmw(struct gen *g, struct atomic *x, enum ir_rmw op)
{
	int value = x->args[1];
	find(g, x, true);
	if (op == IR_RMW_SWAP) {
		asm_mov64(&g->a, x->dst, value);
		gen_may_fault(g);
		asm_rm(&g->a, x->bytes, 0x87, x->dst, place(x));
	} else if (op == IR_RMW_ADD) {
		asm_mov64(&g->a, x->dst, value);
		lock_prefix(g);
		asm_rm(&g->a, x->bytes, X_0F | 0xc1, x->dst, place(x));
	} else {
		loop(g, x, op, value);
	}
}

static void compare_exchange(struct gen *g, struct atomic *x)
{
	find(g, x, true);
	asm_mov64(&g->a, RAX, x->args[1]);
	lock_prefix(g);
	asm_rm(&g->a, x->bytes, X_0F | 0xb1, x->args[2], place(x));
	asm_mov64(&g->a, x->dst, RAX);
}

static void load_reserved(struct gen *g, struct atomic *x)
{
	find(g, x, false);
	asm_lea(&g->a, 8, RAX, place(x));
	gen_may_fault(g);
	asm_load(&g->a, x->bytes, x->dst, MEM(RAX, 0));
	asm_store(&g->a, 8, HEAD_MEM(reservation.host), RAX);
	asm_store(&g->a, 8, HEAD_MEM(reservation.value), x->dst);
	asm_store_imm(&g->a, 1, HEAD_MEM(reservation.bytes), (int32_t)x->bytes);
	if (!g->j->flat)
		asm_store_imm(&g->a, 8, HEAD_MEM(reservation.watched), 0);
}

/* As interp_store_conditional(): the reservation is gone either way. */
static void store_conditional(struct gen *g, struct atomic *x)
{
	find(g, x, true);
	asm_lea(&g->a, 8, RAX, place(x));
	asm_alu_mem(&g->a, 8, ALU_CMP, RAX, HEAD_MEM(reservation.host));
	asm_store_imm(&g->a, 8, HEAD_MEM(reservation.host), 0);
	asm_store_imm(&g->a, 8, HEAD_MEM(reservation.watched), 0);
	asm_mov_imm_flags(&g->a, x->dst, 1);
	uint8_t *other = asm_jcc(&g->a, CC_NE);
	asm_rm(&g->a, 1, 0x80, ALU_CMP, HEAD_MEM(reservation.bytes));
	asm_8(&g->a, x->bytes);
	uint8_t *narrower = asm_jcc(&g->a, CC_NE);
	asm_mov64(&g->a, x->dst, RAX);
	asm_load(&g->a, 8, RAX, HEAD_MEM(reservation.value));
	lock_prefix(g);
	asm_rm(&g->a, x->bytes, X_0F | 0xb1, x->args[1], MEM(x->dst, 0));
	asm_setcc(&g->a, CC_NE, x->dst);
	asm_movzx8(&g->a, x->dst, x->dst);
	asm_fix(&g->a, other, g->a.p);
	asm_fix(&g->a, narrower, g->a.p);
}

void gen_atomic(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	struct atomic x = {.r = r, .first_stub = g->stub_count};
	enum ir_type type = (enum ir_type)(i->op == IR_STOREC ? gen_at(g, i->b)->type : i->type);
	const ir_ref refs[3] = {i->a, i->b, i->c};
	x.bytes = ir_type_bytes(type);
	gen_take(g, RAX);
	for (unsigned n = 0; n < 3; n++)
		x.args[n] = refs[n] == IR_NONE ? NO_REG : gen_use(g, refs[n]);
	x.t = g->j->flat ? NO_REG : gen_temp(g);
	x.dst = i->op == IR_CMPXCHG ? RAX : gen_temp(g); /* it has no register to spare */
	switch (i->op) {
	case IR_RMW:
		rmw(g, &x, (enum ir_rmw)i->aux);
		break;
	case IR_CMPXCHG:
		compare_exchange(g, &x);
		break;
	case IR_LOADR:
		load_reserved(g, &x);
		break;
	default:
		store_conditional(g, &x);
	}
	for (unsigned n = x.first_stub; n < g->stub_count; n++) {
		g->stubs[n].dst = (int8_t)x.dst;
		g->stubs[n].back = g->a.p;
	}
	gen_def_in(g, r, x.dst);
}
