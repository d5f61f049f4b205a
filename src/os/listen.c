// SPDX-License-Identifier: Apache-2.0
#include "os/listen.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4 };

static int refuse(struct error *err, const char *text, const char *why)
{
	error_set(err, EINVAL, "%s: %s", text, why);
	error_remedy(
		err, "write [HOST:]PORT or unix:PATH, for example 1234 or unix:/tmp/guest.sock");
	return -EINVAL;
}

/* --- Unix sockets --- */

static const char *unix_path(const char *text)
{
	return strncmp(text, "unix:", 5) ? NULL : text + 5;
}

static int new_socket(int family, struct error *err, const char *text)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return fd < 0 ? error_errno(err, errno, "%s", text) : fd;
}

/* A socket file that nobody listens on. */
static bool is_left_over(const struct sockaddr_un *a)
{
	struct stat st;
	int fd _close_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return fd >= 0 && lstat(a->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	       connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 && errno == ECONNREFUSED;
}

static int open_unix(const char *text, const char *path, int *out, struct error *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	if (!*path || strlen(path) >= sizeof(a.sun_path))
		return refuse(err, text, *path ? "the path is too long for a socket" : "no path");
	strcpy(a.sun_path, path);
	int fd _close_ = new_socket(AF_UNIX, err, text);
	if (fd < 0)
		return fd;
	fchmod(fd, 0600); /* what the file's mode will be */
	int r = bind(fd, (struct sockaddr *)&a, sizeof(a));
	if (r < 0 && errno == EADDRINUSE) {
		if (is_left_over(&a) && unlink(path) == 0)
			r = bind(fd, (struct sockaddr *)&a, sizeof(a));
		else
			errno = EADDRINUSE;
	}
	if (r < 0 || listen(fd, BACKLOG) < 0)
		return error_errno(err, errno, "%s", text);
	*out = TAKE_FD(fd);
	return 0;
}

void listen_remove(const char *text, int fd)
{
	const char *path = unix_path(text);
	struct sockaddr_un a;
	socklen_t len = sizeof(a);
	struct stat st;
	if (path && getsockname(fd, (struct sockaddr *)&a, &len) == 0 && lstat(path, &st) == 0 &&
		S_ISSOCK(st.st_mode) && !strcmp(a.sun_path, path))
		unlink(path);
}

/* --- TCP --- */

/* Splits into host ("" when there is none) and port. */
static bool split(const char *text, char *host, size_t host_size, const char **port)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	*port = colon ? colon + 1 : text;
	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	} else if (memchr(text, ':', n)) {
		return false; /* which colon it is cannot be known */
	}
	if (n >= host_size)
		return false;
	memcpy(host, text, n);
	host[n] = 0;
	return true;
}

static bool is_port(const char *s)
{
	size_t n = strlen(s);
	return n >= 1 && n <= 5 && strspn(s, "0123456789") == n && s[0] != '0' &&
	       strtoul(s, NULL, 10) <= UINT16_MAX;
}

static int open_tcp(const char *text, const struct addrinfo *a, int *out, struct error *err)
{
	static const int one = 1;
	int fd _close_ = new_socket(a->ai_family, err, text);
	if (fd < 0)
		return fd;
	/* Small packets, each waited for. Connections inherit it. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return error_errno(err, errno, "%s", text);
	*out = TAKE_FD(fd);
	return 0;
}

int listen_open(const char *text, int *out, struct error *err)
{
	char host[256];
	const char *port, *path = unix_path(text);
	if (path)
		return open_unix(text, path, out, err);
	if (!split(text, host, sizeof(host), &port))
		return refuse(err, text, "no host and port");
	if (!is_port(port))
		return refuse(err, text, "the port is not a number from 1 to 65535");
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *found;
	int r = getaddrinfo(*host ? host : "127.0.0.1", port, &hints, &found);
	if (r)
		return error_set(err, EINVAL, "%s: %s", text, gai_strerror(r));
	r = open_tcp(text, found, out, err);
	freeaddrinfo(found);
	return r;
}
