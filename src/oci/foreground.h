// SPDX-License-Identifier: Apache-2.0
// A container's process in the foreground: its signals are ours, and its terminal is joined to
// ours.
#ifndef STRATA_OCI_FOREGROUND_H
#define STRATA_OCI_FOREGROUND_H

#include "base/error.h"

struct foreground {
	int ours,
		theirs; /* the socket pair that the terminal's other side comes through; -1: none */
	int signals;	/* descriptor; -1 */
	int terminal;	/* -1: none */
};

#define FOREGROUND_INIT ((struct foreground){-1, -1, -1, -1})

/* Before the process is made. terminal: it will have one, and f->theirs is its console socket. */
int foreground_begin(struct foreground *f, bool terminal, struct error *err);
/* Until pid, a child of ours, has ended: *status as a shell has it. */
int foreground_wait(struct foreground *f, pid_t pid, int *status, struct error *err);
void foreground_done(struct foreground *f);

#endif
