// SPDX-License-Identifier: Apache-2.0
// Paths under --root. An absolute path names what is there under the root, with symbolic links
// resolved as in a chroot; else what the host has there; else it is to be made: under the root when
// its directory is there, on the host otherwise. /proc, /sys and /dev are always the host's.
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/internal.h"

static bool is_hosts(const char *path)
{
	static const char *const trees[] = {"/proc", "/sys", "/dev"};
	for (size_t n = 0; n < ARRAY_SIZE(trees); n++) {
		size_t len = strlen(trees[n]);
		if (!strncmp(path, trees[n], len) && (!path[len] || path[len] == '/'))
			return true;
	}
	return false;
}

const char *user_path_to_guest(const struct user_process *p, const char *path)
{
	if (!p->root || strncmp(path, p->root, p->root_len))
		return path;
	if (!path[p->root_len])
		return "/";
	return path[p->root_len] == '/' ? path + p->root_len : path;
}

/* The host's path of an open file. */
static int path_of_fd(int fd, char *out)
{
	char link[40];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, out, PATH_MAX);
	if (n < 0)
		return -errno;
	out[n] = 0;
	return 0;
}

#define IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

/* The host's path of what the path names in the root: 0 or -errno. */
static int in_root(const struct user_process *p, const char *path, bool follow, char *out)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW), .resolve = IN_ROOT};
	int64_t fd =
		USER_CALL(SYS_openat2, p->root_fd, (uintptr_t)path, (uintptr_t)&how, sizeof(how));
	if (fd < 0)
		return (int)fd;
	int r = path_of_fd((int)fd, out);
	USER_CALL(SYS_close, fd);
	return r;
}

static int resolve(struct user_process *p, const char *path, unsigned flags, char *out)
{
	bool follow = !(flags & USER_PATH_NOFOLLOW);
	struct stat st;
	size_t len = strlen(path);
	if (is_hosts(path)) {
		memcpy(out, path, len + 1);
		return 0;
	}
	/* A trailing slash asks for a directory: the kernel shall see it. */
	bool slash = len > 1 && path[len - 1] == '/';
	int r = in_root(p, path, follow || slash, out);
	if (r == -EMFILE || r == -ENFILE) /* not known: better no answer than the host's */
		return r;
	if (r == 0) {
		size_t n = strlen(out);
		if (slash && n < PATH_MAX)
			memcpy(out + n, "/", 2);
		return 0;
	}
	if (lstat(path, &st) < 0) {
		size_t end = len, start;
		while (end > 1 && path[end - 1] == '/')
			end--;
		for (start = end; path[start - 1] != '/';)
			start--;
		char parent[PATH_MAX + 1];
		memcpy(parent, path, start);
		parent[start] = 0;
		size_t n;
		if (in_root(p, parent, true, out) == 0 &&
			(n = strlen(out)) + 1 + (len - start) <= PATH_MAX) {
			if (out[n - 1] != '/')
				out[n++] = '/';
			memcpy(out + n, path + start, len - start + 1);
			return 0;
		}
	}
	memcpy(out, path, len + 1);
	return 0;
}

bool user_path_is_plain(const char *path)
{
	return path[0] && !strchr(path, '/') && strcmp(path, "..") != 0;
}

/* A relative path can go to the host as it is unless a link or ".." could lead out of the root. */
static bool is_plain(int dirfd, const char *path, unsigned flags)
{
	struct stat st;
	if (!user_path_is_plain(path))
		return false;
	if (flags & USER_PATH_NOFOLLOW)
		return true;
	return fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISLNK(st.st_mode);
}

static int relative(
	struct user_process *p, int dirfd, const char *path, unsigned flags, struct user_path *out)
{
	char dir[PATH_MAX + 1], joined[PATH_MAX + 1];
	size_t len = strlen(path);
	memmove(out->text, path, len + 1);
	if (!len || is_plain(dirfd, path, flags))
		return 0;
	if (dirfd == AT_FDCWD ? !getcwd(dir, sizeof(dir)) : path_of_fd(dirfd, dir) < 0)
		return 0; /* the host shall say what is wrong */
	const char *guest = user_path_to_guest(p, dir);
	if (guest == dir) /* outside the root */
		return 0;
	int n = snprintf(joined, sizeof(joined), "%s/%s", guest, path);
	if (n >= (int)sizeof(joined))
		return -ENAMETOOLONG;
	out->dirfd = AT_FDCWD;
	return resolve(p, joined, flags, out->text);
}

int64_t user_path_open(struct user_thread *t, int dirfd, const char *path, uint64_t flags)
{
	const struct user_process *p = t->process;
	struct open_how how = {.flags = flags, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	if (!p->root || !path[0] || is_hosts(path))
		return USER_NO_RESULT;
	if (path[0] == '/') {
		dirfd = p->root_fd;
		how.resolve = IN_ROOT;
	}
	int64_t r = USER_HOST(t, SYS_openat2, (uint64_t)(int64_t)dirfd, (uintptr_t)path,
		(uintptr_t)&how, sizeof(how));
	if (r == -ENOENT && path[0] == '/') {
		/* A link may lead to what only the host has. */
		char out[PATH_MAX + 1];
		bool absent = (flags & O_NOFOLLOW) || in_root(p, path, false, out) == -ENOENT;
		return absent ? -ENOENT : USER_NO_RESULT;
	}
	return r >= 0 || r == -EINTR || r == USER_AGAIN || r == USER_RESTART ? r : USER_NO_RESULT;
}

static uint64_t hash_of(const char *path)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (; *path; path++)
		hash = (hash ^ (uint8_t)*path) * UINT64_C(0x100000001b3);
	return hash;
}

/* A descriptor costs as much as the walk. When a walk that knows nothing of the root comes to the
 * file that the right one came to before, and that met no link, it is right too. */
static bool stat_again(
	struct user_thread *t, const struct user_seen *seen, const char *path, struct stat *st)
{
	return USER_HOST(t, SYS_newfstatat, (uint64_t)(int64_t)t->process->root_fd,
		       (uintptr_t)path + strspn(path, "/"), (uintptr_t)st,
		       AT_SYMLINK_NOFOLLOW) == 0 &&
	       st->st_dev == seen->dev && st->st_ino == seen->ino;
}

int64_t user_path_stat(struct user_thread *t, int dirfd, const char *path, struct stat *st)
{
	if (user_path_is_plain(path))
		return USER_HOST(t, SYS_newfstatat, (uint64_t)(int64_t)dirfd, (uintptr_t)path,
			(uintptr_t)st, AT_SYMLINK_NOFOLLOW);
	bool whole = path[0] == '/' && !strstr(path, "..");
	uint64_t hash = whole ? hash_of(path) : 0;
	struct user_seen *seen = &t->seen[hash % USER_SEEN];
	if (whole && seen->path == hash && stat_again(t, seen, path, st))
		return 0;
	const uint64_t flags = O_PATH | O_CLOEXEC | O_NOFOLLOW;
	struct open_how how = {.flags = flags, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS};
	int64_t fd = -1;
	if (whole && !is_hosts(path))
		fd = USER_HOST(t, SYS_openat2, (uint64_t)(int64_t)t->process->root_fd,
			(uintptr_t)path, (uintptr_t)&how, sizeof(how));
	whole = fd >= 0;
	if (!whole && fd != -ENOENT)
		fd = user_path_open(t, dirfd, path, flags);
	if (fd < 0)
		return fd;
	int64_t r = USER_CALL(SYS_fstat, fd, (uintptr_t)st);
	USER_CALL(SYS_close, fd);
	if (r == 0 && whole)
		*seen = (struct user_seen){hash, st->st_dev, st->st_ino};
	return r;
}

int user_path_text(
	struct user_process *p, int dirfd, const char *path, unsigned flags, struct user_path *out)
{
	size_t len = strlen(path);
	if (len >= PATH_MAX)
		return -ENAMETOOLONG;
	out->dirfd = dirfd;
	out->addr = (uintptr_t)out->text;
	if (!p->root)
		memcpy(out->text, path, len + 1);
	else if (path[0] == '/')
		return resolve(p, path, flags, out->text);
	else
		return relative(p, dirfd, path, flags, out);
	return 0;
}

int user_path(
	struct user_thread *t, int dirfd, uint64_t addr, unsigned flags, struct user_path *out)
{
	char path[PATH_MAX];
	out->dirfd = dirfd;
	out->addr = addr;
	if (!addr)
		return 0;
	if (!t->process->root) {
		/* All that can differ on the host is /proc/self/exe: mostly a look at the start. */
		if (user_read(addr, path, 6) < 0 || memcmp(path, "/proc/", 6))
			return 0;
	}
	int n = user_read_string(addr, path, sizeof(path));
	if (n < 0)
		return n;
	const char *behind = flags & USER_PATH_NOFOLLOW ? NULL : user_proc_self(path);
	if (behind && !strcmp(behind, "exe")) {
		out->addr = (uintptr_t)t->process->exe;
		return 0;
	}
	return user_path_text(t->process, dirfd, path, flags, out);
}
