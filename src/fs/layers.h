// SPDX-License-Identifier: Apache-2.0
// A read-only file system made of the layers of an OCI image (image-spec, "Image Layer Filesystem
// Changeset"), served straight from the uncompressed tar files: nothing is unpacked. One pass over
// the tars' headers builds the index; file data are read in place.
//
// Whiteouts (.wh.NAME) and opaque directories (.wh..wh..opq) hide what lower layers brought,
// wherever in their layer they stand. The last of two entries with one name wins; missing parents
// are made (0755, root). An entry below a symlink lands where that leads inside the image; below
// any other non-directory the layer is refused, as is everything that tar.h refuses.
//
// Node numbers are the index's own and the same on every build from the same layers.
// Threads: immutable once made, so all of it is for any thread without a lock.
#ifndef STRATA_FS_LAYERS_H
#define STRATA_FS_LAYERS_H

#include "fs/fuse.h"

enum {
	LAYERS_MAX = 512,
	LAYERS_ENTRIES_MAX = 2 << 20, /* names of all layers together */
	LAYERS_TEXT_MAX = 512 << 20,  /* bytes of their names, link targets and attributes */
};

struct layers_stats {
	uint64_t names, inodes; /* seen in the merged tree */
	uint64_t data_bytes;	/* of the files in it */
	uint64_t index_bytes;	/* memory that the index holds */
};

/* fds: lowest layer first, regular files, readable with pread; owned on success. The error names
 * the layer by its place, from 1. -E2BIG: more than the limits above. */
int layers_fs_new(struct fuse_fs **out, const int *fds, unsigned count, struct error *err);
void layers_fs_stats(const struct fuse_fs *fs, struct layers_stats *out);

#endif
