// SPDX-License-Identifier: Apache-2.0
// Stages, their keys, and the order of things.
#include "build/build.h"

#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "build/internal.h"
#include "os/file.h"

/* --- stages --- */
static void stage_free(struct stage *s)
{
	image_free(s->image);
	json_decref(s->config);
	containerfile_words_done(&s->args);
	containerfile_words_done(&s->shell);
	free(s->name);
	free(s);
}

struct stage *build_stage(const struct build *b, const char *name)
{
	char *end;
	unsigned long number = strtoul(name, &end, 10);
	bool numeric = *name && !*end;
	for (size_t n = b->stages.len; n-- > 0;) {
		struct stage *s = b->stages.items[n];
		if ((s->name && !strcasecmp(s->name, name)) || (numeric && number == n))
			return s;
	}
	return NULL;
}

const char *stage_env(const struct stage *s, const char *name)
{
	const json_t *section = json_object_get(s->config, "config");
	json_t *word;
	size_t n, len = strlen(name);
	json_array_foreach(json_object_get(section, "Env"), n, word)
	{
		const char *text = json_string_value(word);
		if (text && !strncmp(text, name, len) && text[len] == '=')
			return text + len + 1;
	}
	return NULL;
}

static const char *pair_value(const containerfile_words *w, const char *name)
{
	for (size_t n = w->len; n >= 2; n -= 2)
		if (!strcmp(w->items[n - 2], name))
			return w->items[n - 1];
	return NULL;
}

static const char *stage_variable(void *opaque, const char *name)
{
	const struct stage *s = opaque;
	const char *value = stage_env(s, name);
	return value ? value : pair_value(&s->args, name);
}

struct containerfile_scope stage_scope(const struct build *b, struct stage *s)
{
	return (struct containerfile_scope){stage_variable, s, b->file.escape};
}

void stage_key_add(struct stage *s, const char *const *texts, size_t n)
{
	struct digest d;
	digest_init(&d);
	digest_update(&d, s->key, strlen(s->key));
	for (size_t i = 0; i < n; i++)
		digest_update(&d, texts[i], strlen(texts[i]) + 1);
	digest_finish(&d, s->key);
}

static char *step_ref(const struct stage *s)
{
	return xasprintf("strata-build:%s", s->key);
}

static void date_text(int64_t time_s, char out[32])
{
	time_t t = (time_t)time_s;
	struct tm tm;
	gmtime_r(&t, &tm);
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

void stage_history(struct build *b, struct stage *s, const char *created_by, bool empty)
{
	char date[32];
	json_t *history = json_object_get(s->config, "history");
	if (!json_is_array(history)) {
		json_object_set_new(s->config, "history", json_array());
		history = json_object_get(s->config, "history");
	}
	date_text(b->time_s, date);
	json_t *one = json_pack("{s:s, s:s}", "created", date, "created_by", created_by);
	if (empty)
		json_object_set_new(one, "empty_layer", json_true());
	json_array_append_new(history, one);
}

static void replace_image(
	struct build *b, struct stage *s, struct image *image, const char *created_by)
{
	size_t before = s->image ? s->image->n_layers : 0;
	stage_history(b, s, created_by, image->n_layers == before);
	image_free(s->image);
	s->image = image;
}

bool stage_cached(struct build *b, struct stage *s, const char *created_by)
{
	char *ref _free_ = step_ref(s);
	struct image *image = NULL;
	if (b->o->no_cache || image_open_step(b->o->store, ref, b->arch, &image, NULL) < 0)
		return false;
	replace_image(b, s, image, created_by);
	b->o->say(b->o->opaque, "  from an earlier build");
	return true;
}

int stage_commit(
	struct build *b, struct stage *s, struct work *w, const char *created_by, struct error *err)
{
	char *ref _free_ = step_ref(s);
	struct diff diff = {w->upper, b->time_s};
	struct image *image = NULL;
	const struct image_derived d = {s->image, s->config, b->arch, diff_write, &diff, true};
	int r = image_derive(b->o->store, &d, ref, err);
	if (r == 0)
		r = image_open_step(b->o->store, ref, b->arch, &image, err);
	if (r < 0)
		return r;
	replace_image(b, s, image, created_by);
	return 0;
}

/* --- FROM --- */
static int base_config(struct build *b, const char *ref, json_t **out, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	int r = image_inspect(b->o->store, ref, b->arch, &text, err);
	if (r < 0)
		return r;
	json_t *all = json_loadb(text.data, text.len, 0, NULL);
	*out = json_deep_copy(json_object_get(all, "config"));
	json_decref(all);
	return json_is_object(*out) ? 0 : error_set(err, EBADMSG, "%s has no configuration", ref);
}

static int64_t created_s(const json_t *config)
{
	const char *text = json_string_value(json_object_get(config, "created"));
	struct tm tm = {0};
	return text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? timegm(&tm) : 0;
}

static void default_shell(struct stage *s)
{
	json_t *word;
	size_t n;
	json_array_foreach(
		json_object_get(stage_section(s), "Shell"), n, word) if (json_is_string(word))
		vec_push(&s->shell, xstrdup(json_string_value(word)));
	if (s->shell.len)
		return;
	vec_push(&s->shell, xstrdup("/bin/sh"));
	vec_push(&s->shell, xstrdup("-c"));
}

static int from_image(struct build *b, struct stage *s, const char *ref, struct error *err)
{
	const struct build_options *o = b->o;
	int r = image_open(o->store, ref, b->arch, &s->image, err);
	if (r == -ENOENT && o->pull) {
		error_done(err);
		r = o->pull(o->opaque, ref, b->arch, err);
		if (r == 0)
			r = image_open(o->store, ref, b->arch, &s->image, err);
	}
	if (r == 0)
		r = base_config(b, ref, &s->config, err);
	if (r < 0)
		return r;
	stage_key_add(s, (const char *const[]){"image", s->image->digest}, 2);
	return 0;
}

/* Another stage, as it is now. */
static int from_stage(struct build *b, struct stage *s, const struct stage *base, struct error *err)
{
	s->config = json_deep_copy(base->config);
	stage_key_add(s, (const char *const[]){"stage", base->key}, 2);
	if (!base->image)
		return 0;
	char *ref _free_ = xstrdup(base->image->ref);
	return base->image->kind == IMAGE_STEP
		       ? image_open_step(b->o->store, ref, b->arch, &s->image, err)
		       : image_open(b->o->store, ref, b->arch, &s->image, err);
}

static const char *global_variable(void *opaque, const char *name)
{
	return pair_value(opaque, name);
}

static int from_words(struct build *b, const struct containerfile_ins *i, containerfile_words *w,
	struct error *err)
{
	struct containerfile_scope scope = {global_variable, &b->globals, b->file.escape};
	int r = containerfile_split(&scope, i->text, w, err);
	if (r == 0 && w->len != 1 && (w->len != 3 || strcasecmp(w->items[1], "as")))
		r = error_set(err, EBADMSG, "FROM takes an image and perhaps AS and a name");
	for (const char **option = i->options; r == 0 && *option; option++) {
		struct strbuf text _strbuf_ = STRBUF_INIT;
		const char *value = strchr(*option, '=');
		if (strncmp(*option, "--platform=", 11))
			return error_set(err, EINVAL, "FROM has no option %s", *option);
		r = containerfile_expand(&scope, value + 1, &text, err);
		const char *arch = text.data ? strchr(text.data, '/') : NULL;
		if (r == 0 && (!arch || strcmp(arch + 1, b->arch)))
			r = error_set(err, ENOTSUP,
				"%s: one build is for one architecture, here %s", *option, b->arch);
	}
	return r;
}

/* OnBuild of the base is carried out here, and is not handed on. */
static int on_build(struct build *b, struct stage *s, struct error *err);

static int step_from(struct build *b, const struct containerfile_ins *i, struct error *err)
{
	containerfile_words w CLEANUP(containerfile_words_done) = {0};
	int r = from_words(b, i, &w, err);
	if (r < 0)
		return r;
	const struct stage *base = build_stage(b, w.items[0]);
	struct stage *s = xcalloc(1, sizeof(*s));
	s->name = w.len == 3 ? xstrdup(w.items[2]) : NULL;
	s->number = (unsigned)b->stages.len;
	stage_key_add(s, (const char *const[]){"strata build 1", b->arch}, 2);
	if (!strcmp(w.items[0], "scratch"))
		s->config = json_object();
	else
		r = base ? from_stage(b, s, base, err) : from_image(b, s, w.items[0], err);
	vec_push(&b->stages, s);
	if (r < 0)
		return r;
	if (b->o->time_s == BUILD_TIME_BASE)
		b->time_s = created_s(s->config);
	char date[32];
	date_text(b->time_s, date);
	json_object_set_new(s->config, "architecture", json_string(b->arch));
	json_object_set_new(s->config, "os", json_string("linux"));
	json_object_set_new(s->config, "created", json_string(date));
	stage_key_add(s, (const char *const[]){date}, 1);
	default_shell(s);
	return on_build(b, s, err);
}

/* --- ARG --- */
static const char *given_arg(const struct build *b, const char *name)
{
	size_t len = strlen(name);
	for (const char *const *a = b->o->args; a && *a; a++) {
		if (!strncmp(*a, name, len) && (*a)[len] == '=')
			return *a + len + 1;
		if (!strcmp(*a, name))
			return getenv(name);
	}
	return NULL;
}

/* What every Containerfile may ask for. */
static const char *platform_arg(const struct build *b, const char *name)
{
	if (!strcmp(name, "TARGETARCH"))
		return b->arch;
	if (!strcmp(name, "TARGETOS") || !strcmp(name, "BUILDOS"))
		return "linux";
	return strcmp(name, "BUILDARCH") ? NULL : image_host_arch();
}

static int step_arg(
	struct build *b, struct stage *s, const struct containerfile_ins *i, struct error *err)
{
	struct containerfile_scope scope =
		s ? stage_scope(b, s)
		  : (struct containerfile_scope){global_variable, &b->globals, b->file.escape};
	containerfile_words w CLEANUP(containerfile_words_done) = {0};
	int r = containerfile_split(&scope, i->text, &w, err);
	for (size_t n = 0; r == 0 && n < w.len; n++) {
		char *name = w.items[n], *equals = strchr(name, '=');
		if (equals)
			*equals = 0;
		const char *value = given_arg(b, name);
		if (!value)
			value = equals ? equals + 1 : NULL;
		if (!value && s)
			value = pair_value(&b->globals, name);
		if (!value)
			value = platform_arg(b, name);
		containerfile_words *to = s ? &s->args : &b->globals;
		vec_push(to, xstrdup(name));
		vec_push(to, value ? xstrdup(value) : NULL);
	}
	return r;
}

/* --- one after another --- */
static int carry_out(struct build *b, const struct containerfile_ins *i, struct error *err)
{
	struct stage *s = b->stages.len ? b->stages.items[b->stages.len - 1] : NULL;
	if (i->op == CONTAINERFILE_FROM)
		return step_from(b, i, err);
	if (i->op == CONTAINERFILE_ARG)
		return step_arg(b, s, i, err);
	if (!s)
		return error_set(err, EBADMSG, "the first instruction is FROM");
	switch (i->op) {
	case CONTAINERFILE_RUN:
		return step_run(b, s, i, err);
	case CONTAINERFILE_COPY:
	case CONTAINERFILE_ADD:
		return step_copy(b, s, i, err);
	case CONTAINERFILE_WORKDIR:
		return step_workdir(b, s, i, err);
	default:
		return step_config(b, s, i, err);
	}
}

static int step(struct build *b, const struct containerfile_ins *i, struct error *err)
{
	char *line _free_ = xasprintf(
		"STEP %u/%u: %s %s", ++b->step, b->steps, containerfile_op_name(i->op), i->text);
	b->o->say(b->o->opaque, line);
	int r = carry_out(b, i, err);
	return r < 0 ? error_wrap(err, r, "line %u: %s", i->line, containerfile_op_name(i->op)) : 0;
}

static int on_build(struct build *b, struct stage *s, struct error *err)
{
	json_t *list = json_incref(json_object_get(stage_section(s), "OnBuild")), *word;
	size_t n;
	int r = 0;
	json_object_del(stage_section(s), "OnBuild");
	json_array_foreach(list, n, word)
	{
		const char *text = json_string_value(word);
		struct containerfile_ins outer = {.op = CONTAINERFILE_ONBUILD, .text = text}, inner;
		if (r == 0 && text)
			r = containerfile_parse_onbuild(&b->file, &outer, &inner, err);
		if (r == 0 && text) {
			b->steps++;
			r = step(b, &inner, err);
		}
	}
	json_decref(list);
	return r;
}

/* The instructions up to the end of the wanted stage. */
static int steps(struct build *b, struct error *err)
{
	bool found = !b->o->target, in_it = false;
	b->steps = (unsigned)b->file.ins.len;
	for (size_t n = 0; n < b->file.ins.len; n++) {
		const struct containerfile_ins *i = &b->file.ins.items[n];
		if (i->op == CONTAINERFILE_FROM && in_it)
			break;
		int r = step(b, i, err);
		if (r < 0)
			return r;
		if (b->o->target && i->op == CONTAINERFILE_FROM)
			in_it = build_stage(b, b->o->target) == b->stages.items[b->stages.len - 1];
		found |= in_it;
	}
	if (!found)
		return error_set(err, ENOENT, "there is no stage %s", b->o->target);
	return b->stages.len ? 0 : error_set(err, EBADMSG, "there is no FROM");
}

static int finish(struct build *b, char digest[IMAGE_DIGEST_LEN + 1], struct error *err)
{
	struct stage *s = b->stages.items[b->stages.len - 1];
	char *ref _free_ = b->o->tag ? xstrdup(b->o->tag) : step_ref(s);
	const struct image_derived d = {s->image, s->config, b->arch, NULL, NULL, !b->o->tag};
	struct image *image = NULL;
	stage_key_add(s, (const char *const[]){"end"}, 1);
	int r = image_derive(b->o->store, &d, ref, err);
	if (r == 0)
		r = b->o->tag ? image_open(b->o->store, ref, b->arch, &image, err)
			      : image_open_step(b->o->store, ref, b->arch, &image, err);
	if (r < 0)
		return r;
	memcpy(digest, image->digest, sizeof(image->digest));
	image_free(image);
	return 0;
}

/* --- the input --- */
static int read_file(struct build *b, struct error *err)
{
	static const char *const names[] = {"Containerfile", "Dockerfile"};
	struct strbuf text _strbuf_ = STRBUF_INIT;
	const struct build_options *o = b->o;
	int r = -ENOENT;
	if (o->file)
		r = file_read(AT_FDCWD, o->file, CONTAINERFILE_BYTES_MAX, &text, err);
	for (size_t n = 0; !o->file && r == -ENOENT && n < ARRAY_SIZE(names); n++)
		r = file_read(b->context, names[n], CONTAINERFILE_BYTES_MAX, &text, NULL);
	if (r < 0 && !o->file) {
		error_set(err, -r, "there is neither a Containerfile nor a Dockerfile in %s",
			o->context);
		error_remedy(err, "name it with --file");
	}
	if (r < 0)
		return r;
	r = containerfile_parse(&b->file, text.data ? text.data : "", text.len, err);
	return r < 0 ? error_wrap(err, r, "%s", o->file ? o->file : "Containerfile") : 0;
}

static void read_ignore(struct build *b)
{
	static const char *const names[] = {".containerignore", ".dockerignore"};
	for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
		struct strbuf text _strbuf_ = STRBUF_INIT;
		if (file_read(b->context, names[n], CONTAINERFILE_BYTES_MAX, &text, NULL) == 0) {
			ignore_parse(&b->ignore, text.data ? text.data : "");
			return;
		}
	}
}

static void build_done(struct build *b)
{
	vec_for_each (s, &b->stages)
		stage_free(*s);
	vec_done(&b->stages);
	containerfile_words_done(&b->globals);
	ignore_done(&b->ignore);
	containerfile_done(&b->file);
	cleanup_close_fd(&b->context);
}

int build_image(const struct build_options *o, char digest[IMAGE_DIGEST_LEN + 1], struct error *err)
{
	struct build b CLEANUP(build_done) = {
		.o = o, .arch = o->arch ? o->arch : image_host_arch(), .time_s = o->time_s};
	b.context = open(o->context, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b.context < 0)
		return error_errno(err, errno, "%s", o->context);
	if (o->time_s == BUILD_TIME_NOW)
		b.time_s = time(NULL);
	int r = read_file(&b, err);
	if (r < 0)
		return r;
	read_ignore(&b);
	r = steps(&b, err);
	return r < 0 ? r : finish(&b, digest, err);
}
