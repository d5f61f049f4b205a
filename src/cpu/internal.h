// SPDX-License-Identifier: Apache-2.0
// The back end `translate`: what its files share. docs/engine.md explains the whole.
#ifndef STRATA_CPU_INTERNAL_H
#define STRATA_CPU_INTERNAL_H

#include <pthread.h>

#include "base/arena.h"
#include "cpu/code_cache.h"
#include "cpu/vcpu.h"
#include "interp/interp.h"

enum { VCPU_MAX = 512 };

/* Work for a vCPU's thread, on the stack of the one that waits for it. */
struct vcpu_request {
	void (*fn)(void *opaque, void *state);
	void *opaque;
	bool done; /* group->request_lock */
	struct vcpu_request *next;
};

struct vcpu {
	struct vcpu_group *group;
	unsigned id;
	struct cpu_head *head; /* the CPU's state, owned */
	struct cpu_env env;

	/* The vCPU's thread. */
	struct interp_jump *jumps; /* owned */
	struct interp_run run;
	struct interp_lowerer *lowerer; /* owned */
	struct arena arena;		/* of one translation */
	uint64_t context_high;		/* the bits of the epochs that run.context lacks */
	bool wait_wanted;		/* the guest asked to wait for an interrupt */

	/* [any thread] The code cache's epoch that this vCPU has seen: it uses no code that was
	 * dropped up to then. CODE_EPOCH_IDLE: it uses none at all. */
	_Atomic uint64_t code_epoch;

	pthread_mutex_t lock;	/* what follows; also the state while `idle` */
	pthread_cond_t wake;	/* for the vCPU's thread */
	pthread_cond_t stopped; /* it has parked or ended */
	_Atomic bool idle;	/* asleep at a block boundary; written under lock */
	bool park, parked, stop, started;
	pthread_t thread; /* to join */
	struct vcpu_request *requests;

	pthread_t self; /* the thread says so itself; others may look when `running` */
	_Atomic bool running;

	uint64_t deadline_ns; /* group->timer.lock */

	_Atomic uint64_t blocks_lifted, blocks_run, tlb_misses, lookups_missed, interrupts,
		exceptions;
};

struct vcpu_timer {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	pthread_t thread;
	uint64_t sleeping_until_ns;
	bool started, stop;
};

struct vcpu_group {
	const struct isa *isa;
	struct memory *memory;
	struct vcpu_callbacks callbacks;
	struct code_cache *cache; /* owned */
	struct vcpu_timer timer;
	pthread_mutex_t request_lock; /* vcpu_request.done */
	pthread_cond_t request_done;
	struct vcpu *vcpus[VCPU_MAX]; /* owned; slots are filled once */
	_Atomic unsigned count;
};

static inline void vcpu_count_event(_Atomic uint64_t *counter)
{
	/* One writer: no need for an atomic addition. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
		memory_order_relaxed);
}

/* vcpu.c: makes a sleeping vCPU look again [any thread]; runs what others asked of this vCPU (its
 * own thread). */
void vcpu_kick(struct vcpu *v);
void vcpu_serve_requests(struct vcpu *v);

/* run.c: runs guest code until the thread has other business (on the vCPU's thread). */
void vcpu_run(struct vcpu *v);

/* The code cache has dropped blocks since this vCPU took its context. */
static inline bool vcpu_code_changed(const struct vcpu *v)
{
	return code_cache_epoch(v->group->cache) !=
	       atomic_load_explicit(&v->code_epoch, memory_order_relaxed);
}

/* translate.c: the code for head->pc, or NULL: cpu_head.fault is set, or code or mappings have
 * changed and the caller is to begin afresh. */
const struct interp_jump *vcpu_find_code(struct vcpu *v);

/* access.c: the memory functions of struct cpu_env. */
bool vcpu_load(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t *value);
bool vcpu_store(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t value);
void *vcpu_atomic(void *cpu, uint64_t addr, unsigned bytes, bool write);
/* Host address of the byte at addr when it is RAM; NULL: cpu_head.fault is set. */
const uint8_t *vcpu_fetch_pointer(struct vcpu *v, uint64_t addr);

/* timer.c */
void vcpu_timer_init(struct vcpu_timer *t);
void vcpu_timer_done(struct vcpu_timer *t); /* ends and joins the thread */
int vcpu_timer_start(struct vcpu_group *g, struct error *err);
void vcpu_set_timer(void *opaque, uint64_t deadline_ns); /* cpu_env.set_timer */

static inline struct vcpu *vcpu_of(void *cpu)
{
	struct cpu_head *h = cpu;
	return h->env->opaque;
}

#endif
