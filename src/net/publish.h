// SPDX-License-Identifier: Apache-2.0
// A published port: connections to a port of the host reach a port of the guest.
// Written [ADDR:]HOST:GUEST[/tcp|/udp], as container tools do; ADDR is an IPv4 address of the host,
// all of them when it is left out.
#ifndef STRATA_NET_PUBLISH_H
#define STRATA_NET_PUBLISH_H

#include <netinet/in.h>

#include "base/error.h"

struct slirp_publish {
	bool udp;
	struct in_addr host_addr;	/* network byte order; INADDR_ANY: all addresses */
	uint16_t host_port, guest_port; /* host byte order, never 0 */
};

enum { SLIRP_PUBLISH_TEXT_MAX = 40 }; /* enough for slirp_publish_format() with its terminator */

/* Strict: decimal digits only, no blanks, nothing left over. -EINVAL otherwise; *out untouched. */
int slirp_publish_parse(const char *text, struct slirp_publish *out, struct error *err);
/* The full form, which parses to the same value: "0.0.0.0:8080:80/tcp". */
void slirp_publish_format(const struct slirp_publish *p, char text[SLIRP_PUBLISH_TEXT_MAX]);

#endif
