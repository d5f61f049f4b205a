// SPDX-License-Identifier: Apache-2.0
// The indexes over a kernel's modules that modprobe(8) wants (depmod(8)), made when the boot image
// is: in a guest it would take minutes. For the files of image/ only.
#ifndef STRATA_IMAGE_DEPMOD_H
#define STRATA_IMAGE_DEPMOD_H

#include "image/image.h"
#include "image/initramfs.h"

struct depmod_file {
	const char *name; /* static: "modules.dep" */
	struct strbuf text;
};
enum { DEPMOD_FILES = 9 };

/* Reads every module; fd holds the layer that the set's offsets are in. The names of symbols are
 * not indexed: dependencies are those that the modules themselves state. Free with depmod_done(),
 * also after a failure. */
int depmod_make(const struct module_set *set, int fd, const struct image_progress *progress,
	struct depmod_file out[DEPMOD_FILES], struct error *err);
/* Whether a file below the version's directory is one of those. */
bool depmod_makes(const char *path);
void depmod_done(struct depmod_file files[DEPMOD_FILES]);

#endif
