// SPDX-License-Identifier: Apache-2.0
#include "instance/agent_client.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct agent_conn {
	int fd;
	struct arena arena; /* of the last message */
	size_t len, want;
	uint8_t in[AGENT_FRAME_MAX];
};

static int wait_for(int fd, short events, const struct agent_wait *w, struct error *err)
{
	for (;;) {
		int timeout = -1;
		if (w && w->deadline_ns) {
			uint64_t now = clock_monotonic_ns();
			if (now >= w->deadline_ns)
				return error_set(err, ETIMEDOUT, "the agent does not answer");
			timeout = (int)MIN((w->deadline_ns - now) / 1000000 + 1, UINT64_C(60000));
		}
		struct pollfd p[2] = {{fd, events, 0}, {w ? w->watch_fd : -1, POLLIN, 0}};
		int n = poll(p, 2, timeout);
		if (n < 0 && errno != EINTR)
			return error_errno(err, errno, "poll");
		if (n > 0 && p[1].revents)
			return error_set(err, ECANCELED, "given up");
		if (n > 0 && p[0].revents)
			return 0;
	}
}

static int connect_socket(const struct agent_address *a, struct error *err)
{
	/* Through /proc the path stays short enough for a socket address. */
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int n = a->dir_fd == AT_FDCWD
			? snprintf(address.sun_path, sizeof(address.sun_path), "%s", a->name)
			: snprintf(address.sun_path, sizeof(address.sun_path),
				  "/proc/self/fd/%d/%s", a->dir_fd, a->name);
	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return error_set(err, ENAMETOOLONG, "%s: too long for a socket", a->name);
	int fd _close_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_errno(err, errno, "%s", a->name);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return error_errno(err, errno, "%s", a->name);
	return TAKE_FD(fd);
}

/* "CONNECT 1024\n" -> "OK <port>\n"; the monitor closes the socket when the guest refuses. */
static int handshake(int fd, uint32_t port, const struct agent_wait *w, struct error *err)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "CONNECT %u\n", (unsigned)port);
	if (send(fd, line, (size_t)n, MSG_NOSIGNAL) != n)
		return error_errno(err, errno, "agent: connect");
	for (size_t len = 0; len < sizeof(line) - 1;) {
		int r = wait_for(fd, POLLIN, w, err);
		if (r < 0)
			return r;
		ssize_t got = recv(fd, line + len, 1, 0);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			return error_set(err, ECONNREFUSED, "nothing listens in the guest yet");
		if (line[len++] == '\n')
			return strncmp(line, "OK ", 3)
				       ? error_set(
						 err, EPROTO, "the monitor's answer is no OK line")
				       : 0;
	}
	return error_set(err, EPROTO, "the monitor's answer is too long");
}

void agent_conn_free(struct agent_conn *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	arena_done(&c->arena);
	free(c);
}
DEFINE_CLEANUP(struct agent_conn *, cleanup_conn, agent_conn_free)

int agent_conn_fd(const struct agent_conn *c)
{
	return c->fd;
}

int agent_send(struct agent_conn *c, const struct agent_message *m, struct error *err)
{
	uint8_t *frame _free_ = xmalloc(AGENT_FRAME_MAX);
	ssize_t n = agent_encode(m, frame, AGENT_FRAME_MAX, err);
	struct agent_wait w = {clock_monotonic_ns() + 30 * NS_PER_SEC, -1};
	for (ssize_t done = 0; done < n;) {
		ssize_t put = send(c->fd, frame + done, (size_t)(n - done), MSG_NOSIGNAL);
		if (put > 0) {
			done += put;
		} else if (errno == EAGAIN) {
			int r = wait_for(c->fd, POLLOUT, &w, err);
			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			return error_errno(err, errno, "agent");
		}
	}
	return n < 0 ? (int)n : 0;
}

int agent_poll(struct agent_conn *c, struct agent_message *out, struct error *err)
{
	for (;;) {
		ssize_t n = recv(c->fd, c->in + c->len, c->want - c->len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return error_errno(err, errno, "agent");
		if (n == 0)
			return error_set(err, EPIPE, "the agent ended the connection");
		c->len += (size_t)n;
		if (c->len < c->want)
			continue;
		if (c->want == 4) {
			ssize_t whole = agent_frame_length(c->in, 4, err);
			if (whole < 0)
				return (int)whole;
			c->want = (size_t)whole;
			continue;
		}
		size_t frame = c->len;
		c->len = 0;
		c->want = 4;
		arena_reset(&c->arena);
		int r = agent_decode(c->in, frame, &c->arena, out, err);
		return r < 0 ? r : 1;
	}
}

/* The guest's words: for a terminal, so nothing that a terminal obeys. */
static int guest_error(struct error *err, int code, const char *said)
{
	char text[512];
	size_t n = 0;
	for (unsigned char last = 0; said[n] && n < sizeof(text) - 1; n++) {
		unsigned char c = (unsigned char)said[n];
		bool control = c < ' ' || c == 0x7f || (last == 0xc2 && c >= 0x80 && c <= 0x9f);
		text[n] = control ? '?' : (char)c;
		last = c;
	}
	text[n] = '\0';
	return error_set(err, code, "%s", text);
}

int agent_call(struct agent_conn *c, const struct agent_message *request, enum agent_type expected,
	struct agent_message *answer, const struct agent_wait *wait, struct error *err)
{
	int r = agent_send(c, request, err);
	if (r < 0)
		return r;
	while ((r = agent_poll(c, answer, err)) == 0) {
		r = wait_for(c->fd, POLLIN, wait, err);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (answer->type == AGENT_ERROR) {
		/* The guest chose the number: any int, but never success. */
		int code = answer->error.code > 0 && answer->error.code < 4096
				   ? (int)answer->error.code
				   : EIO;
		return guest_error(err, code, answer->error.message);
	}
	if (answer->type != expected)
		return error_set(err, EPROTO, "the agent answered %s with %s",
			agent_type_name(request->type), agent_type_name(answer->type));
	return 0;
}

int agent_connect(struct agent_conn **out, const struct agent_address *address,
	const struct agent_wait *wait, struct error *err)
{
	int fd = connect_socket(address, err);
	if (fd < 0)
		return fd;
	struct agent_conn *c CLEANUP(cleanup_conn) = xcalloc(1, sizeof(*c));
	c->fd = fd;
	c->want = 4;
	int r = address->port ? handshake(fd, address->port, wait, err) : 0;
	if (r < 0)
		return r;
	struct agent_message answer,
		hello = {AGENT_HELLO, .hello = {AGENT_PROTOCOL_VERSION, "strata " STRATA_VERSION}};
	r = agent_call(c, &hello, AGENT_HELLO, &answer, wait, err);
	if (r < 0)
		return r;
	if (answer.hello.version != AGENT_PROTOCOL_VERSION)
		return error_set(err, EPROTONOSUPPORT,
			"the agent speaks protocol version %u, this program version %u",
			(unsigned)answer.hello.version, AGENT_PROTOCOL_VERSION);
	*out = TAKE_PTR(c);
	return 0;
}

static bool worth_another_try(int r)
{
	return r == -ECONNREFUSED || r == -ENOENT || r == -EPIPE || r == -ECONNRESET;
}

int agent_connect_patiently(struct agent_conn **out, const struct agent_address *address,
	const struct agent_wait *wait, struct error *err)
{
	for (;;) {
		struct error inner _error_ = ERROR_INIT;
		/* Each try is short: a guest that is booting may swallow the first ones. */
		struct agent_wait one = {clock_monotonic_ns() + 5 * NS_PER_SEC, wait->watch_fd};
		if (wait->deadline_ns)
			one.deadline_ns = MIN(one.deadline_ns, wait->deadline_ns);
		int r = agent_connect(out, address, &one, &inner);
		bool late = wait->deadline_ns && clock_monotonic_ns() >= wait->deadline_ns;
		if (!r)
			return 0;
		if (late || (r != -ETIMEDOUT && !worth_another_try(r)))
			return error_set(err, inner.code, "%s", inner.message);
		struct agent_wait pause = {clock_monotonic_ns() + NS_PER_SEC / 50, wait->watch_fd};
		r = wait_for(-1, 0, &pause, NULL);
		if (r == -ECANCELED)
			return error_set(err, ECANCELED, "given up");
	}
}

void agent_process_done(struct agent_process *p)
{
	agent_conn_free(p->control);
	for (int i = 0; i < AGENT_STREAMS; i++)
		cleanup_close_fd(&p->streams[i]);
	*p = (struct agent_process){.streams = {-1, -1, -1}};
}

int agent_exec(struct agent_process *out, const struct agent_address *address,
	const struct agent_exec *request, const struct agent_wait *wait, uint32_t *exit_status,
	struct error *err)
{
	struct agent_process p CLEANUP(agent_process_done) = {.streams = {-1, -1, -1}};
	struct agent_message m = {AGENT_EXEC, .exec = *request}, answer;
	*exit_status = 0;
	int r = agent_connect(&p.control, address, wait, err);
	if (!r)
		r = agent_call(p.control, &m, AGENT_READY, &answer, wait, err);
	if (r < 0)
		return r;
	uint64_t token = answer.ready.token;
	for (uint32_t i = 0; i < (request->tty ? 2 : AGENT_STREAMS); i++) {
		struct agent_conn *stream CLEANUP(cleanup_conn) = NULL;
		m = (struct agent_message){AGENT_ATTACH, .attach = {token, i}};
		r = agent_connect(&stream, address, wait, err);
		if (!r)
			r = agent_call(stream, &m, AGENT_DONE, &answer, wait, err);
		if (r < 0)
			return r;
		p.streams[i] = TAKE_FD(stream->fd);
	}
	/* The last ATTACH started it; the answer comes on the control connection. */
	while ((r = agent_poll(p.control, &answer, err)) == 0) {
		r = wait_for(agent_conn_fd(p.control), POLLIN, wait, err);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (answer.type == AGENT_ERROR) {
		uint32_t s = answer.error.exit_status;
		*exit_status = s == 126 || s == 127 ? s : 126;
		return guest_error(err, s == 127 ? ENOENT : EACCES, answer.error.message);
	}
	if (answer.type != AGENT_STARTED)
		return error_set(err, EPROTO, "the agent answered EXEC with %s",
			agent_type_name(answer.type));
	p.pid = answer.started.pid;
	*out = p;
	p = (struct agent_process){.streams = {-1, -1, -1}};
	return 0;
}
