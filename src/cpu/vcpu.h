// SPDX-License-Identifier: Apache-2.0
// One guest CPU, whatever executes it. A board creates vCPUs; each runs on a host thread that
// vcpu_start() makes. Back ends: `translate` (interpreter, later the JIT compiler); later `kvm`.
#ifndef STRATA_CPU_VCPU_H
#define STRATA_CPU_VCPU_H

#include "isa/isa.h"

struct vcpu;
enum { VCPU_MAX = 512 }; /* in a machine */
struct vcpu_group; /* the vCPUs of one machine or one process: shared translations and memory */

/* What the machine offers its vCPUs. Called on the vCPU's thread. */
struct vcpu_callbacks {
	void *opaque;
	bool (*mmio_read)(void *opaque, gpa_t addr, unsigned bytes, uint64_t *value);
	bool (*mmio_write)(void *opaque, gpa_t addr, unsigned bytes, uint64_t value);
	/* The guest calls its firmware (RISC-V: ecall from S-mode). Registers are in `state`;
	 * pc is already behind the call. */
	void (*firmware_call)(void *opaque, struct vcpu *v, void *state);
};

/* Memory of a flat group: guest addresses are the host's, and its owner knows what is mapped where.
 * A page that code was made from must not be written to unnoticed: make_code() write-protects it,
 * and before a write is let through its owner calls vcpu_group_drop_code(), and is_code() says no.
 * [any vCPU's thread] */
struct vcpu_space {
	void *opaque;
	bool (*executable)(void *opaque, uint64_t addr); /* mapped, for execution and reading */
	void (*make_code)(void *opaque, const uint8_t *page);
	bool (*is_code)(void *opaque, const uint8_t *page);
	void (*code_fence)(void *opaque); /* fence.i */
	bool count_insns;		  /* exactly; code is slower then */
};
/* A flat group. Its vCPUs have no threads of their own: vcpu_execute() runs one on the caller's, so
 * vcpu_start() and what needs it are not for them. */
int vcpu_group_new_flat(struct vcpu_group **out, const struct isa *isa,
	const struct vcpu_space *space, struct error *err);
/* Runs guest code from the state's pc until cpu_head.fault.pending or cpu_head.attention is set;
 * the caller looks at both and clears them. */
void vcpu_execute(struct vcpu *v);
/* [async-signal-safe; on the vCPU's thread] The host raised SIGSEGV or SIGBUS. True when that was
 * an access of the guest, or a flat_copy(): *ucontext is changed to go on where it is refused, and
 * cpu_head.fault is set if guest code runs. addr: FLAT_NO_ADDRESS when not known. */
bool vcpu_host_fault(struct vcpu *v, void *ucontext, uint64_t addr);
/* [any thread] The page changes, or goes. */
void vcpu_group_drop_code(struct vcpu_group *g, const uint8_t *page);
/* Returns when no vCPU but `self` is in code that was dropped before (or after a second, when the
 * host does not run one of them). */
void vcpu_group_settle(struct vcpu_group *g, const struct vcpu *self);
/* Around fork(), in the parent and in the child. In the child the others' vCPUs run no more. */
void vcpu_group_fork_begin(struct vcpu_group *g);
void vcpu_group_fork_end(struct vcpu_group *g, bool child, struct vcpu *self);

int vcpu_group_new(struct vcpu_group **out, const struct isa *isa, struct memory *memory,
	const struct vcpu_callbacks *callbacks, struct error *err);
void vcpu_group_free(struct vcpu_group *g); /* stops and joins all vCPUs first */
int vcpu_new(struct vcpu_group *g, unsigned id, struct vcpu **out, struct error *err);
struct vcpu *vcpu_get(struct vcpu_group *g, unsigned id); /* NULL when there is none */
unsigned vcpu_count(const struct vcpu_group *g);

/* The architectural state; only while the vCPU is paused or not started, or on its own thread. */
void *vcpu_state(struct vcpu *v);
unsigned vcpu_id(const struct vcpu *v);

/* A vCPU is created parked. vcpu_resume() lets it run from its state's pc; vcpu_park() makes it
 * wait before its next block (RISC-V HSM stop: called by itself; pause: by others).
 * vcpu_park_wait() returns when it has really stopped. [any thread] */
int vcpu_start(struct vcpu *v, struct error *err); /* creates the thread, parked */
void vcpu_resume(struct vcpu *v);
void vcpu_park(struct vcpu *v);
void vcpu_park_wait(struct vcpu *v);
bool vcpu_is_parked(struct vcpu *v);
void vcpu_stop(struct vcpu *v); /* ends and joins the thread; not from the vCPU itself */

/* Interrupt lines and wake-ups. [any thread] */
void vcpu_set_irq(struct vcpu *v, unsigned line, bool level);
/* Runs fn(opaque, state) on the vCPU's thread at its next block boundary; waits for it when the
 * caller is another vCPU or any other thread, and runs it at once when it is itself. While it
 * waits, a calling vCPU serves requests to itself: no deadlock. For remote fences and pausing. */
typedef void vcpu_run_fn(void *opaque, void *state);
void vcpu_run_on(struct vcpu *v, vcpu_run_fn *fn, void *opaque);
/* The same on several, at the same time: all are asked before any is waited for. count: at most
 * VCPU_MAX. */
void vcpu_run_on_each(struct vcpu *const *vcpus, unsigned count, vcpu_run_fn *fn, void *opaque);

/* Statistics, read at any time, approximate while it runs. */
#define VCPU_EVENTS(X)                                                                             \
	X(blocks_lifted)                                                                           \
	X(blocks_run)                                                                              \
	X(regions_compiled)                                                                        \
	X(regions_refused)                                                                         \
	X(regions_run)                                                                             \
	X(exits_lookup)                                                                            \
	X(exits_hot)                                                                               \
	X(exits_instruction)                                                                       \
	X(exits_attention)                                                                         \
	X(exits_fault)                                                                             \
	X(lookups_missed)                                                                          \
	X(tlb_misses)                                                                              \
	X(interrupts)                                                                              \
	X(exceptions)
#define VCPU_STATS(X) X(insns) VCPU_EVENTS(X)
struct vcpu_stats {
#define X(name) uint64_t name;
	VCPU_STATS(X)
#undef X
};
void vcpu_stats(struct vcpu *v, struct vcpu_stats *out);
void vcpu_group_stats(struct vcpu_group *g, struct vcpu_stats *out); /* of all vCPUs */

void vcpu_group_state(struct vcpu_group *g, struct state *s); /* all vCPUs; they must be parked */

#endif
