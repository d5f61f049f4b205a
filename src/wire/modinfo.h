// SPDX-License-Identifier: Apache-2.0
// The .modinfo section of a kernel module (64-bit little-endian ELF): "key=value" strings.
#ifndef STRATA_WIRE_MODINFO_H
#define STRATA_WIRE_MODINFO_H

#include "base/error.h"

struct modinfo {
	const char *p, *end; /* into the module */
};

/* -EBADMSG when it is not such a file or has no .modinfo. */
int modinfo_open(struct modinfo *out, const void *elf, size_t len, struct error *err);
/* The next value of `key`: NUL-terminated, or NULL. Start with *cursor = NULL. */
const char *modinfo_next(const struct modinfo *m, const char *key, const char **cursor);

#endif
