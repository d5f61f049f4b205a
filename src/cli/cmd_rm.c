// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "container/subids.h"
#include "instance/container.h"
#include "os/paths.h"

/* Files of a container may belong to IDs that only root of our user namespace can touch. */
static int become_root(const char *home, char **names, size_t n, struct error *err)
{
	struct instance_info *list = NULL;
	size_t len = 0;
	bool needed = false, one_id;
	char *why _free_ = NULL;
	int r = instance_list(home, &list, &len, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < len; i++)
		for (size_t k = 0; k < n; k++)
			needed |= !strcmp(list[i].name, names[k]) && list[i].config.level &&
				  !strcmp(list[i].config.level, "container");
	instance_list_free(list, len);
	return needed ? subids_become_root(&one_id, &why, err) : 0;
}

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	struct error err _error_ = ERROR_INIT;
	char *home _free_ = NULL;
	int status = 0;
	if (paths_home(&home, &err) < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	if (become_root(home, operands, n, &err) < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	container_sweep(home);
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
