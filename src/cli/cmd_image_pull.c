// SPDX-License-Identifier: Apache-2.0
#include "cli/configure.h"
#include "cli/guest.h"
#include "cli/run.h"
#include "os/paths.h"

struct values {
	const char *arch;
	bool refresh;
};

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	enum image_source source = image_ref_source(operands[0]);
	const char *arch = v->arch ? v->arch : image_host_arch();
	/* Its packages' scripts run in a container; those of others in a machine. */
	bool own = !strcmp(arch, image_host_arch());
	struct error err _error_ = ERROR_INIT;
	struct image_store *store = NULL;
	struct meter meter;
	char *home _free_ = NULL;
	meter_init(&meter, cli);
	int r = paths_home(&home, &err);
	struct container_configure container = {NULL, home, &meter, false};
	if (!r && own && source == IMAGE_SOURCE_DEBIAN)
		r = container_become_root(cli, &container.one_id, &err);
	if (!r)
		r = image_store_open(&store, NULL, &err);
	struct guest_configure configure = {store, home, &meter};
	struct image_pull_options o = {.progress = &meter.callbacks,
		.configure = own ? container_configure_image : guest_configure_image,
		.opaque = own ? (void *)&container : (void *)&configure,
		.refresh = v->refresh};
	container.store = store;
	/* The boot image first: the other one is configured in a machine that needs it. */
	if (!r && !own && source == IMAGE_SOURCE_DEBIAN)
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

static const struct option options[] = {
	{"arch", 0, OPTION_STRING, offsetof(struct values, arch), "ARCH",
		"the instruction set: riscv64, amd64, arm64, arm/v7, or all that a registry has "
		"(the host's)",
		NULL},
	{"refresh", 0, OPTION_FLAG, offsetof(struct values, refresh), NULL,
		"ask for a newer one even if it is here", NULL},
};

static const struct example examples[] = {
	{"strata image pull debian:trixie", "Fetch Debian 13"},
	{"strata image pull --arch riscv64 debian", "Fetch it and its kernel for RISC-V"},
	{"strata image pull docker.io/library/alpine", "Fetch an image from a registry"},
	{"strata image pull --arch arm64 registry.example:5000/team/app:1.2",
		"Fetch it for another architecture"},
};

const struct command cmd_image_pull = {
	.name = "image pull",
	.summary = "Fetch an image",
	.operands = "IMAGE",
	.description =
		"A plain name (debian, debian:SUITE) is made from the signed packages of a Debian "
		"archive. A name that begins with a host, HOST[:PORT]/NAME[:TAG][@DIGEST], comes "
		"from that registry.\n\n"
		"What was half fetched is taken up again. Everything is checked against the "
		"archive's signed index, or the digests of the registry's documents, before it is "
		"used. `strata login` gives credentials; mirrors, certificates and registries "
		"without TLS are named in ~/.config/strata/registries.json (see docs/images.md).",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
	.values_bytes = sizeof(struct values),
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
