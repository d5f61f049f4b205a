// SPDX-License-Identifier: Apache-2.0
#include "cli/guest.h"
#include "os/paths.h"

struct values {
	const char *arch;
	bool refresh;
};

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	const char *arch = v->arch ? v->arch : "riscv64";
	struct error err _error_ = ERROR_INIT;
	struct image_store *store = NULL;
	struct meter meter;
	char *home _free_ = NULL;
	meter_init(&meter, cli);
	int r = paths_home(&home, &err);
	if (!r)
		r = image_store_open(&store, NULL, &err);
	struct guest_configure configure = {store, home, &meter};
	struct image_pull_options o = {.progress = &meter.callbacks,
		.configure = guest_configure_image,
		.opaque = &configure,
		.refresh = v->refresh};
	/* The boot image first: the other one is configured in a machine that needs it. */
	if (!r)
		r = boot_pull(store, operands[0], arch, &o, &err);
	if (!r)
		r = image_pull(store, operands[0], arch, &o, &err);
	meter_done(&meter);
	image_store_free(store);
	if (r < 0)
		return cli_fail(cli, EXIT_FAILED, &err);
	cli_note(cli, "%s (%s) is here.", operands[0], arch);
	return 0;
}

static const char *const arch_choices[] = {"riscv64", NULL};

static const struct option options[] = {
	{"arch", 0, OPTION_ENUM, offsetof(struct values, arch), "ARCH", "the instruction set",
		arch_choices},
	{"refresh", 0, OPTION_FLAG, offsetof(struct values, refresh), NULL,
		"ask the archive for a newer one even if it is here", NULL},
};

static const struct example examples[] = {
	{"strata image pull debian:trixie", "Fetch Debian 13 and its kernel"},
};

const struct command cmd_image_pull = {
	.name = "image pull",
	.summary = "Fetch an image",
	.operands = "IMAGE",
	.description = "What was half fetched is taken up again. Everything is checked against the "
		       "archive's signed index before it is used.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
