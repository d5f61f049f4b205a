// SPDX-License-Identifier: Apache-2.0
// manifest.json of a docker archive ("docker save"): [{"Config", "RepoTags", "Layers"}].
// Thread: the caller's.
#ifndef STRATA_WIRE_DOCKER_ARCHIVE_H
#define STRATA_WIRE_DOCKER_ARCHIVE_H

#include "base/error.h"
#include "base/vec.h"

struct docker_image {
	char *config;	    /* name of a file in the archive */
	VEC(char *) tags;   /* references */
	VEC(char *) layers; /* names of files, lowest first */
};

struct docker_archive {
	VEC(struct docker_image) images;
};

/* -EBADMSG; *out holds nothing then. */
int docker_archive_parse(
	struct docker_archive *out, const char *json, size_t len, struct error *err);
void docker_archive_done(struct docker_archive *a);
char *docker_archive_print(const struct docker_archive *a);

#endif
