// SPDX-License-Identifier: Apache-2.0
// An archive or a directory that an image is imported from: its files by name. For image/ only.
// It is hostile: names are looked up below the directory, or in the list of the archive's entries.
#ifndef STRATA_IMAGE_BUNDLE_H
#define STRATA_IMAGE_BUNDLE_H

#include "image/names.h"
#include "image/store.h"

struct bundle_file {
	uint64_t offset, bytes;
	char *link; /* a symbolic link's target, clean, or NULL */
};

struct bundle {
	int fd; /* the directory, or the uncompressed archive */
	bool is_dir;
	uint64_t bytes; /* of the archive */
	struct names names;
	VEC(struct bundle_file) files;
};

/* path: a directory, or a tar archive, which may be compressed; "-": from stdin. What cannot be
 * read at will is copied into a file of the store that has no name. */
int bundle_open(struct bundle *b, struct image_store *s, const char *path,
	const struct image_progress *progress, struct error *err);
void bundle_done(struct bundle *b);
bool bundle_has(const struct bundle *b, const char *name);
/* Where the bytes of a file are: returns a descriptor for the caller to close. -ENOENT. */
int bundle_find(const struct bundle *b, const char *name, uint64_t *offset, uint64_t *bytes,
	struct error *err);
/* Appends a file of at most limit bytes. */
int bundle_read(const struct bundle *b, const char *name, uint64_t limit, struct strbuf *out,
	struct error *err);

#endif
