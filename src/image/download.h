// SPDX-License-Identifier: Apache-2.0
// The download cache: files by SHA-256, partial ones taken up again. For the files of image/ only.
//
//     CACHE/sha256/HEX    complete and checked
//     CACHE/partial/HEX   what has arrived so far
//
// The pull lock must be held.
#ifndef STRATA_IMAGE_DOWNLOAD_H
#define STRATA_IMAGE_DOWNLOAD_H

#include "image/store.h"

struct download {
	char *name; /* for messages: "libc6 2.41-12" */
	char *url;
	char sha256[DIGEST_HEX_LEN + 1];
	uint64_t size; /* bytes */
};
void download_done(struct download *d);

/* Gets all of them; those that are in the cache are only checked. */
int download_all(struct image_store *s, const struct download *list, size_t n,
	const struct image_progress *progress, struct error *err);
/* Opens a file of the cache (after download_all()). */
int download_open(struct image_store *s, const char *sha256, struct error *err);
/* A document without a known digest, of at most limit bytes, not kept. */
int download_text(struct image_store *s, const char *url, uint64_t limit, struct strbuf *out,
	struct error *err);

#endif
