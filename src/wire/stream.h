// SPDX-License-Identifier: Apache-2.0
// Sequential input as one function type, so that parsers can sit on files, memory, decompressors.
#ifndef STRATA_WIRE_STREAM_H
#define STRATA_WIRE_STREAM_H

#include "base/error.h"
#include "base/strbuf.h"

/* Fills 1..len bytes, or returns 0 at the end, or -errno with *err set. */
typedef ssize_t stream_read_fn(void *opaque, void *buf, size_t len, struct error *err);

/* Bytes [pos, end) of a file, read with pread(). The descriptor is not owned. */
struct stream_range {
	int fd;
	uint64_t pos, end;
};
ssize_t stream_range_read(void *range, void *buf, size_t len, struct error *err);

/* Bytes in memory, not owned. */
struct stream_mem {
	const uint8_t *p, *end;
};
ssize_t stream_mem_read(void *mem, void *buf, size_t len, struct error *err);

/* Appends all of the stream to *out; -EFBIG when it is longer than limit bytes. */
int stream_read_all(
	stream_read_fn *read, void *opaque, uint64_t limit, struct strbuf *out, struct error *err);

enum compression { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_XZ, COMPRESSION_ZSTD };

/* By the end of a file name: "data.tar.xz". No known suffix is COMPRESSION_NONE. */
enum compression compression_of_name(const char *name);

/* By the first bytes of a stream; 6 of them are enough. */
enum compression compression_of_bytes(const void *bytes, size_t len);

struct decompress;
/* Decompresses what `read` delivers. Concatenated streams are one; trailing garbage, truncation and
 * more than limit bytes of output are errors. Memory is bounded by 256 MiB whatever the input. */
int decompress_new(struct decompress **out, enum compression c, stream_read_fn *read, void *opaque,
	uint64_t limit, struct error *err);
ssize_t decompress_read(void *decompress, void *buf, size_t len, struct error *err);
void decompress_free(struct decompress *d); /* accepts NULL */

#endif
