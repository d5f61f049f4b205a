// SPDX-License-Identifier: Apache-2.0
#include "oci/container.h"

struct values {
	struct create_options o;
};

static int run(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	const struct values *v = values;
	struct container c;
	int r = check_preserved(&v->o, err);
	if (r < 0)
		return r;
	r = container_create(&c, g, &v->o, operands[0], -1, true, err);
	container_done(&c);
	return r;
}

static const struct option options[] = {CREATE_OPTIONS(struct values, o)};

const struct command cmd_create = {
	.name = "create",
	.summary = "Make a container; its program waits for `start`",
	.operands = "ID",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
