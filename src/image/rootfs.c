// SPDX-License-Identifier: Apache-2.0
// The layer's order, which makes it the same for the same packages: directories by name, symbolic
// links by name, then the files of each package in its own order, then what we add.
#include "image/rootfs.h"

#include <nettle/md5.h>
#include <stdarg.h>
#include <stdio.h>

#define ENTRIES_MAX  (1u << 20)
#define SYMLINKS_MAX 40 /* followed in one path, as in Linux */

struct rootfs_entry {
	const char *raw;  /* as in the package */
	const char *path; /* final: after symbolic links in its parents */
	const char *link; /* symbolic: raw target; hard: raw path of the file in the package */
	uint32_t package;
	uint32_t mode, uid, gid;
	int64_t mtime;
	uint64_t size;
	enum tar_type type;
};

static const char *keep(struct rootfs *r, const char *s)
{
	size_t n = strlen(s) + 1;
	return memcpy(arena_alloc(&r->arena, n), s, n);
}

struct rootfs_extra *rootfs_add_file(struct rootfs *r, uint32_t mode, const char *fmt, ...)
{
	char *path = NULL;
	va_list ap;
	va_start(ap, fmt);
	if (vasprintf(&path, fmt, ap) < 0)
		path = xstrdup("");
	va_end(ap);
	vec_push(&r->extras, (struct rootfs_extra){.path = path, .mode = mode, .type = TAR_FILE});
	return &r->extras.items[r->extras.len - 1];
}

static void rootfs_done(struct rootfs *r)
{
	for (size_t i = 0; i < r->n; i++)
		package_done(&r->packages[i]);
	free(r->packages);
	vec_for_each (x, &r->extras) {
		free(x->path);
		strbuf_done(&x->content);
	}
	vec_done(&r->extras);
	vec_done(&r->conffiles);
	vec_done(&r->entries);
	names_done(&r->symlinks);
	names_done(&r->winners);
	names_done(&r->conffile_paths);
	arena_done(&r->arena);
}

static int open_packages(struct rootfs *r, struct archive *a, struct error *err)
{
	size_t n = 0;
	vec_for_each (p, &a->packages)
		n += p->chosen;
	r->packages = xcalloc(n, sizeof(*r->packages));
	/* base-files owns the directories of the tree: it goes first, the others by name. */
	for (int first = 1; first >= 0; first--) {
		vec_for_each (p, &a->packages) {
			struct download d = {0};
			if (!p->chosen || slice_is(p->name, "base-files") != (first == 1))
				continue;
			int rc = archive_download(a, p, &d, err);
			int fd = rc < 0 ? rc : download_open(a->store, d.sha256, err);
			download_done(&d);
			if (fd < 0)
				return fd;
			rc = package_open(&r->packages[r->n], fd, p->name, p->version, err);
			if (rc < 0)
				return rc;
			r->n++;
		}
	}
	return 0;
}

static int scan_package(struct rootfs *r, size_t index, struct error *err)
{
	struct package_data data;
	struct tar_entry e;
	int rc = package_data_open(&data, &r->packages[index], err);
	if (rc < 0)
		return rc;
	while ((rc = tar_reader_next(&data.tar, &e, err)) == 1) {
		if (r->entries.len >= ENTRIES_MAX) {
			rc = error_set(err, EBADMSG, "too many files");
			break;
		}
		vec_push(&r->entries, (struct rootfs_entry){.raw = keep(r, e.path),
					      .link = keep(r, e.linkname),
					      .package = (uint32_t)index,
					      .mode = e.mode,
					      .uid = e.uid,
					      .gid = e.gid,
					      .mtime = e.mtime_sec,
					      .size = e.size,
					      .type = e.type});
		if (e.type == TAR_SYMLINK)
			names_set(&r->symlinks, slice_of(e.path), (int)r->entries.len - 1);
	}
	package_data_done(&data);
	return rc;
}

/* Suites before trixie ship no links for merged /usr; debootstrap made them, and so do we. Only
 * where the directory is used and some package vouches for the layout (usr-is-merged, usrmerge). */
static void merge_usr(struct rootfs *r)
{
	static const char *const dirs[] = {"bin", "lib", "lib32", "lib64", "libx32", "sbin"};
	size_t n = r->entries.len;
	bool merged = false;
	for (size_t i = 0; i < r->n; i++) {
		struct slice name = deb822_get(&r->packages[i].stanza, "Package");
		merged |= slice_is(name, "usrmerge") || slice_is(name, "usr-is-merged");
	}
	for (size_t d = 0; merged && d < ARRAY_SIZE(dirs); d++) {
		bool used = false;
		for (size_t i = 0; i < n && !used; i++)
			used = !strcmp(r->entries.items[i].raw, dirs[d]) &&
			       r->entries.items[i].type == TAR_DIR;
		if (!used || names_get(&r->symlinks, slice_of(dirs[d])) != NAMES_NONE)
			continue;
		char *target _free_ = xasprintf("usr/%s", dirs[d]);
		names_set(&r->symlinks, slice_of(dirs[d]), (int)r->entries.len);
		vec_push(&r->entries, (struct rootfs_entry){.raw = keep(r, dirs[d]),
					      .link = keep(r, target),
					      .package = UINT32_MAX,
					      .mode = 0777,
					      .mtime = r->archive->date,
					      .type = TAR_SYMLINK});
	}
}

/* Follows symbolic links of the packages in all but the last component (in it too with `last`), so
 * that "lib/x" becomes "usr/lib/x" where lib is a link. */
static int resolve_path(
	struct rootfs *r, const char *raw, bool last, struct strbuf *out, struct error *err)
{
	struct strbuf todo _strbuf_ = STRBUF_INIT, next _strbuf_ = STRBUF_INIT;
	unsigned links = 0;
	strbuf_adds(&todo, raw);
	strbuf_clear(out);
	strbuf_reserve(out, 0);
	for (size_t at = 0; at < todo.len;) {
		size_t n = strcspn(todo.data + at, "/"), parent = out->len;
		const char *part = todo.data + at;
		bool is_last = !todo.data[at + n + strspn(todo.data + at + n, "/")];
		if (n == 2 && !memcmp(part, "..", 2)) {
			char *slash = out->len ? memrchr(out->data, '/', out->len) : NULL;
			out->len = slash ? (size_t)(slash - out->data) : 0;
			out->data[out->len] = '\0';
		} else if (n && !(n == 1 && part[0] == '.')) {
			if (out->len)
				strbuf_addc(out, '/');
			strbuf_add(out, part, n);
		}
		at += n + (todo.data[at + n] == '/');
		int link = out->len > parent && (!is_last || last)
				   ? names_get(&r->symlinks, (struct slice){out->data, out->len})
				   : NAMES_NONE;
		if (link == NAMES_NONE)
			continue;
		const char *target = r->entries.items[link].link;
		strbuf_clear(&next);
		strbuf_addf(&next, "%s/%s", target, todo.data + at);
		if (++links > SYMLINKS_MAX || next.len > TAR_PATH_MAX)
			return error_set(err, EBADMSG, "%s: too many symbolic links", raw);
		out->len = target[0] == '/' ? 0 : parent;
		out->data[out->len] = '\0';
		strbuf_clear(&todo);
		strbuf_add(&todo, next.data, next.len);
		at = 0;
	}
	return 0;
}

/* "Replaces: other (<< 2)" lets a package take over files. */
static bool replaces(const struct package *p, const struct package *other)
{
	struct slice list = deb822_get(&p->stanza, "Replaces");
	struct deb_dep dep;
	bool first = true;
	while (deb_dep_next(&list, &first, &dep) == 1)
		if (slice_eq(dep.name, deb822_get(&other->stanza, "Package")) &&
			deb_dep_version_ok(&dep, deb822_get(&other->stanza, "Version")))
			return true;
	return false;
}

static int place_entry(struct rootfs *r, size_t index, struct error *err)
{
	struct rootfs_entry *e = &r->entries.items[index];
	struct strbuf path _strbuf_ = STRBUF_INIT;
	int rc = resolve_path(r, e->raw, e->type == TAR_DIR, &path, err);
	if (rc < 0)
		return rc;
	e->path = keep(r, path.data);
	int held = names_get(&r->winners, slice_of(e->path));
	if (held == NAMES_NONE) {
		names_set(&r->winners, slice_of(e->path), (int)index);
		return 0;
	}
	const struct rootfs_entry *old = &r->entries.items[held];
	if (old->type == TAR_DIR && e->type == TAR_DIR)
		return 0;
	if (old->type == TAR_SYMLINK && e->type == TAR_SYMLINK && !strcmp(old->link, e->link))
		return 0;
	if (e->package == UINT32_MAX || old->package == UINT32_MAX)
		return error_set(err, EBADMSG, "%s should be a link into /usr", e->path);
	const struct package *p = &r->packages[e->package], *q = &r->packages[old->package];
	if (old->type != TAR_DIR && e->type != TAR_DIR) {
		if (replaces(q, p))
			return 0;
		if (replaces(p, q)) {
			names_set(&r->winners, slice_of(e->path), (int)index);
			return 0;
		}
	}
	struct slice a = deb822_get(&q->stanza, "Package"), b = deb822_get(&p->stanza, "Package");
	return error_set(err, EBADMSG, "packages %.*s and %.*s both have %s", (int)a.len, a.p,
		(int)b.len, b.p, e->path);
}

/* Every parent must be a directory of the layer; a missing one is made. */
static int add_parents(struct rootfs *r, const char *path, struct error *err)
{
	char parent[TAR_PATH_MAX + 1];
	snprintf(parent, sizeof(parent), "%s", path);
	for (;;) {
		char *slash = strrchr(parent, '/');
		if (!slash)
			return 0;
		*slash = '\0';
		int held = names_get(&r->winners, slice_of(parent));
		if (held != NAMES_NONE && r->entries.items[held].type != TAR_DIR)
			return error_set(err, EBADMSG, "%s is below %s, which is not a directory",
				path, parent);
		if (held != NAMES_NONE)
			return 0;
		names_set(&r->winners, slice_of(parent), (int)r->entries.len);
		const char *kept = keep(r, parent);
		vec_push(&r->entries, (struct rootfs_entry){.raw = kept,
					      .path = kept,
					      .link = "",
					      .mode = 0755,
					      .package = UINT32_MAX,
					      .mtime = r->archive->date,
					      .type = TAR_DIR});
	}
}

static int place_entries(struct rootfs *r, struct error *err)
{
	size_t n = r->entries.len; /* add_parents() appends */
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = place_entry(r, i, err);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = add_parents(r, r->entries.items[i].path, err);
	for (size_t i = 0; rc == 0 && i < r->extras.len; i++)
		rc = add_parents(r, r->extras.items[i].path, err);
	return rc;
}

static int list_conffiles(struct rootfs *r, struct error *err)
{
	struct strbuf path _strbuf_ = STRBUF_INIT;
	for (size_t i = 0; i < r->n; i++) {
		const struct package_file *f = package_control(&r->packages[i], "conffiles");
		struct slice rest = {0}, line;
		if (f)
			rest = (struct slice){f->content.data, f->content.len};
		while (slice_line(&rest, &line)) {
			/* "remove-on-upgrade /x" names a file that is not there. */
			if (!line.len || line.p[0] != '/' || line.len > TAR_PATH_MAX)
				continue;
			char *raw _free_ = slice_dup(line);
			int rc = resolve_path(r, raw + 1, false, &path, err);
			if (rc < 0)
				return rc;
			names_set(&r->conffile_paths, slice_of(path.data), (int)r->conffiles.len);
			vec_push(&r->conffiles, (struct rootfs_conffile){.path = keep(r, raw),
							.package = (uint32_t)i});
		}
	}
	return 0;
}

static bool wins(const struct rootfs *r, size_t index)
{
	return names_get(&r->winners, slice_of(r->entries.items[index].path)) == (int)index;
}

static int write_header(
	struct rootfs *r, struct tar_writer *w, const struct rootfs_entry *e, struct error *err)
{
	struct strbuf target _strbuf_ = STRBUF_INIT;
	struct tar_entry t = {.path = e->path,
		.linkname = e->link,
		.type = e->type,
		.mode = e->mode,
		.uid = e->uid,
		.gid = e->gid,
		.mtime_sec = e->mtime,
		.size = e->size};
	if (e->type == TAR_HARDLINK) {
		int rc = resolve_path(r, e->link, false, &target, err);
		if (rc < 0)
			return rc;
		int held = names_get(&r->winners, slice_of(target.data));
		if (held == NAMES_NONE || r->entries.items[held].package != e->package ||
			r->entries.items[held].type != TAR_FILE)
			return error_set(
				err, EBADMSG, "%s: hard link to a file of no package", e->path);
		t.linkname = target.data;
	}
	return tar_writer_entry(w, &t, err);
}

static int compare_paths(const void *a, const void *b)
{
	const struct rootfs_entry *const *x = a, *const *y = b;
	return strcmp((*x)->path, (*y)->path);
}

static int write_sorted(struct rootfs *r, struct tar_writer *w, bool directories, struct error *err)
{
	VEC(const struct rootfs_entry *) list = {0};
	int rc = 0;
	for (size_t i = 0; i < r->entries.len; i++) {
		const struct rootfs_entry *e = &r->entries.items[i];
		bool is_file = e->type == TAR_FILE || e->type == TAR_HARDLINK;
		if (!is_file && (e->type == TAR_DIR) == directories && wins(r, i))
			vec_push(&list, e);
	}
	if (list.len)
		qsort(list.items, list.len, sizeof(*list.items), compare_paths);
	for (size_t i = 0; rc == 0 && i < list.len; i++)
		rc = write_header(r, w, list.items[i], err);
	vec_done(&list);
	return rc;
}

static int copy_file(struct rootfs *r, struct tar_reader *in, struct tar_writer *w,
	const struct rootfs_entry *e, struct error *err)
{
	int conffile = names_get(&r->conffile_paths, slice_of(e->path));
	char *chunk _free_ = xmalloc(64 * KiB);
	struct md5_ctx md5;
	md5_init(&md5);
	for (uint64_t left = e->size; left;) {
		ssize_t n = tar_reader_read(in, chunk, (size_t)MIN(left, 64 * KiB), err);
		if (n <= 0)
			return n < 0 ? (int)n : error_set(err, EBADMSG, "%s: cut short", e->path);
		if (conffile != NAMES_NONE)
			md5_update(&md5, (size_t)n, (const uint8_t *)chunk);
		int rc = tar_writer_data(w, chunk, (size_t)n, err);
		if (rc < 0)
			return rc;
		left -= (uint64_t)n;
	}
	if (conffile != NAMES_NONE && r->conffiles.items[conffile].package == e->package) {
		uint8_t raw[MD5_DIGEST_SIZE];
		md5_digest(&md5, sizeof(raw), raw);
		for (size_t i = 0; i < sizeof(raw); i++)
			snprintf(r->conffiles.items[conffile].md5 + 2 * i, 3, "%02x", raw[i]);
	}
	return 0;
}

/* The second reading of a package; *index is of its first entry. Hard links follow all files, as
 * their targets may come later in the package. */
static int write_package(
	struct rootfs *r, size_t package, size_t *index, struct tar_writer *w, struct error *err)
{
	struct package_data data;
	struct tar_entry e;
	size_t begin = *index, i = begin;
	int rc = package_data_open(&data, &r->packages[package], err);
	if (rc < 0)
		return rc;
	while ((rc = tar_reader_next(&data.tar, &e, err)) == 1) {
		const struct rootfs_entry *mine = &r->entries.items[i];
		/* The file in the cache must not change under us. */
		if (i >= r->entries.len || mine->package != package || strcmp(mine->raw, e.path) ||
			mine->size != e.size) {
			rc = error_set(err, EBADMSG, "the package changed while it was read");
			break;
		}
		if (mine->type == TAR_FILE && wins(r, i)) {
			rc = write_header(r, w, mine, err);
			if (rc == 0)
				rc = copy_file(r, &data.tar, w, mine, err);
			if (rc < 0)
				break;
		}
		i++;
	}
	package_data_done(&data);
	for (size_t j = begin; rc == 0 && j < i; j++)
		if (r->entries.items[j].type == TAR_HARDLINK && wins(r, j))
			rc = write_header(r, w, &r->entries.items[j], err);
	*index = i;
	return rc;
}

static void list_of(struct rootfs *r, size_t package, struct strbuf *out)
{
	for (size_t i = 0; i < r->entries.len; i++)
		if (r->entries.items[i].package == package)
			strbuf_addf(out, "/%s\n",
				r->entries.items[i].raw[0] ? r->entries.items[i].raw : ".");
}

static int write_extras(struct rootfs *r, struct tar_writer *w, struct error *err)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < r->extras.len; i++) {
		const struct rootfs_extra *x = &r->extras.items[i];
		struct tar_entry t = {.path = x->path,
			.linkname = "",
			.type = x->type,
			.mode = x->mode,
			.mtime_sec = r->archive->date,
			.size = x->content.len};
		/* What a package ships is the package's. */
		if (names_get(&r->winners, slice_of(x->path)) != NAMES_NONE)
			continue;
		rc = tar_writer_entry(w, &t, err);
		if (rc == 0)
			rc = tar_writer_data(w, x->content.data, x->content.len, err);
	}
	return rc;
}

static void add_configuration(struct rootfs *r)
{
	const struct archive *a = r->archive;
	char *mirror _free_ = mirror_public(a->mirror);
	bool moving = !strcmp(a->suite, "sid") || !strcmp(a->suite, "unstable");
	strbuf_addf(&rootfs_add_file(r, 0644, "etc/apt/sources.list.d/debian.sources")->content,
		"Types: deb\nURIs: %s\nSuites: %s%s%s%s\nComponents: main\n"
		"Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
		mirror, a->suite, moving ? "" : " ", moving ? "" : a->suite,
		moving ? "" : "-updates");
	strbuf_adds(&rootfs_add_file(r, 0755, "%s", &IMAGE_CONFIGURE_PATH[1])->content,
		rootfs_configure_script);
	strbuf_adds(&rootfs_add_file(r, 0644, "etc/hostname")->content, "debian\n");
	strbuf_adds(&rootfs_add_file(r, 0644, "etc/hosts")->content,
		"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
}

/* dpkg's database exists only after the files were copied (digests), but its directories must stand
 * at the beginning. */
static void announce_dpkg_dirs(struct rootfs *r)
{
	static const char *const dirs[] = {"var/lib/dpkg/info/x", "var/lib/dpkg/triggers/x",
		"var/lib/dpkg/updates/x", "var/lib/dpkg/parts/x", "var/lib/dpkg/alternatives/x"};
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		(void)add_parents(r, dirs[i], NULL);
}

static int build(struct rootfs *r, struct archive *a, struct tar_writer *w,
	const struct image_progress *progress, struct error *err)
{
	size_t index = 0;
	progress_stage(progress, "Reading %s", "packages");
	int rc = open_packages(r, a, err);
	for (size_t i = 0; rc == 0 && i < r->n; i++) {
		rc = scan_package(r, i, err);
		progress_bytes(progress, i + 1, r->n);
	}
	add_configuration(r);
	merge_usr(r);
	if (rc == 0)
		rc = place_entries(r, err);
	if (rc == 0)
		rc = list_conffiles(r, err);
	if (rc < 0)
		return rc;
	announce_dpkg_dirs(r);
	progress_stage(progress, "Unpacking %zu packages", r->n);
	rc = write_sorted(r, w, true, err);
	if (rc == 0)
		rc = write_sorted(r, w, false, err);
	for (size_t i = 0; rc == 0 && i < r->n; i++) {
		rc = write_package(r, i, &index, w, err);
		progress_bytes(progress, w->pos, 0);
	}
	if (rc < 0)
		return rc;
	dpkgdb_make(r, list_of);
	rc = write_extras(r, w, err);
	return rc < 0 ? rc : tar_writer_end(w, err);
}

int rootfs_write(struct archive *a, struct blob_writer *blob, const struct image_progress *progress,
	struct error *err)
{
	struct rootfs r = {.archive = a};
	struct tar_writer w;
	tar_writer_init(&w, blob_writer_write, blob);
	int rc = build(&r, a, &w, progress, err);
	rootfs_done(&r);
	return rc < 0 ? error_wrap(err, rc, "unpack") : 0;
}
