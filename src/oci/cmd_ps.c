// SPDX-License-Identifier: Apache-2.0
#include <jansson.h>

#include "oci/container.h"

struct values {
	const char *format;
};

static int run(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	const struct values *v = values;
	struct state s CLEANUP(state_done) = STATE_INIT;
	cgroup_pids pids = {0};
	bool json;
	int r = format_is_json(v->format, &json, err);
	if (r == 0)
		r = state_open(&s, g->root, operands[0], STATE_READ, err);
	if (r == 0)
		r = cgroup_open(&s.cgroup, err);
	if (r == 0)
		r = cgroup_list(&s.cgroup, &pids, err);
	if (r == 0 && !json)
		puts("PID");
	for (size_t i = 0; r == 0 && i < pids.len; i++)
		printf("%s%d%s", !json ? "" : i ? "," : "[", (int)pids.items[i], json ? "" : "\n");
	if (r == 0 && json)
		puts(pids.len ? "]" : "[]");
	vec_done(&pids);
	return r;
}

static const struct option options[] = {
	{"format", 'f', OPTION_STRING, offsetof(struct values, format), "table|json",
		"how to print it"},
};

const struct command cmd_ps = {
	.name = "ps",
	.summary = "List the processes of a container, as the host numbers them",
	.operands = "ID",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
