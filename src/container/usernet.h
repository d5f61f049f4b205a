// SPDX-License-Identifier: Apache-2.0
// A container's user-mode network: a tap device in its network namespace, whose other side is
// strata-slirp (net/slirp.h). Addresses as docs/network.md has them for machines, but static.
#ifndef STRATA_CONTAINER_USERNET_H
#define STRATA_CONTAINER_USERNET_H

#include "base/error.h"

/* In the container's process, in its new network namespace, while it may open the host's
 * /dev/net/tun: makes the device, gives it addresses and routes, and sends its descriptor to the
 * runtime. proc: a /proc in which we are "self". */
int usernet_make(int proc, int channel, struct error *err);
/* In the runtime: that descriptor, nonblocking; the caller's. */
int usernet_receive(int channel, struct error *err);

#endif
