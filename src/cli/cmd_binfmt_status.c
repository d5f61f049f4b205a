// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "cli/output.h"
#include "user/binfmt.h"

struct values {
	const char *format;
};

static const struct column columns[] = {
	{"ARCH", "arch", false},
	{"STATE", "state", false},
	{"CREDENTIALS", "credentials", false},
	{"INTERPRETER", "interpreter", false},
	{"OTHER", "other", false},
};

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	static const char *const states[] = {
		"not mounted", "not installed", "switched off", "installed"};
	const struct values *v = values;
	struct error err _error_ = ERROR_INIT;
	struct user_binfmt b;
	if (user_binfmt_status(&b, &err) < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	bool credentials = b.flags && strchr(b.flags, 'C');
	const char *texts[] = {"riscv64", states[b.state], credentials ? "program's" : "caller's",
		b.interpreter ? b.interpreter : "-", b.other ? b.other : "-"};
	json_t *json[] = {NULL, NULL, json_boolean(credentials), b.interpreter ? NULL : json_null(),
		b.other ? NULL : json_null()};
	struct table *t = table_new(columns, ARRAY_SIZE(columns));
	table_row(t, texts, json);
	table_print(t, v->format, stdout);
	table_free(t);
	bool on = b.state == USER_BINFMT_ON;
	user_binfmt_done(&b);
	return on ? 0 : EXIT_FAILED;
}

static const struct option options[] = {
	{"format", 'f', OPTION_ENUM, offsetof(struct values, format), "FORMAT", "how to print it",
		format_choices},
};

const struct command cmd_binfmt_status = {
	.name = "binfmt status",
	.summary = "Show whether the kernel starts riscv64 programs with Strata",
	.description = "Its status is 0 when it does, else 1. OTHER is another interpreter that is "
		       "registered for the same programs: the one registered last is used.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.run = run,
};
