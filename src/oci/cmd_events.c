// SPDX-License-Identifier: Apache-2.0
// Readings of a container's control groups, in the form that runc's `events` has, which containerd
// and others parse.
#include <jansson.h>
#include <poll.h>
#include <unistd.h>

#include "oci/container.h"
#include "oci/json.h"

struct values {
	bool stats;
	const char *interval;
};

/* -1: there is no such file. "max" is the largest number. */
static int64_t number(
	const struct cgroup *cg, const char *controller, const char *v1, const char *v2)
{
	bool is_v2;
	char text[64];
	const struct cgroup_dir *d = cgroup_controller(cg, controller, &is_v2, NULL);
	const char *file = is_v2 ? v2 : v1;
	if (!d || !file || cgroup_read(d, file, text, sizeof(text)) <= 0)
		return -1;
	return strncmp(text, "max", 3) ? strtoll(text, NULL, 10) : INT64_MAX;
}

/* The number after a word of a "word number" file. */
static int64_t keyed(const struct cgroup *cg, const char *controller, const char *v1,
	const char *v2, const char *key)
{
	bool is_v2;
	char text[16384], *save = NULL;
	size_t n = strlen(key);
	const struct cgroup_dir *d = cgroup_controller(cg, controller, &is_v2, NULL);
	const char *file = is_v2 ? v2 : v1;
	if (!d || !file || cgroup_read(d, file, text, sizeof(text)) <= 0)
		return -1;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (!strncmp(line, key, n) && line[n] == ' ')
			return strtoll(line + n, NULL, 10);
	return -1;
}

static void put(json_t *o, const char *key, int64_t v, int64_t factor)
{
	if (v >= 0)
		json_object_set_new(o, key, json_integer(v * factor));
}

static json_t *read_cpu(const struct cgroup *cg)
{
	json_t *usage = json_object(), *throttling = json_object();
	int64_t v1_ns = number(cg, "cpuacct", "cpuacct.usage", NULL);
	if (v1_ns >= 0) {
		/* In ticks of 10 ms there. */
		put(usage, "total", v1_ns, 1);
		put(usage, "kernel", keyed(cg, "cpuacct", "cpuacct.stat", NULL, "system"),
			10000000);
		put(usage, "user", keyed(cg, "cpuacct", "cpuacct.stat", NULL, "user"), 10000000);
	} else {
		put(usage, "total", keyed(cg, "cpu", NULL, "cpu.stat", "usage_usec"), 1000);
		put(usage, "kernel", keyed(cg, "cpu", NULL, "cpu.stat", "system_usec"), 1000);
		put(usage, "user", keyed(cg, "cpu", NULL, "cpu.stat", "user_usec"), 1000);
	}
	put(throttling, "periods", keyed(cg, "cpu", "cpu.stat", "cpu.stat", "nr_periods"), 1);
	put(throttling, "throttledPeriods",
		keyed(cg, "cpu", "cpu.stat", "cpu.stat", "nr_throttled"), 1);
	put(throttling, "throttledTime", keyed(cg, "cpu", "cpu.stat", NULL, "throttled_time"), 1);
	return json_pack("{s:o, s:o}", "usage", usage, "throttling", throttling);
}

static json_t *read_memory(const struct cgroup *cg)
{
	json_t *usage = json_object(), *o = json_object();
	put(usage, "usage", number(cg, "memory", "memory.usage_in_bytes", "memory.current"), 1);
	put(usage, "limit", number(cg, "memory", "memory.limit_in_bytes", "memory.max"), 1);
	put(usage, "max", number(cg, "memory", "memory.max_usage_in_bytes", "memory.peak"), 1);
	put(usage, "failcnt", number(cg, "memory", "memory.failcnt", NULL), 1);
	put(o, "cache", keyed(cg, "memory", "memory.stat", "memory.stat", "cache"), 1);
	json_object_set_new(o, "usage", usage);
	return o;
}

static char *reading(const struct state *s)
{
	json_t *pids = json_object();
	put(pids, "current", number(&s->cgroup, "pids", "pids.current", "pids.current"), 1);
	int64_t limit = number(&s->cgroup, "pids", "pids.max", "pids.max");
	put(pids, "limit", limit == INT64_MAX ? 0 : limit, 1);
	json_t *o _json_ = json_pack("{s:s, s:s, s:{s:o, s:o, s:o}}", "type", "stats", "id", s->id,
		"data", "cpu", read_cpu(&s->cgroup), "memory", read_memory(&s->cgroup), "pids",
		pids);
	return json_dumps(o, JSON_COMPACT);
}

/* "5s", "500ms", "1m", "5": milliseconds, 0 when it is none. */
static int interval_ms(const char *text)
{
	char *end;
	double v = strtod(text, &end);
	double unit = !*end || !strcmp(end, "s") ? 1000
		      : !strcmp(end, "ms")	 ? 1
		      : !strcmp(end, "m")	 ? 60000
						 : 0;
	return end != text && v * unit >= 1 && v * unit < INT32_MAX ? (int)(v * unit) : 0;
}

static int run(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	const struct values *v = values;
	struct state s CLEANUP(state_done) = STATE_INIT;
	int ms = interval_ms(v->interval ? v->interval : "5s");
	if (!ms)
		return error_set(
			err, EINVAL, "--interval %s: a time is 5s, 500ms or 1m", v->interval);
	int r = state_open(&s, g->root, operands[0], STATE_READ, err);
	if (r == 0)
		r = cgroup_open(&s.cgroup, err);
	if (r < 0)
		return r;
	int fd _close_ = state_pidfd(&s);
	if (fd < 0)
		return error_set(
			err, ESRCH, "container \"%s\" is %s", s.id, status_names[state_status(&s)]);
	for (;;) {
		struct pollfd p = {fd, POLLIN, 0};
		char *text _free_ = reading(&s);
		puts(text);
		if (fflush(stdout) != 0 || v->stats || poll(&p, 1, ms) > 0)
			return 0;
	}
}

static const struct option options[] = {
	{"stats", 0, OPTION_FLAG, offsetof(struct values, stats), NULL, "one reading, no more"},
	{"interval", 0, OPTION_STRING, offsetof(struct values, interval), "TIME",
		"between readings: 5s (the default), 500ms, 1m"},
};

const struct command cmd_events = {
	.name = "events",
	.summary = "Print readings of a container's resources, as JSON, until it ends",
	.operands = "ID",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
