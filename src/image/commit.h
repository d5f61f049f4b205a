// SPDX-License-Identifier: Apache-2.0
// Makes manifests out of blobs. For the files of image/ only.
#ifndef STRATA_IMAGE_COMMIT_H
#define STRATA_IMAGE_COMMIT_H

#include "image/store.h"

/* Writes config and manifest of a one-layer image and enters it into the index. `layer` is taken
 * over. */
int commit_rootfs(struct image_store *s, const struct image_config *config, bool unconfigured,
	struct oci_descriptor *layer, struct error *err);
/* -ENOTSUP: what the manifest describes is no image that can run. */
int manifest_check(const struct oci_manifest *m, struct error *err);
/* Whether configuration and manifest fit each other and us. */
int config_check(const struct oci_manifest *m, const struct oci_config *c, struct error *err);
/* Writes the two documents as they came and enters the image into the index; its layers are there.
 * from (may be NULL): the index that led to it, already a blob. */
int commit_documents(struct image_store *s, const char *ref, const char *media_type,
	const struct strbuf *manifest_text, const struct oci_manifest *m,
	const struct strbuf *config_text, const struct oci_config *c,
	const struct oci_descriptor *from, struct error *err);
/* Rewrites a hostile tar stream into w as image_commit_layer() describes. */
int sanitize_tar(int tar_fd, struct blob_writer *w, const struct image_progress *progress,
	struct error *err);
/* As image_commit_layer(); the pull lock is held by the caller. */
int commit_stream(struct image_store *s, int tar_fd, const struct image_config *config,
	uint64_t limit_bytes, const struct image_progress *progress, struct error *err);

#endif
