// SPDX-License-Identifier: Apache-2.0
#include <time.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/units.h"
#include "instance/container.h"
#include "os/paths.h"

struct values {
	const char *format;
	bool quiet;
};

static const struct column columns[] = {
	{"NAME", "name", false},
	{"STATE", "state", false},
	{"IMAGE", "image", false},
	{"LEVEL", "level", false},
	{"ARCH", "arch", false},
	{"CPUS", "cpus", true},
	{"MEMORY", "memory_bytes", true},
	{"DISK", "disk_bytes", true},
	{"AGE", "created", true},
	{"COMMAND", "command", false},
};

static const char *or_dash(const char *s)
{
	return s ? s : "-";
}

static void add_row(struct table *t, const struct instance_info *i)
{
	const struct instance_config *c = &i->config;
	char cpus[24], memory[24], disk[24], age[32], command[42];
	uint64_t now = (uint64_t)time(NULL);
	snprintf(cpus, sizeof(cpus), "%llu", (unsigned long long)c->cpus);
	format_size(c->memory_bytes, memory);
	format_size(i->disk_bytes, disk);
	format_duration(now > c->created_s ? now - c->created_s : 0, age);
	snprintf(command, sizeof(command), "%.40s", or_dash(c->command));
	const char *texts[] = {i->name, i->running ? "running" : "stopped", or_dash(c->image),
		or_dash(c->level), or_dash(c->arch), cpus, memory, disk, c->created_s ? age : "-",
		command};
	json_t *json[] = {NULL, NULL, NULL, NULL, NULL, json_integer((json_int_t)c->cpus),
		json_integer((json_int_t)c->memory_bytes), json_integer((json_int_t)i->disk_bytes),
		json_integer((json_int_t)c->created_s),
		c->command ? json_string(c->command) : NULL};
	table_row(t, texts, json);
}

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	struct error err _error_ = ERROR_INIT;
	struct instance_info *list = NULL;
	size_t len = 0;
	char *home _free_ = NULL;
	int r = paths_home(&home, &err);
	if (!r) {
		container_sweep(home);
		instance_sweep(home);
		r = instance_list(home, &list, &len, &err);
	}
	if (r < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	struct table *t = table_new(columns, ARRAY_SIZE(columns));
	for (size_t i = 0; i < len; i++) {
		if (v->quiet)
			printf("%s\n", list[i].name);
		else
			add_row(t, &list[i]);
	}
	if (!v->quiet)
		table_print(t, v->format, stdout);
	table_free(t);
	instance_list_free(list, len);
	return 0;
}

static const struct option options[] = {
	{"format", 'f', OPTION_ENUM, offsetof(struct values, format), "FORMAT", "how to print it",
		format_choices},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct values, quiet), NULL, "names only", NULL},
};

const struct command cmd_list = {
	.name = "list",
	.summary = "List the instances of this host",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.run = run,
};
