// SPDX-License-Identifier: Apache-2.0
#include "os/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(int dir_fd, const char *name, size_t max, struct strbuf *out, struct error *err)
{
	int fd _close_ = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "%s", name);
	char buf[16384];
	size_t total = 0;
	for (ssize_t n; (n = read(fd, buf, sizeof(buf))) != 0;) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "%s", name);
		total += (size_t)n;
		if (total > max)
			return error_set(err, EFBIG, "%s: larger than %zu bytes", name, max);
		strbuf_add(out, buf, (size_t)n);
	}
	return 0;
}

static int write_whole(int fd, const void *bytes, size_t len)
{
	const char *p = bytes;
	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_write_atomic(
	int dir_fd, const char *name, const void *bytes, size_t len, mode_t mode, struct error *err)
{
	char *temporary _free_ = xasprintf(".%s.%d", name, (int)getpid());
	int fd _close_ = openat(
		dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	int r = fd < 0 ? -errno : write_whole(fd, bytes, len);
	if (!r && fsync(fd) < 0)
		r = -errno;
	if (!r && renameat(dir_fd, temporary, dir_fd, name) < 0)
		r = -errno;
	if (r < 0) {
		if (fd >= 0)
			unlinkat(dir_fd, temporary, 0);
		return error_errno(err, -r, "write %s", name);
	}
	return 0;
}

int dir_make_all(const char *path, struct error *err)
{
	char *copy _free_ = xstrdup(path);
	for (char *p = copy + 1;; p++) {
		char c = *p;
		if (c && c != '/')
			continue;
		*p = 0;
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			return error_errno(err, errno, "make directory %s", copy);
		if (!c)
			return 0;
		*p = c;
	}
}

/* A removal: what lies deeper than a few levels is first moved up into the top directory, so that
 * neither the stack nor descriptors depend on what whoever made the tree has thought of. */
struct removal {
	int top;	/* the directory that is removed */
	unsigned moved; /* into top, as ".deep-N" */
};

enum { REMOVAL_DEPTH_MAX = 32 };

static int move_up(struct removal *r, int dir_fd, const char *name, struct error *err)
{
	char to[32];
	do
		snprintf(to, sizeof(to), ".deep-%u", r->moved++);
	while (renameat2(dir_fd, name, r->top, to, RENAME_NOREPLACE) < 0 && errno == EEXIST);
	return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0
		       ? 0
		       : error_errno(err, errno, "remove %s", name);
}

static int remove_entry(
	struct removal *r, int dir_fd, const char *name, unsigned depth, struct error *err);

static int remove_entries(struct removal *r, DIR *dir, unsigned depth, struct error *err)
{
	int rc = 0;
	for (struct dirent *e; !rc && (e = readdir(dir));)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			rc = remove_entry(r, dirfd(dir), e->d_name, depth, err);
	return rc;
}

/* A directory of ours whose mode keeps even us out. */
static int open_own(int dir_fd, const char *name)
{
	const int flags = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	char path[32];
	struct stat st;
	int at _close_ = openat(dir_fd, name, flags | O_PATH);
	if (at < 0 || fstat(at, &st) < 0)
		return -1;
	if ((st.st_mode & 0700) != 0700 && st.st_uid == geteuid()) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", at);
		if (chmod(path, 0700) < 0)
			return -1;
	}
	return openat(at, ".", flags | O_RDONLY);
}

static int remove_entry(
	struct removal *r, int dir_fd, const char *name, unsigned depth, struct error *err)
{
	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return error_errno(err, errno, "remove %s", name);
	if (depth > REMOVAL_DEPTH_MAX)
		return move_up(r, dir_fd, name, err);
	int fd = open_own(dir_fd, name);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int code = errno;
		cleanup_close_fd(&fd);
		return error_errno(err, code, "remove %s", name);
	}
	if (!depth)
		r->top = fd;
	int rc = remove_entries(r, dir, depth + 1, err);
	/* What was moved here may come after the place that was read last, or before it. */
	for (unsigned seen = 0; !rc && !depth && seen < r->moved;) {
		seen = r->moved;
		rewinddir(dir);
		rc = remove_entries(r, dir, 1, err);
	}
	closedir(dir);
	if (!rc && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		rc = error_errno(err, errno, "remove %s", name);
	return rc;
}

int dir_remove_tree(int dir_fd, const char *name, struct error *err)
{
	struct removal r = {.top = -1};
	return remove_entry(&r, dir_fd, name, 0, err);
}
