// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "os/helper.h"
#include "user/binfmt.h"

struct values {
	bool credentials;
};

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	struct error err _error_ = ERROR_INIT;
	struct user_binfmt b;
	char *helper _free_ = NULL;
	if (helper_find("strata-process", &helper, &err) < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	char *path _free_ = realpath(helper, NULL);
	if (!path) {
		error_errno(&err, errno, "%s", helper);
		return cli_fail(cli, EXIT_FAILED, &err);
	}
	int r = user_binfmt_install(path, v->credentials, &err);
	if (r == 0)
		r = user_binfmt_status(&b, &err);
	if (r < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	if (b.state == USER_BINFMT_OFF)
		cli_note(cli, "binfmt_misc is switched off: echo 1 > "
			      "/proc/sys/fs/binfmt_misc/status");
	if (b.other)
		cli_note(cli, "%s is registered for the same programs; the later one goes first",
			b.other);
	user_binfmt_done(&b);
	return 0;
}

static const struct option options[] = {
	{"credentials", 0, OPTION_FLAG, offsetof(struct values, credentials), NULL,
		"let the set-user-ID and set-group-ID bits of the programs count", NULL},
};

static const struct example examples[] = {
	{"sudo strata binfmt install", "./program-for-riscv64 now runs as if it were the host's"},
	{"sudo chroot /srv/trixie-riscv64 sh",
		"and so does a whole tree, without anything of Strata in it"},
};

const struct command cmd_binfmt_install = {
	.name = "binfmt install",
	.summary = "Register for riscv64 programs",
	.description =
		"From then on each user's riscv64 programs run under Strata, in containers and "
		"chroots too: the kernel keeps strata-process open. Needs root. It lasts until "
		"`strata binfmt remove` or the next start of the host; install it again "
		"after an upgrade of Strata. Files in /usr/lib/binfmt.d are not touched.\n\n"
		"Without --credentials a set-user-ID program such as sudo runs with its caller's "
		"rights. With it, it has its owner's, and so has the translator that runs it: a "
		"fault there is then a way to root. Do it for trees that need it, on hosts whose "
		"users you trust.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
	.values_bytes = sizeof(struct values),
	.run = run,
};
