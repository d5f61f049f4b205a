// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/container.h"

struct values {
	bool all;
};

static int run(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	const struct values *v = values;
	struct state s CLEANUP(state_done) = STATE_INIT;
	int sig = operands[1] ? signal_number(operands[1]) : SIGTERM;
	if (!sig)
		return error_set(err, EINVAL, "there is no signal \"%s\"", operands[1]);
	/* No lock: a signal must reach a container that somebody else is busy with. */
	int r = state_open(&s, g->root, operands[0], STATE_READ, err);
	if (r < 0)
		return r;
	cgroup_open(&s.cgroup, NULL);
	/* Also after its first process has ended. */
	if (v->all && (r = cgroup_signal(&s.cgroup, sig, err)) != -ENOTSUP)
		return r;
	/* Without a group of its own: its PID namespace ends with its first process. */
	error_done(err);
	int fd _close_ = state_pidfd(&s);
	if (fd < 0 || syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0) < 0)
		return error_set(err, ESRCH, "container \"%s\" is %s: container not running", s.id,
			status_names[state_status(&s)]);
	if (sig == SIGKILL && cgroup_frozen(&s.cgroup))
		cgroup_freeze(&s.cgroup, false, NULL);
	return 0;
}

static const struct option options[] = {
	{"all", 'a', OPTION_FLAG, offsetof(struct values, all), NULL,
		"to all processes of the container"},
};

const struct command cmd_kill = {
	.name = "kill",
	.summary = "Send a signal to a container's first process",
	.operands = "ID [SIGNAL]",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 2,
	.run = run,
};
