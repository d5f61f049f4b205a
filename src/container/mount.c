// SPDX-License-Identifier: Apache-2.0
#include "container/mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_in(int root, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
	int fd;
	/* EAGAIN: something was renamed meanwhile. */
	for (int i = 0; i < 1000; i++) {
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd;
}

/* text = first + "/" + text */
static bool prepend(const char *first, char *text, size_t bytes)
{
	size_t n = strlen(first), rest = strlen(text), slash = rest && *text != '/';
	if (n + slash + rest >= bytes)
		return false;
	memmove(text + n + slash, text, rest + 1);
	memcpy(text, first, n);
	if (slash)
		text[n] = '/';
	return true;
}

/* One component, `name`, which may be missing, below the directory `done`, a path without links.
 * A link's text goes in front of `rest`, anything else at the end of `done`. */
static int step(int root, char *done, const char *name, char *rest, bool file)
{
	char link[PATH_MAX];
	int dir _close_ = open_in(root, *done ? done : "/", O_PATH | O_DIRECTORY,
		RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
	if (dir < 0)
		return -1;
	ssize_t n = readlinkat(dir, name, link, sizeof(link) - 1);
	if (n >= 0) {
		link[n] = 0;
		if (*link == '/')
			*done = 0;
		if (prepend(link, rest, PATH_MAX))
			return 1;
		errno = ENAMETOOLONG;
		return -1;
	}
	if (errno == ENOENT &&
		(file ? mknodat(dir, name, S_IFREG | 0644, 0) : mkdirat(dir, name, 0755)) < 0 &&
		errno != EEXIST)
		return -1;
	if (errno != EINVAL && errno != ENOENT && errno != EEXIST)
		return -1;
	size_t used = strlen(done);
	if (used + strlen(name) + 1 >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	sprintf(done + used, "/%s", name);
	return 0;
}

/* Makes what is missing of path, and where links lead that lead to nothing yet (/etc/resolv.conf of
 * many images does). Links are followed here, as text, so each step begins at the root again and
 * none can lead outside; what was swapped meanwhile is an error. -1 and errno. */
static int make_path(int root, const char *path, enum mount_make make, bool links)
{
	enum { LINKS_MAX = 40 };
	char done[PATH_MAX] = "", rest[PATH_MAX] = "", name[NAME_MAX + 1];
	unsigned followed = 0;
	errno = ENAMETOOLONG;
	if (!prepend(path, rest, sizeof(rest)))
		return -1;
	for (;;) {
		char *at = rest + strspn(rest, "/");
		size_t n = strcspn(at, "/");
		errno = ENAMETOOLONG;
		if (n > NAME_MAX)
			return -1;
		if (!n)
			break;
		memcpy(name, at, n);
		name[n] = 0;
		memmove(rest, at + n, strlen(at + n) + 1);
		if (!strcmp(name, "."))
			continue;
		char *last = strrchr(done, '/');
		if (!strcmp(name, "..")) {
			*(last ? last : done) = 0;
			continue;
		}
		bool file = make == MAKE_FILE && !rest[strspn(rest, "/")];
		int linked = step(root, done, name, rest, file);
		if (linked < 0)
			return -1;
		followed += (unsigned)linked;
		errno = ELOOP;
		if (followed > (links ? LINKS_MAX : 0))
			return -1;
	}
	return open_in(root, *done ? done : "/", O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
}

int mount_target(int root, const char *path, enum mount_make make, bool links, struct error *err)
{
	uint64_t resolve =
		RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (links ? 0 : RESOLVE_NO_SYMLINKS);
	int fd = open_in(root, path, O_PATH, resolve);
	if (fd < 0 && errno == ENOENT && make != MAKE_NOTHING)
		fd = make_path(root, path, make, links);
	if (fd < 0 && errno == ELOOP && !links)
		return error_set(err, ELOOP, "%s: a symbolic link in the image", path);
	return fd < 0 ? error_errno(err, errno, "%s", path) : fd;
}

/* What the kernel said about a file system context, after the error. */
static int context_error(int fs, int code, struct error *err, const char *type)
{
	char text[512];
	ssize_t n = read(fs, text, sizeof(text) - 1);
	while (n > 0 && text[n - 1] == '\n')
		n--;
	if (n <= 2)
		return error_errno(err, code, "mount %s", type);
	text[n] = 0;
	return error_errno(err, code, "mount %s: %s", type, text + 2);
}

static int configure(int fs, const char *source, const char *data, unsigned sb)
{
	static const struct {
		unsigned flag;
		const char *name;
	} flags[] = {{MS_RDONLY, "ro"}, {MS_SYNCHRONOUS, "sync"}, {MS_DIRSYNC, "dirsync"},
		{1u << 25 /* MS_LAZYTIME */, "lazytime"}};
	if (source && *source && fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (sb & flags[i].flag &&
			fsconfig(fs, FSCONFIG_SET_FLAG, flags[i].name, NULL, 0) < 0)
			return -errno;
	char *copy _free_ = xstrdup(data ? data : ""), *save = NULL;
	for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		char *value = strchr(word, '=');
		if (value)
			*value++ = 0;
		/* overlayfs reads "\," as a comma of a path: no such paths here. */
		int r = value ? fsconfig(fs, FSCONFIG_SET_STRING, word, value, 0)
			      : fsconfig(fs, FSCONFIG_SET_FLAG, word, NULL, 0);
		if (r < 0)
			return -errno;
	}
	return fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? -errno : 0;
}

int mount_new(const char *type, const char *source, const char *data, unsigned sb_flags,
	uint64_t attr, struct error *err)
{
	int fs _close_ = fsopen(type, FSOPEN_CLOEXEC);
	if (fs < 0)
		return errno == ENODEV
			       ? error_set(err, ENODEV,
					 "mount %s: this kernel has no such file system", type)
			       : error_errno(err, errno, "mount %s", type);
	int r = configure(fs, source, data, sb_flags);
	if (r < 0)
		return context_error(fs, -r, err, type);
	int fd = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)attr);
	return fd < 0 ? context_error(fs, errno, err, type) : fd;
}

int mount_clone(int dir, const char *path, bool recursive, struct error *err)
{
	int fd = open_tree(dir, path,
		OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned)(*path ? 0 : AT_EMPTY_PATH) |
			(unsigned)(recursive ? AT_RECURSIVE : 0));
	return fd < 0 ? error_errno(err, errno, "bind %s", path) : fd;
}

int mount_put(int mount, int target, struct error *err)
{
	if (move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
		0)
		return error_errno(err, errno, "attach the mount");
	return 0;
}

static int attributes(int mount, struct mount_attr *a, bool recursive, struct error *err)
{
	unsigned flags = AT_EMPTY_PATH | (unsigned)(recursive ? AT_RECURSIVE : 0);
	if (mount_setattr(mount, "", flags, a, sizeof(*a)) == 0)
		return 0;
	return error_errno(err, errno,
		a->attr_set & MOUNT_ATTR_IDMAP ? "map the IDs of the mount"
		: a->propagation	       ? "propagation of the mount"
					       : "options of the mount");
}

int mount_attributes(int mount, uint64_t set, uint64_t clear, bool recursive, struct error *err)
{
	/* The kernel wants the field of access times cleared by whoever sets it. */
	if (set & MOUNT_ATTR__ATIME)
		clear |= MOUNT_ATTR__ATIME;
	struct mount_attr a = {.attr_set = set, .attr_clr = clear};
	return set || clear ? attributes(mount, &a, recursive, err) : 0;
}

int mount_propagation(int mount, uint64_t propagation, bool recursive, struct error *err)
{
	struct mount_attr a = {.propagation = propagation};
	return attributes(mount, &a, recursive, err);
}

int mount_idmap(int mount, int user_namespace, bool recursive, struct error *err)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)user_namespace};
	return attributes(mount, &a, recursive, err);
}

static int copy_file(int from, int to, const char *name)
{
	int in _close_ = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	int out _close_ =
		openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	ssize_t n;
	if (in < 0 || out < 0)
		return -1;
	while ((n = sendfile(out, in, NULL, 1 << 20)) > 0)
		;
	return n < 0 ? -1 : 0;
}

static int copy_entry(int from, int to, const char *name, dev_t device, struct error *err)
{
	struct stat st;
	char link[PATH_MAX];
	int r = fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r == 0 && S_ISREG(st.st_mode)) {
		r = copy_file(from, to, name);
	} else if (r == 0 && S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(from, name, link, sizeof(link) - 1);
		if (n >= 0)
			link[n] = 0;
		r = n < 0 ? -1 : symlinkat(link, to, name);
	} else if (r == 0 && S_ISFIFO(st.st_mode)) {
		r = mknodat(to, name, S_IFIFO | 0600, 0);
	} else if (r == 0 && S_ISDIR(st.st_mode)) {
		r = mkdirat(to, name, 0700);
		int in _close_ =
			openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		int out _close_ = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (r == 0 && (in < 0 || out < 0))
			r = -1;
		if (r == 0 && st.st_dev == device) {
			int inner = mount_copy_tree(in, out, err);
			if (inner < 0)
				return inner;
		}
	} else if (r == 0) {
		return 0;
	}
	if (r == 0)
		r = fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW);
	if (r == 0 && !S_ISLNK(st.st_mode))
		r = fchmodat(to, name, st.st_mode & 07777, 0);
	struct timespec times[2] = {st.st_atim, st.st_mtim};
	if (r == 0)
		r = utimensat(to, name, times, AT_SYMLINK_NOFOLLOW);
	return r < 0 ? error_errno(err, errno, "copy %s", name) : 0;
}

int mount_copy_tree(int from, int to, struct error *err)
{
	struct stat st;
	int copy = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	if (!d || fstat(copy, &st) < 0) {
		r = error_errno(err, errno, "copy");
		if (d)
			closedir(d);
		return r;
	}
	for (struct dirent *e; r == 0 && (e = readdir(d));)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			r = copy_entry(from, to, e->d_name, st.st_dev, err);
	closedir(d);
	return r;
}
