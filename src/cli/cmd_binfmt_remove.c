// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "user/binfmt.h"

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	struct error err _error_ = ERROR_INIT;
	return user_binfmt_remove(&err) < 0 ? cli_fail(cli, EXIT_FAILED, &err) : 0;
}

const struct command cmd_binfmt_remove = {
	.name = "binfmt remove",
	.summary = "Undo `strata binfmt install`; needs root, ends no program",
	.run = run,
};
