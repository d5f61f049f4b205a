// SPDX-License-Identifier: Apache-2.0
// Directories, options, locks and small files of the store.
#include "image/store.h"

#include "wire/stream.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

static const struct image_arch arches[] = {
	{"riscv64", "riscv64", "riscv64", "linux-image-riscv64", "vmlinux-"},
	{"amd64", "x86_64", "amd64", "linux-image-amd64", "vmlinuz-"},
	{"arm64", "aarch64", "arm64", "linux-image-arm64", "vmlinuz-"},
};

const struct image_arch *image_arch_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(arches); i++)
		if (!strcmp(arches[i].name, name))
			return &arches[i];
	return NULL;
}

const char *image_host_arch(void)
{
	struct utsname u;
	if (uname(&u) == 0)
		for (size_t i = 0; i < ARRAY_SIZE(arches); i++)
			if (!strcmp(arches[i].machine, u.machine))
				return arches[i].name;
	return "unknown";
}

void progress_stage(const struct image_progress *p, const char *fmt, ...)
{
	if (!p || !p->stage)
		return;
	char line[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	p->stage(p->opaque, line);
}

void progress_bytes(const struct image_progress *p, uint64_t done, uint64_t total)
{
	if (p && p->bytes)
		p->bytes(p->opaque, done, total);
}

int store_error(const struct image_store *s, struct error *err, int code, const char *path,
	const char *what)
{
	error_errno(err, code, "%s: %s", path, what);
	bool cache = s->cache && !strncmp(path, s->cache, strlen(s->cache));
	const char *variable = cache ? "STRATA_CACHE" : "STRATA_HOME";
	switch (code) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		error_remedy(err,
			"free some space, or let %s name a directory on a larger file system",
			variable);
		break;
	case EACCES:
	case EPERM:
	case EROFS:
		error_remedy(err, "make it writable, or let %s name another directory", variable);
		break;
	}
	return -code;
}

int store_mkdirs(const struct image_store *s, const char *path, struct error *err)
{
	char *p _free_ = xstrdup(path);
	for (char *slash = p + 1;; slash++) {
		slash = strchrnul(slash, '/');
		char saved = *slash;
		*slash = '\0';
		if (mkdir(p, 0777) < 0 && errno != EEXIST) {
			int code = errno;
			struct stat st;
			/* A read-only file system says EROFS even for what exists. */
			if (stat(p, &st) < 0 || !S_ISDIR(st.st_mode))
				return store_error(s, err, code, path, "cannot make the directory");
		}
		*slash = saved;
		if (!saved)
			return 0;
	}
}

/* $variable, or $xdg/strata, or ~/fallback/strata; NULL without HOME. */
static char *default_dir(const char *variable, const char *xdg, const char *fallback)
{
	const char *v = getenv(variable), *x = getenv(xdg), *home = getenv("HOME");
	if (v && *v)
		return xstrdup(v);
	if (x && *x == '/')
		return xasprintf("%s/strata", x);
	return home && *home == '/' ? xasprintf("%s/%s/strata", home, fallback) : NULL;
}

static char *absolute(char *path)
{
	if (!path || path[0] == '/')
		return path;
	char *cwd _free_ = getcwd(NULL, 0);
	char *full = cwd ? xasprintf("%s/%s", cwd, path) : NULL;
	free(path);
	return full;
}

static int prepare(struct image_store *s, struct error *err)
{
	static const char layout[] = "{\"imageLayoutVersion\": \"1.0.0\"}\n";
	char *blobs _free_ = xasprintf("%s/blobs/sha256", s->images);
	char *tmp _free_ = xasprintf("%s/tmp", s->images);
	char *file _free_ = xasprintf("%s/oci-layout", s->images);
	int rc = store_mkdirs(s, blobs, err);
	if (rc < 0)
		return rc;
	if (access(file, F_OK) == 0)
		return 0;
	rc = store_mkdirs(s, tmp, err);
	return rc < 0 ? rc : store_write_file(s, file, layout, sizeof(layout) - 1, err);
}

static char *copy_or_null(const char *s)
{
	return s && *s ? xstrdup(s) : NULL;
}

int image_store_open(
	struct image_store **out, const struct image_store_options *o, struct error *err)
{
	static const struct image_store_options none;
	if (!o)
		o = &none;
	struct image_store *s = xcalloc(1, sizeof(*s));
	s->pull_fd = -1;
	s->home = absolute(o->home ? xstrdup(o->home)
				   : default_dir("STRATA_HOME", "XDG_DATA_HOME", ".local/share"));
	s->cache = absolute(o->cache ? xstrdup(o->cache)
				     : default_dir("STRATA_CACHE", "XDG_CACHE_HOME", ".cache"));
	s->mirror = copy_or_null(o->mirror ? o->mirror : getenv("STRATA_MIRROR"));
	s->keyring =
		xstrdup(o->keyring ? o->keyring : "/usr/share/keyrings/debian-archive-keyring.gpg");
	s->apt_dir = xstrdup(o->apt_dir ? o->apt_dir : "/etc/apt");
	int rc = 0;
	if (!s->home || !s->cache) {
		rc = error_set(err, ENOENT, "no home directory for the image store");
		error_remedy(err, "set HOME, or STRATA_HOME and STRATA_CACHE");
	} else {
		s->images = xasprintf("%s/images", s->home);
		rc = prepare(s, err);
	}
	if (rc < 0) {
		image_store_free(s);
		return error_wrap(err, rc, "image store");
	}
	*out = s;
	return 0;
}

void image_store_free(struct image_store *s)
{
	if (!s)
		return;
	if (s->pull_fd >= 0)
		close(s->pull_fd);
	free(s->home);
	free(s->images);
	free(s->cache);
	free(s->mirror);
	free(s->keyring);
	free(s->apt_dir);
	free(s);
}

const char *image_store_home(const struct image_store *s)
{
	return s->home;
}

static int sync_parent(const char *path)
{
	char *dir _free_ = xstrdup(path);
	*strrchr(dir, '/') = '\0';
	int fd _close_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int store_write_file(
	struct image_store *s, const char *path, const void *bytes, size_t len, struct error *err)
{
	char *temp _free_ = xasprintf("%s.new", path);
	int fd _close_ = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return store_error(s, err, errno, path, "cannot write");
	const char *p = bytes;
	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		p += n;
		len -= (size_t)n;
	}
	if (len || fsync(fd) < 0 || rename(temp, path) < 0 || sync_parent(path) < 0) {
		int code = errno;
		unlink(temp);
		return store_error(s, err, code, path, "cannot write");
	}
	return 0;
}

int store_read_file(const char *path, uint64_t limit, struct strbuf *out, struct error *err)
{
	struct stat st;
	int fd _close_ = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, errno, "%s", path);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > limit)
		return error_set(err, EBADMSG, "%s: not a file of at most %llu bytes", path,
			(unsigned long long)limit);
	struct stream_range r = {.fd = fd, .end = (uint64_t)st.st_size};
	int rc = stream_read_all(stream_range_read, &r, limit, out, err);
	return rc < 0 ? error_wrap(err, rc, "%s", path) : 0;
}

static int lock_file(struct image_store *s, const char *name, int operation, struct error *err)
{
	char *path _free_ = xasprintf("%s/%s", s->images, name);
	/* Read-only suffices for flock(), so that a read-only store can be used. */
	int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 && (errno == EROFS || errno == EACCES))
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return store_error(s, err, errno, path, "cannot open the lock");
	while (flock(fd, operation) < 0) {
		if (errno == EINTR)
			continue;
		int code = errno;
		close(fd);
		if (code == EWOULDBLOCK)
			return error_set(err, EAGAIN, "another strata is changing the image store");
		return store_error(s, err, code, path, "cannot lock");
	}
	return fd;
}

int store_lock_index(struct image_store *s, int operation, struct error *err)
{
	return lock_file(s, "lock", operation, err);
}

int store_lock_pull(
	struct image_store *s, bool wait, const struct image_progress *progress, struct error *err)
{
	if (s->pull_depth == 0) {
		int fd = lock_file(s, "pull.lock", LOCK_EX | LOCK_NB, err);
		if (fd == -EAGAIN && wait) {
			progress_stage(progress, "Waiting for another pull to end");
			error_done(err);
			fd = lock_file(s, "pull.lock", LOCK_EX, err);
		}
		if (fd < 0)
			return fd;
		s->pull_fd = fd;
	}
	s->pull_depth++;
	return 0;
}

void store_unlock_pull(struct image_store *s)
{
	if (--s->pull_depth == 0) {
		close(s->pull_fd);
		s->pull_fd = -1;
	}
}
