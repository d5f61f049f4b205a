// SPDX-License-Identifier: Apache-2.0
// COPY's work. Both trees are hostile: a path is resolved below its root by the kernel, and names
// in a directory that is open are never followed.
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "build/internal.h"

enum { DEPTH_MAX = 200, FOUND_MAX = 100000 };

int copy_open(int root, const char *path, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	while (*path == '/')
		path++;
	return (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof(how));
}

/* The directory of the first n bytes of path, which is made in its parent. */
static int make_one(int root, const char *path, size_t parent, size_t n, struct error *err)
{
	char *above _free_ = strndup(path, parent);
	char *all _free_ = strndup(path, n);
	const char *name = all + parent + strspn(all + parent, "/");
	int dir _close_ = copy_open(root, above, O_PATH | O_DIRECTORY);
	if (dir < 0 || (mkdirat(dir, name, 0755) < 0 && errno != EEXIST))
		return error_errno(err, errno, "/%s", all);
	int fd = copy_open(root, all, O_RDONLY | O_DIRECTORY);
	if (fd < 0 || fchmod(fd, 0755) < 0)
		return error_errno(err, errno, "/%s", all);
	close(fd);
	return 0;
}

int copy_open_dir(int root, const char *path, bool make, struct error *err)
{
	while (*path == '/')
		path++;
	for (size_t n = 0, parent = 0; make && path[n]; parent = n) {
		n += strspn(path + n, "/");
		n += strcspn(path + n, "/");
		char *all _free_ = strndup(path, n);
		int fd _close_ = copy_open(root, all, O_PATH);
		int r = fd < 0 && errno == ENOENT ? make_one(root, path, parent, n, err) : 0;
		if (r < 0)
			return r;
	}
	int fd = copy_open(root, path, O_RDONLY | O_DIRECTORY);
	return fd < 0 ? error_errno(err, errno, "/%s", path) : fd;
}

/* --- finding --- */
void copy_names_done(copy_names *n)
{
	vec_for_each (name, n)
		free(*name);
	vec_done(n);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in a directory, in an order that is always the same. */
static int list(int dir, copy_names *out, struct error *err)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		int code = errno;
		cleanup_close_fd(&fd);
		return error_errno(err, code, "directory");
	}
	for (struct dirent *e; (e = readdir(d));)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			vec_push(out, xstrdup(e->d_name));
	closedir(d);
	if (out->len)
		qsort(out->items, out->len, sizeof(*out->items), by_name);
	return 0;
}

static char *join(const char *dir, const char *name)
{
	return *dir ? xasprintf("%s/%s", dir, name) : xstrdup(name);
}

static int find(const struct copy *c, const char *at, const char *pattern, copy_names *out,
	struct error *err)
{
	copy_names names CLEANUP(copy_names_done) = {0};
	int dir _close_ = copy_open(c->from_root, at, O_RDONLY | O_DIRECTORY);
	size_t len = strcspn(pattern, "/");
	const char *rest = pattern + len + strspn(pattern + len, "/");
	char *here _free_ = strndup(pattern, len);
	if (dir < 0)
		return 0;
	int r = list(dir, &names, err);
	for (size_t n = 0; r == 0 && n < names.len; n++) {
		if (!ignore_pattern_match(here, names.items[n]))
			continue;
		char *path = join(at, names.items[n]);
		if (*rest)
			r = find(c, path, rest, out, err);
		else if (out->len < FOUND_MAX)
			vec_push(out, TAKE_PTR(path));
		free(path);
	}
	return r;
}

static bool left_out(const struct copy *c, const char *path)
{
	return c->ignore && ignore_match(c->ignore, path);
}

int copy_find(const struct copy *c, const char *pattern, copy_names *out, struct error *err)
{
	struct strbuf clean _strbuf_ = STRBUF_INIT;
	if (tar_path_clean(pattern + strspn(pattern, "/"), &clean) < 0)
		return error_set(err, EINVAL, "%s leads out of its tree", pattern);
	const char *path = clean.data ? clean.data : "";
	size_t before = out->len;
	int r = 0;
	if (strpbrk(path, "*?[")) {
		r = find(c, "", path, out, err);
	} else {
		int fd _close_ = copy_open(c->from_root, path, O_PATH | O_NOFOLLOW);
		if (fd >= 0)
			vec_push(out, xstrdup(path));
	}
	/* A directory may be left out while what is in it is not: looked at when it is walked. */
	size_t kept = before;
	for (size_t n = before; r == 0 && n < out->len; n++) {
		if (left_out(c, out->items[n]) && copy_is_dir(c, out->items[n], NULL) != 1)
			free(out->items[n]);
		else
			out->items[kept++] = out->items[n];
	}
	if (r == 0)
		out->len = kept;
	if (r == 0 && kept == before) {
		error_set(err, ENOENT, "%s: nothing there fits", pattern);
		if (c->ignore && c->ignore->rules.len)
			error_remedy(err, "look into .containerignore or .dockerignore too");
		return -ENOENT;
	}
	return r;
}

int copy_is_dir(const struct copy *c, const char *from, struct error *err)
{
	struct stat st;
	int fd _close_ = copy_open(c->from_root, from, O_PATH);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "%s", from);
	return S_ISDIR(st.st_mode);
}

/* --- one entry after another --- */
struct walk {
	const struct copy *c;
	struct digest *digest; /* NULL: copies */
	struct error *err;
};

static int walk_dir(struct walk *w, int from, const char *path, int to, unsigned depth);

static int copy_data(int in, int to, const char *name, struct error *err)
{
	ssize_t n;
	int out _close_ =
		openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return error_errno(err, errno, "%s", name);
	while ((n = sendfile(out, in, NULL, 1 << 30)) > 0)
		;
	return n < 0 ? error_errno(err, errno, "%s", name) : 0;
}

static int owners(const struct walk *w, const struct stat *st, int to, const char *name)
{
	uid_t uid = w->c->uid >= 0 ? (uid_t)w->c->uid : st->st_uid;
	gid_t gid = w->c->gid >= 0 ? (gid_t)w->c->gid : st->st_gid;
	mode_t mode = w->c->mode >= 0 ? (mode_t)w->c->mode : st->st_mode & 07777;
	const struct timespec times[2] = {st->st_mtim, st->st_mtim};
	if (fchownat(to, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	if (!S_ISLNK(st->st_mode) && fchmodat(to, name, mode, 0) < 0)
		return -1;
	return S_ISDIR(st->st_mode) ? 0 : utimensat(to, name, times, AT_SYMLINK_NOFOLLOW);
}

static void add_number(struct digest *d, uint64_t n)
{
	digest_update(d, &n, sizeof(n));
}

static int add_entry(
	struct walk *w, int fd, const struct stat *st, const char *path, const char *link)
{
	char hex[DIGEST_HEX_LEN + 1] = "";
	int r = S_ISREG(st->st_mode) ? digest_fd(fd, hex, NULL, NULL, w->err) : 0;
	digest_update(w->digest, path, strlen(path) + 1);
	digest_update(w->digest, hex, sizeof(hex));
	digest_update(w->digest, link, strlen(link) + 1);
	add_number(w->digest, st->st_mode);
	add_number(w->digest, w->c->uid < 0 ? st->st_uid : 0);
	add_number(w->digest, w->c->gid < 0 ? st->st_gid : 0);
	return r;
}

/* What is in the way goes, unless both are directories. */
static int make_room(int to, const char *name, bool dir, struct error *err)
{
	struct stat st;
	if (fstatat(to, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || (dir && S_ISDIR(st.st_mode)))
		return 0;
	if (S_ISDIR(st.st_mode))
		return error_set(err, EISDIR, "%s is a directory there", name);
	return unlinkat(to, name, 0) < 0 ? error_errno(err, errno, "%s", name) : 0;
}

static int copy_dir(struct walk *w, int from, const struct stat *st, const char *path, int to,
	const char *name, unsigned depth)
{
	if (mkdirat(to, name, 0700) < 0 && errno != EEXIST)
		return error_errno(w->err, errno, "%s", path);
	int inner _close_ = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (inner < 0)
		return error_errno(w->err, errno, "%s", path);
	int r = walk_dir(w, from, path, inner, depth);
	return r < 0 ? r : owners(w, st, to, name) < 0 ? error_errno(w->err, errno, "%s", path) : 0;
}

/* A directory that is left out is made only for what is kept in it. */
static bool empty_below(struct walk *w, int dir, const char *path, unsigned depth)
{
	copy_names names CLEANUP(copy_names_done) = {0};
	if (depth > DEPTH_MAX || list(dir, &names, NULL) < 0)
		return true;
	for (size_t n = 0; n < names.len; n++) {
		char *inner _free_ = join(path, names.items[n]);
		if (!left_out(w->c, inner))
			return false;
		int fd _close_ = openat(
			dir, names.items[n], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && !empty_below(w, fd, inner, depth + 1))
			return false;
	}
	return true;
}

/* One name of the directory `from`; path is for messages and rules. */
static int entry(struct walk *w, int from, const char *name, const char *path, int to,
	const char *to_name, unsigned depth)
{
	struct stat st;
	char link[PATH_MAX] = "";
	int fd _close_ = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool is_link = fd < 0 && errno == ELOOP;
	if (is_link ? fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) : fd < 0 ? -1 : fstat(fd, &st))
		return error_errno(w->err, errno, "%s", path);
	if (left_out(w->c, path) && (!S_ISDIR(st.st_mode) || empty_below(w, fd, path, depth)))
		return 0;
	if (is_link && readlinkat(from, name, link, sizeof(link) - 1) < 0)
		return error_errno(w->err, errno, "%s", path);
	if (!is_link && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return 0; /* sockets, pipes and devices are nobody's sources */
	if (w->digest) {
		int r = add_entry(w, fd, &st, path, link);
		return r < 0 || !S_ISDIR(st.st_mode) ? r : walk_dir(w, fd, path, -1, depth);
	}
	int r = make_room(to, to_name, S_ISDIR(st.st_mode), w->err);
	if (r < 0 || S_ISDIR(st.st_mode))
		return r < 0 ? r : copy_dir(w, fd, &st, path, to, to_name, depth);
	if (is_link)
		r = symlinkat(link, to, to_name) < 0 ? error_errno(w->err, errno, "%s", path) : 0;
	else
		r = copy_data(fd, to, to_name, w->err);
	if (r == 0 && owners(w, &st, to, to_name) < 0)
		r = error_errno(w->err, errno, "%s", path);
	return r;
}

static int walk_dir(struct walk *w, int from, const char *path, int to, unsigned depth)
{
	copy_names names CLEANUP(copy_names_done) = {0};
	if (depth > DEPTH_MAX)
		return error_set(w->err, ELOOP, "%s: too deep", path);
	int r = list(from, &names, w->err);
	for (size_t n = 0; r == 0 && n < names.len; n++) {
		char *inner _free_ = join(path, names.items[n]);
		r = entry(w, from, names.items[n], inner, to, names.items[n], depth + 1);
	}
	return r;
}

/* A source that is a link stands for what it leads to. */
static int walk_source(struct walk *w, const char *from, int to, const char *name)
{
	int dir _close_ = copy_open(w->c->from_root, from, O_RDONLY | O_DIRECTORY);
	if (dir >= 0)
		return walk_dir(w, dir, from, to, 0);
	int fd _close_ = copy_open(w->c->from_root, from, O_RDONLY | O_NONBLOCK);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(w->err, errno, "%s", from);
	if (!S_ISREG(st.st_mode))
		return error_set(w->err, EINVAL, "%s is neither a file nor a directory", from);
	if (w->digest)
		return add_entry(w, fd, &st, from, "");
	int r = make_room(to, name, false, w->err);
	if (r == 0)
		r = copy_data(fd, to, name, w->err);
	if (r == 0 && owners(w, &st, to, name) < 0)
		r = error_errno(w->err, errno, "%s", from);
	return r;
}

int copy_path(const struct copy *c, const char *from, int to, const char *name, struct error *err)
{
	struct walk w = {c, NULL, err};
	return walk_source(&w, from, to, name);
}

int copy_digest(const struct copy *c, const char *from, struct digest *d, struct error *err)
{
	struct walk w = {c, d, err};
	return walk_source(&w, from, -1, NULL);
}
