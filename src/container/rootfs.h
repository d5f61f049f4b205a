// SPDX-License-Identifier: Apache-2.0
// The file tree of a container: what is mounted where, its /dev, what is masked, and the step into
// it. First the runtime opens what is the host's (rootfs_open, in the host's mount namespace and
// with the host's rights), then the container's first process, in its own mount namespace, puts it
// together (rootfs_build) and enters it (rootfs_enter).
#ifndef STRATA_CONTAINER_ROOTFS_H
#define STRATA_CONTAINER_ROOTFS_H

#include "base/error.h"
#include "container/cgroup.h"
#include "container/spec.h"

struct rootfs {
	const struct spec *spec;
	const struct cgroup *cgroup;
	bool user_namespace; /* the container has its own: no device node can be made */
	int root;	     /* detached mount of the root; then attached */
	int null;	     /* the host's null device, for what is masked; -1 */
	int *sources;	     /* detached mounts of spec->mounts[i], or -1; owned */
};

#define ROOTFS_INIT ((struct rootfs){.root = -1, .null = -1})

/* path: the root on the host, absolute. */
int rootfs_open(struct rootfs *r, const char *path, struct error *err);
/* Shifts the IDs of the mounts that ask for it; user_namespace_fd: the container's, or -1. */
int rootfs_idmap(struct rootfs *r, int user_namespace_fd, struct error *err);
bool rootfs_has_idmap(const struct rootfs *r);
void rootfs_done(struct rootfs *r);

/* In the container's mount namespace, before and after the createContainer hooks. */
/* groups: called before the first mount that shows the control groups; they may come late. */
int rootfs_build(struct rootfs *r, int (*groups)(void *opaque, struct error *err), void *opaque,
	struct error *err);
int rootfs_enter(struct rootfs *r, bool no_pivot, struct error *err);
/* In the container: masked and read-only paths, the root's own options. */
int rootfs_seal(struct rootfs *r, struct error *err);
/* The terminal as /dev/console; in the container, before rootfs_seal(). */
int rootfs_console(int terminal, struct error *err);

#endif
