// SPDX-License-Identifier: Apache-2.0
// A guest without a virtual machine: the host's own TCP/IP in a network namespace, whose tap device
// carries frames to and from a frame socket. The process itself moves to another new namespace that
// plays the host, so that a test needs no port of the real one and can reach nothing outside.
#ifndef STRATA_TESTS_NET_NETNS_H
#define STRATA_TESTS_NET_NETNS_H

#include <stdatomic.h>
#include <stdbool.h>

enum { NETNS_MTU = 65520 };

struct netns_guest {
	int ns_fd;
	int tap_fd;
	int frame_fd;
	int stop_pipe[2];
	atomic_bool deaf; /* takes no frames for a while, as a guest without buffers */
	unsigned long thread;
};

/* Moves the process (one thread) into a namespace that plays the host, with its loopback up. As
 * ordinary user: through a user namespace. NULL, or why it cannot be done here. */
const char *netns_enter_host(bool as_user);
/* A guest at 10.0.2.15. NULL, or why not. frame_fd stays the caller's. */
const char *netns_guest_start(struct netns_guest *g, int frame_fd);
void netns_guest_stop(struct netns_guest *g);
/* Runs fn(arg) on a thread whose sockets are the guest's, and waits for it. */
void netns_in_guest(struct netns_guest *g, void (*fn)(void *), void *arg);

#endif
