// SPDX-License-Identifier: Apache-2.0
// Steps by which a process gives up what it does not need. Each can be taken alone; the usual order
// is the order here. What is given up does not come back and is not inherited as more by children.
//
// All functions act on the calling process; call them while it has one thread, except where marked.
#ifndef STRATA_OS_SANDBOX_H
#define STRATA_OS_SANDBOX_H

#include "base/error.h"

/* Closes every descriptor from 3 up that is not in keep[0..count). */
int sandbox_close_fds(const int *keep, unsigned count, struct error *err);

/* The kernel kills this process when its parent ends (the thread that made it: start it from a
 * thread that lives as long). Fails with -ESRCH when parent has already gone. */
int sandbox_die_with_parent(pid_t parent, struct error *err);

/* Lowers the soft and hard limit to at most `value`; never raises one. */
int sandbox_limit(int resource, uint64_t value, struct error *err);

/* No capability is left in any set, and no execve() can gain privileges. */
int sandbox_drop_privileges(struct error *err);

/* No path can be opened, made, moved or executed any more (Landlock, a rule set without rules).
 * Returns 1 when this kernel has no Landlock: seccomp must then be what denies it. */
int sandbox_no_files(struct error *err);

/* As sandbox_no_files(), but what lies below these directories stays reachable; files there cannot
 * be executed, and no device nodes made. The descriptors are not kept. */
struct sandbox_dir {
	int fd; /* O_PATH is enough */
	bool readonly;
};
int sandbox_files(const struct sandbox_dir *dirs, unsigned count, struct error *err);

/* Leaves the host's network, IPC and UTS namespaces for empty ones, with a user namespace of its
 * own where that is what it takes; users keep their numbers. Open descriptors work as before. Best
 * effort: returns 1 when this kernel does not let us. */
int sandbox_namespaces(struct error *err);

/* The process is killed when it tries one of these: they are what an attacker would want, and no
 * library probes for them. clone3 gets ENOSYS, so that threads are made with clone, whose flags a
 * filter can see. Call it before sandbox_allow_syscalls(). All threads. */
int sandbox_kill_syscalls(const char *const *names, unsigned count, struct error *err);

/* A system call that stays allowed. With mask != 0 only when (argument & mask) == value; several
 * rows for one call are alternatives. Rows whose call this architecture lacks are ignored. */
struct sandbox_syscall {
	const char *name;
	unsigned argument; /* 0 to 5 */
	uint64_t mask, value;
};
/* Rows of such a list. ALLOW_IF: a 32-bit argument that must be v; the kernel looks at its low half
 * only. */
#define ALLOW(name)                                                                                \
	{                                                                                          \
		name, 0, 0, 0                                                                      \
	}
#define ALLOW_IF(name, argument, v)                                                                \
	{                                                                                          \
		name, argument, UINT32_MAX, v                                                      \
	}
/* Everything else fails with EPERM (not by death: libraries probe). All threads. */
int sandbox_allow_syscalls(const struct sandbox_syscall *rows, unsigned count, struct error *err);

#endif
