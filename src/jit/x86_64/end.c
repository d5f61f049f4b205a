// SPDX-License-Identifier: Apache-2.0
// Ends of blocks, and the code out of the way.
#include "jit/x86_64/gen.h"

struct gen_stub *gen_stub(struct gen *g, enum gen_stub_kind kind, uint8_t *from)
{
	if (g->stub_count == g->stub_cap) {
		g->stub_cap = g->stub_cap ? g->stub_cap * 2 : 64;
		g->stubs = xrealloc(g->stubs, g->stub_cap * sizeof(*g->stubs));
	}
	struct gen_stub *s = &g->stubs[g->stub_count++];
	*s = (struct gen_stub){.kind = (uint8_t)kind, .from = from};
	return s;
}

/* --- leaving --- */

/* Both ends of a link must be under the same mappings, and go together: they are in one page. */
static bool linkable(const struct gen *g, uint64_t pc)
{
	if (g->j->flat) /* one address space, all of whose code goes together */
		return true;
	/* What may need the next page too is never linked to (code_cache.c). */
	if (pc % GUEST_PAGE_BYTES > GUEST_PAGE_BYTES - g->j->isa->max_insn_bytes)
		return false;
	return (pc ^ g->f->pc) < GUEST_PAGE_BYTES;
}

/* A jump's distance is patched while others run it: it must not cross eight bytes. */
static void align_distance(struct gen *g, unsigned opcode_bytes)
{
	while (((uintptr_t)(g->a.p + opcode_bytes) & 7) > 4)
		asm_8(&g->a, 0x90);
}

/* Any loop has an edge that goes back; if only one, or none that is looked up, this one. */
static void leave_by(struct gen *g, uint8_t *from, uint64_t pc)
{
	bool back = pc <= g->f->blocks[g->block].pc;
	gen_stub(g, !linkable(g, pc) ? STUB_FAR : back ? STUB_EDGE_BACK : STUB_EDGE, from)->pc = pc;
}

static void leave_to(struct gen *g, uint64_t pc)
{
	align_distance(g, 1);
	leave_by(g, asm_jmp(&g->a), pc);
}

static void leave_if(struct gen *g, enum cond cc, uint64_t pc)
{
	align_distance(g, 2);
	leave_by(g, asm_jcc(&g->a, cc), pc);
}

/* --- inside --- */
static void fixup(struct gen *g, uint8_t *at, unsigned block)
{
	if (g->fixup_count == g->fixup_cap) {
		g->fixup_cap = g->fixup_cap ? g->fixup_cap * 2 : 64;
		g->fixups = xrealloc(g->fixups, g->fixup_cap * sizeof(*g->fixups));
	}
	g->fixups[g->fixup_count++] = (struct gen_fixup){at, block};
}

/* A block that only leaves, for a constant address: its jumps leave themselves. */
bool gen_only_leaves(const struct gen *g, unsigned block, uint64_t *pc)
{
	const struct ir_block *b = &g->f->blocks[block];
	const struct ir_ins *end = gen_at(g, b->end - 1);
	if (b->end - b->first != 2 || end->op != IR_GOTO || end->aux == IR_JUMP_CALL ||
		!gen_is_const(g, end->a))
		return false;
	*pc = gen_at(g, end->a)->imm;
	return true;
}

static void jump_to(struct gen *g, unsigned block)
{
	uint64_t pc;
	if (gen_only_leaves(g, block, &pc))
		leave_to(g, pc);
	else if (block != g->block + 1)
		fixup(g, asm_jmp(&g->a), block);
}

static void jump_if(struct gen *g, enum cond cc, unsigned block)
{
	uint64_t pc;
	if (gen_only_leaves(g, block, &pc))
		leave_if(g, cc, pc);
	else
		fixup(g, asm_jcc(&g->a, cc), block);
}

/* The condition of a branch. */
static enum cond test(struct gen *g, ir_ref cond)
{
	/* Of a truncation's register only these bytes count. */
	unsigned bytes = ir_type_bytes((enum ir_type)gen_at(g, cond)->type);
	cond = gen_root(g, cond);
	if (gen_is_condition(g, cond))
		return gen_compare(g, cond);
	if (bytes < 4) {
		g->refused = true;
		return CC_NE;
	}
	int reg = gen_use(g, cond);
	asm_test(&g->a, bytes, reg, reg);
	return CC_NE;
}

static enum cond inverted(enum cond cc)
{
	return (enum cond)(cc ^ 1);
}

/* --- the jump table --- */
enum { JUMP_WAY = 4 }; /* exclusive or with an entry's index times 4: the other way */

/* A field of an entry; the index is that of the entry times 4. */
static struct asm_mem jump_field(const struct jit *j, int index, size_t field)
{
	_Static_assert(sizeof(struct cpu_jump) == 32, "the scale is 8");
	return MEMX(RBP, index, 8, cpu_jumps_offset(j->isa) + field);
}

enum transfer { BY_CALL = 2, BY_JMP = 4 }; /* of opcode ff */

/* Goes to what is in the entry in ecx (index times 4), when it is for the address in rax and the
 * context in rdx; otherwise goes on at the two that it returns. */
static void try_entry(struct asm_buf *a, const struct jit *j, enum transfer how, uint8_t *no[2])
{
	asm_alu_mem(a, 8, ALU_CMP, RAX, jump_field(j, RCX, offsetof(struct cpu_jump, pc)));
	no[0] = asm_jcc(a, CC_NE);
	asm_alu_mem(a, 8, ALU_CMP, RDX, jump_field(j, RCX, offsetof(struct cpu_jump, context)));
	no[1] = asm_jcc(a, CC_NE);
	asm_rm(a, 4, 0xff, how, jump_field(j, RCX, offsetof(struct cpu_jump, code)));
}

/* To the code of the guest address in rax. */
static void look_up(struct asm_buf *a, const struct jit *j, enum transfer how, uint8_t *no[2])
{
	asm_mov(a, 4, RCX, RAX);
	asm_load(a, 8, RDX, HEAD_MEM(exec.context));
	asm_alu_imm(a, 4, ALU_AND, RCX, (CPU_JUMPS - 1) << 1);
	asm_shift(a, 4, SHIFT_SHL, RCX, 1);
	try_entry(a, j, how, no);
}

static void fix_both(struct asm_buf *a, uint8_t *no[2], const uint8_t *target)
{
	asm_fix(a, no[0], target);
	asm_fix(a, no[1], target);
}

void gen_look_up_code(struct asm_buf *a, struct jit *j)
{
	uint8_t *first[2], *second[2];
	j->look_up = a->p;
	look_up(a, j, BY_JMP, first);
	j->other_way = a->p; /* of the entry in ecx */
	fix_both(a, first, a->p);
	asm_alu_imm(a, 4, ALU_XOR, RCX, JUMP_WAY);
	try_entry(a, j, BY_JMP, second);
	fix_both(a, second, a->p);
	asm_mov_imm(a, RDX, 0); /* no link */
	asm_jmp_to(a, j->leave_cell);
}

static void target_to_rax(struct gen *g, ir_ref target)
{
	asm_mov64(&g->a, RAX, gen_use(g, target)); /* nothing else is needed any more */
}

static void indirect(struct gen *g)
{
	uint8_t *no[2];
	look_up(&g->a, g->j, BY_JMP, no);
	fix_both(&g->a, no, g->j->other_way);
}

static struct jit_link *next_link(struct gen *g)
{
	if (g->link_count < g->link_cap)
		return &g->links[g->link_count++];
	g->refused = true; /* they were counted before */
	return NULL;
}

/* --- calls and returns ---
 * A guest's call is a host's call, its return a host's return, which the host predicts. What is
 * behind the call compares where the guest wanted to go. When that is elsewhere (longjmp, another
 * thread of the guest), or compiled code has been left in between, the jump table knows. */

/* Stops when others want attention or the host's stack is deep enough. */
static void check_call(struct gen *g, enum gen_stub_kind kind, uint64_t pc)
{
	asm_alu_mem(&g->a, 8, ALU_CMP, RSP, HEAD_MEM(exec.stack_limit));
	gen_stub(g, kind, asm_jcc(&g->a, CC_BE))->pc = pc;
}

/* The guest returns to the address in rax. */
static void returned(struct gen *g, uint64_t pc)
{
	if (gen_fits32(pc)) {
		asm_alu_imm(&g->a, 8, ALU_CMP, RAX, (int32_t)pc);
	} else {
		asm_mov_imm(&g->a, RCX, pc);
		asm_alu(&g->a, 8, ALU_CMP, RAX, RCX);
	}
	asm_jcc_to(&g->a, CC_NE, g->j->mismatch);
	for (unsigned n = 0; n < g->entries; n++)
		if (g->f->blocks[n].pc == pc) {
			if (n != g->block + 1)
				fixup(g, asm_jmp(&g->a), n);
			return;
		}
	leave_to(g, pc);
}

static void call_looked_up(struct gen *g)
{
	uint8_t *no[2];
	look_up(&g->a, g->j, BY_CALL, no);
	struct gen_stub *s = gen_stub(g, STUB_CALL, no[0]);
	s->from_too = no[1];
	s->back = g->a.p;
}

/* An inline cache, of the first address that it comes to. Only in flat code, where all code goes
 * together: nothing else of the jump table's context need be compared. */
static void by_cell(struct gen *g, enum transfer how)
{
	uint8_t *pc = asm_rip(&g->a, 8, 0x3b, RAX);
	uint8_t *other = asm_jcc(&g->a, CC_NE);
	uint8_t *code = asm_rip(&g->a, 4, 0xff, how);
	struct gen_stub *s = gen_stub(g, STUB_CELL, other);
	s->cell[0] = pc;
	s->cell[1] = code;
	s->back = how == BY_CALL ? g->a.p : NULL;
}

/* What a cell does not know, the jump table does. */
static void cell_stub(struct gen *g, const struct gen_stub *s)
{
	struct jit_link *link = next_link(g);
	if (!link)
		return;
	uint8_t *first = asm_rip(&g->a, 8, 0x8b, RCX), *no[2];
	asm_alu_imm(&g->a, 8, ALU_CMP, RCX, -1);
	uint8_t *set = asm_jcc_short(&g->a, CC_NE);
	const void *leave = jit_executable(g->j, g->a.p);
	asm_mov_imm(&g->a, RDX, (uintptr_t)link);
	asm_jmp_to(&g->a, g->j->leave_cell);
	asm_fix_short(&g->a, set, g->a.p);
	look_up(&g->a, g->j, s->back ? BY_CALL : BY_JMP, no);
	if (s->back) {
		asm_jmp_to(&g->a, s->back);
		fix_both(&g->a, no, g->a.p);
		asm_fix(&g->a, asm_call(&g->a), g->j->other_way);
		asm_jmp_to(&g->a, s->back);
	} else {
		fix_both(&g->a, no, g->j->other_way);
	}
	while ((uintptr_t)g->a.p % sizeof(uint64_t))
		asm_8(&g->a, 0xcc);
	asm_fix(&g->a, first, g->a.p);
	asm_fix(&g->a, s->cell[0], g->a.p);
	asm_fix(&g->a, s->cell[1], g->a.p + sizeof(uint64_t));
	link->cell = (uint64_t *)(void *)g->a.p;
	asm_64(&g->a, JIT_CELL_EMPTY);
	asm_64(&g->a, (uintptr_t)leave); /* whatever the guest's address */
}

static void call(struct gen *g, const struct ir_ins *i)
{
	if (gen_is_const(g, i->a)) {
		uint64_t pc = gen_at(g, i->a)->imm;
		check_call(g, STUB_ATTENTION, pc);
		align_distance(g, 1);
		gen_stub(g, linkable(g, pc) ? STUB_EDGE : STUB_FAR, asm_call(&g->a))->pc = pc;
	} else {
		target_to_rax(g, i->a);
		check_call(g, STUB_ATTENTION_RAX, 0);
		if (g->j->flat)
			by_cell(g, BY_CALL);
		else
			call_looked_up(g);
	}
	returned(g, i->imm);
}

static void leave_with(struct gen *g, enum interp_exit how)
{
	asm_mov_imm(&g->a, RAX, (uint64_t)how);
	asm_jmp_to(&g->a, g->j->leave);
}

static void steady(struct gen *g)
{
	asm_alu_mem_imm(&g->a, 4, ALU_CMP, HEAD_MEM(attention), 0);
	gen_stub(g, STUB_ATTENTION_RAX, asm_jcc(&g->a, CC_NE));
	by_cell(g, BY_JMP);
}

static void trap(struct gen *g, const struct ir_ins *i)
{
	int value = gen_use(g, i->a);
	asm_store(&g->a, 8, HEAD_MEM(fault.value), value);
	int t = gen_temp(g);
	asm_mov_imm(&g->a, t, i->imm);
	asm_store(&g->a, 8, HEAD_MEM(fault.cause), t);
	asm_store_imm(&g->a, 1, HEAD_MEM(fault.pending), 1);
	gen_set_pc(g, g->pc);
	leave_with(g, INTERP_FAULT);
}

void gen_end(struct gen *g, ir_ref r)
{
	const struct ir_ins *i = gen_at(g, r);
	if (g->insns && g->j->counted)
		asm_alu_mem_imm(&g->a, 8, ALU_ADD, HEAD_MEM(insns_retired), (int32_t)g->insns);
	switch (i->op) {
	case IR_JUMP:
		jump_to(g, (unsigned)i->imm);
		break;
	case IR_BRANCH: {
		unsigned yes = (uint32_t)i->imm, no = (unsigned)(i->imm >> 32);
		enum cond cc = test(g, i->a);
		if (yes == g->block + 1 && !gen_only_leaves(g, yes, &(uint64_t){0})) {
			jump_if(g, inverted(cc), no);
		} else {
			jump_if(g, cc, yes);
			jump_to(g, no);
		}
		break;
	}
	case IR_GOTO:
		if (i->aux == IR_JUMP_CALL) {
			call(g, i);
		} else if (gen_is_const(g, i->a)) {
			leave_to(g, gen_at(g, i->a)->imm);
		} else {
			target_to_rax(g, i->a);
			if (i->aux == IR_JUMP_RETURN)
				asm_ret(&g->a);
			else if (i->aux == IR_JUMP_STEADY && g->j->flat)
				steady(g);
			else
				indirect(g);
		}
		break;
	case IR_GOTO_IF:
		leave_if(g, test(g, i->a), gen_at(g, i->b)->imm);
		leave_to(g, gen_at(g, i->c)->imm);
		break;
	case IR_EXIT:
		if (gen_is_const(g, i->a))
			gen_set_pc(g, gen_at(g, i->a)->imm);
		else
			asm_store(&g->a, 8, HEAD_MEM(pc), gen_use(g, i->a));
		leave_with(g, INTERP_EXIT);
		break;
	case IR_TRAP:
		trap(g, i);
		break;
	default:
		g->refused = true;
	}
}

void gen_check_attention(struct gen *g, uint64_t pc)
{
	asm_alu_mem_imm(&g->a, 4, ALU_CMP, HEAD_MEM(attention), 0);
	gen_stub(g, STUB_ATTENTION, asm_jcc(&g->a, CC_NE))->pc = pc;
}

/* --- stubs --- */
static void function_stub(struct gen *g, const struct gen_stub *s)
{
	for (unsigned n = 0; n < 3; n++) {
		if (s->args[n] == NO_REG)
			continue;
		if (s->arg_fp[n])
			asm_fp_store(&g->a, 8, gen_arg(n), s->args[n]);
		else
			asm_store(&g->a, 8, gen_arg(n), s->args[n]);
	}
	asm_store_imm(&g->a, 4, HEAD_MEM(exec.info), (int32_t)s->info);
	asm_store_imm(&g->a, 4, HEAD_MEM(exec.fp_info), (int32_t)s->fp_info);
	if (s->slow != JIT_SLOW_FP)
		gen_set_pc(g, s->pc);
	gen_slow(g, (enum jit_slow)s->slow, s->save_xmm);
	if (s->dst == NO_REG)
		;
	else if (s->fp)
		asm_fp_load(&g->a, s->bytes, s->dst, gen_arg(0));
	else
		asm_load(&g->a, 8, s->dst, gen_arg(0));
	asm_jmp_to(&g->a, s->back);
}

/* The default NaN: all ones, shifted right and left. */
static void nan_stub(struct gen *g, const struct gen_stub *s)
{
	unsigned op = s->bytes == 8 ? 0x73 : 0x72;
	asm_rr(&g->a, 4, X_66 | X_0F | 0x76, s->dst, s->dst); /* pcmpeqd */
	asm_rr(&g->a, 4, X_66 | X_0F | op, 2, s->dst);
	asm_8(&g->a, s->bytes == 8 ? 52 : 23);
	asm_rr(&g->a, 4, X_66 | X_0F | op, 6, s->dst);
	asm_8(&g->a, s->bytes == 8 ? 51 : 22);
	asm_jmp_to(&g->a, s->back);
}

/* Division by 0: quotient all ones, remainder the dividend; by -1: minus the dividend, 0. */
static void divide_stub(struct gen *g, const struct gen_stub *s)
{
	unsigned w = s->bytes;
	uint8_t *zero = NULL;
	if (s->sext) {
		asm_test(&g->a, w, s->value, s->value);
		zero = asm_jcc(&g->a, CC_E);
		if (s->imm_value) {
			asm_mov_imm(&g->a, s->dst, 0);
		} else {
			asm_mov64(&g->a, s->dst, s->base);
			asm_neg(&g->a, w, s->dst);
		}
		asm_jmp_to(&g->a, s->back);
		asm_fix(&g->a, zero, g->a.p);
	}
	if (s->imm_value)
		asm_mov64(&g->a, s->dst, s->base);
	else
		asm_mov_imm(&g->a, s->dst, UINT64_MAX);
	asm_jmp_to(&g->a, s->back);
}

/* The end of all edges: rax is the distance of the link in links[]. Whoever comes with attention
 * wanted has no use for a link, nor does it harm. */
static void leave_link(struct gen *g)
{
	g->leave_link = g->a.p;
	asm_mov_imm(&g->a, RDX, (uintptr_t)g->links);
	asm_rr(&g->a, 8, 0x03, RAX, RDX);
	asm_jmp_to(&g->a, g->j->leave_link);
}

static void edge_stub(struct gen *g, const struct gen_stub *s)
{
	struct jit_link *link = next_link(g);
	if (!link)
		return;
	*link = (struct jit_link){.pc = s->pc, .jump = s->from};
	if (s->kind == STUB_EDGE_BACK) {
		asm_alu_mem_imm(&g->a, 4, ALU_CMP, HEAD_MEM(attention), 0);
		uint8_t *wanted = asm_jcc_short(&g->a, CC_NE);
		align_distance(g, 1);
		link->jump = asm_jmp(&g->a);
		asm_fix(&g->a, link->jump, g->a.p);
		asm_fix_short(&g->a, wanted, g->a.p);
	}
	asm_mov_imm_flags(&g->a, RAX, (size_t)(link - g->links) * sizeof(*link));
	if (g->leave_link)
		asm_jmp_to(&g->a, g->leave_link);
	else
		leave_link(g);
}

static void far_stub(struct gen *g, const struct gen_stub *s)
{
	uint32_t index = s->pc >> 1 & (CPU_JUMPS - 1);
	int32_t at = (int32_t)(cpu_jumps_offset(g->j->isa) + index * sizeof(struct cpu_jump));
	asm_mov_imm(&g->a, RAX, s->pc);
	asm_load(&g->a, 8, RDX, HEAD_MEM(exec.context));
	asm_alu_mem(&g->a, 8, ALU_CMP, RAX, MEM(RBP, at));
	uint8_t *unknown = asm_jcc_short(&g->a, CC_NE);
	asm_alu_mem(
		&g->a, 8, ALU_CMP, RDX, MEM(RBP, at + (int32_t)offsetof(struct cpu_jump, context)));
	uint8_t *stale = asm_jcc_short(&g->a, CC_NE);
	asm_rm(&g->a, 4, 0xff, BY_JMP, MEM(RBP, at + (int32_t)offsetof(struct cpu_jump, code)));
	asm_fix_short(&g->a, unknown, g->a.p);
	asm_fix_short(&g->a, stale, g->a.p);
	asm_mov_imm(&g->a, RCX, index * JUMP_WAY);
	asm_jmp_to(&g->a, g->j->other_way);
}

void gen_stubs(struct gen *g)
{
	for (unsigned n = 0; n < g->stub_count && !g->a.overflow; n++) {
		const struct gen_stub *s = &g->stubs[n];
		asm_fix(&g->a, s->from, g->a.p);
		switch ((enum gen_stub_kind)s->kind) {
		case STUB_LOAD:
		case STUB_STORE:
			gen_access_stub(g, s);
			break;
		case STUB_FP:
		case STUB_ATOMIC:
			function_stub(g, s);
			break;
		case STUB_NAN:
			nan_stub(g, s);
			break;
		case STUB_DIVIDE:
			divide_stub(g, s);
			break;
		case STUB_EDGE:
		case STUB_EDGE_BACK:
			edge_stub(g, s);
			break;
		case STUB_FAR:
			far_stub(g, s);
			break;
		case STUB_CELL:
			cell_stub(g, s);
			break;
		case STUB_CALL:
			asm_fix(&g->a, s->from_too, g->a.p);
			asm_fix(&g->a, asm_call(&g->a), g->j->other_way);
			asm_jmp_to(&g->a, s->back);
			break;
		case STUB_ATTENTION:
			gen_set_pc(g, s->pc);
			leave_with(g, INTERP_ATTENTION);
			break;
		case STUB_ATTENTION_RAX:
			asm_store(&g->a, 8, HEAD_MEM(pc), RAX);
			leave_with(g, INTERP_ATTENTION);
			break;
		}
	}
}
