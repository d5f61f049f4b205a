// SPDX-License-Identifier: Apache-2.0
// A container's root made of layer trees: an overlayfs in a mount namespace of the caller's own, so
// that it is gone when the last process in that namespace is, however it ended.
#ifndef STRATA_CONTAINER_OVERLAY_H
#define STRATA_CONTAINER_OVERLAY_H

#include "base/error.h"

enum { OVERLAY_LOWER_MAX = 500 }; /* the kernel's own limit */

struct overlay {
	const char *const *lower; /* lowest first; absolute */
	size_t n_lower;
	const char *upper, *work; /* on one file system; absolute */
	bool is_volatile;	  /* nothing of it has to survive a crash: no syncs */
};

/* A mount namespace of our own in which nothing that we mount is seen from outside. For root, also
 * of a user namespace; the process has one thread. */
int overlay_unshare(struct error *err);
/* Mounts it at target, with "userxattr", without devices. Changes the working directory for a
 * moment. -E2BIG: too many layers. */
int overlay_mount(const struct overlay *o, const char *target, struct error *err);

#endif
