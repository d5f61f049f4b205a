// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "cli/doctor.h"
#include "cli/output.h"

struct values {
	const char *format;
};

static const struct column columns[] = {
	{"WHAT", "what", false},
	{"STATE", "state", false},
	{"WHY", "why", false},
	{NULL, "remedy", false},
};

static void print_words(const struct cli *cli, const struct finding *f)
{
	static const char *const names[] = {"ok", "warn", "no"};
	static const char *const colors[] = {"\033[32m", "\033[33m", "\033[31m"};
	const char *no_color = getenv("NO_COLOR");
	bool color = cli->stdout_tty && !(no_color && *no_color);
	printf("%-18s %s%-4s%s  %s\n", f->what, color ? colors[f->state] : "", names[f->state],
		color ? "\033[0m" : "", f->why);
	if (f->remedy)
		printf("%-18s       -> %s\n", "", f->remedy);
}

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	static const char *const names[] = {"ok", "warn", "no"};
	const struct values *v = values;
	bool json = v->format && !strcmp(v->format, "json");
	struct table *t = table_new(columns, ARRAY_SIZE(columns));
	bool vital = true;
	for (size_t i = 0; doctor_probes[i].probe; i++) {
		const struct doctor_probe *p = &doctor_probes[i];
		struct finding f = {.what = p->what};
		p->probe(&f);
		vital = vital && !(p->vital && f.state == FINDING_NO);
		if (json) {
			const char *texts[] = {f.what, names[f.state], f.why, f.remedy};
			json_t *values_json[] = {NULL, NULL, NULL, f.remedy ? NULL : json_null()};
			table_row(t, texts, values_json);
		} else {
			print_words(cli, &f);
		}
		free(f.why);
		free(f.remedy);
	}
	if (json)
		table_print(t, "json", stdout);
	table_free(t);
	return vital ? 0 : EXIT_FAILED;
}

static const struct option options[] = {
	{"format", 'f', OPTION_ENUM, offsetof(struct values, format), "FORMAT", "how to print it",
		format_choices},
};

const struct command cmd_doctor = {
	.name = "doctor",
	.summary = "Say what this host can do, and why not",
	.description = "The exit status is 1 when something is missing without which nothing runs.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.run = run,
};
