// SPDX-License-Identifier: Apache-2.0
// Which harts run: the guest's wish (SBI 2.0, chapter 9: hart state management) and the monitor's
// (start, pause, resume) meet under hsm_lock.
#include "board/riscv64/sbi.h"
#include "isa/rv64/rv64.h"

enum { HART_START, HART_STOP, HART_GET_STATUS, HART_SUSPEND };

struct reset {
	uint64_t pc, hart, opaque;
};

static void do_reset(void *opaque, void *state)
{
	const struct reset *r = opaque;
	rv64_reset(state, r->pc, r->hart, r->opaque);
}

static struct sbi_result hart_start(struct sbi *call)
{
	struct riscv_machine *m = call->machine;
	struct reset reset = {call->arg[1], call->arg[0], call->arg[2]};
	if (reset.hart >= m->cpus)
		return SBI_FAIL(SBI_ERR_INVALID_PARAM);
	if (!memory_find(m->board.memory, GPA(reset.pc)) || reset.pc % rv64_isa.min_insn_bytes)
		return SBI_FAIL(SBI_ERR_INVALID_ADDRESS);
	struct riscv_hart *h = &m->harts[reset.hart];
	struct sbi_result result = SBI_OK(0);
	pthread_mutex_lock(&m->hsm_lock);
	if (h->state != HART_STOPPED) {
		result = SBI_FAIL(SBI_ERR_ALREADY_AVAILABLE);
	} else {
		/* It is parked or about to park, and never inside a call that wants this lock. */
		vcpu_run_on(h->vcpu, do_reset, &reset);
		h->state = HART_STARTED;
		if (!m->paused)
			vcpu_resume(h->vcpu);
	}
	pthread_mutex_unlock(&m->hsm_lock);
	return result;
}

static struct sbi_result hart_stop(struct sbi *call)
{
	struct riscv_machine *m = call->machine;
	struct riscv_hart *h = &m->harts[call->hart];
	pthread_mutex_lock(&m->hsm_lock);
	h->state = HART_STOPPED;
	vcpu_park(h->vcpu);
	pthread_mutex_unlock(&m->hsm_lock);
	call->no_return = true;
	return SBI_OK(0);
}

struct suspended {
	uint64_t pc;
	enum hart_state state;
};

/* A hart that wakes tells nobody: it sleeps for as long as it stays where it suspended itself. */
static void look_at_suspended(void *opaque, void *state)
{
	struct suspended *s = opaque;
	const struct cpu_head *head = state;
	if (head->pc != s->pc)
		s->state = HART_STARTED;
	else
		s->state = rv64_isa.wakes(state) ? HART_RESUME_PENDING : HART_SUSPENDED;
}

/* Asks outside the lock: the hart may be in a call that wants it. */
static struct sbi_result hart_status(struct sbi *call)
{
	struct riscv_machine *m = call->machine;
	if (call->arg[0] >= m->cpus)
		return SBI_FAIL(SBI_ERR_INVALID_PARAM);
	struct riscv_hart *h = &m->harts[call->arg[0]];
	pthread_mutex_lock(&m->hsm_lock);
	uint32_t state = h->state;
	struct suspended where = {.pc = h->suspend_pc};
	pthread_mutex_unlock(&m->hsm_lock);
	if (state == HART_SUSPENDED) {
		vcpu_run_on(h->vcpu, look_at_suspended, &where);
		state = where.state;
	}
	return SBI_OK(state);
}

/* The hart wakes where it was told to, with little of its state (table 11); what may wake it stays.
 */
static void forget_state(struct sbi *call)
{
	struct rv64_cpu *c = call->cpu;
	uint64_t sie = c->sie, stimecmp = c->stimecmp, sip = atomic_load(&c->sip);
	rv64_reset(c, call->arg[1], call->hart, call->arg[2]);
	c->sie = sie;
	atomic_fetch_or(&c->sip, sip & UINT64_C(1) << RV64_IRQ_SOFTWARE);
	rv64_set_stimecmp(c, stimecmp);
	call->no_return = true;
}

/* Table 10: types of suspend. */
static struct sbi_result hart_suspend(struct sbi *call)
{
	enum { RETENTIVE = 0, NON_RETENTIVE = 0x80000000 };
	enum { PLATFORM_LOW = 0x10000000, PLATFORM_HIGH = 0x90000000 };
	uint64_t type = call->arg[0];
	if (type > UINT32_MAX)
		return SBI_FAIL(SBI_ERR_INVALID_PARAM);
	if (type != RETENTIVE && type != NON_RETENTIVE) {
		bool platform =
			(type >= PLATFORM_LOW && type < NON_RETENTIVE) || type >= PLATFORM_HIGH;
		return SBI_FAIL(platform ? SBI_ERR_NOT_SUPPORTED : SBI_ERR_INVALID_PARAM);
	}
	if (type == NON_RETENTIVE &&
		(!memory_find(call->machine->board.memory, GPA(call->arg[1])) ||
			call->arg[1] % rv64_isa.min_insn_bytes))
		return SBI_FAIL(SBI_ERR_INVALID_ADDRESS);
	const struct cpu_env *env = call->cpu->head.env;
	/* As wfi: the hart sleeps once this call has returned, before its next instruction. */
	env->wait_for_interrupt(env->opaque);
	if (type == NON_RETENTIVE)
		forget_state(call);
	struct riscv_hart *h = &call->machine->harts[call->hart];
	pthread_mutex_lock(&call->machine->hsm_lock);
	h->state = HART_SUSPENDED;
	h->suspend_pc = call->cpu->head.pc;
	pthread_mutex_unlock(&call->machine->hsm_lock);
	return SBI_OK(0);
}

void hsm_hart_is_awake(struct riscv_machine *m, unsigned hart)
{
	struct riscv_hart *h = &m->harts[hart];
	if (h->state != HART_SUSPENDED) /* while it runs, only the hart itself changes it */
		return;
	pthread_mutex_lock(&m->hsm_lock);
	h->state = HART_STARTED;
	pthread_mutex_unlock(&m->hsm_lock);
}

struct sbi_result sbi_hsm(struct sbi *call)
{
	switch (call->function) {
	case HART_START:
		return hart_start(call);
	case HART_STOP:
		return hart_stop(call);
	case HART_GET_STATUS:
		return hart_status(call);
	case HART_SUSPEND:
		return hart_suspend(call);
	default:
		return SBI_FAIL(SBI_ERR_NOT_SUPPORTED);
	}
}

/* --- the monitor's side --- */

static bool runs(const struct riscv_hart *h)
{
	return h->state != HART_STOPPED;
}

int riscv_harts_start(struct riscv_machine *m, struct error *err)
{
	for (unsigned i = 0; i < m->cpus; i++) {
		int r = vcpu_start(m->harts[i].vcpu, err);
		if (r < 0)
			return r;
	}
	struct riscv_hart *boot = &m->harts[0];
	rv64_reset(vcpu_state(boot->vcpu), m->entry, 0, m->fdt_addr);
	pthread_mutex_lock(&m->hsm_lock);
	boot->state = HART_STARTED;
	if (!m->paused)
		vcpu_resume(boot->vcpu);
	pthread_mutex_unlock(&m->hsm_lock);
	return 0;
}

void riscv_harts_pause(struct riscv_machine *m)
{
	pthread_mutex_lock(&m->hsm_lock);
	m->paused = true; /* from here on no hart resumes another */
	for (unsigned i = 0; i < m->cpus; i++)
		vcpu_park(m->harts[i].vcpu);
	pthread_mutex_unlock(&m->hsm_lock);
	for (unsigned i = 0; i < m->cpus; i++)
		vcpu_park_wait(m->harts[i].vcpu);
}

void riscv_harts_resume(struct riscv_machine *m)
{
	pthread_mutex_lock(&m->hsm_lock);
	m->paused = false;
	for (unsigned i = 0; i < m->cpus; i++) {
		if (runs(&m->harts[i]))
			vcpu_resume(m->harts[i].vcpu);
	}
	pthread_mutex_unlock(&m->hsm_lock);
}

void riscv_harts_state(struct riscv_machine *m, struct state *s)
{
	for (unsigned i = 0; i < m->cpus; i++) {
		uint32_t state = m->harts[i].state;
		state_u32(s, "hart", &state);
		state_u64(s, "suspend_pc", &m->harts[i].suspend_pc);
		if (state > HART_SUSPENDED)
			state_fail(s, "hart %u is in no known state", i);
		else
			m->harts[i].state = state;
	}
	vcpu_group_state(m->board.cpus, s);
}
