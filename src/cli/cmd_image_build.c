// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <unistd.h>

#include "build/build.h"
#include "cli/configure.h"
#include "cli/run.h"
#include "instance/container.h"
#include "os/paths.h"

struct values {
	const char *tag, *file, *arch, *target, *timestamp, *network;
	struct strings args;
	bool no_cache;
};

struct context {
	struct cli *cli;
	struct meter meter;
	struct container_configure configure;
};

static int pull(void *opaque, const char *ref, const char *arch, struct error *err)
{
	struct context *c = opaque;
	bool own = !strcmp(arch, image_host_arch());
	const struct image_pull_options o = {.progress = &c->meter.callbacks,
		.configure = own ? container_configure_image : NULL,
		.opaque = &c->configure};
	if (!own && image_ref_source(ref) == IMAGE_SOURCE_DEBIAN) {
		error_set(err, ENOENT, "no image %s for %s", ref, arch);
		error_remedy(err, "get it first: strata image pull --arch %s %s", arch, ref);
		return -ENOENT;
	}
	return image_pull(c->configure.store, ref, arch, &o, err);
}

static void say(void *opaque, const char *line)
{
	struct context *c = opaque;
	meter_done(&c->meter);
	cli_note(c->cli, "%s", line);
}

static int check(const struct values *v, struct build_options *o, struct error *err)
{
	char *end;
	const char *time = v->timestamp ? v->timestamp : getenv("SOURCE_DATE_EPOCH");
	o->time_s = BUILD_TIME_BASE;
	if (time && !strcmp(time, "now"))
		o->time_s = BUILD_TIME_NOW;
	else if (time) {
		o->time_s = strtoll(time, &end, 10);
		if (!*time || *end || o->time_s < 0)
			return error_set(
				err, EINVAL, "--timestamp %s: seconds since 1970, or now", time);
	}
	if (v->network && strcmp(v->network, "host") && strcmp(v->network, "user"))
		return error_set(err, EINVAL, "--network %s: host or user", v->network);
	o->host_network = v->network && !strcmp(v->network, "host");
	return 0;
}

static int build(struct context *c, struct build_options *o, struct error *err)
{
	char digest[IMAGE_DIGEST_LEN + 1];
	struct image_store *store = NULL;
	int r = image_store_open(&store, NULL, err);
	if (r < 0)
		return r;
	o->store = c->configure.store = store;
	r = build_image(o, digest, err);
	meter_done(&c->meter);
	if (r == 0)
		puts(digest);
	image_store_free(store);
	return r;
}

static int run(struct cli *cli, const void *values, char **operands, size_t n)
{
	const struct values *v = values;
	struct error err _error_ = ERROR_INIT;
	struct context c = {.cli = cli};
	char *home _free_ = NULL;
	VEC(const char *) args = {0};
	for (size_t i = 0; i < v->args.len; i++)
		vec_push(&args, v->args.items[i]);
	vec_push(&args, NULL);
	struct build_options o = {.context = n ? operands[0] : ".",
		.file = v->file,
		.tag = v->tag,
		.arch = v->arch,
		.target = v->target,
		.args = args.items,
		.no_cache = v->no_cache,
		.progress = &c.meter.callbacks,
		.pull = pull,
		.say = say,
		.opaque = &c,
		.output_fd = STDERR_FILENO};
	int r = check(v, &o, &err);
	if (r < 0)
		return cli_usage(cli, &err);
	meter_init(&c.meter, cli);
	r = paths_home(&home, &err);
	if (r == 0)
		r = container_become_root(cli, &c.configure.one_id, &err);
	if (r == 0) {
		container_sweep(home);
		instance_sweep(home);
		c.configure.home = o.home = home;
		c.configure.meter = &c.meter;
		o.one_id = c.configure.one_id;
		r = build(&c, &o, &err);
	}
	meter_done(&c.meter);
	vec_done(&args);
	return r < 0 ? cli_fail(cli, EXIT_FAILED, &err) : 0;
}

static const struct option options[] = {
	{"tag", 't', OPTION_STRING, offsetof(struct values, tag), "NAME[:TAG]",
		"what to call the image", NULL},
	{"file", 'f', OPTION_STRING, offsetof(struct values, file), "FILE",
		"the Containerfile (Containerfile or Dockerfile in DIRECTORY)", NULL},
	{"build-arg", 0, OPTION_LIST, offsetof(struct values, args), "NAME[=VALUE]",
		"the value of an ARG", NULL},
	{"target", 0, OPTION_STRING, offsetof(struct values, target), "STAGE",
		"build this stage (the last)", NULL},
	{"arch", 0, OPTION_STRING, offsetof(struct values, arch), "ARCH",
		"the instruction set (the host's)", NULL},
	{"network", 0, OPTION_STRING, offsetof(struct values, network), "user|host",
		"what RUN's programs have (user)", NULL},
	{"timestamp", 0, OPTION_STRING, offsetof(struct values, timestamp), "SECONDS|now",
		"the image's date, and the latest of its files ($SOURCE_DATE_EPOCH; the base "
		"image's)",
		NULL},
	{"no-cache", 0, OPTION_FLAG, offsetof(struct values, no_cache), NULL,
		"carry out every step again", NULL},
};

static const struct example examples[] = {
	{"strata image build -t app .", "build the Containerfile in this directory"},
	{"strata image build -t app:1 -f Containerfile.test --build-arg V=2 src",
		"another file, an argument, another context"},
};

const struct command cmd_image_build = {
	.name = "image build",
	.summary = "Build an image from a Containerfile",
	.operands = "[DIRECTORY]",
	.description =
		"FROM, RUN, COPY, ADD, ENV, WORKDIR, USER, ENTRYPOINT, CMD, LABEL, ARG, EXPOSE, "
		"VOLUME, SHELL, STOPSIGNAL, HEALTHCHECK and ONBUILD are known, several stages "
		"and here-documents too. DIRECTORY (.) is what COPY and ADD copy from, without "
		"what .containerignore or .dockerignore names.\n\n"
		"Each step is kept, and taken from there as long as nothing before it has "
		"changed; `strata image prune` removes what is kept. The same input gives the "
		"same digest. The digest is printed.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
	.values_bytes = sizeof(struct values),
	.max_operands = 1,
	.run = run,
};
