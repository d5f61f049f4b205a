// SPDX-License-Identifier: Apache-2.0
// The boot image's initramfs: the kernel modules that a machine needs to reach its root, in load
// order, and busybox. It has no /init: the monitor appends that as a second archive.
// For the files of image/ only.
#ifndef STRATA_IMAGE_INITRAMFS_H
#define STRATA_IMAGE_INITRAMFS_H

#include "base/vec.h"
#include "image/names.h"
#include "wire/stream.h"

/* Where a module's file is, inside the modules layer. */
struct module {
	char *path; /* below the version's directory: "kernel/fs/ext4/ext4.ko.xz" */
	uint64_t offset, size;
};

#define MODULE_NAME_BYTES 128

struct module_set {
	VEC(struct module) items;
	struct names by_name;		      /* "ext4" -> index into items; '-' is '_' */
	struct strbuf builtin;		      /* modules.builtin */
	struct strbuf builtin_modinfo, order; /* modules.builtin.modinfo, modules.order */
	struct names builtin_names;
};

void module_set_done(struct module_set *set);
/* `path` below the version's directory; files that are no modules are ignored. */
void module_set_add(struct module_set *set, const char *path, uint64_t offset, uint64_t size);
/* Reads set->builtin. */
void module_set_read_builtin(struct module_set *set);

/* "kernel/fs/fuse/virtio-fs.ko.xz" -> "virtio_fs"; false when it is no module. */
bool module_name(struct slice path, char out[MODULE_NAME_BYTES]);
void module_name_normalize(char *name); /* '-' becomes '_' */
/* Appends the module, decompressed. layer_fd: the file that offsets are in. */
int module_read(const struct module *m, int layer_fd, struct strbuf *out, struct error *err);

/* Appends the archive. layer_fd: the modules layer; busybox: the program. */
int initramfs_make(const struct module_set *set, int layer_fd, const char *version,
	const struct strbuf *busybox, struct strbuf *out, struct error *err);

#endif
