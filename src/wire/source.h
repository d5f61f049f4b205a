// SPDX-License-Identifier: Apache-2.0
// Bytes at offsets, wherever they come from: what a parser of a file reads through. Also a reader
// that has checked nothing yet may be asked for any range: read() fails when it is not all there.
#ifndef STRATA_WIRE_SOURCE_H
#define STRATA_WIRE_SOURCE_H

#include "base/error.h"

struct source {
	/* The whole range or -errno (-ENODATA: the source ends before it). */
	int (*read)(void *opaque, uint64_t offset, void *out, size_t len);
	void *opaque;
	uint64_t bytes; /* size when it was made; a file may shrink meanwhile: then read() fails */
};

static inline int source_read(const struct source *s, uint64_t offset, void *out, size_t len)
{
	return range_fits(offset, len, s->bytes) ? s->read(s->opaque, offset, out, len) : -ENODATA;
}

/* A file that can be read at offsets (not owned). */
int source_from_fd(struct source *out, int fd, struct error *err);
/* Bytes in memory (not owned). */
void source_from_memory(struct source *out, const void *bytes, size_t len);

#endif
