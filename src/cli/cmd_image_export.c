// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "cli/meter.h"
#include "image/image.h"

struct values {
	const char *arch, *format;
};

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	struct error err _error_ = ERROR_INIT;
	struct image_store *store = NULL;
	struct meter meter;
	if (!strcmp(operands[1], "-") && cli->stdout_tty) {
		error_set(&err, EINVAL, "an archive is nothing for a terminal");
		return cli_fail(cli, EXIT_FAILED, &err);
	}
	meter_init(&meter, cli);
	struct image_export_options o = {
		.progress = &meter.callbacks, .format = v->format, .arch = v->arch};
	int r = image_store_open(&store, NULL, &err);
	if (!r)
		r = image_export(store, operands[0], operands[1], &o, &err);
	meter_done(&meter);
	image_store_free(store);
	return r < 0 ? cli_fail(cli, EXIT_FAILED, &err) : 0;
}

static const char *const formats[] = {"oci", "oci-dir", "docker", NULL};

static const struct option options[] = {
	{"arch", 0, OPTION_STRING, offsetof(struct values, arch), "ARCH",
		"only this instruction set (all that are here)", NULL},
	{"format", 'f', OPTION_ENUM, offsetof(struct values, format), "FORMAT",
		"an OCI layout in a tar or as a directory, or a docker archive", formats},
};

const struct command cmd_image_export = {
	.name = "image export",
	.summary = "Write an image into an archive or a directory",
	.operands = "IMAGE FILE|DIRECTORY|-",
	.description = "What is there already is not overwritten.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 2,
	.max_operands = 2,
	.completes = OPERAND_IMAGE,
	.run = run,
};
