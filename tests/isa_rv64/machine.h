// SPDX-License-Identifier: Apache-2.0
// The smallest machine: one hart, RAM, no devices. What would be firmware is the test.
#ifndef STRATA_TESTS_MACHINE_H
#define STRATA_TESTS_MACHINE_H

#include <semaphore.h>

#include "cpu/vcpu.h"
#include "isa/rv64/internal.h"

struct machine {
	struct memory *memory;
	struct vcpu_group *group;
	struct vcpu *vcpu;
	struct rv64_cpu *cpu;
	/* An environment call from supervisor mode; on the vCPU's thread. false: stop the machine.
	 */
	bool (*firmware)(void *opaque, struct rv64_cpu *c);
	void *opaque;
	sem_t stopped;
};

/* Prints and exits when the host cannot give what it takes. */
void machine_init(struct machine *m, uint64_t ram_base, uint64_t ram_bytes,
	bool (*firmware)(void *opaque, struct rv64_cpu *c), void *opaque);
void machine_done(struct machine *m);
/* Runs from the state as it is until the firmware stops it. False: it took too long. */
bool machine_run(struct machine *m, unsigned seconds);

#endif
