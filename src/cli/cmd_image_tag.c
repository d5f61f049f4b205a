// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "image/image.h"

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	struct error err _error_ = ERROR_INIT;
	struct image_store *store = NULL;
	int r = image_store_open(&store, NULL, &err);
	if (!r)
		r = image_tag(store, operands[0], operands[1], &err);
	image_store_free(store);
	return r < 0 ? cli_fail(cli, EXIT_FAILED, &err) : 0;
}

const struct command cmd_image_tag = {
	.name = "image tag",
	.summary = "Give an image another name as well",
	.operands = "IMAGE NAME[:TAG]",
	.description = "All its architectures get the name; what had it before loses it.",
	.min_operands = 2,
	.max_operands = 2,
	.completes = OPERAND_IMAGE,
	.run = run,
};
