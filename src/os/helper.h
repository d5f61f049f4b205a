// SPDX-License-Identifier: Apache-2.0
// Helper programs: executables of ours that do one risky thing in a process of their own. They are
// started with nothing but their arguments and the descriptors that they are given.
#ifndef STRATA_OS_HELPER_H
#define STRATA_OS_HELPER_H

#include "base/error.h"

/* Where the helper program is: $STRATA_LIBEXEC, beside the running program (installed or in the
 * build tree), the directory it was configured with. *path is the caller's. -ENOENT with remedy. */
int helper_find(const char *name, char **path, struct error *err);

enum { HELPER_FIRST_FD = 3, HELPER_FDS_MAX = 8 };

/* Forks and executes. fds[i] becomes descriptor HELPER_FIRST_FD + i, the standard ones are
 * /dev/null, all others are closed. Signals are as a shell would set them; the helper has a session
 * of its own, so that a terminal's ^C is not for it. Returns when exec has succeeded or failed.
 * The caller keeps its fds and reaps *pid. [any thread] */
int helper_start(const char *path, const char *const argv[], const int *fds, unsigned count,
	pid_t *pid, struct error *err);

/* Executes it in place of this program, with SIGPIPE as a shell would set it. Returns the error. */
int helper_become(const char *path, const char *const argv[], struct error *err);

#endif
