// SPDX-License-Identifier: Apache-2.0
// Instructions of the system: CSRs, environment calls, returns, waiting, fences of translations and
// code, cache blocks. What a mode may not do is decided here, when the block is lifted: the mode is
// one of the translation flags.
#include "isa/rv64/lift.h"

/* --- Zicsr --- */
static bool csr_allowed(const struct rv64_lift *l, const struct rv64_csr *csr, bool writes)
{
	if (!csr || (writes && (csr->flags & CSR_READ_ONLY)))
		return false;
	if ((csr->flags & CSR_SUPERVISOR) && !in_supervisor(l))
		return false;
	return !(csr->flags & CSR_FP) || (l->flags >> FLAG_FS_SHIFT & 3);
}

static ir_ref csr_combine(struct rv64_lift *l, unsigned op, ir_ref old, ir_ref operand)
{
	switch (op) {
	case CSR_OP_SET:
		return bin64(l, IR_OR, old, operand);
	case CSR_OP_CLEAR:
		return bin64(l, IR_ANDN, old, operand);
	default:
		return operand;
	}
}

/* A plain register of the trap handler: no call. */
static void csr_in_slot(struct rv64_lift *l, const struct rv64_insn *i, const struct rv64_csr *csr,
	unsigned op, bool writes, ir_ref operand)
{
	ir_ref old = ir_get(l->f, csr->slot);
	if (writes) {
		ir_ref v = csr_combine(l, op, old, operand);
		if (csr->slot_clear)
			v = bin64(l, IR_AND, v, k64(l, ~csr->slot_clear));
		ir_put(l->f, csr->slot, v);
	}
	set_x(l, i->rd, old);
}

/* Each flag goes from where the one side has it to where the other has. */
static ir_ref move_flags(struct rv64_lift *l, ir_ref v, bool to_host)
{
	ir_ref sum = k64(l, 0);
	for (unsigned n = 0; n < RV64_FP_FLAGS; n++) {
		const struct rv64_fp_flag *f = &rv64_fp_flags[n];
		uint32_t to = to_host ? f->host : f->guest;
		int up = __builtin_ctz(to) - __builtin_ctz(to_host ? f->guest : f->host);
		ir_ref moved = bin64(l, up < 0 ? IR_SHR : IR_SHL, v, k64(l, (uint64_t)abs(up)));
		sum = bin64(l, IR_OR, bin64(l, IR_AND, moved, k64(l, to)), sum);
	}
	return sum;
}

static void fs_is_dirty(struct rv64_lift *l)
{
	if (!l->fs_dirty)
		ir_put(l->f, SLOT_FS, ir_const(l->f, IR_I32, 3));
	l->fs_dirty = true;
}

/* Compilers save and restore the flags around a comparison that must not raise any: no call. */
static void fflags(
	struct rv64_lift *l, const struct rv64_insn *i, unsigned op, bool writes, ir_ref operand)
{
	ir_ref old = k64(l, 0);
	if (i->rd || op != CSR_OP_WRITE)
		old = move_flags(l,
			ir_emit(l->f, IR_FFLAGS, IR_I64, 0, IR_NONE, IR_NONE, IR_NONE, 0), false);
	if (writes) {
		fs_is_dirty(l);
		ir_emit(l->f, IR_FFLAGS_SET, IR_VOID, 0,
			move_flags(l, csr_combine(l, op, old, operand), true), IR_NONE, IR_NONE, 0);
	}
	set_x(l, i->rd, old);
}

static void csr_access(struct rv64_lift *l, const struct rv64_insn *i, unsigned op, ir_ref operand)
{
	/* csrrw writes in any case, the others unless their operand is x0 or 0 (6.1). */
	bool writes = op == CSR_OP_WRITE || i->rs1;
	const struct rv64_csr *csr = rv64_csr_find((unsigned)i->imm);
	if (!csr_allowed(l, csr, writes)) {
		end_illegal(l, i);
		return;
	}
	if (csr->flags & CSR_SLOT) {
		csr_in_slot(l, i, csr, op, writes, operand);
		return;
	}
	if (csr->number == CSR_FFLAGS) {
		fflags(l, i, op, writes, operand);
		return;
	}
	ir_ref what = k64(l, csr->number | op << 12 | (writes ? CSR_CALL_WRITE : 0u)), old;
	if (csr->flags & CSR_COUNTER) {
		old = ir_call(l->f, HELPER_COUNTER, what, k64(l, i->raw), IR_NONE);
	} else if (csr->flags & CSR_FP) {
		if (writes)
			fs_is_dirty(l);
		old = ir_call(l->f, HELPER_FCSR, what, operand, IR_NONE);
	} else {
		old = ir_call(l->f, HELPER_CSR, what, operand, k64(l, i->raw));
	}
	set_x(l, i->rd, old);
	if (writes && (csr->flags & CSR_EXITS))
		end_exit(l, k64(l, next_pc(l, i)));
}

LIFT(csrrw)
{
	csr_access(l, i, CSR_OP_WRITE, get_x(l, i->rs1));
}
LIFT(csrrs)
{
	csr_access(l, i, CSR_OP_SET, get_x(l, i->rs1));
}
LIFT(csrrc)
{
	csr_access(l, i, CSR_OP_CLEAR, get_x(l, i->rs1));
}
LIFT(csrrwi)
{
	csr_access(l, i, CSR_OP_WRITE, k64(l, i->rs1));
}
LIFT(csrrsi)
{
	csr_access(l, i, CSR_OP_SET, k64(l, i->rs1));
}
LIFT(csrrci)
{
	csr_access(l, i, CSR_OP_CLEAR, k64(l, i->rs1));
}

/* --- calls and returns --- */
LIFT(ecall)
{
	if (in_supervisor(l)) {
		/* The firmware may send the hart elsewhere: it answers with the pc. */
		end_exit(
			l, ir_call(l->f, HELPER_FIRMWARE, k64(l, next_pc(l, i)), IR_NONE, IR_NONE));
		return;
	}
	ir_trap(l->f, RV64_CAUSE_ECALL_USER, k64(l, 0));
	l->ended = true;
}
LIFT(ebreak)
{
	ir_trap(l->f, RV64_CAUSE_BREAKPOINT, k64(l, l->pc));
	l->ended = true;
}
LIFT(sret)
{
	if (in_supervisor(l))
		end_exit(l, ir_call(l->f, HELPER_SRET, IR_NONE, IR_NONE, IR_NONE));
	else
		end_illegal(l, i);
}

uint64_t rv64_helper_firmware(void *cpu, uint64_t next, uint64_t b, uint64_t c)
{
	struct cpu_head *h = cpu;
	h->pc = next;
	h->env->firmware_call(h->env->opaque, cpu);
	return h->pc;
}

uint64_t rv64_helper_sret(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	struct rv64_cpu *s = cpu;
	s->priv = s->sstatus & SSTATUS_SPP ? RV64_SUPERVISOR : RV64_USER;
	s->sstatus &= ~(SSTATUS_SPP | SSTATUS_SIE);
	if (s->sstatus & SSTATUS_SPIE)
		s->sstatus |= SSTATUS_SIE;
	s->sstatus |= SSTATUS_SPIE;
	/* As on entry: whoever runs next has loaded nothing yet (3.3.2 allows it). */
	cpu_forget_reservation(&s->head);
	rv64_mmu_mode_changed(s);
	rv64_check_interrupts(s);
	return s->sepc;
}

/* --- waiting --- */
LIFT(wfi)
{
	/* User mode may not stop a hart: it would be trapped after a bounded time, so at once. */
	if (!in_supervisor(l)) {
		end_illegal(l, i);
		return;
	}
	ir_call(l->f, HELPER_WFI, IR_NONE, IR_NONE, IR_NONE);
	end_exit(l, k64(l, next_pc(l, i)));
}

uint64_t rv64_helper_wfi(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	struct cpu_head *h = cpu;
	if (!rv64_wakes(cpu))
		h->env->wait_for_interrupt(h->env->opaque);
	return 0;
}

/* --- fences of code and translations --- */
LIFT(fence_i)
{
	ir_call(l->f, HELPER_FENCE_I, IR_NONE, IR_NONE, IR_NONE);
	end_exit(l, k64(l, next_pc(l, i)));
}

uint64_t rv64_helper_fence_i(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	struct cpu_head *h = cpu;
	h->env->code_fence(h->env->opaque);
	return 0;
}

LIFT(sfence_vma)
{
	if (!in_supervisor(l)) {
		end_illegal(l, i);
		return;
	}
	/* x0 means all addresses, all address spaces. */
	ir_call(l->f, HELPER_SFENCE_VMA, get_x(l, i->rs1), get_x(l, i->rs2),
		k64(l, (i->rs1 ? 1u : 0u) | (i->rs2 ? 2u : 0u)));
	end_exit(l, k64(l, next_pc(l, i)));
}

uint64_t rv64_helper_sfence_vma(void *cpu, uint64_t addr, uint64_t asid, uint64_t given)
{
	asid = given & 2 ? asid & SATP_ASID_MASK : RV64_ALL_ASIDS;
	if (given & 1)
		rv64_fence_vma(cpu, align_down(addr, GUEST_PAGE_BYTES), GUEST_PAGE_BYTES, asid);
	else
		rv64_fence_vma(cpu, 0, UINT64_MAX, asid);
	return 0;
}

/* --- Zicbom, Zicboz: in user mode as senvcfg allows --- */
static bool cbo_allowed(struct rv64_lift *l, const struct rv64_insn *i, unsigned flag)
{
	if (in_supervisor(l) || (l->flags & flag))
		return true;
	end_illegal(l, i);
	return false;
}

/* All memory is coherent: what is left of a cache-block operation is its permission check. */
static void cbo_manage(struct rv64_lift *l, const struct rv64_insn *i, unsigned flag)
{
	if (cbo_allowed(l, i, flag))
		ir_call(l->f, HELPER_CBO_CHECK, get_x(l, i->rs1), IR_NONE, IR_NONE);
}
LIFT(cbo_inval)
{
	cbo_manage(l, i, FLAG_CBIE);
}
LIFT(cbo_clean)
{
	cbo_manage(l, i, FLAG_CBCFE);
}
LIFT(cbo_flush)
{
	cbo_manage(l, i, FLAG_CBCFE);
}

uint64_t rv64_helper_cbo_check(void *cpu, uint64_t addr, uint64_t b, uint64_t c)
{
	/* Allowed where a load or a store is (a page that can be written can be read); a refusal is
	 * reported as a store's (CMO specification, 2.5.2). */
	struct cpu_head *h = cpu;
	struct isa_mapping mapping;
	if (!rv64_translate(cpu, GVA(addr), ISA_READ, &mapping))
		return 0;
	if (h->fault.cause == RV64_CAUSE_LOAD_PAGE)
		h->fault.cause = RV64_CAUSE_STORE_PAGE;
	else
		h->fault.cause = RV64_CAUSE_STORE_ACCESS;
	return 0;
}

LIFT(cbo_zero)
{
	if (!cbo_allowed(l, i, FLAG_CBZE))
		return;
	/* A fault reports rs1 itself, not the block's start: so the byte there goes first. */
	ir_ref addr = get_x(l, i->rs1);
	ir_store(l->f, 0, addr, ir_const(l->f, IR_I8, 0));
	ir_ref block = bin64(l, IR_AND, addr, k64(l, ~(uint64_t)(RV64_CBO_BYTES - 1)));
	for (unsigned at = 0; at < RV64_CBO_BYTES; at += 8)
		ir_store(l->f, 0, bin64(l, IR_ADD, block, k64(l, at)), k64(l, 0));
}
