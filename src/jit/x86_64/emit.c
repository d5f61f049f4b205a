// SPDX-License-Identifier: Apache-2.0
// The driver of the emitter, and the code that all regions share: entering, leaving, calling C.
#include <assert.h>
#include <cpuid.h>
#include <ucontext.h>

#include "jit/x86_64/gen.h"

/* clang's __builtin_cpu_supports() does not know it. */
static bool has_lzcnt(void)
{
	unsigned a, b, c, d;
	return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & bit_LZCNT);
}

int jit_host_check(struct error *err)
{
	static const char needs[] =
		"jit: this host's CPU lacks %s: guest code is interpreted, which is slower";
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("bmi"))
		return error_set(err, ENOTSUP, needs, "BMI2");
	if (!__builtin_cpu_supports("fma") || !__builtin_cpu_supports("avx"))
		return error_set(err, ENOTSUP, needs, "FMA");
	if (!has_lzcnt() || !__builtin_cpu_supports("popcnt"))
		return error_set(err, ENOTSUP, needs, "LZCNT");
	return 0;
}

/* One store within eight bytes: whoever executes the jump sees the old distance or the new, and two
 * who link it do so to the same target. */
__attribute__((no_sanitize("thread"))) void jit_patch_jump(uint8_t *jump, const uint8_t *target)
{
	int32_t distance = (int32_t)(target - (jump + 4));
	typedef int32_t unaligned __attribute__((aligned(1), may_alias));
	*(volatile unaligned *)jump = distance;
}

/* --- what all regions share --- */
static const uint8_t callee_saved[] = {RBX, RBP, R12, R13, R14, R15};

static unsigned pinned_count(const struct jit *j)
{
	return MIN(j->isa->target.pinned_count, (unsigned)GEN_PINNED);
}

static struct asm_mem pinned_mem(const struct jit *j, unsigned n)
{
	const struct ir_target *t = &j->isa->target;
	return MEM(RBP, t->slots[t->pinned[n]].offset);
}

static void store_pinned(struct asm_buf *a, const struct jit *j)
{
	for (unsigned n = 0; n < pinned_count(j); n++)
		asm_store(a, 8, pinned_mem(j, n), gen_pinned[n]);
}

static bool saved_by_c(int reg)
{
	for (unsigned n = 0; n < ARRAY_SIZE(callee_saved); n++)
		if (callee_saved[n] == reg)
			return true;
	return false;
}

/* Holds the stack pointer, which guest calls leave unaligned, while C runs. */
enum { STACK_KEPT = RBX };

/* Those that calling C has not kept, or all. */
static void load_pinned(struct asm_buf *a, const struct jit *j, bool all)
{
	for (unsigned n = 0; n < pinned_count(j); n++)
		if (all || !saved_by_c(gen_pinned[n]) || gen_pinned[n] == STACK_KEPT)
			asm_load(a, 8, gen_pinned[n], pinned_mem(j, n));
}

/* unsigned enter(void *cpu, const void *code)
 * The guest's returns are the host's. The last return address is always that of the code here,
 * which looks up where to go. */
static void emit_enter(struct asm_buf *a, struct jit *j)
{
	j->enter = a->p;
	for (unsigned n = 0; n < ARRAY_SIZE(callee_saved); n++)
		asm_push(a, callee_saved[n]);
	asm_mov64(a, RBP, RDI);
	asm_mov64(a, RAX, RSI);
	asm_store(a, 8, HEAD_MEM(exec.stack), RSP);
	load_pinned(a, j, true);
	asm_call_reg(a, RAX);
	uint8_t *returned = a->p;
	asm_fix(a, asm_call(a), j->look_up);
	asm_jmp_to(a, returned);
	j->mismatch = a->p;
	asm_load(a, 8, RSP, HEAD_MEM(exec.stack));
	asm_jmp_to(a, returned);
}

/* The reason is in rax. */
static void emit_leave(struct asm_buf *a, struct jit *j)
{
	j->leave = a->p;
	store_pinned(a, j);
	j->leave_stored = a->p;
	asm_load(a, 8, RSP, HEAD_MEM(exec.stack));
	for (unsigned n = ARRAY_SIZE(callee_saved); n-- > 0;)
		asm_pop(a, callee_saved[n]);
	asm_ret(a);
}

static void emit_slow_failed(struct asm_buf *a, struct jit *j)
{
	j->slow_failed = a->p;
	asm_mov_imm(a, RAX, INTERP_FAULT);
	asm_jmp_to(a, j->leave_stored);
}

static void emit_leave_link(struct asm_buf *a, struct jit *j)
{
	j->leave_link = a->p;
	asm_store(a, 8, HEAD_MEM(exec.link), RAX);
	asm_load(a, 8, RAX, MEM(RAX, offsetof(struct jit_link, pc)));
	asm_store(a, 8, HEAD_MEM(pc), RAX);
	asm_mov_imm(a, RAX, INTERP_MISS);
	asm_jmp_to(a, j->leave);
}

/* Calls a slow function; keeps all registers. When it fails, leaves: the slots are in memory. */
static void emit_slow(struct asm_buf *a, struct jit *j, enum jit_slow slow, bool save_xmm)
{
	enum { XMM_BYTES = 16 * GEN_XMMS };
	j->slow[slow][save_xmm] = a->p;
	store_pinned(a, j);
	for (unsigned n = 0; n < GEN_TEMPS; n++)
		asm_push(a, gen_temps[n]);
	struct asm_mem site = MEM(RSP, 8 * GEN_TEMPS);
	asm_load(a, 8, RSI, site);
	asm_mov64(a, RDI, RBP);
	asm_mov64(a, STACK_KEPT, RSP);
	asm_alu_imm(a, 8, ALU_AND, RSP, -16);
	if (save_xmm) {
		asm_alu_imm(a, 8, ALU_SUB, RSP, XMM_BYTES);
		for (int n = 0; n < GEN_XMMS; n++)
			asm_rm(a, 4, X_0F | 0x29, n, MEM(RSP, 16 * n));
	}
	asm_mov_imm(a, RAX, (uintptr_t)jit_slow_fns[slow]);
	asm_call_reg(a, RAX);
	asm_rr(a, 1, 0x84, RAX, RAX);
	asm_jcc_to(a, CC_E, j->slow_failed);
	if (save_xmm)
		for (int n = 0; n < GEN_XMMS; n++)
			asm_rm(a, 4, X_0F | 0x28, n, MEM(RSP, 16 * n));
	asm_mov64(a, RSP, STACK_KEPT);
	if (slow == JIT_SLOW_LOAD || slow == JIT_SLOW_STORE)
		asm_alu_mem_imm(a, 8, ALU_ADD, site, sizeof(struct jit_site));
	for (unsigned n = GEN_TEMPS; n-- > 0;)
		asm_pop(a, gen_temps[n]);
	load_pinned(a, j, slow == JIT_SLOW_CALL);
	asm_ret(a);
}

static void emit_leave_cell(struct asm_buf *a, struct jit *j)
{
	j->leave_cell = a->p;
	asm_store(a, 8, HEAD_MEM(exec.link), RDX);
	asm_store(a, 8, HEAD_MEM(pc), RAX);
	asm_mov_imm(a, RAX, INTERP_MISS);
	asm_jmp_to(a, j->leave);
}

void jit_emit_common(struct jit *j)
{
	struct asm_buf a = {j->write, j->write, j->write + 16384, false};
	emit_leave(&a, j);
	emit_leave_link(&a, j);
	emit_leave_cell(&a, j);
	emit_slow_failed(&a, j);
	gen_look_up_code(&a, j);
	emit_enter(&a, j);
	for (unsigned slow = 0; slow < JIT_SLOW_COUNT; slow++)
		for (unsigned xmm = 0; xmm < 2; xmm++)
			emit_slow(&a, j, (enum jit_slow)slow, xmm);
	gen_common_accesses(&a, j);
	assert(!a.overflow);
	j->common_bytes = (size_t)(a.p - a.start);
}

/* --- a host fault in flat code --- */
const uint8_t *jit_fault_address(const void *ucontext)
{
	const ucontext_t *u = ucontext;
	return (const uint8_t *)u->uc_mcontext.gregs[REG_RIP];
}

void jit_leave_faulted(const struct jit *j, void *cpu, uint64_t pc, void *ucontext)
{
	static const int context_reg[16] = {[RBX] = REG_RBX,
		[RSI] = REG_RSI,
		[RDI] = REG_RDI,
		[R8] = REG_R8,
		[R9] = REG_R9,
		[R10] = REG_R10,
		[R11] = REG_R11,
		[R12] = REG_R12,
		[R13] = REG_R13,
		[R14] = REG_R14,
		[R15] = REG_R15};
	ucontext_t *u = ucontext;
	greg_t *regs = u->uc_mcontext.gregs;
	const struct ir_target *t = &j->isa->target;
	for (unsigned n = 0; n < pinned_count(j); n++) {
		uint64_t v = (uint64_t)regs[context_reg[gen_pinned[n]]];
		memcpy((char *)cpu + t->slots[t->pinned[n]].offset, &v, sizeof(v));
	}
	((struct cpu_head *)cpu)->pc = pc;
	regs[REG_RAX] = INTERP_FAULT;
	regs[REG_RIP] = (greg_t)(uintptr_t)jit_executable(j, j->leave_stored);
}

/* --- one function --- */
/* Blocks that a jump goes back to look at attention. */
static void check_if_back(struct gen *g, unsigned from, unsigned to)
{
	const struct ir_block *b = g->f->blocks;
	if (b[to].pc <= b[from].pc)
		g->block_checks[to] = true;
}

static void find_checked_blocks(struct gen *g)
{
	const struct ir_func *f = g->f;
	for (unsigned n = 0; n < f->block_count; n++) {
		const struct ir_ins *end = &f->ins[f->blocks[n].end - 1];
		if (end->op == IR_JUMP)
			check_if_back(g, n, (unsigned)end->imm);
		if (end->op != IR_BRANCH)
			continue;
		check_if_back(g, n, (uint32_t)end->imm);
		check_if_back(g, n, (unsigned)(end->imm >> 32));
	}
}

static void emit_block(struct gen *g, unsigned n)
{
	const struct ir_block *b = &g->f->blocks[n];
	g->block = n;
	g->pc = b->pc;
	g->insns = 0;
	g->block_at[n] = g->a.p;
	if (g->block_checks[n])
		gen_check_attention(g, b->pc);
	gen_begin_block(g);
	gen_analyse(g, b);
	for (ir_ref r = b->first; r < b->end && !g->refused && !g->a.overflow; r++)
		if (!g->v[r].folded)
			gen_ins(g, r);
}

/* Links are addressed by the code: their array must not move. */
static unsigned count_edges(const struct gen *g)
{
	unsigned edges = 0;
	for (unsigned n = 0; n < g->stub_count; n++)
		edges += g->stubs[n].kind == STUB_EDGE || g->stubs[n].kind == STUB_EDGE_BACK ||
			 g->stubs[n].kind == STUB_CELL;
	return edges;
}

int jit_emit(struct jit *j, const struct ir_func *f, unsigned entries, uint8_t *at, size_t room,
	struct jit_region *region, struct error *err)
{
	struct gen g = {.j = j, .f = f, .entries = entries, .a = {at, at, at + room, false}};
	g.v = ARENA_ARRAY(f->arena, struct gen_value, f->len);
	g.slot_value = ARENA_ARRAY(f->arena, ir_ref, f->target->slot_count);
	g.block_at = ARENA_ARRAY(f->arena, uint8_t *, f->block_count);
	g.block_checks = ARENA_ARRAY(f->arena, bool, f->block_count);
	memset(g.block_checks, 0, f->block_count * sizeof(bool));
	find_checked_blocks(&g);
	if (!j->flat)
		asm_64(&g.a, f->pc & -(uint64_t)GUEST_PAGE_BYTES); /* for jit_site.back */
	for (unsigned n = 0; n < f->block_count && !g.refused; n++)
		if (n < entries || !gen_only_leaves(&g, n, &(uint64_t){0}))
			emit_block(&g, n);
	for (unsigned n = 0; n < g.fixup_count && !g.refused; n++)
		asm_fix(&g.a, g.fixups[n].at, g.block_at[g.fixups[n].block]);
	region->links = xcalloc(MAX(count_edges(&g), 1u), sizeof(*region->links));
	g.links = region->links;
	g.link_cap = count_edges(&g);
	if (!g.refused)
		gen_stubs(&g);
	free(g.stubs);
	free(g.fixups);
	region->accesses = g.accesses;
	region->access_count = g.access_count;
	if (g.a.overflow)
		return -ENOSPC;
	if (g.refused)
		return error_set(err, ENOTSUP, "jit: no code for this");
	region->link_count = g.link_count;
	region->bytes = (uint32_t)(g.a.p - g.a.start);
	region->entries = xcalloc(entries, sizeof(*region->entries));
	region->entry_count = entries;
	for (unsigned n = 0; n < entries; n++)
		region->entries[n] =
			(struct jit_entry){f->blocks[n].pc, jit_executable(j, g.block_at[n])};
	return 0;
}
