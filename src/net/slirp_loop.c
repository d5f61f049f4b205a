// SPDX-License-Identifier: Apache-2.0
#include "net/slirp_loop.h"

#include <arpa/inet.h>
#include <malloc.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/vec.h"
#include "net/frame.h"
#include "net/slirp_filter.h"
#include "net/slirp_sandbox.h"

/* The guest's network; docs/network.md. */
#define NETWORK "10.0.2.0"
#define NETMASK "255.255.255.0"
#define HOST	"10.0.2.2"
#define DNS	"10.0.2.3"
#define GUEST	"10.0.2.15"
#define PREFIX6 "fd00::"
#define HOST6	"fd00::2"
#define DNS6	"fd00::3"

enum {
	PREFIX6_BITS = 64,
	TIMERS_MAX = 4,	    /* libslirp has one, for router advertisements */
	FRAMES_A_TURN = 64, /* taken from the guest before sockets are looked at again */
	/* Frames that wait for the guest. Nothing is read from sockets meanwhile, so that one
	 * round's output and the answers to what the guest sends are all there can be. */
	QUEUE_BYTES_MAX = 8 << 20,
	CROWDED_CHECK_MS = 20,
	SOCKETS_SPARE = 128, /* of the descriptors that there can be: not for TCP, not for us */
};

/* libslirp keeps a descriptor and 256 KiB of mostly untouched buffers for each TCP connection until
 * 10 s after its end, and GLib ends the process when memory runs out. Beyond this much no new
 * connection is let in: a SYN is lost and comes again, a published port leaves it to the kernel's
 * backlog. The limit of the sandbox lies well above. */
#define CROWDED_BYTES (2 * GiB)

struct queued_frame {
	struct queued_frame *next;
	size_t len;
	uint8_t bytes[];
};

struct timer {
	bool used;
	SlirpTimerId id;
	void *opaque;
	int64_t expire_ms; /* -1: not armed */
};

struct slirp_loop {
	Slirp *slirp;
	int frame_fd, life_fd; /* life_fd -1: frame_fd is a socket, else a tap device */
	bool peer_gone;
	struct timer timers[TIMERS_MAX];
	VEC(struct pollfd) polls;
	struct queued_frame *first, **last;
	size_t queue_bytes;
	unsigned sockets, sockets_max; /* that libslirp has open, and may have */
	bool crowded;		       /* as found at crowded_ms */
	int64_t crowded_ms;
	VEC(int) listeners; /* libslirp's descriptors of published TCP ports */
	struct slirp_filter filter;
	uint8_t frame[FRAME_MAX + 1]; /* one more, to notice what is longer */
};

static int64_t now_ms(void)
{
	return (int64_t)(clock_monotonic_ns() / 1000000);
}

static bool is_crowded(struct slirp_loop *l)
{
	int64_t now = now_ms();
	if (now - l->crowded_ms >= CROWDED_CHECK_MS) {
		struct mallinfo2 m = mallinfo2();
		l->crowded = m.uordblks + m.hblkhd > CROWDED_BYTES;
		l->crowded_ms = now;
	}
	return l->crowded || l->sockets + SOCKETS_SPARE > l->sockets_max;
}

/* --- frames to the guest --- */

/* False when the socket is full. Any other failure loses the frame, as a wire would. */
static bool send_frame(struct slirp_loop *l, const void *bytes, size_t len)
{
	ssize_t n = l->life_fd < 0 ? send(l->frame_fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL)
				   : write(l->frame_fd, bytes, len);
	if (n >= 0)
		return true;
	/* EBADFD: the device was removed. EIO: it is down, for now. */
	if (errno == EPIPE || errno == ECONNRESET || errno == EBADFD)
		l->peer_gone = true;
	return errno != EAGAIN && errno != ENOBUFS;
}

static void flush_queue(struct slirp_loop *l)
{
	while (l->first && send_frame(l, l->first->bytes, l->first->len)) {
		struct queued_frame *f = l->first;
		l->first = f->next;
		l->queue_bytes -= f->len;
		free(f);
	}
	if (!l->first)
		l->last = &l->first;
}

static ssize_t on_send_packet(const void *buf, size_t len, void *opaque)
{
	struct slirp_loop *l = opaque;
	if (len < FRAME_ETH_BYTES || len > FRAME_MAX)
		return (ssize_t)len;
	uint8_t copy[FRAME_MAX];
	memcpy(copy, buf, len);
	slirp_filter_to_guest(&l->filter, copy, len);
	if (!l->first && send_frame(l, copy, len))
		return (ssize_t)len;
	if (l->queue_bytes + len > QUEUE_BYTES_MAX)
		return (ssize_t)len; /* lost: TCP sends it again */
	struct queued_frame *f = xmalloc(sizeof(*f) + len);
	f->next = NULL;
	f->len = len;
	memcpy(f->bytes, copy, len);
	*l->last = f;
	l->last = &f->next;
	l->queue_bytes += len;
	return (ssize_t)len;
}

/* --- libslirp's other callbacks --- */

static void on_guest_error(const char *msg, void *opaque)
{
}

static int64_t on_clock_get_ns(void *opaque)
{
	return (int64_t)clock_monotonic_ns();
}

static void *on_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct slirp_loop *l = opaque;
	for (int i = 0; i < TIMERS_MAX; i++) {
		if (!l->timers[i].used) {
			l->timers[i] = (struct timer){true, id, cb_opaque, -1};
			return &l->timers[i];
		}
	}
	return NULL;
}

static void on_timer_free(void *timer, void *opaque)
{
	if (timer)
		((struct timer *)timer)->used = false;
}

static void on_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	if (timer)
		((struct timer *)timer)->expire_ms = expire_ms;
}

static void on_open_fd(int fd, void *opaque)
{
	((struct slirp_loop *)opaque)->sockets++;
}

static void on_close_fd(int fd, void *opaque)
{
	struct slirp_loop *l = opaque;
	l->sockets -= l->sockets > 0;
}

static void on_notify(void *opaque)
{
}

static const SlirpCb callbacks = {
	.send_packet = on_send_packet,
	.guest_error = on_guest_error,
	.clock_get_ns = on_clock_get_ns,
	.timer_new_opaque = on_timer_new,
	.timer_free = on_timer_free,
	.timer_mod = on_timer_mod,
	.register_poll_fd = on_open_fd,
	.unregister_poll_fd = on_close_fd,
	.notify = on_notify,
};

static int on_add_poll(int fd, int events, void *opaque)
{
	struct slirp_loop *l = opaque;
	short want = 0;
	if (events & SLIRP_POLL_IN)
		want |= POLLIN;
	if (events & SLIRP_POLL_OUT)
		want |= POLLOUT;
	if (events & SLIRP_POLL_PRI)
		want |= POLLPRI;
	if (l->listeners.len && is_crowded(l))
		vec_for_each (listener, &l->listeners)
			if (*listener == fd)
				fd = -1; /* which poll() skips */
	vec_push(&l->polls, (struct pollfd){.fd = fd, .events = want});
	return (int)l->polls.len - 1;
}

static int on_get_revents(int index, void *opaque)
{
	struct slirp_loop *l = opaque;
	if (index < 0 || (size_t)index >= l->polls.len)
		return 0;
	const struct pollfd *p = &l->polls.items[index];
	short got = p->revents;
	int events = 0;
	if (got && is_crowded(l))
		vec_for_each (fd, &l->listeners)
			if (*fd == p->fd)
				return 0;
	if (got & POLLIN)
		events |= SLIRP_POLL_IN;
	if (got & POLLOUT)
		events |= SLIRP_POLL_OUT;
	if (got & POLLPRI)
		events |= SLIRP_POLL_PRI;
	if (got & POLLERR)
		events |= SLIRP_POLL_ERR;
	if (got & POLLHUP)
		events |= SLIRP_POLL_HUP;
	return events;
}

/* --- setting up --- */

static struct in_addr ipv4(const char *text)
{
	struct in_addr a = {0};
	inet_pton(AF_INET, text, &a);
	return a;
}

static struct in6_addr ipv6(const char *text)
{
	struct in6_addr a = IN6ADDR_ANY_INIT;
	inet_pton(AF_INET6, text, &a);
	return a;
}

static int publish(struct slirp_loop *l, const struct slirp_publish *p, struct error *err)
{
	if (!slirp_add_hostfwd(
		    l->slirp, p->udp, p->host_addr, p->host_port, ipv4(GUEST), p->guest_port))
		return 0;
	int code = errno;
	const char *protocol = p->udp ? "UDP" : "TCP";
	char addr[INET_ADDRSTRLEN];
	inet_ntop(AF_INET, &p->host_addr, addr, sizeof(addr));
	switch (code) {
	case EADDRINUSE:
		error_set(err, code, "%s port %u of the host is already in use", protocol,
			p->host_port);
		error_remedy(err, "publish another one (--publish %u:%u), or end what uses it",
			p->host_port < 64536 ? p->host_port + 1000u : p->host_port - 1000u,
			p->guest_port);
		return -code;
	case EACCES:
	case EPERM:
		error_set(err, EACCES, "an ordinary user may not open %s port %u of the host",
			protocol, p->host_port);
		error_remedy(err,
			"publish a port from 1024 up (--publish %u:%u), or lower "
			"net.ipv4.ip_unprivileged_port_start",
			p->host_port < 1024 ? p->host_port + 8000u : p->host_port, p->guest_port);
		return -EACCES;
	case EADDRNOTAVAIL:
		error_set(err, code, "%s is no address of this host", addr);
		error_remedy(err, "publish on one of the host's addresses, or leave it out");
		return -code;
	default:
		return error_errno(err, code, "%s port %u of the host", protocol, p->host_port);
	}
}

/* libslirp listens with room for one connection that waits: a burst would lose some for seconds. */
static void widen_backlogs(struct slirp_loop *l)
{
	uint32_t timeout = 0;
	vec_clear(&l->polls);
	slirp_pollfds_fill(l->slirp, &timeout, on_add_poll, l);
	vec_for_each (p, &l->polls) {
		int listening = 0;
		socklen_t len = sizeof(listening);
		if (!getsockopt(p->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) && listening) {
			listen(p->fd, SOMAXCONN);
			vec_push(&l->listeners, p->fd);
		}
	}
}

/* The soft limit is often a small one, meant for programs that use select(). */
static unsigned raise_descriptor_limit(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r))
		return 256;
	r.rlim_cur = MIN(r.rlim_max, SLIRP_FDS_MAX);
	setrlimit(RLIMIT_NOFILE, &r);
	return (unsigned)r.rlim_cur;
}

int slirp_loop_new(struct slirp_loop **out, const struct slirp_config *config, int frame_fd,
	int life_fd, struct error *err)
{
	struct slirp_loop *l = xcalloc(1, sizeof(*l));
	SlirpConfig c = {
		.version = 4,
		.restricted = config->restricted,
		.in_enabled = true,
		.vnetwork = ipv4(NETWORK),
		.vnetmask = ipv4(NETMASK),
		.vhost = ipv4(HOST),
		.in6_enabled = true,
		.vprefix_addr6 = ipv6(PREFIX6),
		.vprefix_len = PREFIX6_BITS,
		.vhost6 = ipv6(HOST6),
		.vhostname = config->hostname,
		.vdhcp_start = ipv4(GUEST),
		.vnameserver = ipv4(DNS),
		.vnameserver6 = ipv6(DNS6),
		.if_mtu = config->mtu,
		.if_mru = config->mtu,
		.disable_host_loopback = config->no_host_loopback,
	};
	l->frame_fd = frame_fd;
	l->life_fd = life_fd;
	l->sockets_max = raise_descriptor_limit();
	l->last = &l->first;
	l->filter.dns_alias = ipv4(DNS);
	l->filter.dns_server = config->dns;
	l->slirp = slirp_new(&c, &callbacks, l);
	if (!l->slirp) {
		slirp_loop_free(l);
		return error_set(err, EINVAL, "libslirp refuses its configuration");
	}
	for (unsigned i = 0; i < config->publish_count; i++) {
		int r = publish(l, &config->publish[i], err);
		if (r) {
			slirp_loop_free(l);
			return r;
		}
	}
	widen_backlogs(l);
	*out = l;
	return 0;
}

void slirp_loop_free(struct slirp_loop *l)
{
	if (!l)
		return;
	if (l->slirp)
		slirp_cleanup(l->slirp);
	while (l->first) {
		struct queued_frame *f = l->first;
		l->first = f->next;
		free(f);
	}
	vec_done(&l->polls);
	vec_done(&l->listeners);
	free(l);
}

/* --- running --- */

static void receive_frames(struct slirp_loop *l)
{
	for (int i = 0; i < FRAMES_A_TURN && l->queue_bytes < QUEUE_BYTES_MAX / 2; i++) {
		ssize_t n = l->life_fd < 0 ? recv(l->frame_fd, l->frame, sizeof(l->frame),
						     MSG_DONTWAIT | MSG_TRUNC)
					   : read(l->frame_fd, l->frame, sizeof(l->frame));
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			l->peer_gone = true;
		if (n <= 0)
			return;
		if (n > FRAME_MAX || !slirp_filter_from_guest(&l->filter, l->frame, (size_t)n))
			continue;
		if (slirp_filter_opens(l->frame, (size_t)n) && is_crowded(l))
			continue;
		slirp_input(l->slirp, l->frame, (int)n);
	}
}

static void run_timers(struct slirp_loop *l)
{
	int64_t now = now_ms();
	for (int i = 0; i < TIMERS_MAX; i++) {
		struct timer *t = &l->timers[i];
		if (t->used && t->expire_ms >= 0 && t->expire_ms <= now) {
			t->expire_ms = -1;
			slirp_handle_timer(l->slirp, t->id, t->opaque);
		}
	}
}

/* How long poll() may wait: as libslirp says, and until the next timer; -1: for ever. */
static int wait_ms(const struct slirp_loop *l, uint32_t timeout)
{
	int64_t wait = timeout == UINT32_MAX ? INT32_MAX : (int64_t)timeout, now = now_ms();
	for (int i = 0; i < TIMERS_MAX; i++) {
		const struct timer *t = &l->timers[i];
		if (t->used && t->expire_ms >= 0)
			wait = MIN(wait, MAX(t->expire_ms - now, 0));
	}
	return wait >= INT32_MAX ? -1 : (int)wait;
}

static void turn(struct slirp_loop *l)
{
	/* While frames wait for the guest nothing that makes more of them runs. */
	bool blocked = l->first != NULL;
	uint32_t timeout = UINT32_MAX;
	short want = l->queue_bytes < QUEUE_BYTES_MAX / 2 ? POLLIN : 0;
	vec_clear(&l->polls);
	vec_push(&l->polls, (struct pollfd){.fd = l->frame_fd,
				    .events = (short)(want | (blocked ? POLLOUT : 0))});
	vec_push(&l->polls, (struct pollfd){.fd = l->life_fd, .events = POLLIN});
	if (!blocked)
		slirp_pollfds_fill(l->slirp, &timeout, on_add_poll, l);
	int r = poll(l->polls.items, l->polls.len, blocked ? -1 : wait_ms(l, timeout));
	if (r < 0)
		vec_for_each (p, &l->polls)
			p->revents = 0;
	short got = l->polls.items[0].revents;
	if (l->polls.items[1].revents)
		l->peer_gone = true;
	if (got & POLLOUT)
		flush_queue(l);
	if (!blocked) {
		slirp_pollfds_poll(l->slirp, r < 0, on_get_revents, l);
		run_timers(l);
	}
	if (got & (POLLIN | POLLHUP | POLLERR))
		receive_frames(l);
}

void slirp_loop_run(struct slirp_loop *l)
{
	while (!l->peer_gone)
		turn(l);
}
