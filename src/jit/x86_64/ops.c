// SPDX-License-Identifier: Apache-2.0
// Integer instructions, calls, and the switch over all ops.
#include "ir/range.h"
#include "jit/x86_64/gen.h"

static unsigned bytes_of(const struct gen *g, ir_ref r)
{
	return ir_type_bytes((enum ir_type)gen_at(g, r)->type);
}

/* Width of the host operation for a type: the upper bits of narrow values are of no meaning. */
static unsigned width(const struct gen *g, ir_ref r)
{
	return bytes_of(g, r) == 8 ? 8 : 4;
}

/* Does the value die here in a temporary that the result may reuse? */
static bool reusable(const struct gen *g, ir_ref r)
{
	r = gen_root(g, r);
	return g->v[r].reg != NO_REG && g->v[r].last_use <= g->pos;
}

/* The register for the result; an operand that dies here gives its own. */
static int def_reusing(struct gen *g, ir_ref r, ir_ref operand)
{
	if (g->v[r].hint == IR_NONE && reusable(g, operand)) {
		ir_ref root = gen_root(g, operand);
		int reg = g->v[root].reg;
		g->v[root].reg = NO_REG;
		gen_free_scratch(g, &g->v[root]);
		gen_def_in(g, r, reg);
		return reg;
	}
	return gen_def(g, r);
}

/* --- add, sub, and, or, xor --- */
static bool commutes(unsigned op)
{
	return op != IR_SUB;
}

static enum alu alu_of(unsigned op)
{
	switch (op) {
	case IR_ADD:
		return ALU_ADD;
	case IR_SUB:
		return ALU_SUB;
	case IR_AND:
		return ALU_AND;
	case IR_OR:
		return ALU_OR;
	default:
		return ALU_XOR;
	}
}

static void alu_imm(struct gen *g, ir_ref r, const struct ir_ins *i)
{
	unsigned w = width(g, r);
	int32_t imm = (int32_t)gen_at(g, i->b)->imm;
	int a = gen_use(g, i->a), d = def_reusing(g, r, i->a);
	if (d != a && (i->op == IR_ADD || i->op == IR_SUB) && imm != INT32_MIN) {
		asm_lea(&g->a, w, d, MEM(a, i->op == IR_ADD ? imm : -imm));
		return;
	}
	asm_mov64(&g->a, d, a);
	if (w == 4 && i->op == IR_AND && imm == 0xff)
		asm_movzx8(&g->a, d, d);
	else
		asm_alu_imm(&g->a, w, alu_of(i->op), d, imm);
}

static bool is_folded_shift(const struct gen *g, ir_ref r)
{
	return g->v[r].folded && gen_at(g, r)->op == IR_SHL;
}

/* a + (b << 1, 2 or 3) */
static void add_scaled(struct gen *g, ir_ref r, ir_ref a, ir_ref b)
{
	const struct ir_ins *shl = gen_at(g, b);
	int base = gen_use(g, a), index = gen_use(g, shl->a);
	int d = def_reusing(g, r, shl->a);
	asm_lea(&g->a, 8, d, MEMX(base, index, 1 << gen_at(g, shl->b)->imm, 0));
}

static void alu(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned w = width(g, r);
	enum alu op = alu_of(i->op);
	struct asm_mem m;
	if (gen_is_const(g, i->b) && (w == 4 || gen_fits32(gen_at(g, i->b)->imm))) {
		alu_imm(g, r, i);
		return;
	}
	ir_ref ra = i->a, rb = i->b;
	if (i->op == IR_ADD && is_folded_shift(g, rb)) {
		add_scaled(g, r, ra, rb);
		return;
	}
	if (i->op == IR_ADD && is_folded_shift(g, ra)) {
		add_scaled(g, r, rb, ra);
		return;
	}
	if (commutes(i->op) && !reusable(g, ra) && reusable(g, rb)) {
		ra = i->b;
		rb = i->a;
	}
	if (gen_in_memory(g, rb, &m) && gen_root(g, ra) != gen_root(g, rb)) {
		int a = gen_use(g, ra), d = def_reusing(g, r, ra);
		asm_mov64(&g->a, d, a);
		asm_alu_mem(&g->a, w, op, d, m);
		return;
	}
	int a = gen_use(g, ra), b = gen_use(g, rb), d = def_reusing(g, r, ra);
	if (d == a) {
		asm_alu(&g->a, w, op, d, b);
	} else if (d == b && commutes(i->op)) {
		asm_alu(&g->a, w, op, d, a);
	} else if (d == b) { /* a - d = -d + a */
		asm_neg(&g->a, w, d);
		asm_alu(&g->a, w, ALU_ADD, d, a);
	} else if (i->op == IR_ADD) {
		asm_lea(&g->a, w, d, MEMX(a, b, 1, 0));
	} else {
		asm_mov64(&g->a, d, a);
		asm_alu(&g->a, w, op, d, b);
	}
}

/* a & ~b */
static void andn(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	int a = gen_use(g, i->a), b = gen_use(g, i->b), d = def_reusing(g, r, i->a);
	asm_vex_rr(&g->a, width(g, r), X_0F38 | 0xf2, d, b, a);
}

/* --- shifts; the host takes counts modulo the width too --- */
static void shift(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned w = width(g, r);
	static const uint8_t host[] = {SHIFT_SHL, SHIFT_SHR, SHIFT_SAR};
	static const unsigned shiftx[] = {
		X_66 | X_0F38 | 0xf7, X_F2 | X_0F38 | 0xf7, X_F3 | X_0F38 | 0xf7};
	unsigned kind = i->op - IR_SHL;
	if (bytes_of(g, r) < 4 && i->op != IR_SHL) {
		g->refused = true;
		return;
	}
	if (gen_is_const(g, i->b)) {
		unsigned count = gen_at(g, i->b)->imm & (bytes_of(g, r) * 8 - 1);
		int a = gen_use(g, i->a), d = def_reusing(g, r, i->a);
		if (i->op == IR_SHL && count == 1 && d != a) {
			asm_lea(&g->a, w, d, MEMX(a, a, 1, 0));
		} else {
			asm_mov64(&g->a, d, a);
			asm_shift(&g->a, w, (enum shift)host[kind], d, count);
		}
		return;
	}
	if (bytes_of(g, r) < 4) {
		g->refused = true;
		return;
	}
	int a = gen_use(g, i->a), b = gen_use(g, i->b), d = def_reusing(g, r, i->a);
	asm_vex_rr(&g->a, w, shiftx[kind], d, b, a);
}

static void rotate(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned w = width(g, r), bits = bytes_of(g, r) * 8;
	enum shift op = i->op == IR_ROTL ? SHIFT_ROL : SHIFT_ROR;
	if (bits < 32) {
		g->refused = true;
		return;
	}
	if (gen_is_const(g, i->b)) {
		int a = gen_use(g, i->a), d = def_reusing(g, r, i->a);
		asm_mov64(&g->a, d, a);
		asm_shift(&g->a, w, op, d, gen_at(g, i->b)->imm & (bits - 1));
		return;
	}
	gen_take(g, RCX);
	int a = gen_use(g, i->a), b = gen_use(g, i->b), t = gen_temp(g);
	asm_mov64(&g->a, RCX, b);
	asm_mov64(&g->a, t, a);
	asm_rr(&g->a, w, 0xd3, (int)op, t);
	gen_def_in(g, r, t);
}

/* --- multiplication and division --- */
static void mul(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned w = width(g, r);
	if (gen_is_const(g, i->b) && (w == 4 || gen_fits32(gen_at(g, i->b)->imm))) {
		int a = gen_use(g, i->a), d = def_reusing(g, r, i->a);
		asm_rr(&g->a, w, 0x69, d, a);
		asm_32(&g->a, (uint32_t)gen_at(g, i->b)->imm);
		return;
	}
	int a = gen_use(g, i->a), b = gen_use(g, i->b), d = def_reusing(g, r, i->a);
	if (d == b) {
		asm_rr(&g->a, w, X_0F | 0xaf, d, a);
	} else {
		asm_mov64(&g->a, d, a);
		asm_rr(&g->a, w, X_0F | 0xaf, d, b);
	}
}

/* The high half: rdx:rax = rax * operand. */
static void mul_high(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	if (bytes_of(g, r) != 8) {
		g->refused = true;
		return;
	}
	gen_take(g, RAX);
	gen_take(g, RDX);
	int a = gen_use(g, i->a), b = gen_use(g, i->b);
	asm_mov64(&g->a, RAX, a);
	asm_rr(&g->a, 8, 0xf7, i->op == IR_MULHS ? 5 : 4, b);
	if (i->op == IR_MULHSU) { /* unsigned, less b where a is negative */
		asm_mov64(&g->a, RAX, a);
		asm_shift(&g->a, 8, SHIFT_SAR, RAX, 63);
		asm_alu(&g->a, 8, ALU_AND, RAX, b);
		asm_alu(&g->a, 8, ALU_SUB, RDX, RAX);
	}
	gen_def_in(g, r, RDX);
}

/* Division by 0 and by -1 goes out of the way: the host raises an exception where IR has a value.
 */
static void divide(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned w = width(g, r);
	bool is_signed = i->op == IR_DIVS || i->op == IR_REMS;
	bool rem = i->op == IR_REMU || i->op == IR_REMS;
	gen_take(g, RAX);
	gen_take(g, RDX);
	int a = gen_use(g, i->a), b = gen_use(g, i->b);
	uint8_t *special;
	if (is_signed) { /* b + 1 <= 1, unsigned */
		asm_lea(&g->a, w, RAX, MEM(b, 1));
		asm_alu_imm(&g->a, w, ALU_CMP, RAX, 1);
		special = asm_jcc(&g->a, CC_BE);
	} else {
		asm_test(&g->a, w, b, b);
		special = asm_jcc(&g->a, CC_E);
	}
	asm_mov(&g->a, w, RAX, a);
	if (is_signed)
		asm_sign(&g->a, w);
	else
		asm_rr(&g->a, 4, 0x33, RDX, RDX);
	asm_rr(&g->a, w, 0xf7, is_signed ? 7 : 6, b);
	struct gen_stub *s = gen_stub(g, STUB_DIVIDE, special);
	*s = (struct gen_stub){.kind = STUB_DIVIDE,
		.bytes = (uint8_t)w,
		.sext = is_signed,
		.imm_value = rem,
		.base = (int8_t)a,
		.value = (int8_t)b,
		.dst = rem ? RDX : RAX,
		.from = special,
		.back = g->a.p};
	gen_def_in(g, r, rem ? RDX : RAX);
}

/* --- one operand --- */
static void count_bits(struct gen *g, ir_ref r, unsigned op)
{
	const struct ir_ins *i = gen_at(g, r);
	int a = gen_use(g, i->a), d = def_reusing(g, r, i->a);
	asm_rr(&g->a, width(g, r), op, d, a);
}

static void not_neg(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	int a = gen_use(g, i->a), d = def_reusing(g, r, i->a);
	asm_mov64(&g->a, d, a);
	if (i->op == IR_NOT)
		asm_not(&g->a, width(g, r), d);
	else
		asm_neg(&g->a, width(g, r), d);
}

static void bswap(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned w = width(g, r);
	int a = gen_use(g, i->a), d = def_reusing(g, r, i->a);
	asm_mov64(&g->a, d, a);
	if (bytes_of(g, r) == 2) {
		asm_rr(&g->a, 2, 0xc1, SHIFT_ROL, d);
		asm_8(&g->a, 8);
		return;
	}
	asm_8(&g->a, 0x40u | (w == 8 ? 8u : 0u) | (d & 8 ? 1u : 0u));
	asm_8(&g->a, 0x0f);
	asm_8(&g->a, 0xc8u | (unsigned)(d & 7));
}

/* Each byte that is not 0 becomes 0xff: see interp_orcb(). */
static void orcb(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	int a = gen_use(g, i->a), mask = gen_temp(g), t = gen_temp(g);
	asm_mov_imm(&g->a, mask, UINT64_C(0x7f7f7f7f7f7f7f7f));
	asm_mov64(&g->a, t, a);
	asm_alu(&g->a, 8, ALU_AND, t, mask);
	asm_alu(&g->a, 8, ALU_ADD, t, mask);
	asm_alu(&g->a, 8, ALU_OR, t, a);
	asm_not(&g->a, 8, mask);
	asm_alu(&g->a, 8, ALU_AND, t, mask);
	asm_shift(&g->a, 8, SHIFT_SHR, t, 7);
	asm_rr(&g->a, 8, 0x69, t, t);
	asm_32(&g->a, 0xff);
	gen_free_temp(g, mask);
	gen_def_in(g, r, t);
}

static void extend(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned from = bytes_of(g, i->a);
	struct asm_mem m;
	if (gen_in_memory(g, i->a, &m)) {
		int d = gen_def(g, r);
		if (i->op == IR_SEXT)
			asm_load_sext(&g->a, from, d, m);
		else
			asm_load(&g->a, from, d, m);
		return;
	}
	int a = gen_use(g, i->a), d = def_reusing(g, r, i->a);
	if (i->op == IR_SEXT && !ir_range(g->f, i->a).zero) {
		if (from == 1)
			asm_movsx8(&g->a, d, a);
		else
			asm_rr(&g->a, 8, from == 2 ? X_0F | 0xbfu : 0x63u, d, a);
	} else if (from == 1) {
		asm_movzx8(&g->a, d, a);
	} else if (from == 2) {
		asm_rr(&g->a, 4, X_0F | 0xb7, d, a);
	} else {
		asm_rr(&g->a, 4, 0x8b, d, a);
	}
}

/* --- comparisons --- */
static enum cond condition(unsigned op)
{
	static const uint8_t cc[] = {[IR_EQ - IR_EQ] = CC_E,
		[IR_NE - IR_EQ] = CC_NE,
		[IR_LTS - IR_EQ] = CC_L,
		[IR_LTU - IR_EQ] = CC_B,
		[IR_GES - IR_EQ] = CC_GE,
		[IR_GEU - IR_EQ] = CC_AE};
	return (enum cond)cc[op - IR_EQ];
}

enum cond gen_compare(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned w = bytes_of(g, i->a);
	struct asm_mem m;
	if (w < 4) {
		g->refused = true;
		return CC_E;
	}
	uint64_t imm = gen_is_const(g, i->b) ? gen_at(g, i->b)->imm : 0;
	if (gen_is_const(g, i->b) && (w == 4 || gen_fits32(imm))) {
		if (gen_in_memory(g, i->a, &m)) {
			asm_alu_mem_imm(&g->a, w, ALU_CMP, m, (int32_t)imm);
			return condition(i->op);
		}
		int a = gen_use(g, i->a);
		if (imm)
			asm_alu_imm(&g->a, w, ALU_CMP, a, (int32_t)imm);
		else
			asm_test(&g->a, w, a, a);
		return condition(i->op);
	}
	int a = gen_use(g, i->a);
	if (gen_in_memory(g, i->b, &m))
		asm_alu_mem(&g->a, w, ALU_CMP, a, m);
	else
		asm_alu(&g->a, w, ALU_CMP, a, gen_use(g, i->b));
	return condition(i->op);
}

static void compare_value(struct gen *g, ir_ref r)
{
	enum cond cc = gen_compare(g, r);
	int d = gen_def(g, r);
	asm_setcc(&g->a, cc, d);
	asm_movzx8(&g->a, d, d);
}

static void select_value(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	if (ir_type_is_float((enum ir_type)i->type) || bytes_of(g, i->a) < 4) {
		g->refused = true;
		return;
	}
	int b = gen_use(g, i->b), c = gen_use(g, i->c), d = gen_temp(g);
	enum cond cc = CC_NE;
	if (gen_is_condition(g, gen_root(g, i->a))) {
		cc = gen_compare(g, gen_root(g, i->a));
	} else {
		int a = gen_use(g, i->a);
		asm_test(&g->a, width(g, i->a), a, a);
	}
	asm_mov64(&g->a, d, c);
	asm_cmov(&g->a, width(g, r), cc, d, b);
	gen_def_in(g, r, d);
}

static void bitcast(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	unsigned bytes = bytes_of(g, r);
	bool to_float = gen_is_float(g, r), from_float = gen_is_float(g, i->a);
	if (to_float && !from_float) {
		int a = gen_use(g, i->a);
		asm_movq_to_xmm(&g->a, bytes, gen_def_xmm(g, r), a);
	} else if (!to_float && from_float) {
		const struct gen_value *v = &g->v[i->a];
		if (v->reg == NO_REG && v->slot >= 0) {
			asm_load(&g->a, bytes, gen_def(g, r), SLOT_MEM(g, v->slot));
			return;
		}
		int a = gen_use_xmm(g, i->a);
		asm_movq_from_xmm(&g->a, bytes, gen_def(g, r), a);
	} else if (to_float) {
		int a = gen_use_xmm(g, i->a);
		asm_movaps(&g->a, gen_def_xmm(g, r), a);
	} else {
		int a = gen_use(g, i->a);
		asm_mov64(&g->a, gen_def(g, r), a);
	}
}

/* --- calls --- */
void gen_set_pc(struct gen *g, uint64_t pc)
{
	struct asm_mem low = HEAD_MEM(pc), high = low;
	if (gen_fits32(pc)) {
		asm_store_imm(&g->a, 8, low, (int32_t)pc);
		return;
	}
	high.disp += 4;
	asm_store_imm(&g->a, 4, low, (int32_t)pc);
	asm_store_imm(&g->a, 4, high, (int32_t)(pc >> 32));
}

void gen_slow(struct gen *g, enum jit_slow slow, bool save_xmm)
{
	asm_fix(&g->a, asm_call(&g->a), g->j->slow[slow][save_xmm]);
}

static void slow_args(struct gen *g, const struct ir_ins *i)
{
	const ir_ref args[3] = {i->a, i->b, i->c};
	for (unsigned n = 0; n < 3; n++)
		if (args[n] != IR_NONE)
			asm_store(&g->a, 8, gen_arg(n), gen_use(g, args[n]));
}

static void take_result(struct gen *g, ir_ref r)
{
	if (!g->v[r].last_use)
		return;
	asm_load(&g->a, 8, gen_def(g, r), gen_arg(0));
}

static void call(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	slow_args(g, i);
	gen_set_pc(g, g->pc);
	asm_store_imm(&g->a, 4, HEAD_MEM(exec.info), (int32_t)i->imm);
	if (g->f->target->helpers[i->imm].flags & IR_HELPER_WRITES_SLOTS)
		gen_forget_slots(g);
	gen_slow(g, JIT_SLOW_CALL, gen_xmm_used(g));
	take_result(g, r);
}

/* Only a store before a load can be seen out of order on this host. */
static void fence(struct gen *g, const struct ir_ins *i)
{
	if (!(i->aux & IR_FENCE_WR))
		return;
	asm_8(&g->a, 0xf0); /* lock or dword [rsp], 0: cheaper than mfence */
	asm_alu_mem_imm(&g->a, 4, ALU_OR, MEM(RSP, 0), 0);
}

static void pause_hint(struct gen *g)
{
	asm_8(&g->a, 0xf3);
	asm_8(&g->a, 0x90);
}

void gen_ins(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	g->pos = r;
	switch (i->op) {
	case IR_NOP:
	case IR_CONST:
	case IR_TRUNC:
		break;
	case IR_INSN:
		g->pc = i->imm;
		g->insns++;
		break;
	case IR_GET:
		gen_get(g, r);
		break;
	case IR_PUT:
		gen_put(g, r);
		break;
	case IR_ADD:
	case IR_SUB:
	case IR_AND:
	case IR_OR:
	case IR_XOR:
		alu(g, r);
		break;
	case IR_ANDN:
		andn(g, r);
		break;
	case IR_SHL:
	case IR_SHR:
	case IR_SAR:
		shift(g, r);
		break;
	case IR_ROTL:
	case IR_ROTR:
		rotate(g, r);
		break;
	case IR_MUL:
		mul(g, r);
		break;
	case IR_MULHU:
	case IR_MULHS:
	case IR_MULHSU:
		mul_high(g, r);
		break;
	case IR_DIVU:
	case IR_DIVS:
	case IR_REMU:
	case IR_REMS:
		divide(g, r);
		break;
	case IR_NOT:
	case IR_NEG:
		not_neg(g, r);
		break;
	case IR_CLZ:
		count_bits(g, r, X_F3 | X_0F | 0xbd);
		break;
	case IR_CTZ:
		count_bits(g, r, X_F3 | X_0F | 0xbc);
		break;
	case IR_POPCNT:
		count_bits(g, r, X_F3 | X_0F | 0xb8);
		break;
	case IR_BSWAP:
		bswap(g, r);
		break;
	case IR_ORCB:
		orcb(g, r);
		break;
	case IR_ZEXT:
	case IR_SEXT:
		extend(g, r);
		break;
	case IR_SELECT:
		select_value(g, r);
		break;
	case IR_BITCAST:
		bitcast(g, r);
		break;
	case IR_LOAD:
	case IR_STORE:
		gen_memory(g, r);
		break;
	case IR_RMW:
	case IR_CMPXCHG:
	case IR_LOADR:
	case IR_STOREC:
		gen_atomic(g, r);
		break;
	case IR_FENCE:
		fence(g, i);
		break;
	case IR_PAUSE:
		pause_hint(g);
		break;
	case IR_CALL:
		call(g, r);
		break;
	default:
		if (gen_is_compare(i->op))
			compare_value(g, r);
		else if (ir_ops[i->op].flags & IR_TERM)
			gen_end(g, r);
		else
			gen_fp(g, r);
	}
	gen_end_ins(g);
}
