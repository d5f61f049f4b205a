// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "cli/output.h"
#include "cli/units.h"
#include "image/image.h"

struct values {
	const char *arch, *format;
};

static const struct column columns[] = {
	{"LAYER", NULL, false},
	{NULL, "layer", false},
	{"SIZE", "size", true},
	{"CREATED", "created", false},
	{"CREATED BY", "created_by", false},
	{"COMMENT", "comment", false},
};

/* Line ends and tabs of a script, and what would steer a terminal. */
static char *one_line(const char *text)
{
	char *copy = xstrdup(text);
	for (char *c = copy; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	return copy;
}

static void add_row(struct table *t, const struct image_history *h)
{
	char size[24] = "", digest[20];
	char *by _free_ = one_line(h->created_by), *comment _free_ = one_line(h->comment);
	char *created _free_ = one_line(h->created);
	if (h->digest[0])
		format_size(h->size, size);
	snprintf(digest, sizeof(digest), "%.19s", h->digest);
	const char *texts[] = {digest, h->digest, size, created, by, comment};
	json_t *json[] = {NULL, NULL, json_integer((json_int_t)h->size), NULL,
		json_string(h->created_by), json_string(h->comment)};
	table_row(t, texts, json);
}

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	struct error err _error_ = ERROR_INIT;
	struct image_store *store = NULL;
	struct image_history *list = NULL;
	size_t len = 0;
	int r = image_store_open(&store, NULL, &err);
	if (!r)
		r = image_history(store, operands[0], v->arch, &list, &len, &err);
	image_store_free(store);
	if (r < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	struct table *t = table_new(columns, ARRAY_SIZE(columns));
	for (size_t i = 0; i < len; i++)
		add_row(t, &list[i]);
	table_print(t, v->format, stdout);
	table_free(t);
	image_history_free(list, len);
	return 0;
}

static const struct option options[] = {
	{"arch", 0, OPTION_STRING, offsetof(struct values, arch), "ARCH",
		"the instruction set (the host's, or else any)", NULL},
	{"format", 'f', OPTION_ENUM, offsetof(struct values, format), "FORMAT", "how to print it",
		format_choices},
};

const struct command cmd_image_history = {
	.name = "image history",
	.summary = "Show how an image was made, newest step first",
	.operands = "IMAGE",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 1,
	.completes = OPERAND_IMAGE,
	.run = run,
};
