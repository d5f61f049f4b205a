// SPDX-License-Identifier: Apache-2.0
// A container instance: a bundle in the instance's directory whose root is an overlayfs of the
// image's layer trees, run by strata-oci (src/oci).
//
// The overlayfs is mounted in the mount namespace of the process that runs the container, and the
// container dies with that process, so a kill leaves files and perhaps a control group, which the
// next command removes (container_sweep()). HOME/containers is strata-oci's --root.
//
// The caller is root, or has become root of a user namespace (container/subids.h), and has a mount
// namespace of its own (overlay_unshare()). Belongs to one thread; SIGPIPE is ignored.
#ifndef STRATA_INSTANCE_CONTAINER_H
#define STRATA_INSTANCE_CONTAINER_H

#include "image/tree.h"
#include "instance/bundle.h"
#include "instance/store.h"

struct container {
	const char *home;
	const struct instance *instance;
	struct image_tree *trees; /* owned; lowest first; keep the layers from being removed */
	size_t n_trees;
	char *bundle;  /* absolute path; owned */
	int bundle_fd; /* -1: none */
	pid_t pid;     /* strata-oci; 0: not started */
	int log_fd;    /* what it says when it fails */
};
#define CONTAINER_INIT ((struct container){.bundle_fd = -1, .log_fd = -1})

/* Unpacks what is missing of the image's layers and mounts the root. scratch: nothing has to
 * survive a crash. c->home and c->instance are the caller's and live as long as c. */
int container_prepare(struct container *c, struct image_store *store, const struct image *image,
	bool scratch, const struct image_progress *progress, struct error *err);
/* Writes the bundle and starts it; stdio becomes its standard descriptors (-1: /dev/null). */
int container_start(
	struct container *c, const struct bundle_options *o, const int stdio[3], struct error *err);
/* After the process c->pid was seen to have ended (waitid(2), or -1 is polled by the caller): reaps
 * it. The command's status, or -errno when it never ran: then *exit_status is what a container tool
 * exits with (125, 126, 127). */
int container_reap(struct container *c, int *exit_status, struct error *err);
/* Ends strata-oci, and the container with it, if it still runs; unmounts the root. */
void container_done(struct container *c);

/* Removes what a killed container left outside of its instance's directory. */
void container_sweep(const char *home);

#endif
