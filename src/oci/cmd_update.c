// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include "oci/config.h"
#include "oci/container.h"
#include "os/file.h"

struct values {
	const char *file, *cpus, *mems;
	int64_t memory, reservation, swap, shares, quota, period, burst, idle, pids, weight;
};

static void defaults(void *values)
{
	struct values *v = values;
	v->memory = v->reservation = v->swap = v->shares = v->quota = v->period = v->burst =
		v->idle = v->pids = v->weight = SPEC_UNSET;
}

static void take(int64_t *to, int64_t v)
{
	if (v != SPEC_UNSET)
		*to = v;
}

static int run(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	const struct values *v = values;
	struct state s CLEANUP(state_done) = STATE_INIT;
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct spec_resources res;
	int r = state_open(&s, g->root, operands[0], STATE_LOCK, err);
	if (r == 0)
		r = cgroup_open(&s.cgroup, err);
	if (r == 0 && state_status(&s) == STATUS_STOPPED)
		r = error_set(err, EINVAL, "container \"%s\" is stopped", s.id);
	if (r < 0)
		return r;
	spec_resources_init(&res);
	if (v->file) {
		r = file_read(AT_FDCWD, strcmp(v->file, "-") ? v->file : "/dev/stdin", CONFIG_MAX,
			&text, err);
		if (r == 0)
			r = config_parse_resources(
				text.data ? text.data : "", text.len, v->file, &s.arena, &res, err);
		if (r < 0)
			return r;
	}
	take(&res.memory_limit, v->memory);
	take(&res.memory_reservation, v->reservation);
	take(&res.memory_swap, v->swap);
	take(&res.cpu_shares, v->shares);
	take(&res.cpu_quota, v->quota);
	take(&res.cpu_period, v->period);
	take(&res.cpu_burst, v->burst);
	take(&res.cpu_idle, v->idle);
	take(&res.pids_limit, v->pids);
	take(&res.blkio_weight, v->weight);
	res.cpus = v->cpus ? v->cpus : res.cpus;
	res.mems = v->mems ? v->mems : res.mems;
	return cgroup_limit(&s.cgroup, &res, err);
}

#define NUMBER(name, member, arg, help)                                                            \
	{                                                                                          \
		name, 0, OPTION_INT64, offsetof(struct values, member), arg, help                  \
	}
static const struct option options[] = {
	{"resources", 'r', OPTION_STRING, offsetof(struct values, file), "FILE",
		"JSON, as linux.resources in config.json; - is stdin"},
	NUMBER("memory", memory, "BYTES", "limit of memory"),
	NUMBER("memory-reservation", reservation, "BYTES",
		"what it is brought back to under pressure"),
	NUMBER("memory-swap", swap, "BYTES", "limit of memory and swap together"),
	NUMBER("cpu-share", shares, "N", "share of the CPUs, 1024 is usual"),
	NUMBER("cpu-quota", quota, "US", "CPU time in each period"),
	NUMBER("cpu-period", period, "US", "length of a period"),
	NUMBER("cpu-burst", burst, "US", "quota that may be saved up"),
	NUMBER("cpu-idle", idle, "0|1", "run when nobody else wants to"),
	{"cpuset-cpus", 0, OPTION_STRING, offsetof(struct values, cpus), "LIST", "CPUs: 0-1,3"},
	{"cpuset-mems", 0, OPTION_STRING, offsetof(struct values, mems), "LIST", "memory nodes"},
	NUMBER("pids-limit", pids, "N", "limit of processes; -1 is none"),
	NUMBER("blkio-weight", weight, "N", "share of the disks, 10 to 1000"),
};

const struct command cmd_update = {
	.name = "update",
	.summary = "Change the limits of a container",
	.operands = "ID",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 1,
	.defaults = defaults,
	.run = run,
};
