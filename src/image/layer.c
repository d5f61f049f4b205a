// SPDX-License-Identifier: Apache-2.0
// Layers as tar archives. The blob stays as it came, so that it can be pushed with the same digest;
// what is compressed is kept uncompressed beside it, under the digest that the image's
// configuration promises ("rootfs.diff_ids").
#include "image/store.h"

#include "wire/stream.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

bool layer_type_ok(const char *type)
{
	static const char *const types[] = {
		OCI_TYPE_LAYER,
		OCI_TYPE_LAYER "+gzip",
		OCI_TYPE_LAYER "+zstd",
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.diff.tar.zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
	};
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(type, types[i]))
			return true;
	return false;
}

static char *layer_path(const struct image_store *s, const char *diff_id)
{
	return xasprintf("%s/layers/%s", s->images, diff_id + 7);
}

/* By the first bytes: media types are often wrong, and the digests decide anyway. */
static enum compression compression_of_fd(int fd)
{
	uint8_t m[8];
	ssize_t n = pread(fd, m, sizeof(m), 0);
	return compression_of_bytes(m, n > 0 ? (size_t)n : 0);
}

/* The compressed blob, which is hashed while it is read. */
struct hashed_input {
	struct stream_range range;
	struct digest digest;
	void (*bytes)(void *opaque, uint64_t n);
	void *opaque;
};

static ssize_t hashed_read(void *input, void *buf, size_t len, struct error *err)
{
	struct hashed_input *in = input;
	ssize_t n = stream_range_read(&in->range, buf, len, err);
	if (n > 0) {
		digest_update(&in->digest, buf, (size_t)n);
		if (in->bytes)
			in->bytes(in->opaque, (uint64_t)n);
	}
	return n;
}

static int copy_stream(struct decompress *z, struct blob_writer *w, struct error *err)
{
	char *chunk _free_ = xmalloc(256 * KiB);
	ssize_t n;
	while ((n = decompress_read(z, chunk, 256 * KiB, err)) > 0) {
		int rc = blob_writer_write(w, chunk, (size_t)n, err);
		if (rc < 0)
			return rc;
	}
	return (int)n;
}

/* What is wrong is the blob, not the image, when its own digest is wrong. */
static bool input_bad(struct hashed_input *in, const struct oci_descriptor *d)
{
	char hex[DIGEST_HEX_LEN + 1], rest[64 * KiB];
	while (hashed_read(in, rest, sizeof(rest), NULL) > 0)
		;
	digest_finish(&in->digest, hex);
	return in->range.pos != in->range.end || strcmp(hex, d->digest + 7) != 0;
}

int layer_unpack(struct image_store *s, int fd, const struct oci_descriptor *d, const char *diff_id,
	uint64_t limit_bytes, bool *blob_bad, void (*bytes)(void *opaque, uint64_t n), void *opaque,
	struct error *err)
{
	struct hashed_input in = {
		.range = {.fd = fd, .end = d->size}, .bytes = bytes, .opaque = opaque};
	struct decompress *z = NULL;
	struct oci_descriptor out = {0};
	struct blob_writer w = {.fd = -1};
	char *dir _free_ = xasprintf("%s/layers", s->images);
	*blob_bad = false;
	digest_init(&in.digest);
	int rc = store_mkdirs(s, dir, err);
	if (rc == 0)
		rc = decompress_new(&z, compression_of_fd(fd), hashed_read, &in, limit_bytes, err);
	if (rc == 0)
		rc = blob_writer_open(&w, s, err);
	if (rc == 0) {
		w.dir = "layers";
		w.want = diff_id;
		rc = copy_stream(z, &w, err);
	}
	/* Whatever failed: a damaged blob explains it. */
	if ((rc == 0 || rc == -EBADMSG || rc == -EFBIG) && input_bad(&in, d)) {
		*blob_bad = true;
		rc = error_set(err, EBADMSG, "layer %.19s… is damaged", d->digest);
	}
	if (rc == 0)
		rc = blob_writer_commit(&w, OCI_TYPE_LAYER, &out, err);
	if (rc < 0 && !*blob_bad)
		error_wrap(err, rc, "layer %.19s…", d->digest);
	blob_writer_done(&w);
	decompress_free(z);
	oci_descriptor_done(&out);
	return rc;
}

bool layer_ready(struct image_store *s, const char *diff_id)
{
	char *path _free_ = layer_path(s, diff_id);
	int fd _close_ = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && blob_verify_changed(s, diff_id, fd, NULL) == 0;
}

int layer_open(struct image_store *s, const struct oci_descriptor *d, const char *diff_id,
	char **path, struct error *err)
{
	if (!strcmp(d->digest, diff_id)) {
		int fd _close_ = blob_open(s, d->digest, d->size, path, err);
		int rc = fd < 0 ? fd : blob_verify_changed(s, d->digest, fd, err);
		return rc < 0 ? rc : TAKE_FD(fd);
	}
	char *p _free_ = layer_path(s, diff_id);
	if (!layer_ready(s, diff_id)) {
		bool bad;
		int blob _close_ = blob_open(s, d->digest, d->size, NULL, err);
		int rc = blob < 0 ? blob
				  : layer_unpack(s, blob, d, diff_id, LAYER_BYTES_MAX, &bad, NULL,
					    NULL, err);
		if (rc < 0) {
			error_remedy(err, "get the image again with `strata image pull --refresh`");
			return rc;
		}
	}
	int fd = open(p, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return store_error(s, err, errno, p, "cannot open");
	if (path)
		*path = TAKE_PTR(p);
	return fd;
}
