// SPDX-License-Identifier: Apache-2.0
#include "wire/gzip.h"

#include <zlib.h>

enum { CHUNK = 1 << 16, GZIP_WINDOW = 15 + 16 /* zlib: 32 KiB window, gzip header */ };

struct expand {
	z_stream z;
	const struct source *in;
	uint64_t in_at, out_bytes, max_bytes;
	gzip_sink_fn *sink;
	void *opaque;
	uint8_t in_buf[CHUNK], out_buf[CHUNK];
};

static int refill(struct expand *x, struct error *err)
{
	size_t n = (size_t)MIN((uint64_t)CHUNK, x->in->bytes - x->in_at);
	if (!n)
		return error_set(err, EBADMSG, "truncated gzip file");
	int r = source_read(x->in, x->in_at, x->in_buf, n);
	if (r < 0)
		return error_errno(err, -r, "gzip file");
	x->in_at += n;
	x->z.next_in = x->in_buf;
	x->z.avail_in = (unsigned)n;
	return 0;
}

/* One call of inflate: 1 at the end of a member, 0 to go on. */
static int step(struct expand *x, struct error *err)
{
	x->z.next_out = x->out_buf;
	x->z.avail_out = CHUNK;
	int z = inflate(&x->z, Z_NO_FLUSH);
	if (z != Z_OK && z != Z_STREAM_END && z != Z_BUF_ERROR)
		return error_set(
			err, EBADMSG, "corrupt gzip file: %s", x->z.msg ? x->z.msg : "bad data");
	size_t n = CHUNK - x->z.avail_out;
	if (n > x->max_bytes - x->out_bytes)
		return error_set(err, EFBIG, "gzip file expands to more than %llu MiB",
			(unsigned long long)(x->max_bytes / MiB));
	x->out_bytes += n;
	int r = n ? x->sink(x->opaque, x->out_buf, n, err) : 0;
	return r < 0 ? r : z == Z_STREAM_END;
}

static int expand(struct expand *x, struct error *err)
{
	for (;;) {
		int r = x->z.avail_in ? 0 : refill(x, err);
		if (r == 0)
			r = step(x, err);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		/* Another member may follow; other bytes there (padding) are not ours. */
		if (!x->z.avail_in && (x->in_at == x->in->bytes || refill(x, err) < 0))
			return 0;
		if (x->z.next_in[0] != 0x1f)
			return 0;
		if (inflateReset(&x->z) != Z_OK)
			return error_set(err, EBADMSG, "corrupt gzip file");
	}
}

int gzip_expand(const struct source *in, uint64_t max_bytes, gzip_sink_fn *sink, void *opaque,
	struct error *err)
{
	struct expand *x = xcalloc(1, sizeof(*x));
	x->in = in;
	x->max_bytes = max_bytes;
	x->sink = sink;
	x->opaque = opaque;
	int r = inflateInit2(&x->z, GZIP_WINDOW) == Z_OK
			? expand(x, err)
			: error_set(err, ENOMEM, "gzip: no memory");
	inflateEnd(&x->z);
	free(x);
	return r;
}
