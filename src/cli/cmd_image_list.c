// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "cli/output.h"
#include "cli/units.h"
#include "image/image.h"

struct values {
	const char *format;
	bool quiet;
};

static const struct column columns[] = {
	{"IMAGE", "ref", false},
	{"ARCH", "arch", false},
	{"KIND", "kind", false},
	{"SIZE", "size", true},
	{"CREATED", "created", false},
	{"DIGEST", "digest", false},
	{"STATE", "damaged", false},
};

static void add_row(struct table *t, const struct image_info *i)
{
	char size[24], digest[20];
	format_size(i->size, size);
	snprintf(digest, sizeof(digest), "%.19s", i->digest);
	const char *texts[] = {i->ref, i->arch, image_kind_name(i->kind), size, i->created, digest,
		i->damaged ? "damaged: pull it again" : ""};
	json_t *json[] = {NULL, NULL, NULL, json_integer((json_int_t)i->size), NULL,
		json_string(i->digest), json_boolean(i->damaged)};
	table_row(t, texts, json);
}

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	struct error err _error_ = ERROR_INIT;
	struct image_store *store = NULL;
	struct image_info *list = NULL;
	size_t len = 0;
	int r = image_store_open(&store, NULL, &err);
	if (!r)
		r = image_list(store, &list, &len, &err);
	if (!r && v->quiet) {
		for (size_t i = 0; i < len; i++)
			printf("%s\n", list[i].ref);
	} else if (!r) {
		struct table *t = table_new(columns, ARRAY_SIZE(columns));
		for (size_t i = 0; i < len; i++)
			add_row(t, &list[i]);
		table_print(t, v->format, stdout);
		table_free(t);
	}
	image_list_free(list, len);
	image_store_free(store);
	return r < 0 ? cli_fail(cli, EXIT_FAILED, &err) : 0;
}

static const struct option options[] = {
	{"format", 'f', OPTION_ENUM, offsetof(struct values, format), "FORMAT", "how to print it",
		format_choices},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct values, quiet), NULL, "names only", NULL},
};

const struct command cmd_image_list = {
	.name = "image list",
	.summary = "List the images that are here",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.run = run,
};
