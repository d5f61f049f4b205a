// SPDX-License-Identifier: Apache-2.0
// A made-up CPU for tests of the translating back end: eight registers, instructions of eight bytes
// at multiples of four (so that one may straddle two pages), a flat page table of 64 entries.
#ifndef STRATA_TESTS_MINI_H
#define STRATA_TESTS_MINI_H

#include "cpu/vcpu.h"

enum mini_op {
	MINI_TRAP, /* 0: what zeroed memory holds */
	MINI_LI,   /* d = imm */
	MINI_ADDI, /* d = a + imm */
	MINI_ADD,
	MINI_LD, /* d = 8 bytes at a + imm */
	MINI_ST, /* b to a + imm */
	MINI_LW,
	MINI_SW,
	MINI_BNE, /* a, b: to pc + imm */
	MINI_J,	  /* to pc + imm */
	MINI_JR,  /* to a, d = the next pc */
	MINI_AMOADD,
	MINI_LR,
	MINI_SC,
	MINI_FENCE_I,
	MINI_CALL, /* the firmware, which sees imm in cpu->call */
	MINI_WAIT,
};

struct mini_insn {
	uint8_t op, d, a, b;
	int32_t imm;
};

enum {
	MINI_PAGES = 64,
	MINI_IRQ_LINES = 2,
	MINI_FAULT_PAGE = 1,
	MINI_FAULT_ACCESS,
	MINI_FAULT_ALIGN,
	MINI_FAULT_TRAP
};

struct mini_page {
	uint64_t gpa;
	bool present, writable;
};

struct mini {
	struct cpu_head head;
	uint64_t r[8];
	uint64_t vector; /* where faults and interrupts go; 0: the firmware is called with -1 */
	uint64_t fault_pc, fault_cause, fault_value;
	uint64_t interrupts;
	int64_t call;
	_Atomic uint32_t lines;
	bool masked;
	struct mini_page pages[MINI_PAGES];
	struct tlb tlb;
};

static const struct ir_slot mini_slots[] = {
#define R(n)                                                                                       \
	{                                                                                          \
		"r" #n, offsetof(struct mini, r[n]), IR_I64                                        \
	}
	R(0), R(1), R(2), R(3), R(4), R(5), R(6), R(7)
#undef R
};

static const uint16_t mini_pinned[] = {0, 1, 2, 3, 4, 5};

static uint64_t mini_fence(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	struct cpu_head *h = cpu;
	h->env->code_fence(h->env->opaque);
	return 0;
}
static uint64_t mini_call(void *cpu, uint64_t imm, uint64_t next, uint64_t c)
{
	struct mini *m = cpu;
	m->call = (int64_t)imm;
	m->head.pc = next;
	m->head.env->firmware_call(m->head.env->opaque, cpu);
	return m->head.pc;
}
static uint64_t mini_wait(void *cpu, uint64_t a, uint64_t b, uint64_t c)
{
	struct cpu_head *h = cpu;
	h->env->wait_for_interrupt(h->env->opaque);
	return 0;
}
static const struct ir_helper mini_helpers[] = {
	{"fence", mini_fence, 0, 0},
	{"call", mini_call, 2, IR_HELPER_READS_SLOTS | IR_HELPER_WRITES_SLOTS},
	{"wait", mini_wait, 0, 0},
};

static void mini_lift_one(struct ir_func *f, const struct mini_insn *i, uint64_t pc, bool *ended)
{
	uint64_t next = pc + 8;
	ir_ref imm = ir_const(f, IR_I64, (uint64_t)(int64_t)i->imm), none = IR_NONE;
	ir_ref a = ir_get(f, i->a & 7), b = ir_get(f, i->b & 7);
	ir_ref addr = ir_bin(f, IR_ADD, IR_I64, a, imm);
	unsigned d = i->d & 7;
	*ended = false;
	switch (i->op) {
	case MINI_LI:
		ir_put(f, d, imm);
		return;
	case MINI_ADDI:
		ir_put(f, d, addr);
		return;
	case MINI_ADD:
		ir_put(f, d, ir_bin(f, IR_ADD, IR_I64, a, b));
		return;
	case MINI_LD:
		ir_put(f, d, ir_load(f, IR_I64, 0, addr));
		return;
	case MINI_LW:
		ir_put(f, d, ir_un(f, IR_ZEXT, IR_I64, ir_load(f, IR_I32, 0, addr)));
		return;
	case MINI_ST:
		ir_store(f, 0, addr, b);
		return;
	case MINI_SW:
		ir_store(f, 0, addr, ir_un(f, IR_TRUNC, IR_I32, b));
		return;
	case MINI_AMOADD:
		ir_put(f, d, ir_emit(f, IR_RMW, IR_I64, IR_RMW_ADD, addr, b, none, 0));
		return;
	case MINI_LR:
		ir_put(f, d, ir_emit(f, IR_LOADR, IR_I64, 0, addr, none, none, 0));
		return;
	case MINI_SC:
		ir_put(f, d, ir_emit(f, IR_STOREC, IR_I64, 0, addr, b, none, 0));
		return;
	default:
		break;
	}
	*ended = true;
	switch (i->op) {
	case MINI_BNE:
		ir_goto_if(f, ir_cmp(f, IR_NE, a, b), pc + (uint64_t)(int64_t)i->imm, next);
		return;
	case MINI_J:
		ir_goto(f, ir_const(f, IR_I64, pc + (uint64_t)(int64_t)i->imm), IR_JUMP_PLAIN);
		return;
	case MINI_JR:
		ir_put(f, d, ir_const(f, IR_I64, next));
		ir_goto(f, a, IR_JUMP_PLAIN);
		return;
	case MINI_FENCE_I:
	case MINI_WAIT:
		ir_call(f, i->op == MINI_WAIT ? 2 : 0, none, none, none);
		ir_exit(f, ir_const(f, IR_I64, next));
		return;
	case MINI_CALL:
		ir_exit(f, ir_call(f, 1, imm, ir_const(f, IR_I64, next), none));
		return;
	default:
		ir_trap(f, MINI_FAULT_TRAP, none);
		return;
	}
}

static int mini_lift(struct ir_func *f, uint16_t flags, const uint8_t *code, size_t bytes,
	const uint8_t *next, size_t next_bytes, unsigned max_insns)
{
	size_t at = 0;
	unsigned insns = 0;
	bool ended = false;
	ir_block_begin(f, f->pc);
	while (!ended && at < bytes && insns < max_insns) {
		struct mini_insn i;
		size_t have = MIN(bytes - at, sizeof(i));
		if (have < sizeof(i) && (!next || next_bytes < sizeof(i) - have)) {
			if (!insns)
				return -EAGAIN;
			break;
		}
		memcpy(&i, code + at, have);
		if (have < sizeof(i))
			memcpy((char *)&i + have, next, sizeof(i) - have);
		ir_insn(f, f->pc + at, sizeof(i));
		mini_lift_one(f, &i, f->pc + at, &ended);
		at += sizeof(i);
		insns++;
	}
	if (!ended)
		ir_goto(f, ir_const(f, IR_I64, f->pc + at), IR_JUMP_PLAIN);
	f->bytes = (uint32_t)at;
	f->insns = insns;
	return 0;
}

static void mini_fault(struct mini *m, uint64_t cause, gva_t addr)
{
	m->head.fault.pending = true;
	m->head.fault.cause = cause;
	m->head.fault.value = addr.v;
}
static int mini_translate(void *cpu, gva_t addr, enum isa_access access, struct isa_mapping *out)
{
	struct mini *m = cpu;
	uint64_t n = addr.v >> GUEST_PAGE_SHIFT;
	if (n >= MINI_PAGES || !m->pages[n].present ||
		(access == ISA_WRITE && !m->pages[n].writable)) {
		mini_fault(m, MINI_FAULT_PAGE, addr);
		return -EFAULT;
	}
	*out = (struct isa_mapping){GPA(m->pages[n].gpa), true, m->pages[n].writable, true, false};
	return 0;
}
static void mini_access_fault(void *cpu, gva_t addr, enum isa_access access)
{
	mini_fault(cpu, MINI_FAULT_ACCESS, addr);
}
static void mini_misaligned_fault(void *cpu, gva_t addr, enum isa_access access)
{
	mini_fault(cpu, MINI_FAULT_ALIGN, addr);
}
static void mini_deliver(void *cpu)
{
	struct mini *m = cpu;
	m->fault_pc = m->head.pc;
	m->fault_cause = m->head.fault.cause;
	m->fault_value = m->head.fault.value;
	m->head.fault.pending = false;
	m->head.pc = m->vector;
}
static bool mini_interrupt(void *cpu)
{
	struct mini *m = cpu;
	if (m->masked || !atomic_exchange(&m->lines, 0))
		return false;
	m->interrupts++;
	return false; /* only counted: pc stays */
}
static void mini_set_irq(void *cpu, unsigned line, bool level)
{
	struct mini *m = cpu;
	if (level) {
		atomic_fetch_or(&m->lines, 1u << line);
		cpu_want_attention(&m->head);
	} else {
		atomic_fetch_and(&m->lines, ~(1u << line));
	}
}
static bool mini_wakes(const void *cpu)
{
	return atomic_load(&((const struct mini *)cpu)->lines);
}
static uint16_t mini_flags(const void *cpu)
{
	return 0;
}
static void mini_init(void *cpu, unsigned id)
{
	struct mini *m = cpu;
	tlb_init(&m->tlb);
	m->head.tlbs = &m->tlb;
	m->head.tlb_count = 1;
	cpu_use_tlb(&m->head, &m->tlb);
}
static void mini_done(void *cpu)
{
	tlb_done(&((struct mini *)cpu)->tlb);
}

static const struct isa mini_isa = {
	.name = "mini",
	.state_bytes = sizeof(struct mini),
	.min_insn_bytes = 4,
	.max_insn_bytes = 8,
	.target = {"mini", mini_slots, ARRAY_SIZE(mini_slots), mini_helpers,
		ARRAY_SIZE(mini_helpers), mini_pinned, ARRAY_SIZE(mini_pinned)},
	.timer_line = 1,
	.init = mini_init,
	.done = mini_done,
	.lift = mini_lift,
	.translation_flags = mini_flags,
	.translate = mini_translate,
	.access_fault = mini_access_fault,
	.misaligned_fault = mini_misaligned_fault,
	.deliver = mini_deliver,
	.interrupt = mini_interrupt,
	.set_irq = mini_set_irq,
	.wakes = mini_wakes,
};

#endif
