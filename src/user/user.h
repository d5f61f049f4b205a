// SPDX-License-Identifier: Apache-2.0
// Process mode: a Linux program of another architecture runs as this process. It sees the host's
// kernel through its own architecture's system calls; its addresses are this process's addresses.
// No security boundary. docs/process-mode.md tells more.
#ifndef STRATA_USER_USER_H
#define STRATA_USER_USER_H

#include "base/error.h"

struct user_options {
	const char *root;    /* directory where absolute paths are looked up first, or NULL */
	const char *program; /* as the guest names it: a path, or a name to be found in $PATH */
	char **argv;	     /* the program's, with its name first; ends with NULL */
	char **envp;
	bool strace; /* print system calls on stderr */
};

/* Becomes the program: returns only when it cannot be started, with -errno (-ENOENT: there is none,
 * -EACCES and -ENOEXEC: it cannot be executed). The process has one thread. */
int user_run(const struct user_options *o, struct error *err);

/* --- binfmt_misc: the kernel starts programs of the architecture by itself --- */
enum user_binfmt_state { USER_BINFMT_ABSENT, USER_BINFMT_OFF, USER_BINFMT_ON };
/* interpreter: absolute path of strata-process; opened now, so that it works in any root. */
int user_binfmt_install(const char *interpreter, struct error *err);
int user_binfmt_remove(struct error *err); /* -ENOENT: not installed */
int user_binfmt_status(enum user_binfmt_state *state, char **interpreter, struct error *err);

#endif
