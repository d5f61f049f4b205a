// SPDX-License-Identifier: Apache-2.0
// A tree to work on, and RUN.
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "build/internal.h"
#include "container/userns.h"

/* Without an image there is nothing to lay it over. */
static int open_empty(struct work *w, struct error *err)
{
	int dir = w->instance->dir_fd;
	if (mkdirat(dir, "tree", 0755) < 0)
		return error_errno(err, errno, "%s/tree", w->instance->path);
	w->root = openat(dir, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	w->upper = w->root < 0 ? -1 : fcntl(w->root, F_DUPFD_CLOEXEC, 3);
	return w->upper < 0 ? error_errno(err, errno, "%s/tree", w->instance->path) : 0;
}

static int open_layers(struct work *w, struct build *b, struct image *image, struct error *err)
{
	struct container *c = &w->container;
	int r = container_prepare(c, b->o->store, image, true, b->o->progress, err);
	if (r < 0)
		return r;
	w->root = openat(c->bundle_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	w->upper = openat(c->bundle_fd, "upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return w->root < 0 || w->upper < 0 ? error_errno(err, errno, "%s", c->bundle) : 0;
}

int work_open(struct work *w, struct build *b, struct image *image, struct error *err)
{
	struct instance_config config = {
		.image = image ? image->ref : (char *)(uintptr_t) "scratch",
		.level = (char *)(uintptr_t) "container",
		.arch = (char *)(uintptr_t)b->arch,
		.command = (char *)(uintptr_t) "(building an image)",
		.created_s = (uint64_t)time(NULL),
		.remove = true};
	int r = instance_create(b->o->home, NULL, &config, &w->instance, err);
	if (r < 0)
		return r;
	w->container.home = b->o->home;
	w->container.instance = w->instance;
	return image ? open_layers(w, b, image, err) : open_empty(w, err);
}

void work_close(struct work *w)
{
	cleanup_close_fd(&w->root);
	cleanup_close_fd(&w->upper);
	container_done(&w->container);
	if (w->instance)
		instance_remove_own(w->instance, NULL);
	instance_free(w->instance);
	*w = WORK_INIT;
}

/* --- RUN --- */
static int run_options(const struct containerfile_ins *i, bool *network, struct error *err)
{
	for (const char **option = i->options; *option; option++) {
		if (!strcmp(*option, "--network=none")) {
			*network = false;
		} else if (strcmp(*option, "--network=default") &&
			   strcmp(*option, "--network=host")) {
			return error_set(
				err, ENOTSUP, "RUN %s: of its options there is --network", *option);
		}
	}
	return 0;
}

/* The words to execute, or text for the shell. */
static void command_of(
	const struct stage *s, const struct containerfile_ins *i, containerfile_words *argv)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	for (const char **word = i->list; word && *word; word++)
		vec_push(argv, xstrdup(*word));
	if (i->list)
		return;
	for (size_t n = 0; n < s->shell.len; n++)
		vec_push(argv, xstrdup(s->shell.items[n]));
	/* Nothing but a here-document: that is the script. */
	bool script =
		i->n_here == 1 && !strncmp(i->text, "<<", 2) && !i->text[strcspn(i->text, " \t")];
	if (script) {
		strbuf_adds(&text, i->here[0].body);
	} else {
		strbuf_adds(&text, i->text);
		for (size_t n = 0; n < i->n_here; n++)
			strbuf_addf(&text, "\n%s%s", i->here[n].body, i->here[n].name);
	}
	vec_push(argv, strbuf_take(&text));
}

static void environment_of(struct stage *s, containerfile_words *env)
{
	size_t n;
	json_t *word;
	for (size_t a = 0; a < s->args.len; a += 2)
		if (s->args.items[a + 1])
			vec_push(env, xasprintf("%s=%s", s->args.items[a], s->args.items[a + 1]));
	json_array_foreach(json_object_get(stage_section(s), "Env"), n, word)
		vec_push(env, xstrdup(json_string_value(word)));
}

static const char *text_of(struct stage *s, const char *key, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(stage_section(s), key));
	return text && *text ? text : otherwise;
}

static int run_in(struct work *w, struct build *b, struct stage *s, containerfile_words *argv,
	containerfile_words *env, bool network, struct error *err)
{
	bool host = network && b->o->host_network;
	const int stdio[] = {-1, b->o->output_fd, b->o->output_fd};
	const struct bundle_options o = {.argv = (const char *const *)argv->items,
		.env = (const char *const *)env->items,
		.workdir = text_of(s, "WorkingDir", "/"),
		.user = text_of(s, "User", ""),
		.hostname = "build",
		.network = host	     ? BUNDLE_NETWORK_HOST
			   : network ? BUNDLE_NETWORK_USER
				     : BUNDLE_NETWORK_NONE,
		.capabilities = bundle_default_capabilities,
		.one_id = b->o->one_id,
		.rootless = !userns_is_host(),
		.arch = b->arch};
	int exit_status;
	int r = container_start(&w->container, &o, stdio, err);
	if (r < 0)
		return r;
	r = container_reap(&w->container, &exit_status, err);
	return r > 0 ? error_set(err, EIO, "it ended with status %d", r) : r;
}

static int run_step(struct build *b, struct stage *s, const char *created_by,
	containerfile_words *argv, containerfile_words *env, bool network, struct error *err)
{
	struct work w CLEANUP(work_close) = WORK_INIT;
	if (!s->image)
		return error_set(err, EINVAL, "there is no program in an empty image");
	int r = work_open(&w, b, s->image, err);
	if (r == 0)
		r = run_in(&w, b, s, argv, env, network, err);
	return r < 0 ? r : stage_commit(b, s, &w, created_by, err);
}

int step_run(struct build *b, struct stage *s, const struct containerfile_ins *i, struct error *err)
{
	containerfile_words argv = {0}, env = {0};
	bool network = true;
	int r = run_options(i, &network, err);
	if (r < 0)
		return r;
	command_of(s, i, &argv);
	environment_of(s, &env);
	stage_key_add(s, (const char *const[]){"RUN", network ? "net" : ""}, 2);
	stage_key_add(s, (const char *const *)argv.items, argv.len);
	stage_key_add(s, (const char *const *)env.items, env.len);
	vec_push(&argv, NULL);
	vec_push(&env, NULL);
	char *created_by _free_ = xasprintf("RUN %s", i->text);
	if (!stage_cached(b, s, created_by))
		r = run_step(b, s, created_by, &argv, &env, network, err);
	containerfile_words_done(&argv);
	containerfile_words_done(&env);
	return r;
}
