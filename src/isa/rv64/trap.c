// SPDX-License-Identifier: Apache-2.0
// Exceptions, interrupts and the timer. All traps go to supervisor mode.
#include "isa/rv64/internal.h"

void rv64_raise(struct rv64_cpu *c, uint64_t cause, uint64_t value)
{
	c->head.fault.pending = true;
	c->head.fault.cause = cause;
	c->head.fault.value = value;
}

void rv64_access_fault(void *cpu, gva_t addr, enum isa_access access)
{
	static const uint8_t causes[] = {
		[ISA_READ] = RV64_CAUSE_LOAD_ACCESS,
		[ISA_WRITE] = RV64_CAUSE_STORE_ACCESS,
		[ISA_EXEC] = RV64_CAUSE_FETCH_ACCESS,
	};
	rv64_raise(cpu, causes[access], addr.v);
}

void rv64_misaligned_fault(void *cpu, gva_t addr, enum isa_access access)
{
	/* Code is never misaligned: jumps clear bit 0, and C allows the rest. */
	uint64_t cause =
		access == ISA_READ ? RV64_CAUSE_LOAD_MISALIGNED : RV64_CAUSE_STORE_MISALIGNED;
	rv64_raise(cpu, cause, addr.v);
}

/* Trap entry, privileged specification 10.1.1 and 10.1.2. */
static void enter(struct rv64_cpu *c, uint64_t cause, uint64_t value, uint64_t pc)
{
	c->scause = cause;
	c->stval = value;
	c->sepc = c->head.pc;
	c->sstatus &= ~(SSTATUS_SPP | SSTATUS_SPIE);
	if (c->priv == RV64_SUPERVISOR)
		c->sstatus |= SSTATUS_SPP;
	if (c->sstatus & SSTATUS_SIE)
		c->sstatus |= SSTATUS_SPIE;
	c->sstatus &= ~SSTATUS_SIE;
	c->priv = RV64_SUPERVISOR;
	/* A handler's own LR/SC must not complete the interrupted one's. */
	cpu_forget_reservation(&c->head);
	c->head.pc = pc;
	rv64_mmu_mode_changed(c);
}

void rv64_deliver(void *cpu)
{
	struct rv64_cpu *c = cpu;
	c->head.fault.pending = false;
	enter(c, c->head.fault.cause, c->head.fault.value, c->stvec & ~UINT64_C(3));
}

/* --- interrupts --- */

/* The timer's own thread may set the line for a deadline that the guest has moved since: the
 * comparison is what counts. */
static uint64_t pending(const struct rv64_cpu *c)
{
	uint64_t sip = atomic_load(&c->sip);
	if ((sip & IRQ_BIT(RV64_IRQ_TIMER)) && rv64_time(c) < c->stimecmp)
		sip &= ~IRQ_BIT(RV64_IRQ_TIMER);
	return sip;
}

uint64_t rv64_sip(struct rv64_cpu *c)
{
	uint64_t sip = atomic_load(&c->sip) & ~IRQ_BIT(RV64_IRQ_TIMER);
	return sip | (rv64_time(c) >= c->stimecmp ? IRQ_BIT(RV64_IRQ_TIMER) : 0);
}

bool rv64_interrupt(void *cpu)
{
	static const uint8_t order[] = {RV64_IRQ_EXTERNAL, RV64_IRQ_SOFTWARE, RV64_IRQ_TIMER};
	struct rv64_cpu *c = cpu;
	if (c->priv == RV64_SUPERVISOR && !(c->sstatus & SSTATUS_SIE))
		return false;
	if (!(atomic_load_explicit(&c->sip, memory_order_relaxed) & c->sie))
		return false;
	uint64_t ready = pending(c) & c->sie;
	for (unsigned n = 0; n < ARRAY_SIZE(order); n++) {
		uint64_t line = order[n];
		if (!(ready & IRQ_BIT(line)))
			continue;
		uint64_t offset = c->stvec & 1 ? 4 * line : 0;
		enter(c, CAUSE_INTERRUPT | line, 0, (c->stvec & ~UINT64_C(3)) + offset);
		return true;
	}
	return false;
}

void rv64_check_interrupts(struct rv64_cpu *c)
{
	if (atomic_load_explicit(&c->sip, memory_order_relaxed) & c->sie)
		cpu_want_attention(&c->head);
}

void rv64_set_irq(void *cpu, unsigned line, bool level)
{
	struct rv64_cpu *c = cpu;
	uint64_t bit = IRQ_BIT(line & 63) & IRQ_ALL;
	if (!level) {
		atomic_fetch_and(&c->sip, ~bit);
	} else if (bit) {
		atomic_fetch_or(&c->sip, bit);
		cpu_want_attention(&c->head);
	}
}

bool rv64_wakes(const void *cpu)
{
	const struct rv64_cpu *c = cpu;
	return pending(c) & c->sie;
}

/* --- time --- */
#define NS_PER_TICK (NS_PER_SEC / RV64_TIMEBASE_HZ)

uint64_t rv64_time(const struct rv64_cpu *c)
{
	return clock_monotonic_ns() / NS_PER_TICK + c->time_offset;
}

uint64_t rv64_time_ns(const struct rv64_cpu *c)
{
	return clock_monotonic_ns() + c->time_offset * NS_PER_TICK;
}

void rv64_set_stimecmp(struct rv64_cpu *c, uint64_t ticks)
{
	uint64_t now = rv64_time(c), deadline_ns = UINT64_MAX, left_ns = 0;
	c->stimecmp = ticks;
	if ((ticks > now && mul_overflows(ticks - now, NS_PER_TICK, &left_ns)) ||
		add_overflows(clock_monotonic_ns(), left_ns, &deadline_ns))
		deadline_ns = UINT64_MAX;
	if (c->head.env)
		c->head.env->set_timer(c->head.env->opaque, deadline_ns);
	if (ticks <= now) /* not only when the timer's thread gets to it */
		rv64_set_irq(c, RV64_IRQ_TIMER, true);
}
