// SPDX-License-Identifier: Apache-2.0
#include <jansson.h>

#include "oci/container.h"
#include "oci/json.h"

struct values {
	const char *format;
	bool quiet;
};

static void print_row(const struct state *s, enum status is)
{
	printf("%-24s %-8d %-9s %-28s %s\n", s->id, is == STATUS_STOPPED ? 0 : (int)s->pid,
		status_names[is], s->created, s->bundle);
}

static int run(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	const struct values *v = values;
	char **ids;
	size_t n;
	bool json;
	int r = format_is_json(v->format, &json, err);
	if (r == 0)
		r = state_list(g->root, &ids, &n, err);
	if (r < 0)
		return r;
	json_t *all _json_ = json_array();
	if (!json && !v->quiet)
		printf("%-24s %-8s %-9s %-28s %s\n", "ID", "PID", "STATUS", "CREATED", "BUNDLE");
	for (size_t i = 0; i < n; i++) {
		struct state s CLEANUP(state_done) = STATE_INIT;
		/* One that is removed meanwhile is not there. */
		if (state_open(&s, g->root, ids[i], STATE_READ, NULL) == 0) {
			cgroup_open(&s.cgroup, NULL);
			enum status is = state_status(&s);
			if (json)
				json_array_append_new(
					all, json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:i}",
						     "ociVersion", "1.2.0", "id", s.id, "pid",
						     is == STATUS_STOPPED ? 0 : (int)s.pid,
						     "status", status_names[is], "bundle", s.bundle,
						     "rootfs", s.rootfs, "created", s.created,
						     "owner", (int)s.owner));
			else if (v->quiet)
				puts(s.id);
			else
				print_row(&s, is);
		}
		free(ids[i]);
	}
	free(ids);
	if (json) {
		char *text _free_ = json_dumps(all, JSON_COMPACT);
		puts(text);
	}
	return 0;
}

static const struct option options[] = {
	{"format", 'f', OPTION_STRING, offsetof(struct values, format), "table|json",
		"how to print it"},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct values, quiet), NULL, "only the IDs"},
};

const struct command cmd_list = {
	.name = "list",
	.summary = "List the containers",
	.operands = "",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.max_operands = 0,
	.run = run,
};
