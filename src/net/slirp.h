// SPDX-License-Identifier: Apache-2.0
// User-mode networking: a guest's Ethernet frames become sockets of the host, without privileges.
//
// It is done by libslirp in a process of its own, the program `strata-slirp`, so that what parses a
// hostile guest's TCP has neither the monitor's memory nor its descriptors. Frames travel over a
// SOCK_SEQPACKET socket, one a message and never empty. The helper ends when the other end of that
// socket is closed or when the thread that started it ends; when the helper ends, the monitor's end
// reads as closed and the guest sees its link go down.
//
// What the guest sees (docs/network.md): 10.0.2.0/24 with the host at .2, the name server at .3 and
// itself at .15 by DHCP; fd00::/64 with the host at fd00::2, by router advertisement.
#ifndef STRATA_NET_SLIRP_H
#define STRATA_NET_SLIRP_H

#include "net/publish.h"

enum {
	SLIRP_PUBLISH_MAX = 128,
	/* As large as libslirp goes: a guest's cost is by the frame, not by the byte. */
	SLIRP_MTU_MAX = 65520,
	SLIRP_MTU_MIN = 1280, /* IPv6's */
	SLIRP_HOSTNAME_MAX = 32,
};

struct slirp_config {
	const struct slirp_publish *publish;
	unsigned publish_count;
	const char *hostname;  /* given by DHCP; NULL: none */
	unsigned mtu;	       /* 0: SLIRP_MTU_MAX */
	bool no_host_loopback; /* 10.0.2.2 and fd00::2 do not reach services on the host's loopback
				*/
	bool restricted;       /* no way out: published ports only */
	struct in_addr dns;    /* name server behind 10.0.2.3; 0: the first of /etc/resolv.conf */
	const char *helper;    /* path of strata-slirp; NULL: looked for, see slirp.c */
};

/* Starts the helper; when it returns, the published ports are open and the helper is sandboxed.
 * *frame_fd is nonblocking and close-on-exec; *pid is a child of the caller, who reaps it.
 * Errors: -EADDRINUSE, -EACCES (a port below 1024), -ENOENT (helper not installed), each with a
 * remedy. */
int slirp_helper_start(
	const struct slirp_config *config, pid_t *pid, int *frame_fd, struct error *err);

/* The same for a container: the frames are those of a tap device (nonblocking, without virtio
 * headers), whose other side the guest's kernel is. The helper ends when the process of `life` (a
 * pidfd) does, whoever started it. The caller keeps both descriptors. It is not ready before
 * slirp_helper_wait() says so, which may come after other work. */
int slirp_helper_start_tap(const struct slirp_config *config, int tap, int life, pid_t *pid,
	int *status, struct error *err);
/* Takes *status. On failure the helper has been reaped. */
int slirp_helper_wait(pid_t pid, int *status, struct error *err);

#endif
