// SPDX-License-Identifier: Apache-2.0
// Debian binary packages: the ar archive of deb(5), format 2.x. Only finds the members; their
// bytes are read through stream_range and decompress. Thread: the caller's.
#ifndef STRATA_WIRE_DEB_H
#define STRATA_WIRE_DEB_H

#include "wire/stream.h"

struct deb_member {
	uint64_t offset, size; /* bytes, inside the file */
	enum compression compression;
};

struct deb {
	struct deb_member control, data; /* control.tar.*, data.tar.* */
};

/* fd: a regular file, position unused. -EBADMSG when it is not such a package or is cut short. */
int deb_open(int fd, struct deb *out, struct error *err);

#endif
