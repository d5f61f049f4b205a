// SPDX-License-Identifier: Apache-2.0
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "base/log.h"

enum { OUT_MAX = 1024 * 1024 }; /* answers that a peer may leave unread */

struct conn {
	struct agent *agent;
	int fd;
	struct loop_fd *watch;
	bool greeted; /* HELLO went both ways */
	bool closing; /* gone once `out` is sent */
	struct command *command;
	uint8_t *in; /* one frame; its length word first, then room for the rest */
	size_t in_len, in_want;
	uint8_t *out;
	size_t out_start, out_end;
	struct conn *next, **link;
};

static void on_ready(void *opaque, int fd, uint32_t events);

int conn_new(struct agent *a, int fd, struct error *err)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	c->agent = a;
	c->fd = fd;
	c->in_want = 4;
	c->in = xmalloc(AGENT_FRAME_HEAD);
	c->next = a->conns;
	c->link = &a->conns;
	if (c->next)
		c->next->link = &c->next;
	a->conns = c;
	a->conn_count++;
	int r = loop_fd_add(a->loop, fd, EPOLLIN, on_ready, c, &c->watch, err);
	if (r < 0)
		conn_free(c);
	return r;
}

void conn_free(struct conn *c)
{
	if (!c)
		return;
	if (c->command)
		command_abandon(c->command);
	loop_fd_remove(c->watch);
	if (c->fd >= 0)
		close(c->fd);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	c->agent->conn_count--;
	free(c->in);
	free(c->out);
	free(c);
}

void conn_set_command(struct conn *c, struct command *cmd)
{
	c->command = cmd;
}

/* Only on_ready() frees a connection: whoever sends may still be using it. */
static void cut_off(struct conn *c)
{
	c->closing = true;
	c->out_start = c->out_end = 0;
	loop_fd_set(c->watch, EPOLLOUT);
}

static void flush(struct conn *c)
{
	while (c->out_start < c->out_end) {
		ssize_t n =
			send(c->fd, c->out + c->out_start, c->out_end - c->out_start, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			loop_fd_set(c->watch, (c->closing ? 0 : EPOLLIN) | EPOLLOUT);
			return;
		}
		if (n < 0) {
			cut_off(c);
			return;
		}
		c->out_start += (size_t)n;
	}
	c->out_start = c->out_end = 0;
	loop_fd_set(c->watch, c->closing ? EPOLLOUT : EPOLLIN);
}

void conn_send(struct conn *c, const struct agent_message *m)
{
	if (!c || c->closing)
		return;
	uint8_t *frame _free_ = malloc(AGENT_FRAME_MAX);
	struct error err _error_ = ERROR_INIT;
	ssize_t n = frame ? agent_encode(m, frame, AGENT_FRAME_MAX, &err) : -ENOMEM;
	uint8_t *out = NULL;
	if (n > 0 && c->out_end + (size_t)n <= OUT_MAX)
		out = realloc(c->out, c->out_end + (size_t)n);
	if (!out) {
		log_error("%s: %s", agent_type_name(m->type),
			err.message ? err.message : "no room for the answer");
		cut_off(c);
		return;
	}
	c->out = out;
	memcpy(out + c->out_end, frame, (size_t)n);
	c->out_end += (size_t)n;
	flush(c);
}

void conn_send_error(struct conn *c, const struct error *err, uint32_t exit_status)
{
	struct agent_message m = {
		AGENT_ERROR, .error = {.code = err->code > 0 ? (uint32_t)err->code : EIO,
				     .exit_status = exit_status,
				     .message = err->message ? err->message : "failed"}};
	conn_send(c, &m);
}

/* The connection's last words. */
static void refuse(struct conn *c, const struct error *err)
{
	conn_send_error(c, err, 0);
	c->closing = true;
	flush(c);
}

static void send_done(struct conn *c)
{
	conn_send(c, &(struct agent_message){AGENT_DONE});
}

static void greet(struct conn *c, const struct agent_message *m)
{
	struct error err _error_ = ERROR_INIT;
	if (m->type != AGENT_HELLO || m->hello.version != AGENT_PROTOCOL_VERSION) {
		if (m->type != AGENT_HELLO)
			error_set(&err, EPROTO, "the first message must be HELLO, not %s",
				agent_type_name(m->type));
		else
			error_set(&err, EPROTONOSUPPORT,
				"protocol version %u is unknown; this agent speaks version %u",
				(unsigned)m->hello.version, AGENT_PROTOCOL_VERSION);
		refuse(c, &err);
		return;
	}
	c->greeted = true;
	conn_send(c, &(struct agent_message){AGENT_HELLO,
			     .hello = {AGENT_PROTOCOL_VERSION, "strata-agent " STRATA_VERSION}});
}

static void do_setup(struct conn *c, const struct agent_setup *s, struct arena *arena)
{
	struct agent *a = c->agent;
	struct error err _error_ = ERROR_INIT;
	if (a->set_up)
		error_set(&err, EALREADY, "the machine is set up already");
	else
		setup_machine(a, s, &err);
	if (err.code) {
		conn_send_error(c, &err, 0);
		return;
	}
	a->set_up = true;
	a->setup_arena = *arena; /* owns the strings of env from now on */
	*arena = ARENA_INIT;
	a->env = s->env;
	send_done(c);
}

/* The connection becomes a stream: its descriptor changes hands. */
static void do_attach(struct conn *c, const struct agent_attach *request)
{
	struct error err _error_ = ERROR_INIT;
	loop_fd_set(c->watch, 0);
	if (command_attach(c->agent, request, c->fd, &err) < 0) {
		refuse(c, &err);
		return;
	}
	c->fd = -1;
}

static void dispatch(struct conn *c, const struct agent_message *m, struct arena *arena)
{
	struct error err _error_ = ERROR_INIT;
	switch (m->type) {
	case AGENT_SETUP:
		do_setup(c, &m->setup, arena);
		return;
	case AGENT_EXEC:
		if (!c->command) {
			command_new(c->agent, c, &m->exec, arena);
			return;
		}
		error_set(&err, EBUSY, "this connection has a command already");
		conn_send_error(c, &err, 0);
		return;
	case AGENT_ATTACH:
		do_attach(c, &m->attach);
		return;
	case AGENT_SIGNAL:
		if (c->command)
			command_signal(c->command, m->signal.number);
		return;
	case AGENT_RESIZE:
		if (c->command)
			command_resize(c->command, m->resize.rows, m->resize.cols);
		return;
	case AGENT_SHUTDOWN:
		send_done(c);
		shutdown_begin(c->agent, &m->shutdown);
		return;
	case AGENT_PING:
		conn_send(c, &(struct agent_message){AGENT_PONG, .ping = m->ping});
		return;
	case AGENT_INFO: {
		struct agent_message reply = {AGENT_INFO_REPLY};
		system_info(&reply.info, arena);
		conn_send(c, &reply);
		return;
	}
	default:
		error_set(&err, EPROTO, "%s is no request", agent_type_name(m->type));
		refuse(c, &err);
	}
}

static void on_frame(struct conn *c)
{
	/* Everything of the message lives in one arena: the frame too. */
	struct arena arena = ARENA_INIT;
	uint8_t *frame = arena_alloc(&arena, c->in_len);
	memcpy(frame, c->in, c->in_len);
	struct agent_message m;
	struct error err _error_ = ERROR_INIT;
	if (agent_decode(frame, c->in_len, &arena, &m, &err) < 0)
		refuse(c, &err);
	else if (!c->greeted)
		greet(c, &m);
	else
		dispatch(c, &m, &arena);
	arena_done(&arena);
	c->in_len = 0;
	c->in_want = 4;
}

/* Reads exactly one frame at a time: after ATTACH the next byte is the stream's. False when the
 * connection has ended. */
static bool receive(struct conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, c->in_want - c->in_len, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	c->in_len += (size_t)n;
	if (c->in_len < c->in_want)
		return true;
	if (c->in_want == 4) {
		struct error err _error_ = ERROR_INIT;
		ssize_t whole = agent_frame_length(c->in, 4, &err);
		uint8_t *in = whole > 0 ? realloc(c->in, (size_t)whole) : NULL;
		if (!in) {
			if (!err.code)
				error_set(&err, ENOMEM, "out of memory");
			refuse(c, &err);
			return true;
		}
		c->in = in;
		c->in_want = (size_t)whole;
		return true;
	}
	on_frame(c);
	return true;
}

static void on_ready(void *opaque, int fd, uint32_t events)
{
	struct conn *c = opaque;
	if (c->out_start < c->out_end)
		flush(c);
	bool alive = true;
	if (!c->closing && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		alive = receive(c);
	if (!alive || c->fd < 0 || (c->closing && c->out_start == c->out_end))
		conn_free(c);
}
