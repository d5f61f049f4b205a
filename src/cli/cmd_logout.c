// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "image/image.h"

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	struct error err _error_ = ERROR_INIT;
	if (image_logout(operands[0], &err) < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	cli_note(cli, "Logged out from %s.", operands[0]);
	return 0;
}

const struct command cmd_logout = {
	.name = "logout",
	.summary = "Forget the credentials for a registry",
	.operands = "HOST[:PORT]",
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
