// SPDX-License-Identifier: Apache-2.0
// One more process in a container that runs: `exec`.
//
// A process between enters the container's namespaces and makes the new one, which is our child all
// the same. Before it does it lets go of the runtime's program: in the container's PID namespace
// others can look at it.
#ifndef STRATA_CONTAINER_ENTER_H
#define STRATA_CONTAINER_ENTER_H

#include "base/error.h"
#include "container/cgroup.h"
#include "container/spec.h"

struct enter {
	const struct spec_process *process;
	const struct spec_seccomp *seccomp; /* NULL: none */
	enum spec_foreign foreign;
	int filter_cache; /* directory, or -1: filter.h */
	int target;	  /* descriptor of the container's first process (pidfd) */
	pid_t target_pid;
	struct cgroup *cgroup; /* opened */
	int console_socket;    /* connected; -1 without a terminal */
	unsigned preserve_fds;
	bool new_keyring;
	char *(*agent_state)(void *opaque, pid_t pid); /* as in launch.h */
	void *opaque;

	/* Results. */
	pid_t pid;
	int channel; /* the caller's */
};

/* Up to the moment before the program begins. On failure nothing is left of the process. */
int enter_create(struct enter *e, struct error *err);
/* Lets the program begin. */
int enter_start(struct enter *e, struct error *err);

#endif
