// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "instance/store.h"
#include "os/paths.h"

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	struct error err _error_ = ERROR_INIT;
	char *home _free_ = NULL;
	int status = 0;
	if (paths_home(&home, &err) < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	/* One that cannot go does not keep the others. */
	for (size_t i = 0; i < n; i++) {
		if (instance_remove(home, operands[i], &err) < 0)
			status = cli_fail(cli, EXIT_FAILED, &err);
		else
			printf("%s\n", operands[i]);
	}
	return status;
}

const struct command cmd_rm = {
	.name = "rm",
	.summary = "Remove stopped instances and their disks",
	.operands = "INSTANCE...",
	.min_operands = 1,
	.max_operands = 1000,
	.completes = OPERAND_INSTANCE,
	.run = run,
};
