// SPDX-License-Identifier: Apache-2.0
// Builds an image from a Containerfile (wire/containerfile.h).
//
// Each instruction that changes files is an image of its own in the store (IMAGE_STEP), whose name
// is a digest of all that it was made from: the base image, the instructions before it, what was
// copied. The next build finds it there. Times are the base image's unless told otherwise, so the
// same input gives the same digests.
//
// The context and the base images are hostile: no path leads out of either.
// The caller is root, or root of a user namespace, in a mount namespace of its own
// (overlay_unshare()), in a process with one thread.
#ifndef STRATA_BUILD_BUILD_H
#define STRATA_BUILD_BUILD_H

#include "image/image.h"

enum { BUILD_TIME_BASE = -1, BUILD_TIME_NOW = -2 };

struct build_options {
	struct image_store *store;
	const char *home;	 /* for the instances that RUN makes */
	const char *context;	 /* a directory */
	const char *file;	 /* NULL: Containerfile or Dockerfile in the context */
	const char *tag;	 /* NULL: the image gets no name */
	const char *arch;	 /* OCI name; NULL: the host's */
	const char *target;	 /* a stage; NULL: the last */
	const char *const *args; /* NAME=VALUE or NAME, of ARG; NULL or ends with NULL */
	bool no_cache, one_id, host_network;
	int64_t time_s; /* since 1970, or BUILD_TIME_* */
	const struct image_progress *progress;
	/* Gets an image that the store lacks. */
	int (*pull)(void *opaque, const char *ref, const char *arch, struct error *err);
	void (*say)(void *opaque, const char *line); /* what is done now */
	void *opaque;
	int output_fd; /* of the programs that RUN starts */
};

/* digest: of the manifest. -EBADMSG: the Containerfile; -EIO: a program failed; otherwise as
 * image.h. */
int build_image(
	const struct build_options *o, char digest[IMAGE_DIGEST_LEN + 1], struct error *err);

#endif
