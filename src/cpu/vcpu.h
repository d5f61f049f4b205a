// SPDX-License-Identifier: Apache-2.0
// One guest CPU, whatever executes it. A board creates vCPUs; each runs on a host thread that
// vcpu_start() makes. Back ends: `translate` (interpreter, later the JIT compiler); later `kvm`.
#ifndef STRATA_CPU_VCPU_H
#define STRATA_CPU_VCPU_H

#include "isa/isa.h"

struct vcpu;
struct vcpu_group; /* the vCPUs of one machine: shared translations, shared memory */

/* What the machine offers its vCPUs. Called on the vCPU's thread. */
struct vcpu_callbacks {
	void *opaque;
	bool (*mmio_read)(void *opaque, gpa_t addr, unsigned bytes, uint64_t *value);
	bool (*mmio_write)(void *opaque, gpa_t addr, unsigned bytes, uint64_t value);
	/* The guest calls its firmware (RISC-V: ecall from S-mode). Registers are in `state`;
	 * pc is already behind the call. */
	void (*firmware_call)(void *opaque, struct vcpu *v, void *state);
};

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
void vcpu_run_on(struct vcpu *v, void (*fn)(void *opaque, void *state), void *opaque);

/* Statistics, read at any time, approximate while it runs. */
struct vcpu_stats {
	uint64_t insns, blocks_lifted, blocks_run, tlb_misses, lookups_missed, interrupts,
		exceptions;
};
void vcpu_stats(struct vcpu *v, struct vcpu_stats *out);

void vcpu_group_state(struct vcpu_group *g, struct state *s); /* all vCPUs; they must be parked */

#endif
