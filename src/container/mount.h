// SPDX-License-Identifier: Apache-2.0
// Mounts as descriptors: a mount is made detached, its target is opened below the root in one step
// that no symbolic link can lead outside (openat2(2), RESOLVE_IN_ROOT), and then the one is put on
// the other. No path of the image is walked twice, so nothing that runs beside us can swap a part.
// Needs Linux 5.12.
#ifndef STRATA_CONTAINER_MOUNT_H
#define STRATA_CONTAINER_MOUNT_H

#include "base/error.h"
#include "container/spec.h"

enum mount_make { MAKE_NOTHING, MAKE_DIRECTORY, MAKE_FILE };

/* O_PATH descriptor of `path` inside root. MAKE_*: what is missing is made, parents too, also where
 * links of the image lead.
 * links: false: no symbolic link at all, not even one that stays inside. */
int mount_target(int root, const char *path, enum mount_make make, bool links, struct error *err);

/* A detached mount of a file system; the kernel's own words are in the error. */
int mount_new(const char *type, const char *source, const char *data, unsigned sb_flags,
	uint64_t attr, struct error *err);
/* A detached copy of what is mounted at path. */
int mount_clone(int dir, const char *path, bool recursive, struct error *err);
/* Attaches. */
int mount_put(int mount, int target, struct error *err);
int mount_attributes(int mount, uint64_t set, uint64_t clear, bool recursive, struct error *err);
/* propagation: MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE. */
int mount_propagation(int mount, uint64_t propagation, bool recursive, struct error *err);
int mount_idmap(int mount, int user_namespace, bool recursive, struct error *err);

/* Copies what is in directory `from` into `to`, with owners, modes, times and links; devices and
 * sockets are left out, other mounts not entered. */
int mount_copy_tree(int from, int to, struct error *err);

#endif
