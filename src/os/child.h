// SPDX-License-Identifier: Apache-2.0
// Child processes: helper programs that are run to their end, and ones that live as long as we do.
#ifndef STRATA_OS_CHILD_H
#define STRATA_OS_CHILD_H

#include "base/error.h"
#include "base/strbuf.h"

/* Absolute path of a program: in $PATH, then in the sbin directories that an ordinary user's PATH
 * lacks. NULL when there is none; the caller frees it. */
char *child_find_program(const char *name);

struct child_spec {
	const char *const *argv; /* ends with NULL; argv[0] is the program's path */
	int stdio[3];		 /* -1: /dev/null */
	const int *fds;		 /* these become 3, 4, … in the child; all others are closed */
	size_t n_fds;
	bool die_with_parent; /* SIGKILL when the thread that spawned it ends */
};

/* The child's pid, or -errno; a program that cannot be executed is an error here. The child starts
 * with default signals and an empty mask. */
pid_t child_spawn(const struct child_spec *spec, struct error *err);
/* Waits for its end: exit status, or 128 + signal. */
int child_wait(pid_t pid);
/* Runs argv to its end without input. output (may be NULL) gets stdout and stderr, at most 1 MiB.
 * A status other than 0 is -EIO with the last line of output as the reason. */
int child_run(const char *const *argv, struct strbuf *output, struct error *err);

#endif
