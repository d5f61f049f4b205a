// SPDX-License-Identifier: Apache-2.0
// Root without root: an ordinary user becomes root of a user namespace with the ranges of IDs that
// /etc/subuid and /etc/subgid give him (shadow-utils; subuid(5)), mapped by newuidmap and
// newgidmap.
#ifndef STRATA_CONTAINER_SUBIDS_H
#define STRATA_CONTAINER_SUBIDS_H

#include "base/error.h"

/* This process, which has one thread, goes on as root of a new user namespace, in a mount namespace
 * of its own. *one_id: the user has no range, or there is no newuidmap, so only his own ID is
 * mapped; *why then says so (the caller frees it). Nothing happens when we are root already. */
int subids_become_root(bool *one_id, char **why, struct error *err);

#endif
