// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	if (completion_print(operands[0], stdout))
		return 0;
	struct error err _error_ = ERROR_INIT;
	error_set(&err, EINVAL,
		"completion: \"%s\" is no shell that is known; bash, zsh and fish are",
		operands[0]);
	return cli_usage(cli, &err);
}

static const struct example examples[] = {
	{"source <(strata completion bash)", "Complete in this bash"},
	{"strata completion fish > ~/.config/fish/completions/strata.fish", "In every fish"},
};

const struct command cmd_completion = {
	.name = "completion",
	.summary = "Print a completion script for a shell",
	.operands = "bash|zsh|fish",
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
