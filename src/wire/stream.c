// SPDX-License-Identifier: Apache-2.0
#include "wire/stream.h"

#include <inttypes.h>
#include <lzma.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define INPUT_BYTES	  (64u << 10)
#define MEMORY_LIMIT	  (UINT64_C(256) << 20)
#define ZSTD_WINDOW_LIMIT 27 /* log2 of the window: 128 MiB */

ssize_t stream_range_read(void *range, void *buf, size_t len, struct error *err)
{
	struct stream_range *r = range;
	len = (size_t)MIN((uint64_t)len, r->end - r->pos);
	if (len == 0)
		return 0;
	for (;;) {
		ssize_t n = pread(r->fd, buf, len, (off_t)r->pos);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "read");
		if (n == 0)
			return error_set(err, EBADMSG, "file ends at byte %" PRIu64, r->pos);
		r->pos += (uint64_t)n;
		return n;
	}
}

ssize_t stream_mem_read(void *mem, void *buf, size_t len, struct error *err)
{
	struct stream_mem *m = mem;
	len = MIN(len, (size_t)(m->end - m->p));
	if (len)
		memcpy(buf, m->p, len);
	m->p += len;
	return (ssize_t)len;
}

int stream_read_all(stream_read_fn *read_fn, void *opaque, uint64_t limit, struct strbuf *out,
	struct error *err)
{
	char *chunk _free_ = xmalloc(INPUT_BYTES);
	uint64_t total = 0;
	for (;;) {
		ssize_t n = read_fn(opaque, chunk, INPUT_BYTES, err);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		total += (uint64_t)n;
		if (total > limit)
			return error_set(err, EFBIG, "more than %" PRIu64 " bytes", limit);
		strbuf_add(out, chunk, (size_t)n);
	}
	strbuf_reserve(out, 0);
	out->data[out->len] = '\0';
	return 0;
}

enum compression compression_of_name(const char *name)
{
	static const struct {
		const char *suffix;
		enum compression c;
	} table[] = {
		{".xz", COMPRESSION_XZ}, {".gz", COMPRESSION_GZIP}, {".zst", COMPRESSION_ZSTD}};
	size_t len = strlen(name);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		size_t n = strlen(table[i].suffix);
		if (len >= n && !strcmp(name + len - n, table[i].suffix))
			return table[i].c;
	}
	return COMPRESSION_NONE;
}

enum compression compression_of_bytes(const void *bytes, size_t len)
{
	static const struct {
		const char *magic;
		size_t len;
		enum compression c;
	} table[] = {{"\x1f\x8b", 2, COMPRESSION_GZIP}, {"\x28\xb5\x2f\xfd", 4, COMPRESSION_ZSTD},
		{"\xfd"
		 "7zXZ",
			6, COMPRESSION_XZ}};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (len >= table[i].len && !memcmp(bytes, table[i].magic, table[i].len))
			return table[i].c;
	return COMPRESSION_NONE;
}

struct decompress {
	enum compression kind;
	stream_read_fn *read;
	void *opaque;
	uint64_t left;	    /* of the output limit */
	bool input_ended;   /* the source said 0 */
	bool frame_open;    /* inside a compressed stream: its end must still come */
	bool ended, failed; /* sticky */
	const uint8_t *in;
	size_t in_len;
	union {
		lzma_stream xz;
		z_stream gz;
		ZSTD_DStream *zstd;
	};
	uint8_t buffer[INPUT_BYTES];
};

int decompress_new(struct decompress **out, enum compression c, stream_read_fn *read_fn,
	void *opaque, uint64_t limit, struct error *err)
{
	struct decompress *d = xcalloc(1, sizeof(*d));
	bool ok = true;
	*d = (struct decompress){.kind = c, .read = read_fn, .opaque = opaque, .left = limit};
	switch (c) {
	case COMPRESSION_XZ:
		d->xz = (lzma_stream)LZMA_STREAM_INIT;
		ok = lzma_stream_decoder(&d->xz, MEMORY_LIMIT, LZMA_CONCATENATED) == LZMA_OK;
		break;
	case COMPRESSION_GZIP:
		ok = inflateInit2(&d->gz, 16 + MAX_WBITS) == Z_OK;
		break;
	case COMPRESSION_ZSTD:
		d->zstd = ZSTD_createDStream();
		ok = d->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(
					d->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LIMIT));
		break;
	case COMPRESSION_NONE:
		break;
	}
	if (!ok) {
		decompress_free(d);
		return error_set(err, ENOMEM, "cannot start the decompressor");
	}
	*out = d;
	return 0;
}

void decompress_free(struct decompress *d)
{
	if (!d)
		return;
	if (d->kind == COMPRESSION_XZ)
		lzma_end(&d->xz);
	else if (d->kind == COMPRESSION_GZIP)
		inflateEnd(&d->gz);
	else if (d->kind == COMPRESSION_ZSTD)
		ZSTD_freeDStream(d->zstd);
	free(d);
}

static int corrupt(struct error *err, const char *what)
{
	return error_set(err, EBADMSG, "compressed data are damaged: %s", what);
}

static int step_xz(struct decompress *d, uint8_t *buf, size_t len, size_t *made, struct error *err)
{
	d->xz.next_in = d->in;
	d->xz.avail_in = d->in_len;
	d->xz.next_out = buf;
	d->xz.avail_out = len;
	lzma_ret rc = lzma_code(&d->xz, d->input_ended ? LZMA_FINISH : LZMA_RUN);
	d->in = d->xz.next_in;
	d->in_len = d->xz.avail_in;
	*made = len - d->xz.avail_out;
	if (rc == LZMA_STREAM_END)
		d->ended = true;
	else if (rc == LZMA_MEMLIMIT_ERROR)
		return corrupt(err, "they ask for too much memory");
	else if (rc == LZMA_BUF_ERROR && d->input_ended)
		return corrupt(err, "they end too early");
	else if (rc != LZMA_OK && rc != LZMA_BUF_ERROR)
		return corrupt(err, "xz");
	return 0;
}

static int step_gzip(
	struct decompress *d, uint8_t *buf, size_t len, size_t *made, struct error *err)
{
	if (d->in_len && !d->frame_open)
		inflateReset(&d->gz);
	d->frame_open |= d->in_len > 0;
	if (!d->in_len && d->input_ended && !d->frame_open) {
		d->ended = true;
		return 0;
	}
	len = MIN(len, (size_t)INT32_MAX);
	d->gz.next_in = (Bytef *)(uintptr_t)d->in;
	d->gz.avail_in = (uInt)d->in_len;
	d->gz.next_out = buf;
	d->gz.avail_out = (uInt)len;
	int rc = inflate(&d->gz, Z_NO_FLUSH);
	d->in += d->in_len - d->gz.avail_in;
	d->in_len = d->gz.avail_in;
	*made = len - d->gz.avail_out;
	if (rc == Z_STREAM_END)
		d->frame_open = false;
	else if (rc == Z_BUF_ERROR && d->input_ended && !*made)
		return corrupt(err, "they end too early");
	else if (rc != Z_OK && rc != Z_BUF_ERROR)
		return corrupt(err, "gzip");
	return 0;
}

static int step_zstd(
	struct decompress *d, uint8_t *buf, size_t len, size_t *made, struct error *err)
{
	ZSTD_inBuffer in = {.src = d->in, .size = d->in_len};
	ZSTD_outBuffer out = {.dst = buf, .size = len};
	bool had_input = d->in_len > 0;
	if (!had_input && d->input_ended && !d->frame_open) {
		d->ended = true;
		return 0;
	}
	size_t rc = ZSTD_decompressStream(d->zstd, &out, &in);
	if (ZSTD_isError(rc))
		return corrupt(err, ZSTD_getErrorName(rc));
	d->in += in.pos;
	d->in_len -= in.pos;
	*made = out.pos;
	d->frame_open = rc != 0;
	if (!had_input && d->input_ended && d->frame_open && !*made)
		return corrupt(err, "they end too early");
	return 0;
}

static ssize_t copy_through(struct decompress *d, void *buf, size_t len, struct error *err)
{
	return d->read(d->opaque, buf, len, err);
}

static ssize_t read_step(struct decompress *d, void *buf, size_t len, struct error *err)
{
	if (d->kind == COMPRESSION_NONE)
		return copy_through(d, buf, len, err);
	for (;;) {
		size_t made = 0;
		if (!d->in_len && !d->input_ended) {
			ssize_t n = d->read(d->opaque, d->buffer, sizeof(d->buffer), err);
			if (n < 0)
				return n;
			d->in = d->buffer;
			d->in_len = (size_t)n;
			d->input_ended = n == 0;
		}
		int rc = d->kind == COMPRESSION_XZ     ? step_xz(d, buf, len, &made, err)
			 : d->kind == COMPRESSION_GZIP ? step_gzip(d, buf, len, &made, err)
						       : step_zstd(d, buf, len, &made, err);
		if (rc < 0)
			return rc;
		if (made || d->ended)
			return (ssize_t)made;
	}
}

ssize_t decompress_read(void *decompress, void *buf, size_t len, struct error *err)
{
	struct decompress *d = decompress;
	if (d->failed)
		return corrupt(err, "an earlier error");
	if (d->ended || len == 0)
		return 0;
	ssize_t n = read_step(d, buf, len, err);
	if (n > 0 && (uint64_t)n > d->left)
		n = error_set(err, EFBIG, "decompressed data are larger than allowed");
	if (n < 0)
		d->failed = true;
	else
		d->left -= (uint64_t)n;
	return n;
}
