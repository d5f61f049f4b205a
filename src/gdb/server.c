// SPDX-License-Identifier: Apache-2.0
// The connection, and who runs when.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gdb/internal.h"

/* Signals as the protocol numbers them. */
enum { SIGNAL_INT = 2, SIGNAL_TRAP = 5 };

/* --- the vCPUs --- */

static struct vcpu *nth(struct gdb *g, unsigned n)
{
	return vcpu_get(g->config.cpus, n);
}

static unsigned count(struct gdb *g)
{
	return vcpu_count(g->config.cpus);
}

struct vcpu *gdb_thread(struct gdb *g, int id)
{
	return id > 0 ? nth(g, (unsigned)id - 1) : NULL;
}

/* [vCPU thread] */
static void on_vcpu_stopped(void *opaque, struct vcpu *v)
{
	struct gdb *g = opaque;
	uint64_t one = 1;
	ssize_t n = write(g->stop_fd, &one, sizeof(one));
	(void)n; /* the counter cannot be full */
}

/* Afterwards none runs, and what they reported until then is not waiting to be read. */
static void stop_all(struct gdb *g)
{
	uint64_t reports;
	for (unsigned n = 0; n < count(g); n++)
		vcpu_debug_hold(nth(g, n));
	for (unsigned n = 0; n < count(g); n++)
		vcpu_debug_wait(nth(g, n));
	ssize_t r = read(g->stop_fd, &reports, sizeof(reports));
	(void)r; /* nothing there is fine */
	if (g->running)
		g->stopped_at_ns = clock_monotonic_ns();
	g->running = false;
}

static void set_clock(void *opaque, void *state)
{
	const struct isa *isa = ((struct cpu_head *)state)->isa;
	isa->debug->time_stood(state, *(uint64_t *)opaque);
}

/* All harts have the same time, also those that stay where they are. */
static void start_clocks(struct gdb *g)
{
	uint64_t stood_ns = clock_monotonic_ns() - g->stopped_at_ns;
	for (unsigned n = 0; n < count(g); n++)
		vcpu_run_on(nth(g, n), set_clock, &stood_ns);
	g->running = true;
}

bool gdb_resume(struct gdb *g, const struct gdb_command *c)
{
	bool any = false;
	int selected = gdb_thread_id(g->selected);
	for (unsigned n = 0; n < count(g); n++)
		any |= gdb_command_action(c, gdb_thread_id(nth(g, n)), selected) != NULL;
	if (!any)
		return false;
	if (c->has_addr)
		((struct cpu_head *)vcpu_state(g->selected))->pc = c->addr;
	start_clocks(g);
	for (unsigned n = 0; n < count(g); n++) {
		const struct gdb_action *a =
			gdb_command_action(c, gdb_thread_id(nth(g, n)), selected);
		if (a)
			vcpu_debug_release(nth(g, n), a->step);
	}
	return true;
}

/* As if nobody had ever looked. */
static void let_go(struct gdb *g)
{
	if (g->running)
		stop_all(g);
	vcpu_debug_clear(g->config.cpus);
	start_clocks(g);
	for (unsigned n = 0; n < count(g); n++)
		vcpu_debug_release(nth(g, n), false);
}

/* --- output --- */

static void drop_client(struct gdb *g)
{
	loop_fd_remove(g->client);
	close(g->fd);
	g->client = NULL;
	g->fd = -1;
	g->in_at = g->in_len = g->out_at = 0;
	strbuf_clear(&g->out);
	strbuf_clear(&g->last);
	let_go(g);
}

/* false: the client is gone. */
static bool flush(struct gdb *g)
{
	while (g->out_at < g->out.len) {
		ssize_t n = send(g->fd, g->out.data + g->out_at, g->out.len - g->out_at,
			MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			drop_client(g);
			return false;
		}
		g->out_at += (size_t)n;
	}
	bool pending = g->out_at < g->out.len;
	if (!pending) {
		strbuf_clear(&g->out);
		g->out_at = 0;
		if (g->closing) {
			drop_client(g);
			return false;
		}
	}
	/* Who does not read his answers is not listened to: so they do not pile up. */
	loop_fd_set(g->client, pending ? EPOLLOUT : EPOLLIN);
	return true;
}

static void send_frame(struct gdb *g, const struct strbuf *payload)
{
	strbuf_clear(&g->last);
	gdb_frame(&g->last, payload->data, payload->len);
	strbuf_add(&g->out, g->last.data, g->last.len);
}

/* --- stops --- */

static void add_reason(struct gdb *g, const struct vcpu_stop *stop)
{
	static const char *const names[GDB_TYPES] = {
		[GDB_WATCH_WRITE] = "watch",
		[GDB_WATCH_READ] = "rwatch",
		[GDB_WATCH_ACCESS] = "awatch",
	};
	if (stop->reason == VCPU_STOP_BREAKPOINT) {
		if ((stop->owners & 1u << GDB_BREAK_SOFTWARE) && g->swbreak)
			strbuf_adds(&g->stop_reply, "swbreak:;");
		else if ((stop->owners & 1u << GDB_BREAK_HARDWARE) && g->hwbreak)
			strbuf_adds(&g->stop_reply, "hwbreak:;");
	}
	for (unsigned type = 0; stop->reason == VCPU_STOP_WATCHPOINT && type < GDB_TYPES; type++)
		if (names[type] && (stop->owners & 1u << type))
			strbuf_addf(&g->stop_reply, "%s:%llx;", names[type],
				(unsigned long long)stop->addr);
}

/* stop: why v stopped, or NULL. */
static void set_stop_reply(
	struct gdb *g, struct vcpu *v, unsigned signal, const struct vcpu_stop *stop)
{
	g->current = g->selected = v;
	strbuf_clear(&g->stop_reply);
	strbuf_addf(&g->stop_reply, "T%02xthread:%x;core:%x;", signal, (unsigned)gdb_thread_id(v),
		vcpu_id(v));
	if (stop)
		add_reason(g, stop);
}

/* The first that stopped by itself; others that did are found again when they go on. */
static bool take_stop(struct gdb *g, struct vcpu **v, struct vcpu_stop *stop)
{
	for (unsigned n = 0; n < count(g); n++)
		if (vcpu_debug_take_stop(*v = nth(g, n), stop))
			return true;
	return false;
}

static void on_stop(void *opaque, int fd, uint32_t events)
{
	struct gdb *g = opaque;
	struct vcpu_stop stop;
	struct vcpu *v;
	stop_all(g);
	if (g->fd < 0) { /* from the time when there was a client */
		let_go(g);
		return;
	}
	/* Each report comes from a vCPU that recorded why, and only here are records taken. */
	if (!take_stop(g, &v, &stop))
		set_stop_reply(g, g->selected, SIGNAL_TRAP, NULL);
	else
		set_stop_reply(g, v, SIGNAL_TRAP, &stop);
	send_frame(g, &g->stop_reply);
	flush(g);
}

static void interrupt(struct gdb *g)
{
	if (!g->running)
		return;
	stop_all(g);
	set_stop_reply(g, g->selected, SIGNAL_INT, NULL);
	send_frame(g, &g->stop_reply);
}

/* --- input --- */

static void take_packet(struct gdb *g)
{
	if (!g->no_ack)
		strbuf_addc(&g->out, '+');
	if (g->running) /* in all-stop mode a client waits for the stop first */
		return;
	strbuf_clear(&g->reply);
	if (gdb_command(g, g->reader.data, g->reader.len))
		send_frame(g, &g->reply);
	if (g->end_why) {
		flush(g);
		g->config.kill(g->config.opaque, g->end_why);
	}
}

/* Until the client has something to read, or the bytes are used up. */
static void take_input(struct gdb *g)
{
	while (g->fd >= 0 && g->in_at < g->in_len) {
		switch (gdb_reader_take(&g->reader, g->in[g->in_at++])) {
		case GDB_PACKET:
			take_packet(g);
			break;
		case GDB_BAD:
			if (!g->no_ack)
				strbuf_addc(&g->out, '-');
			break;
		case GDB_NACK:
			if (!g->no_ack)
				strbuf_add(&g->out, g->last.data, g->last.len);
			break;
		case GDB_INTERRUPT:
			interrupt(g);
			break;
		default:
			continue;
		}
		if (g->fd >= 0 && (!flush(g) || g->out.len))
			return;
	}
}

static void on_client(void *opaque, int fd, uint32_t events)
{
	struct gdb *g = opaque;
	if (g->out.len && !flush(g))
		return;
	take_input(g);
	if (g->fd < 0 || g->out.len || g->in_at < g->in_len)
		return;
	ssize_t n = recv(fd, g->in, sizeof(g->in), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop_client(g);
		return;
	}
	g->in_at = 0;
	g->in_len = (size_t)n;
	take_input(g);
}

/* A client that has gone may still have left something to read. */
static bool is_gone(struct gdb *g)
{
	struct pollfd p = {g->fd, POLLRDHUP, 0};
	return poll(&p, 1, 0) > 0;
}

static void on_connection(void *opaque, int listen_fd, uint32_t events)
{
	struct gdb *g = opaque;
	int fd _close_ = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	if (g->fd >= 0 && is_gone(g))
		drop_client(g);
	if (g->fd >= 0) /* one at a time: a second one is turned away */
		return;
	if (loop_fd_add(g->config.loop, fd, EPOLLIN, on_client, g, &g->client, NULL) < 0)
		return;
	g->fd = TAKE_FD(fd);
	g->no_ack = g->closing = g->swbreak = g->hwbreak = false;
	memset(&g->reader, 0, sizeof(g->reader));
	stop_all(g);
	set_stop_reply(g, nth(g, 0), SIGNAL_TRAP, NULL);
}

/* --- life --- */

static int watch(struct gdb *g, struct error *err)
{
	g->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (g->stop_fd < 0)
		return error_errno(err, errno, "eventfd");
	int r = loop_fd_add(g->config.loop, g->stop_fd, EPOLLIN, on_stop, g, &g->stopped, err);
	if (r == 0)
		r = loop_fd_add(g->config.loop, g->config.listen_fd, EPOLLIN, on_connection, g,
			&g->listen, err);
	return r;
}

int gdb_new(struct gdb **out, const struct gdb_config *config, struct error *err)
{
	uint8_t bytes[ISA_REGISTER_BYTES];
	struct cpu_head *head = vcpu_state(vcpu_get(config->cpus, 0));
	if (!head->isa->debug)
		return error_set(
			err, EINVAL, "%s: no debugger knows its registers", head->isa->name);
	struct gdb *g = xcalloc(1, sizeof(*g));
	g->config = *config;
	g->debug = head->isa->debug;
	g->fd = g->stop_fd = -1;
	while (g->debug->read(head, g->registers, bytes))
		g->registers++;
	g->debug->describe(&g->features);
	g->current = g->selected = nth(g, 0);
	int r = watch(g, err);
	if (r < 0) {
		g->config.listen_fd = -1; /* stays the caller's */
		gdb_free(g);
		return r;
	}
	vcpu_debug_listen(config->cpus, on_vcpu_stopped, g);
	g->running = true;
	if (config->wait)
		stop_all(g);
	*out = g;
	return 0;
}

void gdb_guest_ended(struct gdb *g)
{
	static const char exited[] = "W00";
	if (!g)
		return;
	loop_fd_remove(g->listen);
	loop_fd_remove(g->stopped);
	loop_fd_remove(g->client);
	g->listen = g->stopped = g->client = NULL;
	if (g->fd < 0)
		return;
	/* Whatever the socket takes now; who has asked for nothing expects no answer. */
	if (g->running)
		gdb_frame(&g->out, exited, sizeof(exited) - 1);
	ssize_t n = send(g->fd, g->out.data + g->out_at, g->out.len - g->out_at,
		MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)n;
	close(g->fd);
	g->fd = -1;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void gdb_free(struct gdb *g)
{
	if (!g)
		return;
	vcpu_debug_listen(g->config.cpus, NULL, NULL);
	loop_fd_remove(g->listen);
	loop_fd_remove(g->stopped);
	loop_fd_remove(g->client);
	close_fd(g->fd);
	close_fd(g->stop_fd);
	close_fd(g->config.listen_fd);
	strbuf_done(&g->features);
	strbuf_done(&g->out);
	strbuf_done(&g->last);
	strbuf_done(&g->reply);
	strbuf_done(&g->stop_reply);
	free(g);
}
