// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <unistd.h>

#include "container/hooks.h"
#include "oci/container.h"

static int run(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	struct state s CLEANUP(state_done) = STATE_INIT;
	int r = state_open(&s, g->root, operands[0], STATE_LOCK, err);
	if (r < 0)
		return r;
	/* One that is paused could not answer. */
	cgroup_open(&s.cgroup, NULL);
	enum status is = state_status(&s);
	if (is != STATUS_CREATED)
		return error_set(
			err, EINVAL, "container \"%s\" is %s, not created", s.id, status_names[is]);
	r = state_config(&s, err);
	if (r < 0)
		return r;
	int fd _close_ = state_connect(&s, err);
	if (fd < 0)
		return fd;
	r = launch_start_over(fd, err);
	/* What it has told us is the last that it does: stopped it is when we say so. */
	struct pollfd end = {r < 0 ? state_pidfd(&s) : -1, POLLIN, 0};
	if (end.fd >= 0) {
		poll(&end, 1, 5000);
		close(end.fd);
	}
	state_started(&s);
	if (r < 0 || !s.spec->n_hooks[HOOK_POSTSTART])
		return r;
	char *state _free_ = state_json(&s, s.pid, "running", false);
	struct error hook _error_ = ERROR_INIT;
	/* "… log a warning, but continue the lifecycle". */
	if (hooks_run(s.spec, HOOK_POSTSTART, state, &hook) < 0)
		fprintf(stderr, "strata-oci: warning: %s\n", hook.message);
	return 0;
}

const struct command cmd_start = {
	.name = "start",
	.summary = "Let the program of a created container begin",
	.operands = "ID",
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
