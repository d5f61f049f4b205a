// SPDX-License-Identifier: Apache-2.0
#include "net/publish.h"

#include <arpa/inet.h>
#include <stdio.h>

/* A port of 1 to 65535 in text[0..len): digits, no sign, no leading zero. */
static bool parse_port(const char *text, size_t len, uint16_t *out)
{
	unsigned v = 0;
	if (len < 1 || len > 5 || text[0] == '0')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		v = v * 10 + (unsigned)(text[i] - '0');
	}
	if (v > UINT16_MAX)
		return false;
	*out = (uint16_t)v;
	return true;
}

static int refuse(struct error *err, const char *text, const char *why)
{
	/* The text may be anything and of any length: show what fits a line. */
	error_set(err, EINVAL, "published port '%.60s%s': %s", text, strlen(text) > 60 ? "..." : "",
		why);
	error_remedy(err,
		"write [ADDR:]HOST:GUEST[/tcp|/udp], for example 8080:80 or 127.0.0.1:5353:53/udp");
	return -EINVAL;
}

int slirp_publish_parse(const char *text, struct slirp_publish *out, struct error *err)
{
	struct slirp_publish p = {.host_addr.s_addr = htonl(INADDR_ANY)};
	size_t len = strlen(text);
	const char *slash = strchr(text, '/');
	if (slash) {
		if (!strcmp(slash, "/udp"))
			p.udp = true;
		else if (strcmp(slash, "/tcp"))
			return refuse(err, text, "the protocol is neither tcp nor udp");
		len = (size_t)(slash - text);
	}
	const char *guest = memrchr(text, ':', len);
	if (!guest)
		return refuse(err, text, "a host port and a guest port are needed");
	if (!parse_port(guest + 1, len - (size_t)(guest + 1 - text), &p.guest_port))
		return refuse(err, text, "the guest port is not a number from 1 to 65535");
	size_t host_len = (size_t)(guest - text);
	const char *host = memrchr(text, ':', host_len);
	if (host) {
		char addr[INET_ADDRSTRLEN];
		size_t n = (size_t)(host - text);
		if (text[0] == '[')
			return refuse(err, text, "ports are published on IPv4 addresses only");
		if (n >= sizeof(addr))
			return refuse(err, text, "the address is not an IPv4 address");
		memcpy(addr, text, n);
		addr[n] = 0;
		if (inet_pton(AF_INET, addr, &p.host_addr) != 1)
			return refuse(err, text, "the address is not an IPv4 address");
		host++;
	} else {
		host = text;
	}
	if (!parse_port(host, (size_t)(guest - host), &p.host_port))
		return refuse(err, text, "the host port is not a number from 1 to 65535");
	*out = p;
	return 0;
}

void slirp_publish_format(const struct slirp_publish *p, char text[SLIRP_PUBLISH_TEXT_MAX])
{
	char addr[INET_ADDRSTRLEN];
	inet_ntop(AF_INET, &p->host_addr, addr, sizeof(addr));
	snprintf(text, SLIRP_PUBLISH_TEXT_MAX, "%s:%u:%u/%s", addr, p->host_port, p->guest_port,
		p->udp ? "udp" : "tcp");
}
