// SPDX-License-Identifier: Apache-2.0
// Where a server listens, as a user writes it: PORT, HOST:PORT, [ADDRESS]:PORT or unix:PATH.
#ifndef STRATA_OS_LISTEN_H
#define STRATA_OS_LISTEN_H

#include "base/error.h"

/* Opens a listening stream socket, close-on-exec and not blocking. Without a host (PORT, :PORT) it
 * is the loopback interface's alone. A socket file can be used by its owner only; one that a
 * killed process left behind is replaced, one that somebody listens on is not (-EADDRINUSE).
 * -EINVAL: text is none of these forms. Messages begin with what was asked for. */
int listen_open(const char *text, int *out, struct error *err);
/* Removes the socket file of unix:PATH if it is still this socket's; nothing for other forms. */
void listen_remove(const char *text, int fd);

#endif
