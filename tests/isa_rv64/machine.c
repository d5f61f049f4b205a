// SPDX-License-Identifier: Apache-2.0
#include "machine.h"

#include <stdio.h>
#include <time.h>

static void firmware_call(void *opaque, struct vcpu *v, void *state)
{
	struct machine *m = opaque;
	if (!m->firmware(m->opaque, state)) {
		vcpu_park(v);
		sem_post(&m->stopped);
	}
}

static void need(int ret, const struct error *err)
{
	if (ret >= 0)
		return;
	printf("Bail out! %s\n", err->message);
	exit(1);
}

void machine_init(struct machine *m, uint64_t ram_base, uint64_t ram_bytes,
	bool (*firmware)(void *opaque, struct rv64_cpu *c), void *opaque)
{
	struct error err _error_ = ERROR_INIT;
	struct vcpu_callbacks callbacks = {.opaque = m, .firmware_call = firmware_call};
	*m = (struct machine){.firmware = firmware, .opaque = opaque};
	setenv("STRATA_COUNT", "1", true); /* `instret` is compared */
	sem_init(&m->stopped, 0, 0);
	need(memory_new(&m->memory, &err), &err);
	need(memory_add_ram(m->memory, GPA(ram_base), ram_bytes, &err), &err);
	need(vcpu_group_new(&m->group, &rv64_isa, m->memory, &callbacks, &err), &err);
	need(vcpu_new(m->group, 0, &m->vcpu, &err), &err);
	m->cpu = vcpu_state(m->vcpu);
	need(vcpu_start(m->vcpu, &err), &err);
}

void machine_done(struct machine *m)
{
	vcpu_group_free(m->group);
	memory_free(m->memory);
	sem_destroy(&m->stopped);
}

bool machine_run(struct machine *m, unsigned seconds)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	vcpu_resume(m->vcpu);
	bool stopped = !sem_timedwait(&m->stopped, &until);
	vcpu_park(m->vcpu);
	vcpu_park_wait(m->vcpu);
	return stopped;
}
