// SPDX-License-Identifier: Apache-2.0
#include "cli/run.h"
#include "cli/units.h"
#include "image/image.h"

struct values {
	const char *arch;
};

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	struct error err _error_ = ERROR_INIT;
	struct image_store *store = NULL;
	uint64_t total = 0;
	int r = container_own_trees(&err);
	if (!r)
		r = image_store_open(&store, NULL, &err);
	for (size_t i = 0; !r && i < n; i++) {
		uint64_t freed = 0;
		r = image_remove(store, operands[i], v->arch, &freed, &err);
		total += freed;
	}
	image_store_free(store);
	if (r < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	char size[24];
	format_size(total, size);
	cli_note(cli, "Removed; %s are free again.", size);
	return 0;
}

static const struct option options[] = {
	{"arch", 0, OPTION_STRING, offsetof(struct values, arch), "ARCH",
		"only for this instruction set", NULL},
};

const struct command cmd_image_remove = {
	.name = "image remove",
	.summary = "Remove images",
	.operands = "IMAGE...",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 1000,
	.completes = OPERAND_IMAGE,
	.run = run,
};
