// SPDX-License-Identifier: Apache-2.0
// Flat groups: vCPUs whose memory is this process's own.
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <ucontext.h>

#include "cpu/internal.h"
#include "mem/flat.h"

int vcpu_group_new_flat(struct vcpu_group **out, const struct isa *isa,
	const struct vcpu_space *space, struct error *err)
{
	struct vcpu_group *g = vcpu_group_make(isa, NULL, space->count_insns);
	g->space = *space;
	*out = g;
	return 0;
}

void vcpu_group_drop_code(struct vcpu_group *g, const uint8_t *page)
{
	code_cache_drop_page(g->cache, page);
}

/* Code that was dropped is left at the next call, loop or look-up: a return looks at nothing. */
void vcpu_group_settle(struct vcpu_group *g, const struct vcpu *self)
{
	enum { SPINS = 100, SLEEP_NS = 50 * 1000, SLEEPS = NS_PER_SEC / SLEEP_NS };
	uint64_t epoch = code_cache_epoch(g->cache);
	for (unsigned n = 0, turns = 0; n < atomic_load(&g->count) && turns < SPINS + SLEEPS;) {
		struct vcpu *v = g->vcpus[n];
		if (v == self || atomic_load(&v->code_epoch) >= epoch) {
			n++;
			continue;
		}
		cpu_want_attention(v->head);
		if (turns++ < SPINS)
			sched_yield();
		else
			nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
	}
}

void vcpu_group_fork_begin(struct vcpu_group *g)
{
	code_cache_lock(g->cache);
	if (g->jit)
		jit_lock(g->jit);
}

void vcpu_group_fork_end(struct vcpu_group *g, bool child, struct vcpu *self)
{
	if (child)
		for (unsigned n = 0; n < atomic_load(&g->count); n++)
			if (g->vcpus[n] != self)
				atomic_store(&g->vcpus[n]->code_epoch, CODE_EPOCH_IDLE);
	if (g->jit)
		jit_unlock(g->jit);
	code_cache_unlock(g->cache);
}

bool vcpu_host_fault(struct vcpu *v, void *ucontext, uint64_t addr)
{
	/* Bit 1 of a page fault's error code: it was a write. */
	enum { ERROR_WRITE = 2 };
	ucontext_t *u = ucontext;
	greg_t *pc = &u->uc_mcontext.gregs[REG_RIP];
	uintptr_t landing = flat_landing((uintptr_t)*pc);
	if (landing)
		*pc = (greg_t)landing;
	else if (!v->group->jit || !jit_recover(v->group->jit, v->head, ucontext))
		return false;
	if (v->executing) {
		bool write = u->uc_mcontext.gregs[REG_ERR] & ERROR_WRITE;
		v->head->isa->access_fault(v->head, GVA(addr), write ? ISA_WRITE : ISA_READ);
	}
	return true;
}

/* --- struct cpu_env: what executors do not do inline --- */
static bool allowed(struct cpu_head *h, uint64_t addr, unsigned bytes, unsigned mem_flags,
	enum isa_access access)
{
	if (!(mem_flags & IR_MEM_ALIGNED) || !(addr & (bytes - 1)))
		return true;
	h->isa->misaligned_fault(h, GVA(addr), access);
	return false;
}

static bool refused(struct cpu_head *h, uint64_t addr)
{
	if (h->fault.value == FLAT_NO_ADDRESS)
		h->fault.value = addr;
	return false;
}

bool vcpu_load_flat(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t *value)
{
	uint64_t v = 0;
	uint32_t v32;
	uint16_t v16;
	uint8_t v8;
	if (!allowed(cpu, addr, bytes, mem_flags, ISA_READ))
		return false;
	switch (bytes) {
	case 1:
		FLAT_LOAD(8, v8, addr, fault);
		v = v8;
		break;
	case 2:
		FLAT_LOAD(16, v16, addr, fault);
		v = v16;
		break;
	case 4:
		FLAT_LOAD(32, v32, addr, fault);
		v = v32;
		break;
	default:
		FLAT_LOAD(64, v, addr, fault);
	}
	*value = v;
	return true;
fault:
	return refused(cpu, addr);
}

bool vcpu_store_flat(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t value)
{
	if (!allowed(cpu, addr, bytes, mem_flags, ISA_WRITE))
		return false;
	switch (bytes) {
	case 1:
		FLAT_STORE(8, (uint8_t)value, addr, fault);
		break;
	case 2:
		FLAT_STORE(16, (uint16_t)value, addr, fault);
		break;
	case 4:
		FLAT_STORE(32, (uint32_t)value, addr, fault);
		break;
	default:
		FLAT_STORE(64, value, addr, fault);
	}
	return true;
fault:
	return refused(cpu, addr);
}

void *vcpu_atomic_flat(void *cpu, uint64_t addr, unsigned bytes, bool write)
{
	enum isa_access access = write ? ISA_WRITE : ISA_READ;
	return allowed(cpu, addr, bytes, IR_MEM_ALIGNED, access) ? (void *)(uintptr_t)addr : NULL;
}
