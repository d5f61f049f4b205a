// SPDX-License-Identifier: Apache-2.0
// The heart of strata-slirp: one libslirp instance between a frame socket and the host's sockets.
// Single-threaded.
#ifndef STRATA_NET_SLIRP_LOOP_H
#define STRATA_NET_SLIRP_LOOP_H

#include "net/slirp.h"

struct slirp_loop;

/* Makes the instance and opens the published ports. frame_fd is not owned: a
 * SOCK_SEQPACKET socket with life_fd -1, else a tap device whose user lives as long as the process
 * of life_fd, a pidfd. -EADDRINUSE or -EACCES
 * for a port that cannot be had. config->dns must be final here: 0 means no name server. */
int slirp_loop_new(struct slirp_loop **out, const struct slirp_config *config, int frame_fd,
	int life_fd, struct error *err);
void slirp_loop_free(struct slirp_loop *l);

/* Carries frames until the other end of frame_fd is closed, or that process ends. */
void slirp_loop_run(struct slirp_loop *l);

#endif
