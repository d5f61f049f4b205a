// SPDX-License-Identifier: Apache-2.0
#include "net/resolv.h"

#include <arpa/inet.h>

static bool parse_line(const char *line, size_t len, struct in_addr *out)
{
	static const char keyword[] = "nameserver";
	size_t n = sizeof(keyword) - 1;
	if (len <= n || memcmp(line, keyword, n) != 0 || (line[n] != ' ' && line[n] != '\t'))
		return false;
	while (n < len && (line[n] == ' ' || line[n] == '\t'))
		n++;
	char addr[INET_ADDRSTRLEN];
	size_t used = 0;
	while (n < len && !strchr(" \t\r#;", line[n])) {
		if (used == sizeof(addr) - 1)
			return false;
		addr[used++] = line[n++];
	}
	addr[used] = 0;
	/* 0.0.0.0 is what glibc takes for this host. */
	if (inet_pton(AF_INET, addr, out) != 1)
		return false;
	if (!out->s_addr)
		out->s_addr = htonl(INADDR_LOOPBACK);
	return true;
}

bool resolv_conf_server(const char *text, size_t len, struct in_addr *out)
{
	struct in_addr addr;
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t line = end ? (size_t)(end - text) : len;
		if (parse_line(text, line, &addr)) {
			*out = addr;
			return true;
		}
		line = MIN(line + 1, len);
		text += line;
		len -= line;
	}
	return false;
}
