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
	struct strbuf names _strbuf_ = STRBUF_INIT;
	struct meter meter;
	meter_init(&meter, cli);
	struct image_import_options o = {
		.progress = &meter.callbacks, .name = operands[1], .arch = v->arch};
	int r = image_store_open(&store, NULL, &err);
	if (!r)
		r = image_import(store, operands[0], &o, &names, &err);
	meter_done(&meter);
	image_store_free(store);
	if (names.data)
		fputs(names.data, stdout);
	return r < 0 ? cli_fail(cli, EXIT_FAILED, &err) : 0;
}

static const struct option options[] = {
	{"arch", 0, OPTION_STRING, offsetof(struct values, arch), "ARCH",
		"only this instruction set; of a file tree, what it is for (the host's)", NULL},
};

static const struct example examples[] = {
	{"strata image import app.tar", "Take over what `docker save` or `podman save` wrote"},
	{"tar -C tree -c . | strata image import - mine:1", "Make an image of a file tree"},
};

const struct command cmd_image_import = {
	.name = "image import",
	.summary = "Take images from an archive or a directory",
	.operands = "FILE|DIRECTORY|- [NAME[:TAG]]",
	.description =
		"Takes an OCI layout (a directory or a tar), a docker archive, or the tar of "
		"a file tree, which becomes an image of one layer; archives may be "
		"compressed. The names of the images are printed.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 2,
	.run = run,
};
