// SPDX-License-Identifier: Apache-2.0
#include "cli/process.h"

#include <unistd.h>

#include "os/helper.h"

int process_run(struct cli *cli, const struct process_options *o)
{
	struct error err _error_ = ERROR_INIT;
	char *helper _free_ = NULL;
	for (size_t i = 0; i < o->env->len; i++)
		putenv((char *)(uintptr_t)o->env->items[i]);
	if (helper_find("strata-process", &helper, &err) < 0)
		return cli_fail(cli, EXIT_STRATA, &err);
	if (o->root && access(o->root, X_OK) < 0) {
		error_errno(&err, errno, "--root %s", o->root);
		return cli_fail(cli, EXIT_STRATA, &err);
	}
	/* A relative root is meant from here. */
	char *root _free_ = o->root ? realpath(o->root, NULL) : NULL;
	if (o->workdir && chdir(o->workdir) < 0) {
		error_errno(&err, errno, "--workdir %s", o->workdir);
		return cli_fail(cli, EXIT_STRATA, &err);
	}
	VEC(const char *) argv = {0};
	vec_push(&argv, "strata-process");
	if (root) {
		vec_push(&argv, "--root");
		vec_push(&argv, root);
	}
	if (o->strace)
		vec_push(&argv, "--strace");
	if (o->stats) {
		vec_push(&argv, "--stats");
		vec_push(&argv, o->stats);
	}
	vec_push(&argv, "--");
	vec_push(&argv, o->command[0]);
	for (char **word = o->command; *word; word++)
		vec_push(&argv, *word);
	vec_push(&argv, NULL);
	helper_become(helper, argv.items, &err);
	vec_done(&argv);
	return cli_fail(cli, EXIT_STRATA, &err);
}
