// SPDX-License-Identifier: Apache-2.0
// One downloaded .deb: its control files in memory, its data as a tar stream.
// For the files of image/ only.
#ifndef STRATA_IMAGE_PACKAGE_H
#define STRATA_IMAGE_PACKAGE_H

#include "base/vec.h"
#include "wire/deb.h"
#include "wire/deb822.h"
#include "wire/tar.h"

#define PACKAGE_CONTROL_MAX (UINT64_C(16) << 20)
#define PACKAGE_DATA_MAX    (UINT64_C(4) << 30)

struct package_file {
	char *name; /* "postinst" */
	uint32_t mode;
	struct strbuf content;
};

struct package {
	int fd; /* owned */
	struct deb deb;
	int64_t control_mtime;		  /* of ./control, seconds */
	VEC(struct package_file) control; /* without "control" itself, sorted by name */
	struct strbuf control_text;
	struct deb822_stanza stanza; /* of control_text */
};

/* Takes fd. Checks that the package is called `name`, of `version`. *p is zeroed on entry. */
int package_open(
	struct package *p, int fd, struct slice name, struct slice version, struct error *err);
void package_done(struct package *p);
const struct package_file *package_control(const struct package *p, const char *name);

/* The data of a package as tar entries. */
struct package_data {
	struct stream_range range;
	struct decompress *z;
	struct tar_reader tar;
};
int package_data_open(struct package_data *d, const struct package *p, struct error *err);
void package_data_done(struct package_data *d);

#endif
