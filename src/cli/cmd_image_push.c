// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "cli/meter.h"
#include "image/image.h"

struct values {
	const char *arch;
};

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	struct error err _error_ = ERROR_INIT;
	struct image_store *store = NULL;
	struct meter meter;
	char *digest _free_ = NULL;
	meter_init(&meter, cli);
	struct image_push_options o = {
		.progress = &meter.callbacks, .to = operands[1], .arch = v->arch};
	int r = image_store_open(&store, NULL, &err);
	if (!r)
		r = image_push(store, operands[0], &o, &digest, &err);
	meter_done(&meter);
	image_store_free(store);
	if (r < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	printf("%s\n", digest);
	return 0;
}

static const struct option options[] = {
	{"arch", 0, OPTION_STRING, offsetof(struct values, arch), "ARCH",
		"only this instruction set; several that are here become one index", NULL},
};

static const struct example examples[] = {
	{"strata image push debian registry.example:5000/base/debian:13",
		"Send an image under another name"},
};

const struct command cmd_image_push = {
	.name = "image push",
	.summary = "Send an image to a registry",
	.operands = "IMAGE [HOST[:PORT]/NAME[:TAG]]",
	.description = "It is sent as it is, so that its digest stays; the digest is printed. What "
		       "the registry has is not sent again. `strata login` gives credentials.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 2,
	.completes = OPERAND_IMAGE,
	.run = run,
};
