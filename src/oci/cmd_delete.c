// SPDX-License-Identifier: Apache-2.0
#include "oci/container.h"

struct values {
	bool force;
};

static int run(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	const struct values *v = values;
	struct state s CLEANUP(state_done) = STATE_INIT;
	int r = state_open(&s, g->root, operands[0], STATE_LOCK, err);
	if (r == -ENOENT && v->force) {
		error_done(err);
		return 0;
	}
	if (r < 0)
		return r;
	return container_delete(&s, v->force, err);
}

static const struct option options[] = {
	{"force", 'f', OPTION_FLAG, offsetof(struct values, force), NULL,
		"kill it first; no error when there is none"},
};

const struct command cmd_delete = {
	.name = "delete",
	.summary = "Remove a container that has stopped, and all that is left of it",
	.operands = "ID",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
