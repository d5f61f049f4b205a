// SPDX-License-Identifier: Apache-2.0
// OCI image-spec 1.1 documents: descriptor, image index, image manifest, image configuration.
// Parsing checks what we rely on (types, digests, sizes) and ignores members that it does not know;
// writing gives the same bytes for the same input. Thread: the caller's.
#ifndef STRATA_WIRE_OCI_H
#define STRATA_WIRE_OCI_H

#include "base/error.h"
#include "base/strbuf.h"
#include "base/vec.h"

#define OCI_DOCUMENT_MAX (4u << 20) /* bytes of one JSON document */
#define OCI_LAYERS_MAX	 512
#define OCI_DIGEST_LEN	 71 /* "sha256:" and 64 hexadecimal digits */

#define OCI_TYPE_INDEX	  "application/vnd.oci.image.index.v1+json"
#define OCI_TYPE_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_TYPE_CONFIG	  "application/vnd.oci.image.config.v1+json"
#define OCI_TYPE_EMPTY	  "application/vnd.oci.empty.v1+json"
#define OCI_TYPE_LAYER	  "application/vnd.oci.image.layer.v1.tar"
/* Docker's forms of the same documents (image manifest version 2, schema 2). */
#define DOCKER_TYPE_INDEX    "application/vnd.docker.distribution.manifest.list.v2+json"
#define DOCKER_TYPE_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define DOCKER_TYPE_CONFIG   "application/vnd.docker.container.image.v1+json"

struct oci_annotation {
	char *key, *value;
};

struct oci_descriptor {
	char *media_type;
	char digest[OCI_DIGEST_LEN + 1];
	uint64_t size;	     /* bytes */
	char *artifact_type; /* or NULL */
	char *arch, *os;     /* of "platform", or NULL */
	char *variant;	     /* "v7", or NULL */
	VEC(struct oci_annotation) annotations;
};

struct oci_index {
	VEC(struct oci_descriptor) manifests;
};

struct oci_manifest {
	char *artifact_type; /* or NULL */
	struct oci_descriptor config;
	VEC(struct oci_descriptor) layers;
	VEC(struct oci_annotation) annotations;
};

struct oci_history {
	char *created, *created_by, *comment; /* each may be NULL */
	bool empty_layer;		      /* this step made no layer */
};

struct oci_config {
	char *arch, *os, *created;	 /* created may be NULL */
	char **entrypoint, **cmd, **env; /* end with NULL; never NULL after parsing */
	char *workdir, *user;		 /* may be NULL */
	VEC(char *) diff_ids;
	VEC(struct oci_history) history;
};

enum oci_document { OCI_DOCUMENT_INDEX, OCI_DOCUMENT_MANIFEST };

/* What a document of a registry is; *media_type (owned) is its own word for it, or content_type
 * (may be NULL). -EBADMSG when it could be read as both, or says two things of itself. */
int oci_document_kind(const char *json, size_t len, const char *content_type,
	enum oci_document *kind, char **media_type, struct error *err);

/* *out is zeroed on entry and holds nothing after an error. */
int oci_index_parse(struct oci_index *out, const char *json, size_t len, struct error *err);
int oci_manifest_parse(struct oci_manifest *out, const char *json, size_t len, struct error *err);
int oci_config_parse(struct oci_config *out, const char *json, size_t len, struct error *err);
char *oci_index_print(const struct oci_index *index);
char *oci_manifest_print(const struct oci_manifest *manifest);
char *oci_config_print(const struct oci_config *config);

void oci_descriptor_done(struct oci_descriptor *d);
void oci_index_done(struct oci_index *index);
void oci_manifest_done(struct oci_manifest *manifest);
void oci_config_done(struct oci_config *config);

/* The value, or NULL. */
const char *oci_annotation_get(const struct oci_annotation *list, size_t n, const char *key);
/* "sha256:" and 64 lower-case hexadecimal digits, nothing else. */
bool oci_digest_ok(const char *digest);
void oci_strings_free(char **list);
char **oci_strings_copy(const char *const *list); /* NULL gives an empty list */

#endif
