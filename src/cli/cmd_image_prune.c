// SPDX-License-Identifier: Apache-2.0
#include "cli/run.h"
#include "cli/units.h"
#include "image/image.h"
#include "instance/store.h"

struct values {
	bool all;
};

struct instances {
	struct instance_info *items;
	size_t n;
};

/* Instances name images as their users did: "debian" is "debian:trixie". */
static bool unused(void *opaque, const char *ref)
{
	const struct instances *in = opaque;
	for (size_t i = 0; i < in->n; i++)
		if (image_ref_same(in->items[i].config.image, ref))
			return false;
	return true;
}

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	struct error err _error_ = ERROR_INIT;
	struct image_store *store = NULL;
	struct instances in = {0};
	uint64_t freed = 0;
	char size[24];
	int r = container_own_trees(&err);
	if (!r)
		r = image_store_open(&store, NULL, &err);
	if (!r && v->all)
		r = instance_list(image_store_home(store), &in.items, &in.n, &err);
	if (!r)
		r = image_prune(store, v->all ? unused : NULL, &in, &freed, &err);
	instance_list_free(in.items, in.n);
	image_store_free(store);
	if (r < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	format_size(freed, size);
	cli_note(cli, "%s are free again.", size);
	return 0;
}

static const struct option options[] = {
	{"all", 'a', OPTION_FLAG, offsetof(struct values, all), NULL,
		"also images that no instance uses, except boot images", NULL},
};

const struct command cmd_image_prune = {
	.name = "image prune",
	.summary = "Remove what no image needs: old layers, steps of builds, cached downloads",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.run = run,
};
