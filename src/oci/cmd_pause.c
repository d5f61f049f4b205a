// SPDX-License-Identifier: Apache-2.0
#include "oci/container.h"

static int freeze(const struct global *g, const char *id, bool frozen, struct error *err)
{
	struct state s CLEANUP(state_done) = STATE_INIT;
	int r = state_open(&s, g->root, id, STATE_LOCK, err);
	if (r == 0)
		r = cgroup_open(&s.cgroup, err);
	if (r < 0)
		return r;
	enum status is = state_status(&s);
	bool right = frozen ? is == STATUS_RUNNING || is == STATUS_CREATED : is == STATUS_PAUSED;
	if (!right)
		return error_set(err, EINVAL, "container \"%s\" is %s, not %s", s.id,
			status_names[is], frozen ? "running" : "paused");
	return cgroup_freeze(&s.cgroup, frozen, err);
}

static int run_pause(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	return freeze(g, operands[0], true, err);
}

static int run_resume(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	return freeze(g, operands[0], false, err);
}

const struct command cmd_pause = {
	.name = "pause",
	.summary = "Freeze all processes of a container",
	.operands = "ID",
	.min_operands = 1,
	.max_operands = 1,
	.run = run_pause,
};

const struct command cmd_resume = {
	.name = "resume",
	.summary = "Let the processes of a paused container go on",
	.operands = "ID",
	.min_operands = 1,
	.max_operands = 1,
	.run = run_resume,
};
