// SPDX-License-Identifier: Apache-2.0
// The back end `translate`: what its files share. docs/engine.md explains the whole.
#ifndef STRATA_CPU_INTERNAL_H
#define STRATA_CPU_INTERNAL_H

#include <pthread.h>

#include "base/arena.h"
#include "cpu/dump.h"
#include "cpu/code_cache.h"
#include "cpu/debug.h"
#include "cpu/vcpu.h"
#include "interp/interp.h"
#include "jit/jit.h"

enum { VCPU_FLAT_MAX = 16384 };

/* Work for the threads of vCPUs, on the stack of the one that waits for it. */
struct vcpu_work {
	vcpu_run_fn *fn;
	void *opaque;
	/* How many have not done it yet. The last takes it to 0 with group->request_lock held, and
	 * does not touch it after that. */
	_Atomic unsigned left;
};
struct vcpu_request {
	struct vcpu_work *work;
	struct vcpu_request *next;
};

struct vcpu {
	struct vcpu_group *group;
	unsigned id;
	void *memory;	       /* owned; holds the CPU's state */
	struct cpu_head *head; /* which begins at a multiple of CPU_STATE_ALIGN */
	struct cpu_env env;

	/* The vCPU's thread. */
	struct interp_jump *jumps; /* owned */
	struct interp_run run;
	struct interp_lowerer *lowerer; /* owned */
	struct arena arena;		/* of one translation */
	uint64_t context_high;		/* the bits of the epochs that run.context lacks */
	bool executing;			/* vcpu_execute() runs */
	bool wait_wanted;		/* the guest asked to wait for an interrupt */
	/* Why cpu_head.fault is pending when it is for the debugger and not for the guest. */
	struct vcpu_stop found;
	bool stepping, passing, passing_watch; /* as vcpu_debug_release() left them */

	/* [any thread] The code cache's epoch that this vCPU has seen: it uses no code that was
	 * dropped up to then. CODE_EPOCH_IDLE: it uses none at all. */
	_Atomic uint64_t code_epoch;

	pthread_mutex_t lock;	/* what follows; also the state while `idle` */
	pthread_cond_t wake;	/* for the vCPU's thread; CLOCK_MONOTONIC */
	pthread_cond_t stopped; /* it has parked or ended */
	_Atomic bool idle;	/* asleep at a block boundary; written under lock */
	bool park, parked, stop, started;
	/* The debugger's. */
	bool held;
	struct vcpu_stop stop_found;
	enum vcpu_stop_reason taken; /* the debugger knows of this stop at taken_pc */
	uint64_t taken_pc;
	pthread_t thread; /* to join */
	struct vcpu_request *requests;

	pthread_t self; /* the thread says so itself; others may look when `running` */
	_Atomic bool running;

	uint64_t deadline_ns; /* group->timer.lock, as the next */
	bool own_timer;	      /* it sleeps until the deadline itself */

#define X(name) _Atomic uint64_t name;
	VCPU_EVENTS(X)
#undef X
};

struct vcpu_timer {
	pthread_mutex_t lock;
	pthread_t thread;
	int fd;		   /* owned; -1 before the thread is started */
	uint64_t armed_ns; /* what fd is set to; UINT64_MAX: to nothing */
	bool started, stop;
};

struct vcpu_breakpoint {
	uint64_t addr;
	unsigned owners;
};
struct vcpu_watchpoint {
	uint64_t first, last;
	unsigned kinds, owner; /* enum vcpu_watch */
};
struct vcpu_debug {
	pthread_mutex_t lock; /* breakpoints */
	_Atomic unsigned breakpoint_count;
	struct vcpu_breakpoint breakpoints[VCPU_BREAKPOINTS_MAX];
	/* These change while all vCPUs are held. */
	unsigned watchpoint_count;
	struct vcpu_watchpoint watchpoints[VCPU_WATCHPOINTS_MAX];
	vcpu_stopped_fn *stopped;
	void *opaque;
};

struct vcpu_group {
	const struct isa *isa;
	struct memory *memory;	 /* NULL when flat */
	struct vcpu_space space; /* when flat */
	struct vcpu_callbacks callbacks;
	struct code_cache *cache; /* owned */
	struct jit *jit;	  /* owned; NULL: everything is interpreted */
	bool counts_insns;	  /* compiled code does */
	uint32_t hot;		  /* entries of a block before it is compiled */
	struct code_dump dump;
	struct vcpu_timer timer;
	struct vcpu_debug debug;
	pthread_mutex_t reserve_lock; /* reserve.c; the last lock that is taken */
	pthread_mutex_t request_lock; /* for vcpu_work.left to become 0 */
	pthread_cond_t request_done;
	bool spin; /* the host has CPUs enough for one that waits to stay awake a little */
	struct vcpu *vcpus[VCPU_FLAT_MAX]; /* owned; slots are filled once */
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

/* The translation flags are the context's low bits (run.c). */
static inline uint16_t vcpu_code_flags(const struct vcpu *v)
{
	return (uint16_t)v->run.context;
}

/* run.c: runs guest code until the thread has other business (on the vCPU's thread). */
void vcpu_run(struct vcpu *v);

/* vcpu.c: a group with neither memory nor space yet. */
struct vcpu_group *vcpu_group_make(const struct isa *isa, struct memory *memory, bool counted);

/* The code cache has dropped blocks since this vCPU took its context. */
static inline bool vcpu_code_changed(const struct vcpu *v)
{
	return code_cache_epoch(v->group->cache) !=
	       atomic_load_explicit(&v->code_epoch, memory_order_relaxed);
}

/* translate.c: the code for head->pc, or NULL: cpu_head.fault is set, or code or mappings have
 * changed and the caller is to begin afresh. */
const struct interp_jump *vcpu_find_code(struct vcpu *v);
/* No CPU stores to the RAM page unnoticed from here on; flag: MEMORY_PAGE_CODE or _RESERVED, which
 * is set. May wait for other vCPUs: what was known of mappings is to be looked up afresh. */
void vcpu_protect_page(struct vcpu *v, uint8_t *page, uint8_t flag);
enum { CODE_INSN_BYTES = 16 }; /* no architecture's instruction is longer */
/* The bytes of guest code at `from`, read once. */
void vcpu_copy_code(uint8_t *to, const uint8_t *from, size_t n);

/* region.c: the compiled code for head->pc, which interpreted code has found hot; NULL: go on
 * interpreting. */
const void *vcpu_hot_code(struct vcpu *v);
/* Remembers an entry for the current context. */
static inline void vcpu_know_native(struct vcpu *v, uint64_t pc, const void *code)
{
	jit_jump_add(v->head->isa, v->head, pc, v->run.context, code);
}
/* The one instruction at head->pc, whatever breakpoints there are; freed with free(). NULL:
 * cpu_head.fault is set. */
struct interp_code *vcpu_make_step(struct vcpu *v);

/* debug.c; on the vCPU's thread. A stop for the debugger is raised as a fault, so that executors
 * need not know. Delivers cpu_head.fault to the guest, or stops. */
void vcpu_take_fault(struct vcpu *v);
/* Does a step if one was asked for. false: look at cpu_head.attention before anything else. */
bool vcpu_debug_steps(struct vcpu *v);
/* true: there is a breakpoint at head->pc; cpu_head.fault is set. */
bool vcpu_debug_break(struct vcpu *v);
bool vcpu_debug_page_watched(const struct vcpu_debug *d, uint64_t page);
bool vcpu_debug_watch_hit(struct vcpu *v, uint64_t addr, unsigned bytes, unsigned kinds);
/* true: the access, which is otherwise possible, is not to be done; cpu_head.fault is set. */
static inline bool vcpu_debug_watched(struct vcpu *v, uint64_t addr, unsigned bytes, unsigned kinds)
{
	return UNLIKELY(v->group->debug.watchpoint_count) &&
	       vcpu_debug_watch_hit(v, addr, bytes, kinds);
}

/* access.c: the memory functions of struct cpu_env. */
bool vcpu_load(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t *value);
bool vcpu_store(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t value);
void *vcpu_atomic(void *cpu, uint64_t addr, unsigned bytes, bool write);
/* flat.c: the same for a flat group. */
bool vcpu_load_flat(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t *value);
bool vcpu_store_flat(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t value);
void *vcpu_atomic_flat(void *cpu, uint64_t addr, unsigned bytes, bool write);
/* Host address of the byte at addr when it is RAM; NULL: cpu_head.fault is set. */
const uint8_t *vcpu_fetch_pointer(struct vcpu *v, uint64_t addr);
/* The same for the beginning of the page after addr's. */
static inline const uint8_t *vcpu_fetch_next_page(struct vcpu *v, uint64_t addr)
{
	return vcpu_fetch_pointer(v, align_down(addr, GUEST_PAGE_BYTES) + GUEST_PAGE_BYTES);
}

/* The host address of an aligned store: NULL, and cpu_head.fault is set. *reserved: nothing is to
 * be stored there but through reserve.c. */
uint8_t *vcpu_find_store(struct vcpu *v, uint64_t addr, unsigned bytes, bool *reserved);
void vcpu_write_host(uint8_t *p, unsigned bytes, uint64_t v);

/* reserve.c: of struct cpu_env. */
bool vcpu_load_reserved(void *cpu, uint64_t addr, unsigned bytes, uint64_t *value);
bool vcpu_store_conditional(void *cpu, uint64_t addr, unsigned bytes, uint64_t value, bool *done);
/* All reservations in the page go: it is about to be stored to directly. */
void vcpu_break_reservations(struct vcpu_group *g, const uint8_t *page);
/* A store within a page that has reservations. false: it has none any more, and nothing is done. */
bool vcpu_store_reserved(struct vcpu *v, uint8_t *p, unsigned bytes, uint64_t value);

/* timer.c */
void vcpu_timer_init(struct vcpu_timer *t);
void vcpu_timer_done(struct vcpu_timer *t); /* ends and joins the thread */
int vcpu_timer_start(struct vcpu_group *g, struct error *err);
void vcpu_set_timer(void *opaque, uint64_t deadline_ns); /* cpu_env.set_timer */
/* A vCPU that is about to sleep takes care of its deadline itself: UINT64_MAX when there is none;
 * and no longer. expired: the deadline has passed, and its line was raised. With v->lock held. */
uint64_t vcpu_timer_take(struct vcpu *v);
void vcpu_timer_give_back(struct vcpu *v, bool expired);

static inline struct vcpu *vcpu_of(void *cpu)
{
	struct cpu_head *h = cpu;
	return h->env->opaque;
}

#endif
