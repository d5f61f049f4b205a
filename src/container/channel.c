// SPDX-License-Identifier: Apache-2.0
#include "container/channel.h"

#include <sys/socket.h>
#include <unistd.h>

enum { FAILED = 'E' }; /* then the code, the remedy's and the message's text */

int channel_pair(int fds[2], struct error *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return error_errno(err, errno, "socket pair");
	return 0;
}

static ssize_t receive_fds(int fd, char *text, size_t bytes, int *fds, int *n_fds)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {text, bytes};
	struct msghdr m = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = fds ? control.bytes : NULL,
		.msg_controllen = fds ? sizeof(control) : 0};
	ssize_t n;
	bool reset = false;
	/* ECONNRESET: the other side has ended without reading all, and what it said comes after.
	 */
	while ((n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC)) < 0 &&
		(errno == EINTR || (errno == ECONNRESET && !reset)))
		reset |= errno == ECONNRESET;
	struct cmsghdr *c = n >= 0 && fds ? CMSG_FIRSTHDR(&m) : NULL;
	if (c && c->cmsg_type == SCM_RIGHTS) {
		*n_fds = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), sizeof(int) * (size_t)*n_fds);
	}
	return n;
}

/* The first byte, 0 at the end; an error of the other side is in *err. fds may be NULL. */
static int receive(int fd, int *fds, int *n_fds, struct error *err)
{
	char text[CHANNEL_BYTES_MAX + 1];
	ssize_t n = receive_fds(fd, text, sizeof(text) - 1, fds, n_fds);
	if (n < 0 && errno != ECONNRESET)
		return error_errno(err, errno, "receive");
	if (n <= 0)
		return 0;
	text[n] = 0;
	int code;
	if (*text != FAILED || (size_t)n < 1 + sizeof(code))
		return (unsigned char)*text;
	memcpy(&code, text + 1, sizeof(code));
	const char *remedy = text + 1 + sizeof(code), *message = remedy + strlen(remedy) + 1;
	error_set(err, code < 0 ? -code : EIO, "%s", message < text + n ? message : "failed");
	if (*remedy)
		error_remedy(err, "%s", remedy);
	return code < 0 ? code : -EIO;
}

int channel_send(int fd, const void *bytes, size_t len, const int *fds, size_t n, struct error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)bytes, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	if (n) {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		*c = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(sizeof(int) * n)};
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
	}
	while (sendmsg(fd, &m, MSG_NOSIGNAL) < 0) {
		if (errno == EINTR)
			continue;
		int code = errno;
		/* It has ended: why may still be there to read. */
		int r = receive(fd, NULL, NULL, err);
		return r < 0 && err && err->message ? r : error_errno(err, code, "send");
	}
	return 0;
}

int channel_tell(int fd, char what, struct error *err)
{
	return channel_send(fd, &what, 1, NULL, 0, err);
}

void channel_fail(int fd, int code, const struct error *e)
{
	char text[CHANNEL_BYTES_MAX] = {FAILED};
	size_t used = 1;
	memcpy(text + used, &code, sizeof(code));
	used += sizeof(code);
	const char *parts[] = {e->remedy ? e->remedy : "", e->message ? e->message : "failed"};
	for (size_t i = 0; i < 2; i++) {
		/* What is too long loses its middle: the reason is at the end. */
		enum { HALF = (CHANNEL_BYTES_MAX - 16) / 4 };
		size_t len = strlen(parts[i]), n = MIN(len, (size_t)HALF * 2);
		size_t begin = n < len ? HALF : n;
		memcpy(text + used, parts[i], begin);
		memcpy(text + used + begin, parts[i] + len - (n - begin), n - begin);
		used += n;
		text[used++] = 0;
	}
	channel_send(fd, text, used, NULL, 0, NULL);
}

int channel_expect_fds(int fd, char what, int *fds, int *n, struct error *err)
{
	int r = receive(fd, fds, n, err);
	if (r < 0 || r == what)
		return r < 0 ? r : 0;
	return error_set(err, EPIPE, "the other process has ended unexpectedly");
}

int channel_receive(int fd, struct error *err)
{
	return receive(fd, NULL, NULL, err);
}

int channel_expect(int fd, char what, struct error *err)
{
	return channel_expect_fds(fd, what, NULL, NULL, err);
}

int channel_end(int fd, struct error *err)
{
	int r = receive(fd, NULL, NULL, err);
	return r < 0 ? r : 0;
}
