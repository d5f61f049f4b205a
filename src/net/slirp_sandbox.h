// SPDX-License-Identifier: Apache-2.0
// The sandbox of strata-slirp, apart from it so that a test can live in it.
#ifndef STRATA_NET_SLIRP_SANDBOX_H
#define STRATA_NET_SLIRP_SANDBOX_H

#include "base/error.h"

enum { SLIRP_FDS_MAX = 16384 };

/* Gives up everything that carrying frames between descriptors that are open and sockets that are
 * yet to be made does not need: no files, no programs, no processes, no listening. */
int slirp_sandbox_enter(struct error *err);

#endif
