// SPDX-License-Identifier: Apache-2.0
// The birth of a container: its first process, from clone3(2) to execve(2).
//
// The runtime opens what is the host's, makes the process in its namespaces and control group at
// once, and serves it (ID maps, hooks of the host, the seccomp filter, which it compiles
// meanwhile); the process builds its own tree. docs/containers.md has the order of things.
#ifndef STRATA_CONTAINER_LAUNCH_H
#define STRATA_CONTAINER_LAUNCH_H

#include "base/error.h"
#include "container/cgroup.h"
#include "container/rootfs.h"
#include "container/spec.h"

struct launch {
	const struct spec *spec; /* with a process */
	const char *root;	 /* absolute path on the host */
	struct cgroup *cgroup;	 /* located; the directory of v2 made */
	int console_socket;	 /* connected; -1 without a terminal */
	int listener;		 /* a listening socket of packets, through which start comes; -1:
				    launch_start() */
	int filter_cache;	 /* directory, or -1: filter.h */
	unsigned preserve_fds;	 /* descriptors from 3 on that the program gets */
	bool no_pivot, new_keyring;
	bool tied; /* the program dies with the thread that made it */
	/* JSON of the container's state, for hooks; the caller frees it. Called in both processes.
	 */
	char *(*state)(void *opaque, pid_t pid, const char *status);
	/* Makes and limits the control groups, while the process builds its tree. */
	int (*groups)(void *opaque, struct error *err);
	/* The process is there: written down before it can outlive us. */
	int (*born)(void *opaque, pid_t pid, struct error *err);
	/* The tap device of its user-mode network is there: somebody is started to serve it, and
	 * asked later whether he does. */
	int (*network)(void *opaque, int tap, pid_t pid, struct error *err);
	int (*network_ready)(void *opaque, struct error *err);
	/* What a seccomp agent is told with its descriptor; the caller frees it. */
	char *(*agent_state)(void *opaque, pid_t pid);
	void *opaque;

	/* Results. */
	pid_t pid;
	int channel;

	/* Private to launch.c and init.c. */
	struct rootfs rootfs;
	bool open_inside;		/* the runtime may not open the root: the process does */
	int proc;			/* the host's /proc */
	int image;			/* exposure.h */
	int filter;			/* memory file of the seccomp program, -1: none */
	int agent;			/* connected to the seccomp agent, -1: none */
	int joins[NAMESPACES];		/* namespaces of others, -1: none */
	bool hidden;			/* the program is hidden before the process is born */
	bool grouped;			/* the process is in its control groups */
	bool joined_before[NAMESPACES]; /* by the process that clones */
};

/* Up to the moment before the program begins. On failure nothing is left of the process. */
int launch_create(struct launch *l, struct error *err);
/* Lets the program begin: 0, or why it does not. */
int launch_start(struct launch *l, struct error *err);
/* The same for a container that another process has created: fd is connected to its listener. */
int launch_start_over(int fd, struct error *err);
void launch_done(struct launch *l);

/* init.c: the container's first process; never returns. */
_Noreturn void init_main(struct launch *l, int channel);

/* namespaces.c */
unsigned long namespace_flag(enum namespace_kind k); /* CLONE_NEW* */
/* Opens the file of each namespace that is to be joined and checks its kind. */
int namespaces_open(const struct spec *s, int joins[NAMESPACES], struct error *err);

#endif
