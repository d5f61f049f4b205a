// SPDX-License-Identifier: Apache-2.0
// The host's name server (resolv.conf(5)).
#ifndef STRATA_NET_RESOLV_H
#define STRATA_NET_RESOLV_H

#include <netinet/in.h>

#include "base/base.h"

/* The first IPv4 name server that the text names; false when there is none. */
bool resolv_conf_server(const char *text, size_t len, struct in_addr *out);

#endif
