// SPDX-License-Identifier: Apache-2.0
// Writer of initramfs archives: cpio "newc" (Linux, Documentation/driver-api/early-userspace/
// buffer-format.rst). Several archives may follow one another; each part ends 4-byte aligned and
// the kernel reads on. Owner is 0:0 and the time 0, so that the same input gives the same bytes.
//
// Paths are relative, without a leading '/'; parents must be added before their children.
// Thread: the buffer's. Paths and sizes are our own: not for input from outside.
#ifndef STRATA_WIRE_CPIO_H
#define STRATA_WIRE_CPIO_H

#include "base/strbuf.h"

/* mode: permission bits only. len < 4 GiB. */
void cpio_add_file(
	struct strbuf *out, const char *path, uint32_t mode, const void *data, size_t len);
void cpio_add_dir(struct strbuf *out, const char *path, uint32_t mode);
void cpio_add_symlink(struct strbuf *out, const char *path, const char *target);
/* mode with S_IFCHR or S_IFBLK. */
void cpio_add_node(
	struct strbuf *out, const char *path, uint32_t mode, uint32_t major, uint32_t minor);
void cpio_add_trailer(struct strbuf *out);

#endif
