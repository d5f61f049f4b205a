// SPDX-License-Identifier: Apache-2.0
// Which packages an installation needs (Debian policy 7).
#include "image/archive.h"

struct resolver {
	struct archive *a;
	VEC(uint32_t) queue; /* chosen packages; [next, len) still to be looked into */
	size_t next;
};

static int parse(const struct archive_package *p, struct deb822_stanza *s, struct error *err)
{
	struct deb822 d;
	deb822_init(&d, p->text.p, p->text.len);
	return deb822_next(&d, s, err) == 1 ? 0 : -EBADMSG;
}

static void choose(struct resolver *r, struct archive_package *p)
{
	if (p->chosen)
		return;
	p->chosen = true;
	vec_push(&r->queue, (uint32_t)(p - r->a->packages.items));
}

/* Calls fn for every package that satisfies dep: real ones newest first, then providers by name. */
typedef bool candidate_fn(void *opaque, struct archive_package *p);

static bool each_candidate(
	struct archive *a, const struct deb_dep *dep, candidate_fn *fn, void *opaque)
{
	struct archive_package *p = archive_find(a, dep->name);
	struct archive_package *end = a->packages.items + a->packages.len;
	for (; p && p < end && slice_eq(p->name, dep->name); p++)
		if (deb_dep_version_ok(dep, p->version) && fn(opaque, p))
			return true;
	size_t low = 0, high = a->provides.len;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (slice_cmp(a->provides.items[mid].name, dep->name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < a->provides.len && slice_eq(a->provides.items[low].name, dep->name); low++) {
		const struct archive_provide *v = &a->provides.items[low];
		/* An unversioned Provides never satisfies a versioned dependency. */
		if (dep->relation != DEB_ANY &&
			(!v->version.p || !deb_dep_version_ok(dep, v->version)))
			continue;
		if (fn(opaque, &a->packages.items[v->package]))
			return true;
	}
	return false;
}

static bool is_chosen(void *opaque, struct archive_package *p)
{
	return p->chosen;
}

/* A chosen package, other than `self`, that the relations in `list` exclude. */
struct conflict {
	const struct archive_package *self;
	const struct archive_package *found;
};

static bool is_conflict(void *opaque, struct archive_package *p)
{
	struct conflict *c = opaque;
	if (!p->chosen || p == c->self)
		return false;
	c->found = p;
	return true;
}

static const struct archive_package *excluded_by(
	struct archive *a, const struct archive_package *self, const struct deb822_stanza *s)
{
	static const char *const fields[] = {"Conflicts", "Breaks"};
	for (size_t f = 0; f < ARRAY_SIZE(fields); f++) {
		struct slice list = deb822_get(s, fields[f]);
		struct deb_dep dep;
		bool first = true;
		while (deb_dep_next(&list, &first, &dep) == 1) {
			struct conflict c = {.self = self};
			if (each_candidate(a, &dep, is_conflict, &c))
				return c.found;
		}
	}
	return NULL;
}

struct selection {
	struct archive *a;
	struct archive_package *best;
};

/* The first candidate that conflicts with nothing so far. */
static bool select_candidate(void *opaque, struct archive_package *p)
{
	struct selection *sel = opaque;
	struct deb822_stanza s;
	/* Another version of a chosen package cannot be added. */
	struct archive_package *other = archive_find(sel->a, p->name);
	struct archive_package *end = sel->a->packages.items + sel->a->packages.len;
	for (; other && other < end && slice_eq(other->name, p->name); other++)
		if (other->chosen)
			return false;
	if (parse(p, &s, NULL) < 0 || excluded_by(sel->a, p, &s))
		return false;
	sel->best = p;
	return true;
}

static int unmet(const struct archive_package *p, struct slice list, struct error *err)
{
	return error_set(err, ENOENT,
		"package %.*s depends on what the archive does not have: %.*s", (int)p->name.len,
		p->name.p, (int)MIN(list.len, (size_t)300), list.p);
}

/* One field: groups of alternatives. */
static int resolve_field(
	struct resolver *r, const struct archive_package *p, struct slice list, struct error *err)
{
	struct deb_dep dep;
	struct selection sel = {.a = r->a};
	struct slice rest = list, probe = list;
	bool first = true, probe_first = true;
	/* Two cursors: the group is first probed for what is chosen already, then chosen from. */
	int rc = deb_dep_next(&probe, &probe_first, &dep);
	while (rc == 1) {
		struct slice group_rest = rest;
		bool group_first = first;
		bool satisfied = false;
		size_t members = 0;
		do {
			members++;
			satisfied |= each_candidate(r->a, &dep, is_chosen, NULL);
			rc = deb_dep_next(&probe, &probe_first, &dep);
		} while (rc == 1 && !dep.first);
		if (rc < 0)
			break;
		sel.best = NULL;
		struct deb_dep option;
		for (size_t i = 0; i < members; i++) {
			if (deb_dep_next(&group_rest, &group_first, &option) != 1)
				break;
			if (!satisfied && !sel.best)
				each_candidate(r->a, &option, select_candidate, &sel);
		}
		rest = group_rest;
		first = group_first;
		if (!satisfied && !sel.best)
			return unmet(p, list, err);
		if (sel.best)
			choose(r, sel.best);
	}
	if (rc < 0)
		return error_set(err, EBADMSG, "package %.*s: malformed dependency",
			(int)p->name.len, p->name.p);
	return 0;
}

int archive_resolve(struct archive *a, const uint32_t *roots, size_t n, struct error *err)
{
	struct resolver r = {.a = a};
	struct deb822_stanza s;
	int rc = 0;
	for (size_t i = 0; i < n; i++)
		choose(&r, &a->packages.items[roots[i]]);
	while (rc == 0 && r.next < r.queue.len) {
		const struct archive_package *p = &a->packages.items[r.queue.items[r.next++]];
		rc = parse(p, &s, err);
		if (rc == 0)
			rc = resolve_field(&r, p, deb822_get(&s, "Pre-Depends"), err);
		if (rc == 0)
			rc = resolve_field(&r, p, deb822_get(&s, "Depends"), err);
	}
	for (size_t i = 0; rc == 0 && i < r.queue.len; i++) {
		const struct archive_package *p = &a->packages.items[r.queue.items[i]], *other;
		rc = parse(p, &s, err);
		other = rc == 0 ? excluded_by(a, p, &s) : NULL;
		if (other)
			rc = error_set(err, EBADMSG, "packages %.*s and %.*s exclude each other",
				(int)p->name.len, p->name.p, (int)other->name.len, other->name.p);
	}
	vec_done(&r.queue);
	return rc;
}
