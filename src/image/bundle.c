// SPDX-License-Identifier: Apache-2.0
#include "image/bundle.h"

#include "wire/stream.h"
#include "wire/tar.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES_MAX 65536 /* more are a file tree, whose names nobody asks for */
#define LINKS_MAX 8

static ssize_t read_fd(void *opaque, void *buf, size_t len, struct error *err)
{
	for (;;) {
		ssize_t n = read(*(int *)opaque, buf, len);
		if (n >= 0)
			return n;
		if (errno != EINTR)
			return error_errno(err, errno, "read");
	}
}

/* The archive, uncompressed, in a file without a name. */
static int spool(struct bundle *b, struct image_store *s, enum compression c, stream_read_fn *read,
	void *opaque, const struct image_progress *progress, struct error *err)
{
	struct decompress *z;
	struct blob_writer w;
	char *chunk _free_ = xmalloc(256 * KiB);
	int rc = decompress_new(&z, c, read, opaque, LAYER_BYTES_MAX, err);
	if (rc < 0)
		return rc;
	rc = blob_writer_open(&w, s, err);
	ssize_t n = 0;
	while (rc == 0 && (n = decompress_read(z, chunk, 256 * KiB, err)) > 0) {
		rc = blob_writer_write(&w, chunk, (size_t)n, err);
		progress_bytes(progress, w.size, 0);
	}
	if (rc == 0)
		rc = n < 0 ? (int)n : blob_writer_flush(&w, err);
	if (rc == 0) {
		b->bytes = w.size;
		close(b->fd);
		b->fd = fcntl(w.fd, F_DUPFD_CLOEXEC, 3);
		if (b->fd < 0)
			rc = error_errno(err, errno, "archive");
	}
	blob_writer_done(&w);
	decompress_free(z);
	return rc;
}

/* Some bytes that were read to look at them, and then the rest. */
struct peeked {
	uint8_t head[8];
	size_t at, len;
	int fd;
};

static ssize_t peeked_read(void *opaque, void *buf, size_t len, struct error *err)
{
	struct peeked *p = opaque;
	if (p->at == p->len)
		return read_fd(&p->fd, buf, len, err);
	len = MIN(len, p->len - p->at);
	memcpy(buf, p->head + p->at, len);
	p->at += len;
	return (ssize_t)len;
}

static int spool_pipe(struct bundle *b, struct image_store *s,
	const struct image_progress *progress, struct error *err)
{
	struct peeked p = {.fd = b->fd};
	while (p.len < sizeof(p.head)) {
		ssize_t n = read_fd(&p.fd, p.head + p.len, sizeof(p.head) - p.len, err);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		p.len += (size_t)n;
	}
	return spool(b, s, compression_of_bytes(p.head, p.len), peeked_read, &p, progress, err);
}

/* A symbolic link of an old docker archive: "../HEX/layer.tar", from where it stands. */
static char *link_target(const char *path, const char *target)
{
	struct strbuf clean _strbuf_ = STRBUF_INIT;
	const char *slash = strrchr(path, '/');
	int depth = slash ? (int)(slash - path) : 0;
	while (!strncmp(target, "../", 3)) {
		target += 3;
		while (depth > 0 && path[--depth] != '/')
			;
	}
	char *joined _free_ = xasprintf("%.*s/%s", depth, path, target);
	return tar_path_clean(joined, &clean) < 0 ? NULL : strbuf_take(&clean);
}

/* Every entry is looked at: an archive that the layers' readers would refuse is refused here. */
static int list_entries(struct bundle *b, struct error *err)
{
	struct tar_reader r;
	struct tar_entry e;
	size_t n = 0;
	int rc = tar_reader_init_fd(&r, b->fd, err);
	if (rc < 0)
		return rc;
	while ((rc = tar_reader_next(&r, &e, err)) == 1) {
		if (++n > FILES_MAX || (e.type != TAR_FILE && e.type != TAR_SYMLINK))
			continue;
		vec_push(&b->files,
			(struct bundle_file){e.data_offset, e.size,
				e.type == TAR_SYMLINK ? link_target(e.path, e.linkname) : NULL});
		names_set(&b->names, slice_of(e.path), (int)b->files.len - 1);
	}
	tar_reader_done(&r);
	if (rc == 0 && n == 0)
		rc = error_set(err, EBADMSG, "the archive is empty");
	return rc;
}

static int open_archive(struct bundle *b, struct image_store *s, const struct stat *st,
	const struct image_progress *progress, struct error *err)
{
	uint8_t head[8] = {0};
	int rc = 0;
	if (!S_ISREG(st->st_mode)) {
		rc = spool_pipe(b, s, progress, err);
	} else {
		ssize_t n = pread(b->fd, head, sizeof(head), 0);
		struct stream_range r = {.fd = b->fd, .end = (uint64_t)st->st_size};
		enum compression c = compression_of_bytes(head, n > 0 ? (size_t)n : 0);
		b->bytes = (uint64_t)st->st_size;
		if (c != COMPRESSION_NONE)
			rc = spool(b, s, c, stream_range_read, &r, progress, err);
	}
	return rc < 0 ? rc : list_entries(b, err);
}

int bundle_open(struct bundle *b, struct image_store *s, const char *path,
	const struct image_progress *progress, struct error *err)
{
	struct stat st;
	*b = (struct bundle){.fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC)
						     : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)};
	int rc = 0;
	if (b->fd < 0 || fstat(b->fd, &st) < 0)
		rc = error_errno(err, errno, "%s", path);
	else if (S_ISDIR(st.st_mode))
		b->is_dir = true;
	else
		rc = open_archive(b, s, &st, progress, err);
	if (rc < 0) {
		bundle_done(b);
		error_wrap(err, rc, "%s", strcmp(path, "-") ? path : "stdin");
	}
	return rc;
}

void bundle_done(struct bundle *b)
{
	if (b->fd >= 0)
		close(b->fd);
	vec_for_each (f, &b->files)
		free(f->link);
	vec_done(&b->files);
	names_done(&b->names);
	*b = (struct bundle){.fd = -1};
}

static const struct bundle_file *find_entry(const struct bundle *b, const char *name)
{
	for (unsigned links = 0; name && links < LINKS_MAX; links++) {
		int at = names_get(&b->names, slice_of(name));
		if (at == NAMES_NONE)
			return NULL;
		const struct bundle_file *f = &b->files.items[at];
		if (!f->link && f->offset)
			return f;
		name = f->link;
	}
	return NULL;
}

static int find_in_dir(const struct bundle *b, const char *name, uint64_t *offset, uint64_t *bytes)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	struct stat st;
	int fd _close_ = (int)syscall(SYS_openat2, b->fd, name, &how, sizeof(how));
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*offset = 0;
	*bytes = (uint64_t)st.st_size;
	return TAKE_FD(fd);
}

int bundle_find(const struct bundle *b, const char *name, uint64_t *offset, uint64_t *bytes,
	struct error *err)
{
	int fd = -ENOENT;
	if (b->is_dir) {
		fd = find_in_dir(b, name, offset, bytes);
	} else {
		const struct bundle_file *f = find_entry(b, name);
		if (f) {
			*offset = f->offset;
			*bytes = f->bytes;
			fd = fcntl(b->fd, F_DUPFD_CLOEXEC, 3);
			fd = fd < 0 ? -errno : fd;
		}
	}
	return fd < 0 ? error_errno(err, -fd, "%.200s", name) : fd;
}

bool bundle_has(const struct bundle *b, const char *name)
{
	uint64_t offset, bytes;
	int fd _close_ = bundle_find(b, name, &offset, &bytes, NULL);
	return fd >= 0;
}

int bundle_read(const struct bundle *b, const char *name, uint64_t limit, struct strbuf *out,
	struct error *err)
{
	uint64_t offset, bytes;
	int fd _close_ = bundle_find(b, name, &offset, &bytes, err);
	if (fd < 0)
		return fd;
	if (bytes > limit)
		return error_set(err, EBADMSG, "%.200s: more than %" PRIu64 " bytes", name, limit);
	struct stream_range r = {.fd = fd, .pos = offset, .end = offset + bytes};
	int rc = stream_read_all(stream_range_read, &r, limit, out, err);
	return rc < 0 ? error_wrap(err, rc, "%.200s", name) : 0;
}
