// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "image/image.h"

struct values {
	const char *arch;
	bool verify;
};

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	struct error err _error_ = ERROR_INIT;
	struct strbuf json _strbuf_ = STRBUF_INIT;
	struct image_store *store = NULL;
	int r = image_store_open(&store, NULL, &err);
	if (!r && v->verify)
		r = image_verify(store, operands[0], v->arch, NULL, &err);
	if (!r)
		r = image_inspect(store, operands[0], v->arch, &json, &err);
	image_store_free(store);
	if (r < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	printf("%s\n", json.data ? json.data : "");
	return 0;
}

static const struct option options[] = {
	{"arch", 0, OPTION_STRING, offsetof(struct values, arch), "ARCH",
		"the instruction set (the host's, or else any)", NULL},
	{"verify", 0, OPTION_FLAG, offsetof(struct values, verify), NULL,
		"read every blob and check its digest first", NULL},
};

const struct command cmd_image_inspect = {
	.name = "image inspect",
	.summary = "Print an image's manifest and configuration as JSON",
	.operands = "IMAGE",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_IMAGE,
	.run = run,
};
