// SPDX-License-Identifier: Apache-2.0
// A tar archive -> a directory. Three passes over the headers: everything but whiteouts; whiteouts,
// which hide what is lower wherever in the layer they stand; times of directories, which all that
// is made in them has changed.
#include "image/tree.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "os/file.h"
#include "wire/tar.h"

#define WHITEOUT       ".wh."
#define WHITEOUT_AUFS  ".wh..wh." /* AUFS's own files; one of them has a meaning: */
#define OPAQUE	       ".wh..wh..opq"
#define OPAQUE_XATTR   "user.overlay.opaque"
#define PRIVATE_XATTRS "user.overlay."

struct extract {
	int tar, root;
	bool one_id, whiteouts;
	volatile uint64_t *done;
	uint64_t entries;
	struct strbuf parent; /* path of parent_fd */
	int parent_fd;	      /* the directory that was used last; -1: none */
	VEC(char *) implied;  /* directories that no entry has announced */
	size_t implied_bytes;
	char *buffer;
};

enum { BUFFER_BYTES = 256 * 1024 };

/* Inside the tree, whatever its symbolic links say. */
static int open_in(int root, const char *path, uint64_t flags)
{
	struct open_how how = {.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
	for (int i = 0; i < 1000; i++) {
		int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
		/* EAGAIN: somebody renamed something somewhere. */
		if (fd >= 0 || errno != EAGAIN)
			return fd < 0 ? -errno : fd;
	}
	return -EAGAIN;
}

static void forget_parent(struct extract *x)
{
	cleanup_close_fd(&x->parent_fd);
	x->parent_fd = -1;
}

static int count_entry(struct extract *x, struct error *err)
{
	if (++x->entries > TREE_ENTRIES_MAX)
		return error_set(err, E2BIG, "more than %d files", TREE_ENTRIES_MAX);
	return 0;
}

static int bad_parent(int code, const char *path, struct error *err)
{
	const char *why = code == -ENOTDIR ? "lies below what is not a directory"
			  : code == -ELOOP ? "lies below a loop of symbolic links"
					   : NULL;
	return why ? error_set(err, EBADMSG, "%s", why) : error_errno(err, -code, "%s", path);
}

/* Makes a directory that no entry has announced: as fs/layers.h has them. */
static int make_implied(struct extract *x, int above, const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	int r = count_entry(x, err);
	if (r < 0)
		return r;
	if (mkdirat(above, slash ? slash + 1 : path, 0755) < 0) {
		if (errno == EEXIST)
			return error_set(
				err, EBADMSG, "lies below a symbolic link that leads nowhere");
		return error_errno(err, errno, "make %s", path);
	}
	x->implied_bytes += strlen(path) + 1;
	if (x->implied_bytes > TREE_IMPLIED_MAX)
		return error_set(err, E2BIG, "too many directories that have no entry");
	vec_push(&x->implied, xstrdup(path));
	return 0;
}

/* The directory at path[0..len), with what is missing of it. */
static int make_parents(struct extract *x, const char *path, size_t len, struct error *err)
{
	char prefix[TAR_PATH_MAX + 1];
	int above _close_ = open_in(x->root, "/", O_PATH | O_DIRECTORY);
	if (above < 0)
		return bad_parent(above, "/", err);
	for (size_t n = 0; n < len; n++) {
		n += strcspn(path + n, "/");
		n = MIN(n, len);
		memcpy(prefix, path, n);
		prefix[n] = 0;
		int fd = open_in(x->root, prefix, O_PATH | O_DIRECTORY);
		if (fd == -ENOENT) {
			int r = make_implied(x, above, prefix, err);
			if (r < 0)
				return r;
			fd = open_in(x->root, prefix, O_PATH | O_DIRECTORY);
		}
		if (fd < 0)
			return bad_parent(fd, prefix, err);
		close(above);
		above = fd;
	}
	return TAKE_FD(above);
}

/* The directory that holds path; *name is the last component. Owned by x. create false: -ENOENT
 * without words when it is not there. */
static int open_parent(
	struct extract *x, const char *path, bool create, const char **name, struct error *err)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	*name = slash ? slash + 1 : path;
	if (x->parent_fd >= 0 && x->parent.len == len && !memcmp(x->parent.data, path, len))
		return x->parent_fd;
	forget_parent(x);
	strbuf_clear(&x->parent);
	strbuf_add(&x->parent, path, len);
	int fd = open_in(x->root, len ? x->parent.data : "/", O_PATH | O_DIRECTORY);
	if (fd == -ENOENT && create)
		fd = make_parents(x, path, len, err);
	else if (fd < 0 && create)
		fd = bad_parent(fd, path, err);
	else if (fd < 0)
		return -ENOENT;
	x->parent_fd = MAX(fd, -1);
	return fd;
}

static int check_owner(const struct tar_entry *e, struct error *err)
{
	/* UINT32_MAX means "leave it" to the kernel. */
	if (e->uid == UINT32_MAX || e->gid == UINT32_MAX)
		return error_set(err, EBADMSG, "its owner is no ID");
	return 0;
}

static int owner_error(const struct tar_entry *e, int code, struct error *err)
{
	if (code != EINVAL)
		return error_errno(err, code, "set its owner");
	error_set(err, EOVERFLOW, "belongs to %u:%u, which is not among the IDs of this user",
		e->uid, e->gid);
	error_remedy(err, "give the user a longer range in /etc/subuid and /etc/subgid; most "
			  "images need 65536 IDs");
	return -EOVERFLOW;
}

static int set_xattrs(int fd, const struct tar_entry *e, struct error *err)
{
	for (size_t i = 0; i < e->n_xattrs; i++) {
		const struct tar_xattr *a = &e->xattrs[i];
		bool caps = !strcmp(a->name, "security.capability") && e->type == TAR_FILE;
		bool user = !strncmp(a->name, "user.", 5) &&
			    strncmp(a->name, PRIVATE_XATTRS, strlen(PRIVATE_XATTRS));
		if ((caps || user) && fsetxattr(fd, a->name, a->value, a->len, 0) < 0)
			return error_errno(err, errno, "attribute %.64s", a->name);
	}
	return 0;
}

static void entry_times(const struct tar_entry *e, struct timespec out[2])
{
	out[0] = out[1] = (struct timespec){e->mtime_sec, e->mtime_nsec};
}

/* Owner first: changing it takes away set-user-ID bits and capabilities. */
static int finish_open(struct extract *x, int fd, const struct tar_entry *e, struct error *err)
{
	if (!x->one_id && fchown(fd, e->uid, e->gid) < 0)
		return owner_error(e, errno, err);
	if (fchmod(fd, e->mode) < 0)
		return error_errno(err, errno, "set its mode");
	int r = set_xattrs(fd, e, err);
	struct timespec times[2];
	entry_times(e, times);
	if (r == 0 && futimens(fd, times) < 0)
		r = error_errno(err, errno, "set its time");
	return r;
}

static int finish_named(
	struct extract *x, int dir, const char *name, const struct tar_entry *e, struct error *err)
{
	struct timespec times[2];
	entry_times(e, times);
	if (!x->one_id && fchownat(dir, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return owner_error(e, errno, err);
	if (e->type != TAR_SYMLINK && fchmodat(dir, name, e->mode, 0) < 0)
		return error_errno(err, errno, "set its mode");
	if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "set its time");
	return 0;
}

static int copy_data(struct extract *x, int to, const struct tar_entry *e, struct error *err)
{
	off_t at = (off_t)e->data_offset;
	for (uint64_t left = e->size; left;) {
		/* Shares the blocks where the file system can. */
		ssize_t n = copy_file_range(x->tar, &at, to, NULL, (size_t)MIN(left, GiB), 0);
		if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS ||
				     errno == EOPNOTSUPP || errno == EPERM)) {
			n = pread(x->tar, x->buffer, (size_t)MIN(left, (uint64_t)BUFFER_BYTES), at);
			for (ssize_t put = 0, w; n > 0 && put < n; put += MAX(w, 0)) {
				w = write(to, x->buffer + put, (size_t)(n - put));
				if (w < 0 && errno != EINTR)
					return error_errno(err, errno, "write");
			}
			at += MAX(n, 0);
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "write");
		if (n == 0)
			return error_set(err, EBADMSG, "the layer ends inside it");
		left -= (uint64_t)n;
		if (x->done)
			*x->done += (uint64_t)n;
	}
	return 0;
}

static int make_file(
	struct extract *x, int dir, const char *name, const struct tar_entry *e, struct error *err)
{
	int fd _close_ =
		openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, errno, "make the file");
	int r = copy_data(x, fd, e, err);
	return r < 0 ? r : finish_open(x, fd, e, err);
}

/* Also what is there already: the last entry of a name gives its attributes. */
static int make_dir(
	struct extract *x, int dir, const char *name, const struct tar_entry *e, struct error *err)
{
	if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return error_errno(err, errno, "make the directory");
	int fd _close_ = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "open the directory") : finish_open(x, fd, e, err);
}

/* True when what stood there is the very file that the link is to name. */
static int clear_place(struct extract *x, int dir, const char *name, const struct tar_entry *e,
	const struct stat *target, bool *same, struct error *err)
{
	struct stat st;
	*same = false;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "stat");
	if (target && st.st_dev == target->st_dev && st.st_ino == target->st_ino) {
		*same = true;
		return 0;
	}
	if (S_ISDIR(st.st_mode) && e->type == TAR_DIR)
		return 0;
	return dir_remove_tree(dir, name, err);
}

static int make_link(
	struct extract *x, int dir, const char *name, const struct tar_entry *e, struct error *err)
{
	const char *slash = strrchr(e->linkname, '/'), *file = slash ? slash + 1 : e->linkname;
	char *parent _free_ = xstrdup(slash ? e->linkname : "/");
	struct stat st;
	bool same;
	if (slash)
		parent[slash - e->linkname] = 0;
	int from _close_ = open_in(x->root, parent, O_PATH | O_DIRECTORY);
	if (from < 0 || fstatat(from, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_set(
			err, EBADMSG, "hard link to '%s', which does not exist", e->linkname);
	if (S_ISDIR(st.st_mode))
		return error_set(err, EBADMSG, "hard link to the directory '%s'", e->linkname);
	int r = clear_place(x, dir, name, e, &st, &same, err);
	if (r == 0 && !same && linkat(from, file, dir, name, 0) < 0)
		r = error_errno(err, errno, "hard link to '%s'", e->linkname);
	return r;
}

static int make_named(
	struct extract *x, int dir, const char *name, const struct tar_entry *e, struct error *err)
{
	bool same;
	int r = e->type == TAR_HARDLINK ? make_link(x, dir, name, e, err)
					: clear_place(x, dir, name, e, NULL, &same, err);
	if (r < 0)
		return r;
	switch (e->type) {
	case TAR_FILE:
		return make_file(x, dir, name, e, err);
	case TAR_DIR:
		return make_dir(x, dir, name, e, err);
	case TAR_SYMLINK:
		if (symlinkat(e->linkname, dir, name) < 0)
			return error_errno(err, errno, "make the symbolic link");
		return finish_named(x, dir, name, e, err);
	case TAR_FIFO:
		if (mkfifoat(dir, name, 0600) < 0)
			return error_errno(err, errno, "make the pipe");
		return finish_named(x, dir, name, e, err);
	case TAR_HARDLINK:
	case TAR_CHARDEV: /* left out: a container's devices are its configuration's */
	case TAR_BLOCKDEV:
		break;
	}
	return 0;
}

static bool is_whiteout(const char *name)
{
	return !strncmp(name, WHITEOUT, strlen(WHITEOUT));
}

/* A directory of AUFS's own, or below one. */
static bool below_aufs(const char *path)
{
	size_t n = strlen(WHITEOUT_AUFS);
	for (const char *slash; (slash = strchr(path, '/')); path = slash + 1)
		if (!strncmp(path, WHITEOUT_AUFS, n))
			return true;
	return !strncmp(path, WHITEOUT_AUFS, n) && strcmp(path, OPAQUE);
}

static int add_entry(struct extract *x, const struct tar_entry *e, struct error *err)
{
	const char *name;
	int r = count_entry(x, err);
	if (r == 0)
		r = check_owner(e, err);
	if (r < 0)
		return r;
	if (!e->path[0]) {
		int fd _close_ = open_in(x->root, "/", O_RDONLY | O_DIRECTORY);
		return fd < 0 ? error_errno(err, -fd, "open") : finish_open(x, fd, e, err);
	}
	if (below_aufs(e->path))
		return 0;
	int dir = open_parent(x, e->path, true, &name, err);
	if (dir < 0)
		return dir;
	if (is_whiteout(name)) {
		const char *hidden = name + strlen(WHITEOUT);
		x->whiteouts = true;
		if (!*hidden || !strcmp(hidden, ".") || !strcmp(hidden, ".."))
			return error_set(err, EBADMSG, "a whiteout that names nothing");
		return 0;
	}
	struct stat st;
	bool replaces = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	r = make_named(x, dir, name, e, err);
	/* The last path may have led through it. */
	if (replaces)
		forget_parent(x);
	return r;
}

static int make_opaque(int dir, const char *name, struct error *err)
{
	int fd _close_ = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fsetxattr(fd, OPAQUE_XATTR, "y", 1, 0) < 0)
		return error_errno(err, errno, "hide what is lower");
	return 0;
}

static int add_whiteout(struct extract *x, const struct tar_entry *e, struct error *err)
{
	const char *name;
	struct stat st;
	if (below_aufs(e->path) || !e->path[0])
		return 0;
	int dir = open_parent(x, e->path, false, &name, NULL);
	/* Something else has taken the directory's place: nothing lower shows through that. */
	if (dir < 0 || !is_whiteout(name))
		return 0;
	if (!strcmp(name, OPAQUE)) {
		int fd _close_ = open_in(
			x->root, x->parent.len ? x->parent.data : "/", O_PATH | O_DIRECTORY);
		return fd < 0 ? 0 : make_opaque(fd, ".", err);
	}
	name += strlen(WHITEOUT);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISDIR(st.st_mode) ? make_opaque(dir, name, err) : 0;
	if (mknodat(dir, name, S_IFCHR | 0, 0) < 0)
		return error_errno(err, errno, "make the whiteout");
	return 0;
}

static int set_dir_time(struct extract *x, const struct tar_entry *e, struct error *err)
{
	const char *name;
	struct timespec times[2];
	struct stat st;
	entry_times(e, times);
	if (e->type != TAR_DIR || below_aufs(e->path))
		return 0;
	int dir = open_parent(x, e->path, false, &name, NULL);
	if (!e->path[0])
		name = ".";
	if (dir < 0 || is_whiteout(name) || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		!S_ISDIR(st.st_mode))
		return 0;
	if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "set its time");
	return 0;
}

static int pass(struct extract *x,
	int (*one)(struct extract *x, const struct tar_entry *e, struct error *err),
	struct error *err)
{
	struct tar_reader r;
	struct tar_entry e;
	int rc = tar_reader_init_fd(&r, x->tar, err);
	forget_parent(x);
	while (rc == 0 && (rc = tar_reader_next(&r, &e, err)) == 1) {
		rc = one(x, &e, err);
		if (rc < 0)
			error_wrap(err, rc, "%.200s", e.path[0] ? e.path : "/");
	}
	tar_reader_done(&r);
	return rc;
}

/* Directories that no entry names are as old as the world, on every host. */
static void set_implied_times(struct extract *x)
{
	const struct timespec zero[2] = {{0, 0}, {0, 0}};
	vec_for_each (path, &x->implied) {
		int fd _close_ = open_in(x->root, *path, O_RDONLY | O_DIRECTORY);
		if (fd >= 0)
			futimens(fd, zero);
	}
}

int tree_extract(int tar_fd, int dir_fd, bool one_id, volatile uint64_t *done, struct error *err)
{
	struct extract x = {tar_fd, dir_fd, one_id, .done = done, .parent_fd = -1};
	const struct timespec zero[2] = {{0, 0}, {0, 0}};
	x.buffer = xmalloc(BUFFER_BYTES);
	int r = fchmod(dir_fd, 0755) < 0 ? error_errno(err, errno, "set the root's mode") : 0;
	if (r == 0)
		r = pass(&x, add_entry, err);
	if (r == 0 && x.whiteouts)
		r = pass(&x, add_whiteout, err);
	if (r == 0) {
		futimens(dir_fd, zero);
		set_implied_times(&x);
		r = pass(&x, set_dir_time, err);
	}
	forget_parent(&x);
	strbuf_done(&x.parent);
	vec_for_each (path, &x.implied)
		free(*path);
	vec_done(&x.implied);
	free(x.buffer);
	return r;
}
