// SPDX-License-Identifier: Apache-2.0
#include "image/depmod.h"

#include "image/module_index.h"
#include "image/store.h"
#include "wire/modinfo.h"

#define ALIAS_MAX 1024
#define DEPTH_MAX 64

enum file {
	DEP,
	DEP_BIN,
	ALIAS,
	ALIAS_BIN,
	SOFTDEP,
	SYMBOLS,
	SYMBOLS_BIN,
	BUILTIN_BIN,
	BUILTIN_ALIAS_BIN
};
static const char *const names[DEPMOD_FILES] = {
	[DEP] = "modules.dep",
	[DEP_BIN] = "modules.dep.bin",
	[ALIAS] = "modules.alias",
	[ALIAS_BIN] = "modules.alias.bin",
	[SOFTDEP] = "modules.softdep",
	[SYMBOLS] = "modules.symbols",
	[SYMBOLS_BIN] = "modules.symbols.bin",
	[BUILTIN_BIN] = "modules.builtin.bin",
	[BUILTIN_ALIAS_BIN] = "modules.builtin.alias.bin",
};

struct facts {
	char name[MODULE_NAME_BYTES];
	char *depends;	   /* "a,b", owned */
	uint32_t priority; /* its place in modules.order */
	uint32_t seen;	   /* the last walk that met it, + 1 */
};

struct depmod {
	const struct module_set *set;
	struct facts *facts; /* one for each module */
	struct depmod_file *out;
	struct module_index dep, alias;
};

/* As modprobe looks aliases up: '-' is '_', but not in a range "[a-z]". */
static void alias_normalize(const char *alias, char out[ALIAS_MAX])
{
	bool range = false;
	size_t i = 0;
	for (; alias[i] && i < ALIAS_MAX - 1; i++) {
		range = alias[i] == '[' || (range && alias[i] != ']');
		out[i] = alias[i] == '-' && !range ? '_' : alias[i];
	}
	out[i] = '\0';
}

/* --- what the modules say --- */

/* A line of text, or part of one: nothing in it may end the line. */
static bool one_line(const char *s)
{
	return !strchr(s, '\n');
}

static void read_facts(struct depmod *d, struct facts *f, const struct modinfo *info)
{
	const char *cursor = NULL, *value = modinfo_next(info, "depends", &cursor);
	f->depends = xstrdup(value ? value : "");
	for (cursor = NULL; (value = modinfo_next(info, "alias", &cursor));) {
		char alias[ALIAS_MAX];
		if (strlen(value) >= ALIAS_MAX || !one_line(value))
			continue;
		alias_normalize(value, alias);
		strbuf_addf(&d->out[ALIAS].text, "alias %s %s\n", value, f->name);
		module_index_add(&d->alias, alias, f->name, f->priority);
	}
	for (cursor = NULL; (value = modinfo_next(info, "softdep", &cursor));)
		if (one_line(value))
			strbuf_addf(&d->out[SOFTDEP].text, "softdep %s %s\n", f->name, value);
}

static int read_modules(
	struct depmod *d, int fd, const struct image_progress *progress, struct error *err)
{
	size_t n = d->set->items.len;
	progress_stage(progress, "Indexing %zu kernel modules", n);
	for (size_t i = 0; i < n; i++) {
		struct strbuf elf _strbuf_ = STRBUF_INIT;
		struct modinfo info;
		const struct module *m = &d->set->items.items[i];
		int rc = module_read(m, fd, &elf, err);
		if (rc == 0)
			rc = modinfo_open(&info, elf.data, elf.len, err);
		if (rc < 0)
			return error_wrap(err, rc, "%s", m->path);
		read_facts(d, &d->facts[i], &info);
		progress_bytes(progress, i + 1, n);
	}
	return 0;
}

/* Modules that the kernel's list does not have come after those that it has. */
static void read_order(struct depmod *d)
{
	struct slice rest = {d->set->order.data, d->set->order.len}, line;
	uint32_t place = 0;
	for (size_t i = 0; i < d->set->items.len; i++)
		d->facts[i].priority = UINT32_MAX;
	while (slice_line(&rest, &line)) {
		char name[MODULE_NAME_BYTES];
		if (!line.len || !module_name(line, name))
			continue;
		int i = names_get(&d->set->by_name, slice_of(name));
		if (i != NAMES_NONE && d->facts[i].priority == UINT32_MAX)
			d->facts[i].priority = place++;
	}
	for (size_t i = 0; i < d->set->items.len; i++)
		if (d->facts[i].priority == UINT32_MAX)
			d->facts[i].priority = place++;
}

/* --- dependencies --- */

struct walk {
	uint32_t number;
	VEC(uint32_t) order; /* each after what it depends on */
};

/* Modules that depend on one another in a circle cannot be loaded; here the walk just ends. */
static int visit(struct depmod *d, struct walk *w, uint32_t i, unsigned depth, struct error *err)
{
	struct facts *f = &d->facts[i];
	struct slice rest = slice_of(f->depends);
	if (depth > DEPTH_MAX)
		return error_set(err, EBADMSG, "%s: too deep a chain of dependencies", f->name);
	f->seen = w->number;
	while (rest.len) {
		const char *comma = memchr(rest.p, ',', rest.len);
		struct slice one = {rest.p, comma ? (size_t)(comma - rest.p) : rest.len};
		char name[MODULE_NAME_BYTES];
		rest = (struct slice){
			one.p + one.len + (comma != NULL), rest.len - one.len - (comma != NULL)};
		if (!one.len || one.len >= sizeof(name))
			continue;
		memcpy(name, one.p, one.len);
		name[one.len] = '\0';
		module_name_normalize(name);
		int k = names_get(&d->set->by_name, slice_of(name));
		if (k == NAMES_NONE || d->facts[k].seen == w->number)
			continue; /* built in, or there already */
		int rc = visit(d, w, (uint32_t)k, depth + 1, err);
		if (rc < 0)
			return rc;
	}
	vec_push(&w->order, i);
	return 0;
}

/* "path: dependencies": the last is loaded first. */
static int add_dependencies(struct depmod *d, uint32_t i, struct error *err)
{
	struct walk w = {.number = i + 1};
	struct strbuf line _strbuf_ = STRBUF_INIT;
	int rc = visit(d, &w, i, 0, err);
	strbuf_addf(&line, "%s:", d->set->items.items[i].path);
	for (size_t k = w.order.len; rc == 0 && k-- > 0;)
		if (w.order.items[k] != i)
			strbuf_addf(&line, " %s", d->set->items.items[w.order.items[k]].path);
	vec_done(&w.order);
	if (rc < 0)
		return rc;
	module_index_add(&d->dep, d->facts[i].name, line.data, d->facts[i].priority);
	strbuf_addf(&d->out[DEP].text, "%s\n", line.data);
	return 0;
}

/* --- what is built in --- */

static void index_builtin(const struct module_set *set, struct strbuf *out)
{
	struct module_index x = {0};
	struct slice rest = {set->builtin.data, set->builtin.len}, line;
	char name[MODULE_NAME_BYTES];
	for (uint32_t i = 0; slice_line(&rest, &line); i++)
		if (line.len && module_name(line, name))
			module_index_add(&x, name, "", i);
	module_index_print(&x, out);
	module_index_done(&x);
}

/* modules.builtin.modinfo: "name.key=value" strings, each with its NUL. */
static void index_builtin_aliases(const struct module_set *set, struct strbuf *out)
{
	struct module_index x = {0};
	const char *p = set->builtin_modinfo.data, *end = p + set->builtin_modinfo.len;
	for (uint32_t i = 0; p && p < end; i++) {
		size_t len = strnlen(p, (size_t)(end - p));
		const char *alias = memmem(p, len, ".alias=", 7);
		if (p + len == end)
			break; /* cut short */
		if (alias && (size_t)(alias - p) < MODULE_NAME_BYTES &&
			strlen(alias + 7) < ALIAS_MAX) {
			char *name _free_ = slice_dup((struct slice){p, (size_t)(alias - p)});
			char normal[ALIAS_MAX];
			alias_normalize(alias + 7, normal);
			module_index_add(&x, normal, name, i);
		}
		p += len + 1;
	}
	module_index_print(&x, out);
	module_index_done(&x);
}

/* --- all of it --- */

int depmod_make(const struct module_set *set, int fd, const struct image_progress *progress,
	struct depmod_file out[DEPMOD_FILES], struct error *err)
{
	size_t n = set->items.len;
	struct depmod d = {.set = set, .facts = xcalloc(n ? n : 1, sizeof(*d.facts)), .out = out};
	for (size_t i = 0; i < DEPMOD_FILES; i++)
		out[i] = (struct depmod_file){names[i], STRBUF_INIT};
	for (size_t i = 0; i < n; i++) /* all can be read: they are in the set */
		module_name(slice_of(set->items.items[i].path), d.facts[i].name);
	read_order(&d);
	int rc = read_modules(&d, fd, progress, err);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = add_dependencies(&d, (uint32_t)i, err);
	if (rc == 0) {
		struct module_index none = {0};
		strbuf_adds(&out[SYMBOLS].text, "# symbols are not indexed\n");
		module_index_print(&none, &out[SYMBOLS_BIN].text);
		module_index_print(&d.dep, &out[DEP_BIN].text);
		module_index_print(&d.alias, &out[ALIAS_BIN].text);
		index_builtin(set, &out[BUILTIN_BIN].text);
		index_builtin_aliases(set, &out[BUILTIN_ALIAS_BIN].text);
	}
	for (size_t i = 0; i < n; i++)
		free(d.facts[i].depends);
	free(d.facts);
	module_index_done(&d.dep);
	module_index_done(&d.alias);
	return rc;
}

bool depmod_makes(const char *path)
{
	for (size_t i = 0; i < DEPMOD_FILES; i++)
		if (!strcmp(path, names[i]))
			return true;
	return false;
}

void depmod_done(struct depmod_file files[DEPMOD_FILES])
{
	for (size_t i = 0; i < DEPMOD_FILES; i++)
		strbuf_done(&files[i].text);
}
