// SPDX-License-Identifier: Apache-2.0
// Gzip files (RFC 1952), one member or several, with a limit on what comes out.
#ifndef STRATA_WIRE_GZIP_H
#define STRATA_WIRE_GZIP_H

#include "wire/source.h"

/* Takes decompressed bytes, in order. 0, or -errno: then gzip_expand() gives that back. */
typedef int gzip_sink_fn(void *opaque, const void *bytes, size_t len, struct error *err);

/* -EFBIG when more than max_bytes come out (the sink has had at most those). */
int gzip_expand(const struct source *in, uint64_t max_bytes, gzip_sink_fn *sink, void *opaque,
	struct error *err);

#endif
