// SPDX-License-Identifier: Apache-2.0
// What stands between a guest's frames and libslirp, in both directions.
//
// It lets pass only ARP, IPv4 and IPv6; it drops packets to addresses that the host's kernel would
// take for its own loopback, which libslirp passes to connect() as they are; and it makes
// 10.0.2.3 port 53 the host's name server. libslirp could do the last itself, but would read
// /etc/resolv.conf for it, and the helper can open no file.
//
// One thread's.
#ifndef STRATA_NET_SLIRP_FILTER_H
#define STRATA_NET_SLIRP_FILTER_H

#include <netinet/in.h>

#include "base/base.h"

struct slirp_filter {
	struct in_addr dns_alias, dns_server; /* dns_server 0: no name server */
	/* Which of the guest's ports talk to the alias (one bit each), by protocol: their answers
	 * must seem to come from it; others may use the same server by its own address. */
	uint8_t udp_ports[65536 / 8], tcp_ports[65536 / 8];
};

/* A frame from the guest: false to drop it. May change it in place. */
bool slirp_filter_from_guest(struct slirp_filter *f, uint8_t *bytes, size_t len);
/* True for a frame that opens a TCP connection. */
bool slirp_filter_opens(const uint8_t *bytes, size_t len);
/* A frame for the guest. May change it in place. */
void slirp_filter_to_guest(struct slirp_filter *f, uint8_t *bytes, size_t len);

#endif
