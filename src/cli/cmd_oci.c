// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "os/helper.h"

/* The words are not looked at here: the runtime has a command line of its own. */
static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	struct error err _error_ = ERROR_INIT;
	char *helper _free_ = NULL;
	if (helper_find("strata-oci", &helper, &err) < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	VEC(const char *) argv = {0};
	vec_push(&argv, helper);
	for (size_t i = 0; i < n; i++)
		vec_push(&argv, operands[i]);
	vec_push(&argv, NULL);
	helper_become(helper, argv.items, &err);
	vec_done(&argv);
	return cli_fail(cli, EXIT_FAILED, &err);
}

static const struct example examples[] = {
	{"strata oci run --bundle . web", "the container of the bundle in this directory"},
	{"podman --runtime /usr/local/libexec/strata/strata-oci run …",
		"an engine takes the program's path"},
};

const struct command cmd_oci = {
	.name = "oci",
	.summary = "The OCI runtime: containers from bundles, as container engines make them",
	.operands = "[--] [OPTION...] COMMAND [ARG...]",
	.description =
		"Runs strata-oci, which has the command line of an OCI runtime (create, start, "
		"run, exec, state, kill, delete and more; `strata oci -- --help` lists it). "
		"Options before the command go after --.",
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
	.max_operands = ~0u,
	.options_first = true,
	.run = run,
};
