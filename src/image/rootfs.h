// SPDX-License-Identifier: Apache-2.0
// Merges the packages of a Debian installation into one layer, in the state that dpkg calls
// "unpacked". For the files of image/ only.
#ifndef STRATA_IMAGE_ROOTFS_H
#define STRATA_IMAGE_ROOTFS_H

#include "image/archive.h"
#include "image/package.h"

/* A file that the layer gets besides those of the packages. */
struct rootfs_extra {
	char *path;
	uint32_t mode;
	enum tar_type type; /* TAR_FILE or TAR_DIR */
	struct strbuf content;
};

struct rootfs_conffile {
	const char *path; /* "/etc/x", as the package says */
	uint32_t package;
	char md5[33]; /* "" until the file was copied */
};

struct rootfs_entry; /* rootfs.c */

struct rootfs {
	const struct archive *archive;
	struct arena arena;
	struct package *packages; /* n of them, in the order of their names, base-files first */
	size_t n;
	struct { /* of all packages, in the packages' order */
		struct rootfs_entry *items;
		size_t len, cap;
	} entries;
	struct names symlinks;	     /* path -> index of the entry */
	struct names winners;	     /* final path -> index of the entry that the layer gets */
	struct names conffile_paths; /* final path -> index into conffiles */
	VEC(struct rootfs_conffile) conffiles;
	VEC(struct rootfs_extra) extras;
};

/* Writes the layer of all chosen packages of `a` into w. The packages are in the download cache. */
int rootfs_write(struct archive *a, struct blob_writer *w, const struct image_progress *progress,
	struct error *err);

/* configure_script.c */
extern const char rootfs_configure_script[];

/* dpkgdb.c: adds dpkg's database to the extras. list_of appends the lines of info/PACKAGE.list. */
void dpkgdb_make(
	struct rootfs *r, void (*list_of)(struct rootfs *r, size_t package, struct strbuf *out));
struct rootfs_extra *rootfs_add_file(struct rootfs *r, uint32_t mode, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

#endif
