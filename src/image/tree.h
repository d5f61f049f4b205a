// SPDX-License-Identifier: Apache-2.0
// Trees of layers, for containers: an uncompressed layer unpacked once as a lower directory of an
// overlayfs that is mounted with "userxattr" (kernel, filesystems/overlayfs.rst).
//
//     STORE/trees/NAME/fs/   the tree; NAME is the digest of the uncompressed layer and, where the
//                            caller is not root of the host's own user namespace, the maps of its
//                            IDs
//     STORE/trees/.lock      one process at a time makes or removes trees
//
// A tree is made under a temporary name, synced and renamed, so what has a name is whole, whenever
// a process was killed. Whoever has one open holds a shared flock on its directory.
//
// The layer is hostile. It is unpacked by a child process that has changed its root to the new tree
// and kept no rights but those over owners and modes; in it, each entry is put into a directory
// that was resolved below the tree's root (openat2, RESOLVE_IN_ROOT) and never follows its own last
// name. What it means is what fs/layers.h serves to machines, with three differences that come from
// a tree being one layer's: device nodes are left out, a symbolic link of a lower layer does not
// redirect what lies below it, and a hard link leads to a file of the same layer. Attributes kept:
// security.capability and user.*, but not user.overlay.*.
//
// Not thread-safe: forks, so call it before the process starts threads.
#ifndef STRATA_IMAGE_TREE_H
#define STRATA_IMAGE_TREE_H

#include "image/image.h"

enum {
	TREE_ENTRIES_MAX = 2 << 20,  /* files and directories of a layer */
	TREE_IMPLIED_MAX = 64 << 20, /* bytes of paths that no entry names itself */
};

struct image_tree {
	int lock_fd; /* holds the shared flock */
	char *path;  /* absolute: the lower directory; owned */
};
#define IMAGE_TREE_INIT ((struct image_tree){.lock_fd = -1})

/* Makes the tree if it is not there yet. The caller is root, or root of a user namespace; where
 * only one ID is mapped, everything belongs to that. -EBADMSG: a bad layer; -ENOTSUP: tar.h refuses
 * it; -EOVERFLOW: owners that are not mapped; -E2BIG: the limits above; -ENOSPC, -EACCES. */
int image_tree_open(struct image_store *s, const struct image_layer *layer,
	const struct image_progress *progress, struct image_tree *out, struct error *err);
void image_tree_done(struct image_tree *t);

/* Unpacks into an empty directory; for image_tree_open(), which gives it a process of its own, and
 * for tests. tar_fd: a regular file. done (may be NULL) counts the bytes of data. */
int tree_extract(int tar_fd, int dir_fd, bool one_id, volatile uint64_t *done, struct error *err);

/* Removes trees that nobody has open and whose layer keep() does not know, and what killed makers
 * left. keep gets "sha256:…". Best effort: what cannot go now goes with the next collection. */
void image_trees_collect(struct image_store *s, bool (*keep)(void *opaque, const char *diff_id),
	void *opaque, uint64_t *freed_bytes);

#endif
