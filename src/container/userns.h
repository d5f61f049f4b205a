// SPDX-License-Identifier: Apache-2.0
// User namespaces: writing a process's ID maps, and namespaces that exist only to map a mount.
#ifndef STRATA_CONTAINER_USERNS_H
#define STRATA_CONTAINER_USERNS_H

#include "base/error.h"
#include "container/spec.h"

/* For a process that has just been born into a new user namespace. Where we may not write the maps
 * ourselves, newuidmap and newgidmap do. */
int userns_write_maps(pid_t pid, const struct spec_id_maps *uids, const struct spec_id_maps *gids,
	struct error *err);
/* A descriptor of a new user namespace with these maps and no process in it. */
int userns_make(
	const struct spec_id_maps *uids, const struct spec_id_maps *gids, struct error *err);
/* False inside a user namespace that is not the host's first. */
bool userns_is_host(void);

#endif
