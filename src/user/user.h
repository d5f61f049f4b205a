// SPDX-License-Identifier: Apache-2.0
// Process mode: a Linux program of another architecture runs as this process. It sees the host's
// kernel through its own architecture's system calls; its addresses are this process's addresses.
// No security boundary. docs/process-mode.md tells more.
#ifndef STRATA_USER_USER_H
#define STRATA_USER_USER_H

#include "base/error.h"

struct user_options {
	int fd;	     /* the program's file, opened by the kernel (AT_EXECFD); -1: none */
	int self_fd; /* this executable, for programs that the guest executes; -1: /proc has it */
	const char *root;    /* directory where absolute paths are looked up first, or NULL */
	const char *program; /* as the guest names it: a path, or a name to be found in $PATH */
	char **argv;	     /* the program's, with its name first; ends with NULL */
	char **envp;
	bool strace;	   /* print system calls on stderr */
	const char *stats; /* "table", "json": print at the end what the CPUs have done; or NULL */
};

/* Becomes the program: returns only when it cannot be started, with -errno (-ENOENT: there is none,
 * -EACCES and -ENOEXEC: it cannot be executed). The process has one thread. */
int user_run(const struct user_options *o, struct error *err);

#endif
