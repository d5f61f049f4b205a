// SPDX-License-Identifier: Apache-2.0
#include <sys/utsname.h>

#include "cli/command.h"
#include "cli/output.h"
#include "wire/agent_proto.h"

struct values {
	const char *format;
};

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	struct utsname u;
	if (uname(&u) < 0)
		strcpy(u.machine, "unknown");
	if (v->format && !strcmp(v->format, "json")) {
		json_t *o = json_pack("{s:s, s:s, s:i}", "version", STRATA_VERSION, "host",
			u.machine, "agent_protocol", AGENT_PROTOCOL_VERSION);
		json_dumpf(o, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(o);
		return 0;
	}
	printf("strata %s (%s, agent protocol %d)\n", STRATA_VERSION, u.machine,
		AGENT_PROTOCOL_VERSION);
	return 0;
}

static const struct option options[] = {
	{"format", 'f', OPTION_ENUM, offsetof(struct values, format), "FORMAT", "how to print it",
		format_choices},
};

const struct command cmd_version = {
	.name = "version",
	.summary = "Print the version",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.run = run,
};
