// SPDX-License-Identifier: Apache-2.0
// `strata run --level process`: this process becomes strata-process (src/user).
#ifndef STRATA_CLI_PROCESS_H
#define STRATA_CLI_PROCESS_H

#include "cli/command.h"

struct process_options {
	const char *root, *workdir; /* or NULL */
	const struct strings *env;  /* NAME=VALUE, on top of our own */
	bool strace;
	const char *stats; /* its format, or NULL */
	char **command;	   /* program and arguments; ends with NULL */
};

/* Returns the exit status when it failed. */
int process_run(struct cli *cli, const struct process_options *o);

#endif
