// SPDX-License-Identifier: Apache-2.0
// Between slirp.c and slirp_main.c: the helper's descriptors, and the one line or two that it says
// of its start: "ready", or "<errno> <message>\n<remedy, perhaps empty>".
#ifndef STRATA_NET_SLIRP_STATUS_H
#define STRATA_NET_SLIRP_STATUS_H

#include "base/error.h"

enum {
	SLIRP_FRAME_FD = 3,
	SLIRP_STATUS_FD = 4,
	SLIRP_LIFE_FD = 5, /* with --tap: a pidfd */
	SLIRP_STATUS_MAX = 1024
};

/* 0, or the error that it tells of. Changes text. */
int slirp_status_parse(char *text, struct error *err);
void slirp_status_send(int fd, const struct error *err); /* err NULL: ready */

#endif
