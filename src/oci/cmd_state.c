// SPDX-License-Identifier: Apache-2.0
#include "oci/container.h"

static int run(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	struct state s CLEANUP(state_done) = STATE_INIT;
	int r = state_open(&s, g->root, operands[0], STATE_READ, err);
	if (r < 0)
		return r;
	cgroup_open(&s.cgroup, NULL);
	state_config(&s, NULL); /* annotations */
	enum status is = state_status(&s);
	char *text _free_ =
		state_json(&s, is == STATUS_STOPPED ? 0 : s.pid, status_names[is], true);
	puts(text);
	return 0;
}

const struct command cmd_state = {
	.name = "state",
	.summary = "Print a container's state as JSON",
	.operands = "ID",
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
