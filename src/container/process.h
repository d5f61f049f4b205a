// SPDX-License-Identifier: Apache-2.0
// What one process of a container is before its program begins: user, capabilities, limits,
// terminal, seccomp filter. For the first process and for those of `exec`. All functions act on the
// calling process, which has one thread and is already in the container's namespaces.
#ifndef STRATA_CONTAINER_PROCESS_H
#define STRATA_CONTAINER_PROCESS_H

#include "base/error.h"
#include "container/spec.h"

/* Session, terminal, resource limits, scheduling, I/O priority. */
int process_prepare(const struct spec_process *p, struct error *err);
/* A session keyring that is nobody else's: the caller's would lead to the keys of the host's
 * session, and one with a name to those of other containers. Best effort: without keys in the
 * kernel, or room for them, there is none. */
int process_keyring(struct error *err);
/* Opens a pseudo-terminal in the container's /dev/pts, makes it ours and stdin, stdout, stderr, and
 * sends its other side through console_socket. *terminal: a descriptor of our side, the caller's.
 */
int process_terminal(
	const struct spec_process *p, int console_socket, int *terminal, struct error *err);
/* What a process executes. */
struct process_program {
	char *path;	/* in the container: absolute, or relative to its working directory */
	char **env;	/* ends with NULL */
	int translator; /* foreign.h: descriptor of the program that runs it, -1: none */
};
#define PROCESS_PROGRAM_INIT ((struct process_program){.translator = -1})

/* environment.c: p->env, with HOME from the container's /etc/passwd where it has none. The
 * caller's; the strings too. */
char **process_environment(const struct spec_process *p);
/* The program's path, found along the container's PATH, and its environment; the caller's. -ENOENT
 * when there is none. */
int process_find(const struct spec_process *p, struct process_program *out, struct error *err);
/* The profile that the next execve() changes to. proc: the host's or the container's /proc. */
int process_label(const struct spec_process *p, int proc, struct error *err);

/* A seccomp program for process_exec(): `filter` in a memory file of `bytes` bytes. */
struct process_filter {
	int fd; /* -1: no filter */
	size_t bytes;
	unsigned flags;	   /* SECCOMP_FILTER_FLAG_* */
	int notify_socket; /* where the listener's descriptor goes with `state`; -1: nowhere */
	const char *state; /* JSON: containerProcessState */
};

/* The descriptors that a filter needs: a memory file for the program, a connection to the agent
 * that listener_path names; -1 for what is not needed. The caller's. */
int process_open_filter(const struct spec_seccomp *s, int *filter, int *agent, struct error *err);
/* By the runtime, for a process that cannot do it in its namespaces. proc: the host's /proc. */
int process_oom_score(const struct spec_process *p, int proc, pid_t pid, struct error *err);
/* Closes every descriptor from `from` on but those in keep (-1 is none). */
void close_all_but(unsigned from, const int *keep, size_t n);

/* Everything is given up, in this order: bounding set, groups, user, capabilities, what seccomp
 * denies. What runs after it, a hook of the image too, has the rights of the program. tied: it dies
 * with our parent, as far as the kernel lets that last (prctl(2), PR_SET_PDEATHSIG). */
int process_give_up(const struct spec_process *p, const struct process_filter *filter, bool tied,
	struct error *err);
/* The program takes our place. Returns only on failure. */
int process_exec(
	const struct spec_process *p, const struct process_program *program, struct error *err);

#endif
