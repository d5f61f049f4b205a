// SPDX-License-Identifier: Apache-2.0
// The upper directory of an overlayfs (kernel, filesystems/overlayfs.rst) as a layer (image-spec,
// "layer.md"): whiteouts and opaque directories are spelled as names.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "build/internal.h"

#define OPAQUE "user.overlay.opaque"

enum { DEPTH_MAX = 500, VALUES_MAX = 1 << 17 };

struct known {
	dev_t dev;
	ino_t ino;
	char *path;
};

struct writer {
	const struct diff *d;
	struct tar_writer *tar;
	VEC(struct known) links; /* files with more than one name */
	struct error *err;
};

/* What the runtime puts into every container is no part of its image. */
static bool is_ours(const char *path, const struct stat *st)
{
	static const char *const dirs[] = {"dev", "proc", "sys"};
	static const char *const files[] = {"etc/hosts", "etc/hostname", "etc/resolv.conf"};
	for (size_t n = 0; n < ARRAY_SIZE(dirs); n++)
		if (!strcmp(path, dirs[n]))
			return true;
	for (size_t n = 0; n < ARRAY_SIZE(files); n++)
		if (!strcmp(path, files[n]) && S_ISREG(st->st_mode) && !st->st_size)
			return true;
	return false;
}

static const char *known_link(struct writer *w, const struct stat *st, const char *path)
{
	if (!S_ISREG(st->st_mode) || st->st_nlink < 2)
		return NULL;
	vec_for_each (k, &w->links)
		if (k->ino == st->st_ino && k->dev == st->st_dev)
			return k->path;
	vec_push(&w->links, (struct known){st->st_dev, st->st_ino, xstrdup(path)});
	return NULL;
}

static void set_times(const struct writer *w, const struct stat *st, struct tar_entry *e)
{
	bool newer = st->st_mtim.tv_sec >= w->d->time_s;
	e->mtime_sec = newer ? w->d->time_s : st->st_mtim.tv_sec;
	e->mtime_nsec = newer ? 0 : (uint32_t)st->st_mtim.tv_nsec;
}

static int whiteout(struct writer *w, const char *path, struct error *err)
{
	const char *base = strrchr(path, '/');
	base = base ? base + 1 : path;
	char *name _free_ = xasprintf("%.*s.wh.%s", (int)(base - path), path, base);
	struct tar_entry e = {.path = name,
		.linkname = "",
		.type = TAR_FILE,
		.mode = 0600,
		.mtime_sec = w->d->time_s};
	return tar_writer_entry(w->tar, &e, err);
}

/* Attributes that mean the same elsewhere. */
static void attributes(
	const char *proc, struct tar_entry *e, struct tar_xattr *out, char *names, char *values)
{
	/* Through the descriptor's own link, which is followed. */
	ssize_t bytes = listxattr(proc, names, TAR_XATTR_MAX), used = 0;
	e->xattrs = out;
	for (char *p = names; p < names + bytes && e->n_xattrs < TAR_XATTRS_MAX;
		p += strlen(p) + 1) {
		bool user = !strncmp(p, "user.", 5) && strncmp(p, "user.overlay.", 13);
		if (!user && strcmp(p, "security.capability"))
			continue;
		ssize_t n = getxattr(proc, p, values + used, (size_t)(VALUES_MAX - used));
		if (n < 0)
			continue;
		out[e->n_xattrs++] = (struct tar_xattr){p, values + used, (size_t)n};
		used += n;
	}
}

static int file_data(struct writer *w, int fd, uint64_t size, const char *path)
{
	char *chunk _free_ = xmalloc(64 * KiB);
	while (size) {
		ssize_t n = read(fd, chunk, (size_t)MIN(size, 64 * KiB));
		if (n <= 0)
			return error_set(w->err, EIO, "%s: it became shorter", path);
		int r = tar_writer_data(w->tar, chunk, (size_t)n, w->err);
		if (r < 0)
			return r;
		size -= (uint64_t)n;
	}
	return 0;
}

static bool type_of(mode_t mode, enum tar_type *out)
{
	*out = S_ISDIR(mode)	? TAR_DIR
	       : S_ISLNK(mode)	? TAR_SYMLINK
	       : S_ISFIFO(mode) ? TAR_FIFO
				: TAR_FILE;
	return S_ISDIR(mode) || S_ISLNK(mode) || S_ISFIFO(mode) || S_ISREG(mode);
}

/* fd: open for reading, or O_PATH of what cannot be. */
static int write_entry(struct writer *w, int fd, const struct stat *st, const char *path)
{
	char link[PATH_MAX] = "", proc[32];
	char *names _free_ = xmalloc(TAR_XATTR_MAX), *values _free_ = xmalloc(VALUES_MAX);
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	const char *other = known_link(w, st, path);
	struct tar_entry e = {.path = path,
		.linkname = other ? other : link,
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.size = S_ISREG(st->st_mode) && !other ? (uint64_t)st->st_size : 0};
	if (!type_of(st->st_mode, &e.type))
		return 0; /* sockets and devices stay behind */
	if (other)
		e.type = TAR_HARDLINK;
	if (S_ISLNK(st->st_mode) && readlinkat(fd, "", link, sizeof(link) - 1) < 0)
		return error_errno(w->err, errno, "%s", path);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	set_times(w, st, &e);
	if (!S_ISLNK(st->st_mode))
		attributes(proc, &e, xattrs, names, values);
	int r = tar_writer_entry(w->tar, &e, w->err);
	return r < 0 || !e.size ? r : file_data(w, fd, e.size, path);
}

static int write_dir(struct writer *w, int dir, const char *path, unsigned depth);

static int write_name(struct writer *w, int dir, const char *name, const char *path, unsigned depth)
{
	struct stat st;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(w->err, errno, "%s", path);
	if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0))
		return whiteout(w, path, w->err);
	if (is_ours(path, &st))
		return 0;
	bool readable = S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
	int fd _close_ = openat(dir, name, (readable ? O_RDONLY : O_PATH) | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_errno(w->err, errno, "%s", path);
	int r = write_entry(w, fd, &st, path);
	return r < 0 || !S_ISDIR(st.st_mode) ? r : write_dir(w, fd, path, depth + 1);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int write_dir(struct writer *w, int dir, const char *path, unsigned depth)
{
	struct dirent **list;
	char value[2];
	int r = 0;
	if (depth > DEPTH_MAX)
		return error_set(w->err, ELOOP, "%s: too deep", path);
	if (*path && fgetxattr(dir, OPAQUE, value, sizeof(value)) == 1 && value[0] == 'y') {
		char *inner _free_ = xasprintf("%s/.wh..opq", path);
		r = whiteout(w, inner, w->err); /* .wh..wh..opq */
	}
	int n = scandirat(dir, ".", &list, NULL, by_name);
	if (n < 0)
		return error_errno(w->err, errno, "%s", path);
	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;
		if (r == 0 && strcmp(name, ".") && strcmp(name, "..")) {
			char *inner _free_ = *path ? xasprintf("%s/%s", path, name) : xstrdup(name);
			r = write_name(w, dir, name, inner, depth);
		}
		free(list[i]);
	}
	free(list);
	return r;
}

int diff_write(void *diff, struct tar_writer *tar, struct error *err)
{
	const struct diff *d = diff;
	struct writer w = {.d = d, .tar = tar, .err = err};
	int r = write_dir(&w, d->upper, "", 0);
	vec_for_each (k, &w.links)
		free(k->path);
	vec_done(&w.links);
	return r;
}
