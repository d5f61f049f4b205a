// SPDX-License-Identifier: Apache-2.0
// The user's terminal or pipes joined to a command in a guest.
#ifndef STRATA_CLI_SESSION_H
#define STRATA_CLI_SESSION_H

#include "instance/machine.h"

struct session_options {
	struct machine *machine;
	struct agent_process *process;
	int signal_fd; /* signalfd of what is to be forwarded */
	bool tty;      /* the command has a terminal: ours is made raw */
	bool input;    /* our stdin goes to the command */
};

struct session_result {
	int status;	    /* exit status, 128 + signal */
	bool left;	    /* by the escape sequence: Ctrl-] three times within a second */
	bool machine_ended; /* before the command; then these say how */
	enum machine_end end;
	char *reason; /* owned */
};

/* Until the command has ended and its output is delivered. Restores the terminal. */
int session_run(const struct session_options *o, struct session_result *out, struct error *err);

#endif
