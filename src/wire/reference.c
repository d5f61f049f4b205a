// SPDX-License-Identifier: Apache-2.0
#include "wire/reference.h"

#include "wire/oci.h"

#include <arpa/inet.h>
#include <stdio.h>

#define NAME_MAX_BYTES 255
#define TAG_MAX_BYTES  128
#define HOST_MAX_BYTES 262 /* a DNS name, a colon and a port */

static bool is_lower(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower(c) || (c >= 'A' && c <= 'Z');
}

/* [a-z0-9]+ parts, joined by one '.', one or two '_', or any number of '-'. */
static bool component_ok(const char *s, size_t len)
{
	size_t i = 0;
	if (!len || !is_lower(s[0]) || !is_lower(s[len - 1]))
		return false;
	while (i < len) {
		size_t n = 0;
		if (is_lower(s[i])) {
			i++;
			continue;
		}
		char c = s[i];
		while (i + n < len && s[i + n] == c)
			n++;
		if (!((c == '.' && n == 1) || (c == '_' && n <= 2) || c == '-') ||
			!is_lower(s[i + n]))
			return false;
		i += n;
	}
	return true;
}

static bool name_ok(const char *s)
{
	if (strlen(s) > NAME_MAX_BYTES)
		return false;
	for (;;) {
		size_t len = strcspn(s, "/");
		if (!component_ok(s, len))
			return false;
		if (!s[len])
			return true;
		s += len + 1;
	}
}

/* Local names were always freer: capital letters, single separators anywhere inside. */
static bool local_name_ok(const char *s)
{
	size_t len = strlen(s);
	if (!len || len > NAME_MAX_BYTES || !is_alnum(s[0]) || !is_alnum(s[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(s[i]) && !strchr("._-/", s[i]))
			return false;
	return true;
}

static bool tag_ok(const char *s)
{
	size_t len = strlen(s);
	if (!len || len > TAG_MAX_BYTES || !(is_alnum(s[0]) || s[0] == '_'))
		return false;
	for (size_t i = 1; i < len; i++)
		if (!is_alnum(s[i]) && !strchr("._-", s[i]))
			return false;
	return true;
}

static bool port_ok(const char *s)
{
	size_t len = strspn(s, "0123456789");
	if (!len || len > 5 || s[len])
		return false;
	unsigned long port = strtoul(s, NULL, 10);
	return port > 0 && port <= 65535;
}

bool reference_host_ok(const char *host)
{
	size_t len = strlen(host);
	if (!len || len > HOST_MAX_BYTES)
		return false;
	if (host[0] == '[') {
		char address[INET6_ADDRSTRLEN] = "";
		struct in6_addr in6;
		size_t n = strcspn(host, "]");
		if (!host[n] || n - 1 >= sizeof(address))
			return false;
		memcpy(address, host + 1, n - 1);
		return inet_pton(AF_INET6, address, &in6) == 1 &&
		       (!host[n + 1] || (host[n + 1] == ':' && port_ok(host + n + 2)));
	}
	size_t name = strcspn(host, ":");
	if (host[name] && !port_ok(host + name + 1))
		return false;
	/* Labels of letters, digits and inner hyphens. */
	for (size_t i = 0; i < name; i++) {
		bool edge = i == 0 || i + 1 == name || host[i - 1] == '.' || host[i + 1] == '.';
		if (!is_alnum(host[i]) && (edge || (host[i] != '-' && host[i] != '.')))
			return false;
	}
	return name > 0;
}

bool reference_host_loopback(const char *host)
{
	size_t n = strcspn(host, ":");
	char address[INET_ADDRSTRLEN] = "";
	struct in_addr in;
	if (!strncmp(host, "[::1]", 5))
		return true;
	if (n == 9 && !strncmp(host, "localhost", 9))
		return true;
	if (n >= sizeof(address))
		return false;
	memcpy(address, host, n);
	return inet_pton(AF_INET, address, &in) == 1 && ntohl(in.s_addr) >> 24 == 127;
}

/* Whether what stands before the first slash is a host: "localhost", or it could be nothing else.
 */
static bool looks_like_host(const char *s, size_t len)
{
	if (len == 9 && !strncmp(s, "localhost", 9))
		return true;
	for (size_t i = 0; i < len; i++)
		if (strchr(".:[", s[i]))
			return true;
	return false;
}

static int bad(struct error *err, const char *text, const char *why)
{
	return error_set(err, EINVAL,
		"'%.300s' is not an image reference ([HOST[:PORT]/]NAME[:TAG][@DIGEST]): %s", text,
		why);
}

/* Docker Hub has two names, and its official images live in library/. */
static void complete_hub(struct reference *r)
{
	if (!strcmp(r->host, "index.docker.io")) {
		free(r->host);
		r->host = xstrdup("docker.io");
	}
	if (!strcmp(r->host, "docker.io") && !strchr(r->name, '/')) {
		char *full = xasprintf("library/%s", r->name);
		free(r->name);
		r->name = full;
	}
}

/* Cuts the parts behind the name off `rest`. */
static int split(struct reference *r, char *rest, const char *text, struct error *err)
{
	char *at = strchr(rest, '@');
	if (at) {
		*at = '\0';
		if (!oci_digest_ok(at + 1))
			return bad(err, text, "a digest is sha256: and 64 hexadecimal digits");
		r->digest = xstrdup(at + 1);
	}
	char *slash = strrchr(rest, '/'), *colon = strrchr(slash ? slash : rest, ':');
	if (colon) {
		*colon = '\0';
		if (!tag_ok(colon + 1))
			return bad(err, text, "bad tag");
		r->tag = xstrdup(colon + 1);
	}
	r->name = xstrdup(rest);
	if (r->host ? !name_ok(rest) : !local_name_ok(rest))
		return bad(err, text, "bad name");
	return 0;
}

int reference_parse(struct reference *out, const char *text, struct error *err)
{
	struct reference r = {0};
	*out = r;
	if (strlen(text) > REFERENCE_MAX)
		return bad(err, text, "too long");
	char *copy _free_ = xstrdup(text), *rest = copy;
	char *slash = strchr(copy, '/');
	int rc = 0;
	if (slash && looks_like_host(copy, (size_t)(slash - copy))) {
		*slash = '\0';
		rest = slash + 1;
		if (reference_host_ok(copy))
			r.host = xstrdup(copy);
		else
			rc = bad(err, text, "bad host");
	}
	if (rc == 0)
		rc = split(&r, rest, text, err);
	if (rc < 0) {
		reference_done(&r);
		return rc;
	}
	if (r.host)
		complete_hub(&r);
	*out = r;
	return 0;
}

void reference_done(struct reference *r)
{
	free(r->host);
	free(r->name);
	free(r->tag);
	free(r->digest);
	*r = (struct reference){0};
}

char *reference_print(const struct reference *r)
{
	const char *host = r->host ? r->host : "", *slash = r->host ? "/" : "";
	if (r->digest)
		return xasprintf("%s%s%s@%s", host, slash, r->name, r->digest);
	return xasprintf("%s%s%s:%s", host, slash, r->name, r->tag ? r->tag : "latest");
}
