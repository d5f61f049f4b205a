// SPDX-License-Identifier: Apache-2.0
// What the two kinds of pull share. For the files of image/ only.
#ifndef STRATA_IMAGE_PULL_H
#define STRATA_IMAGE_PULL_H

#include "image/archive.h"

/* Downloads the packages that archive_resolve() chose. */
int pull_downloads(struct archive *a, const struct image_progress *progress, struct error *err);
/* Makes the boot image `ref` ("debian-boot:trixie"); the pull lock is held. */
int boot_make(struct image_store *s, const char *ref, const struct image_arch *arch,
	const struct image_pull_options *options, struct error *err);

#endif
