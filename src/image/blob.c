// SPDX-License-Identifier: Apache-2.0
// Blobs: content-addressed files of the store.
#include "image/store.h"

#include "wire/stream.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES (256 * KiB)

static char *blob_path(const struct image_store *s, const char *digest)
{
	return xasprintf("%s/blobs/sha256/%s", s->images, digest + 7);
}

int blob_writer_open(struct blob_writer *w, struct image_store *s, struct error *err)
{
	char *dir _free_ = xasprintf("%s/tmp", s->images);
	*w = (struct blob_writer){.store = s, .fd = -1};
	digest_init(&w->digest);
	int rc = store_mkdirs(s, dir, err);
	if (rc < 0)
		return rc;
	w->temp = xasprintf("%s/%d-%u", dir, (int)getpid(), s->next_temp++);
	w->fd = open(w->temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (w->fd < 0) {
		rc = store_error(s, err, errno, w->temp, "cannot write");
		blob_writer_done(w);
		return rc;
	}
	w->buffer = xmalloc(BUFFER_BYTES);
	return 0;
}

void blob_writer_done(struct blob_writer *w)
{
	if (w->fd >= 0) {
		close(w->fd);
		unlink(w->temp);
	}
	free(w->temp);
	free(w->buffer);
	*w = (struct blob_writer){.fd = -1};
}

int blob_writer_flush(struct blob_writer *w, struct error *err)
{
	const char *p = w->buffer;
	digest_update(&w->digest, p, w->buffered);
	while (w->buffered) {
		ssize_t n = write(w->fd, p, w->buffered);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return store_error(w->store, err, errno, w->store->images, "cannot write");
		p += n;
		w->buffered -= (size_t)n;
	}
	return 0;
}

int blob_writer_write(void *writer, const void *bytes, size_t len, struct error *err)
{
	struct blob_writer *w = writer;
	const char *p = bytes;
	if (w->limit && len > w->limit - w->size)
		return error_set(
			err, EFBIG, "larger than the limit of %" PRIu64 " MiB", w->limit / MiB);
	w->size += len;
	while (len) {
		size_t n = MIN(len, BUFFER_BYTES - w->buffered);
		memcpy(w->buffer + w->buffered, p, n);
		w->buffered += n;
		p += n;
		len -= n;
		if (w->buffered == BUFFER_BYTES) {
			int rc = blob_writer_flush(w, err);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

int blob_writer_commit(struct blob_writer *w, const char *media_type, struct oci_descriptor *out,
	struct error *err)
{
	struct oci_descriptor d = {.size = w->size};
	int rc = blob_writer_flush(w, err);
	if (rc < 0)
		return rc;
	memcpy(d.digest, "sha256:", 7);
	digest_finish(&w->digest, d.digest + 7);
	if (w->want && strcmp(w->want, d.digest))
		return error_set(err, EBADMSG, "the digest is %.19s… and should be %.19s…",
			d.digest, w->want);
	char *dir _free_ = xasprintf("%s/%s", w->store->images, w->dir ? w->dir : "blobs/sha256");
	char *path _free_ = xasprintf("%s/%s", dir, d.digest + 7);
	int dir_fd _close_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* An existing file of that name is replaced: it might be damaged. */
	if (dir_fd < 0 || fchmod(w->fd, 0444) < 0 || fsync(w->fd) < 0 ||
		rename(w->temp, path) < 0 || fsync(dir_fd) < 0)
		return store_error(w->store, err, errno, path, "cannot write");
	blob_note_verified(w->store, d.digest, w->fd);
	close(w->fd);
	w->fd = -1;
	d.media_type = xstrdup(media_type);
	*out = d;
	return 0;
}

int blob_put(struct image_store *s, const void *bytes, size_t len, const char *media_type,
	struct oci_descriptor *out, struct error *err)
{
	struct blob_writer w;
	int rc = blob_writer_open(&w, s, err);
	if (rc == 0)
		rc = blob_writer_write(&w, bytes, len, err);
	if (rc == 0)
		rc = blob_writer_commit(&w, media_type, out, err);
	blob_writer_done(&w);
	return rc;
}

int blob_open(
	struct image_store *s, const char *digest, uint64_t size, char **path, struct error *err)
{
	struct stat st;
	char *p _free_ = blob_path(s, digest);
	int fd _close_ = open(p, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno != ENOENT)
		return store_error(s, err, errno, p, "cannot open");
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != size) {
		error_set(err, EBADMSG, "blob %.19s… is %s", digest,
			fd < 0 ? "missing" : "not of the size that the manifest says");
		error_remedy(err, "get the image again with `strata image pull --refresh`");
		return -EBADMSG;
	}
	if (path)
		*path = TAKE_PTR(p);
	return TAKE_FD(fd);
}

int blob_read(struct image_store *s, const struct oci_descriptor *d, struct strbuf *out,
	struct error *err)
{
	if (d->size > OCI_DOCUMENT_MAX)
		return error_set(err, EBADMSG, "document %.19s… is too large", d->digest);
	int fd _close_ = blob_open(s, d->digest, d->size, NULL, err);
	if (fd < 0)
		return fd;
	struct stream_range r = {.fd = fd, .end = d->size};
	int rc = stream_read_all(stream_range_read, &r, OCI_DOCUMENT_MAX, out, err);
	if (rc < 0)
		return rc;
	struct digest digest;
	char hex[DIGEST_HEX_LEN + 1];
	digest_init(&digest);
	digest_update(&digest, out->data, out->len);
	digest_finish(&digest, hex);
	if (strcmp(hex, d->digest + 7)) {
		error_set(err, EBADMSG, "blob %.19s… is damaged", d->digest);
		error_remedy(err, "get the image again with `strata image pull --refresh`");
		return -EBADMSG;
	}
	return 0;
}
