// SPDX-License-Identifier: Apache-2.0
// Messages between the runtime and a container's process over a socket of packets, with
// descriptors; and the error object sent across.
#ifndef STRATA_CONTAINER_CHANNEL_H
#define STRATA_CONTAINER_CHANNEL_H

#include "base/error.h"

enum { CHANNEL_FDS_MAX = 64, CHANNEL_BYTES_MAX = 4096 };

/* Two ends of one channel. */
int channel_pair(int fds[2], struct error *err);
int channel_send(
	int fd, const void *bytes, size_t len, const int *fds, size_t n, struct error *err);
/* One byte that says what happened. */
int channel_tell(int fd, char what, struct error *err);
/* The other side's error. Best effort: it may be gone. */
void channel_fail(int fd, int code, const struct error *e);
/* The first byte of the next message, 0 at the end; the other side's error becomes *err. */
int channel_receive(int fd, struct error *err);
/* Waits for `what`. The other side's error becomes *err; its end is -EPIPE. */
int channel_expect(int fd, char what, struct error *err);
/* The same, with the descriptors that come along: *n of at most CHANNEL_FDS_MAX. */
int channel_expect_fds(int fd, char what, int *fds, int *n, struct error *err);
/* Waits for the end: 0, or the other side's error. */
int channel_end(int fd, struct error *err);

#endif
