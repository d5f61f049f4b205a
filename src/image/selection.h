// SPDX-License-Identifier: Apache-2.0
// The images of one reference, held while they are sent or written somewhere. For image/ only.
#ifndef STRATA_IMAGE_SELECTION_H
#define STRATA_IMAGE_SELECTION_H

#include "image/store.h"

struct selected {
	struct oci_descriptor d;
	struct strbuf text; /* of the manifest */
	struct oci_manifest m;
	int fd; /* holds a shared flock, so that the image stays */
};

struct selection {
	VEC(struct selected) items;
};

/* All images of ref (arch NULL: of all architectures); finished ones before boot images. The index
 * lock is held. -ENOENT: none. *out is to be ended even after an error. */
int selection_load(struct selection *out, struct image_store *s, const struct oci_index *index,
	const char *ref, const char *arch, struct error *err);
/* The same; takes the lock itself, completes ref. */
int selection_open(struct selection *out, struct image_store *s, const char *ref, const char *arch,
	struct error *err);
void selection_done(struct selection *sel);
/* An index of them, as text, and its media type: the one that they all came from, when nothing of
 * it is missing; else a new one. The caller frees both. */
char *selection_index(const struct selection *sel, struct image_store *s, char **media_type);

#endif
