// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

struct values {
	bool man;
};

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	if (v->man) {
		help_man(stdout);
		return 0;
	}
	if (!n) {
		help_overview(stdout);
		return 0;
	}
	char *words[] = {NULL, operands[0], n > 1 ? operands[1] : NULL, NULL};
	struct error err _error_ = ERROR_INIT;
	int used;
	const struct command *c = command_lookup((int)n + 1, words, &used, &err);
	if (!c)
		return cli_usage(cli, &err);
	help_command(c, stdout);
	return 0;
}

static const struct option options[] = {
	{"man", 0, OPTION_FLAG, offsetof(struct values, man), NULL, "print the manual page (roff)",
		NULL},
};

const struct command cmd_help = {
	.name = "help",
	.summary = "Explain a command",
	.operands = "[COMMAND]",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.max_operands = 2,
	.completes = OPERAND_COMMAND,
	.run = run,
};
