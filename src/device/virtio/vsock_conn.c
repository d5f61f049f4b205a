// SPDX-License-Identifier: Apache-2.0
// The connections of a socket device and their ends on the host.
#include "device/virtio/vsock_conn.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

/* --- the table of connections --- */

static struct conn **bucket_of(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	uint64_t h = ((uint64_t)guest_port << 32 | host_port) ^ v->hash_key;
	h *= UINT64_C(0x9e3779b97f4a7c15);
	return &v->buckets[(h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 56];
}
_Static_assert(BUCKETS == 256, "bucket_of takes 8 bits");

struct conn *vsock_conn_find(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	struct conn *c = *bucket_of(v, guest_port, host_port);
	while (c && (c->guest_port != guest_port || c->host_port != host_port))
		c = c->hash_next;
	return c;
}

void vsock_conn_hash(struct conn *c)
{
	struct conn **b = bucket_of(c->v, c->guest_port, c->host_port);
	c->hash_next = *b;
	*b = c;
	c->hashed = true;
}

void vsock_conn_unhash(struct conn *c)
{
	struct conn **p = bucket_of(c->v, c->guest_port, c->host_port);
	if (!c->hashed)
		return;
	while (*p != c)
		p = &(*p)->hash_next;
	*p = c->hash_next;
	c->hashed = false;
}

void vsock_listen_update(struct vsock *v)
{
	bool room = v->started && v->conn_count < CONNECTIONS_MAX;
	if (v->listen_watch)
		loop_fd_set(v->listen_watch, room ? EPOLLIN : 0);
}

static void buffer_free(struct conn *c)
{
	c->v->buffered -= c->buffer_cap;
	free(c->buffer);
	c->buffer = NULL;
	c->buffer_cap = c->buffer_head = c->buffer_len = 0;
}

void vsock_conn_close(struct conn *c)
{
	loop_fd_remove(c->watch);
	c->watch = NULL;
	cleanup_close_fd(&c->fd);
	c->fd = -1;
	buffer_free(c);
}

void vsock_conn_free(struct conn *c)
{
	struct vsock *v = c->v;
	vsock_conn_close(c);
	vsock_conn_unhash(c);
	*(c->all_prev ? &c->all_prev->all_next : &v->all) = c->all_next;
	if (c->all_next)
		c->all_next->all_prev = c->all_prev;
	v->conn_count--;
	free(c);
	vsock_listen_update(v);
}

static void on_socket(void *opaque, int fd, uint32_t events);

struct conn *vsock_conn_new(struct vsock *v, int fd, enum conn_state state)
{
	if (v->conn_count >= CONNECTIONS_MAX) {
		close(fd);
		return NULL;
	}
	struct conn *c = xcalloc(1, sizeof(*c));
	*c = (struct conn){.v = v, .fd = fd, .state = state};
	if (loop_fd_add(v->loop, fd, 0, on_socket, c, &c->watch, NULL) < 0) {
		close(fd);
		free(c);
		return NULL;
	}
	c->all_next = v->all;
	if (v->all)
		v->all->all_prev = c;
	v->all = c;
	v->conn_count++;
	vsock_listen_update(v);
	return c;
}

void vsock_conn_tell(struct conn *c, unsigned what)
{
	c->pending |= what;
	if (c->queued)
		return;
	c->queued = true;
	c->ready_next = NULL;
	*c->v->ready_tail = c;
	c->v->ready_tail = &c->ready_next;
}

void vsock_conn_reset(struct conn *c)
{
	c->state = CONN_DEAD;
	vsock_conn_close(c);
	c->pending = 0;
	vsock_conn_tell(c, PENDING_RST);
}

uint32_t vsock_conn_credit(const struct conn *c)
{
	uint32_t in_flight = c->sent - c->peer_forwarded;
	return in_flight < c->peer_alloc ? c->peer_alloc - in_flight : 0;
}

/* --- from the guest to the socket --- */

static void conn_forwarded(struct conn *c, size_t n)
{
	c->forwarded += (uint32_t)n;
	if (c->state == CONN_OPEN && c->forwarded - c->forwarded_told >= CREDIT_STEP)
		vsock_conn_tell(c, PENDING_CREDIT);
}

ssize_t vsock_conn_write(struct conn *c, const struct iovec *iov, size_t n)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n};
	ssize_t done;
	do
		done = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (done < 0 && errno == EINTR);
	if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	return done < 0 ? -errno : done;
}

/* Keeps bytes that the socket did not take. false: that would be more than all may keep. */
static bool buffer_add(struct conn *c, const struct iovec *iov, unsigned n, size_t skip, size_t len)
{
	if (c->buffer_len + len > c->buffer_cap) {
		size_t cap = MAX(c->buffer_cap, (size_t)4096);
		while (cap < c->buffer_len + len)
			cap *= 2;
		if (c->v->buffered + cap - c->buffer_cap > BUFFERED_MAX)
			return false;
		uint8_t *p = xmalloc(cap); /* at most BUFFER_BYTES, as credit allows no more */
		size_t first = MIN(c->buffer_len, c->buffer_cap - c->buffer_head);
		if (c->buffer_len) {
			memcpy(p, c->buffer + c->buffer_head, first);
			memcpy(p + first, c->buffer, c->buffer_len - first);
		}
		free(c->buffer);
		c->v->buffered += cap - c->buffer_cap;
		c->buffer = p;
		c->buffer_cap = cap;
		c->buffer_head = 0;
	}
	while (len) {
		size_t at = (c->buffer_head + c->buffer_len) % c->buffer_cap;
		size_t piece =
			MIN(len, (at < c->buffer_head ? c->buffer_head : c->buffer_cap) - at);
		iov_read(iov, n, skip, c->buffer + at, piece);
		c->buffer_len += piece;
		skip += piece;
		len -= piece;
	}
	return true;
}

/* false: the peer is gone. */
static bool buffer_flush(struct conn *c)
{
	while (c->buffer_len) {
		size_t first = MIN(c->buffer_len, c->buffer_cap - c->buffer_head);
		struct iovec iov[2] = {
			{c->buffer + c->buffer_head, first}, {c->buffer, c->buffer_len - first}};
		ssize_t n = vsock_conn_write(c, iov, 2);
		if (n < 0)
			return false;
		if (n == 0)
			return true;
		c->buffer_head = (c->buffer_head + (size_t)n) % c->buffer_cap;
		c->buffer_len -= (size_t)n;
		conn_forwarded(c, (size_t)n);
	}
	buffer_free(c);
	return true;
}

void vsock_conn_finish_sending(struct conn *c)
{
	if (c->buffer_len || c->fd < 0)
		return;
	if (c->state == CONN_DRAINING)
		vsock_conn_close(c);
	else if (c->guest_send_shut)
		shutdown(c->fd, SHUT_WR);
}

void vsock_conn_receive(struct conn *c, const struct virtio_chain *chain, uint32_t len)
{
	struct iovec iov[VIRTIO_CHAIN_MAX];
	uint64_t skip = HEADER_BYTES, left = len;
	unsigned n = 0;
	/* 5.10.6.3: no more than the credit. */
	if (c->guest_send_shut || len > BUFFER_BYTES - (c->received - c->forwarded)) {
		vsock_conn_reset(c);
		return;
	}
	for (unsigned i = 0; i < chain->out_count && left; i++) {
		uint64_t from = MIN(skip, chain->iov[i].iov_len);
		uint64_t part = MIN(chain->iov[i].iov_len - from, left);
		skip -= from;
		left -= part;
		if (part)
			iov[n++] = (struct iovec){
				(uint8_t *)chain->iov[i].iov_base + from, (size_t)part};
	}
	c->received += len;
	ssize_t done = c->buffer_len || !len ? 0 : vsock_conn_write(c, iov, n);
	if (done < 0) {
		vsock_conn_reset(c);
		return;
	}
	conn_forwarded(c, (size_t)done);
	if ((size_t)done < len && !buffer_add(c, iov, n, (size_t)done, len - (size_t)done)) {
		log_warn("vsock: host programs do not read what the guest sends: connection reset");
		vsock_conn_reset(c);
		return;
	}
	vsock_conn_watch(c);
}

/* --- sockets --- */

/* What c waits for. A socket that waits for nothing is not watched: a hang-up cannot be masked. */
void vsock_conn_watch(struct conn *c)
{
	uint32_t events = 0;
	if (!c->watch)
		return;
	bool reading = c->state == CONN_OPEN && !c->host_ended && !c->guest_recv_shut;
	if (c->state == CONN_HANDSHAKE)
		events = EPOLLIN | EPOLLRDHUP;
	else if (reading && !(c->pending & PENDING_DATA) && vsock_conn_credit(c))
		events = EPOLLIN;
	if (c->buffer_len)
		events |= EPOLLOUT;
	/* Only to hear that the peer is gone altogether: once, not while it lasts. */
	if (!events && !c->host_gone && (c->state == CONN_OPEN || c->state == CONN_REQUESTED) &&
		!(c->pending & PENDING_DATA))
		events = EPOLLRDHUP | EPOLLET;
	loop_fd_set(c->watch, events);
}

static void host_hangs_up(struct conn *c)
{
	if (c->state == CONN_REQUESTED) {
		vsock_conn_reset(c);
	} else if (c->state == CONN_OPEN && c->host_ended && !c->host_gone) {
		c->host_gone = true; /* it was only half closed when the guest was told */
		vsock_conn_tell(c, PENDING_SHUTDOWN);
	}
}

/* Reads "CONNECT PORT\n", and not a byte more. */
static void handshake(struct conn *c, uint32_t events)
{
	char line[CONNECT_LINE_MAX + 1], *end;
	struct vsock *v = c->v;
	ssize_t n = recv(c->fd, line, CONNECT_LINE_MAX, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	char *newline = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
	if (!newline && n > 0 && n < CONNECT_LINE_MAX && !(events & (EPOLLHUP | EPOLLRDHUP))) {
		/* Half a line: level-triggered, it would be reported until the rest comes. */
		loop_fd_set(c->watch, EPOLLIN | EPOLLRDHUP | EPOLLET);
		return;
	}
	bool ok = newline && !strncmp(line, "CONNECT ", 8) && line[8] >= '0' && line[8] <= '9';
	unsigned long port = 0;
	if (ok) {
		*newline = '\0';
		errno = 0;
		port = strtoul(line + 8, &end, 10);
		ok = errno == 0 && end == newline && port < UINT32_MAX &&
		     recv(c->fd, line, (size_t)(newline - line) + 1, MSG_DONTWAIT) ==
			     newline - line + 1;
	}
	if (!ok) {
		vsock_conn_free(c);
		return;
	}
	c->guest_port = (uint32_t)port;
	do { /* fewer connections than ports: one is free */
		c->host_port = v->next_host_port++;
		if (v->next_host_port == UINT32_MAX)
			v->next_host_port = FIRST_HOST_PORT;
	} while (vsock_conn_find(v, c->guest_port, c->host_port));
	c->state = CONN_REQUESTED;
	vsock_conn_hash(c);
	vsock_conn_tell(c, PENDING_REQUEST);
	vsock_conn_watch(c);
}

static void on_socket(void *opaque, int fd, uint32_t events)
{
	struct conn *c = opaque;
	struct vsock *v = c->v;
	(void)fd;
	if (c->state == CONN_HANDSHAKE) {
		handshake(c, events);
		vsock_pump(v);
		return;
	}
	if (c->buffer_len && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
		bool was_draining = c->state == CONN_DRAINING;
		bool gone = !buffer_flush(c);
		if (gone && was_draining)
			buffer_free(c);
		else if (gone)
			vsock_conn_reset(c);
		if (c->state != CONN_DEAD && !c->buffer_len)
			vsock_conn_finish_sending(c);
		if (was_draining && c->fd < 0 && !c->queued) {
			vsock_conn_free(c);
			vsock_pump(v);
			return;
		}
	}
	if (c->state == CONN_OPEN && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !c->host_ended &&
		!c->guest_recv_shut && vsock_conn_credit(c))
		vsock_conn_tell(c, PENDING_DATA);
	if (events & EPOLLHUP)
		host_hangs_up(c);
	vsock_conn_watch(c);
	vsock_pump(v);
}

void vsock_on_listen_timer(void *opaque)
{
	vsock_listen_update(opaque);
}

void vsock_on_listen(void *opaque, int fd, uint32_t events)
{
	struct vsock *v = opaque;
	(void)events;
	int conn_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (conn_fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			log_warn("vsock: accept: %s", strerror(errno));
			loop_fd_set(v->listen_watch, 0);
			loop_timer_arm(v->listen_timer, clock_monotonic_ns() + NS_PER_SEC / 4);
		}
		return;
	}
	struct conn *c = vsock_conn_new(v, conn_fd, CONN_HANDSHAKE);
	if (c)
		vsock_conn_watch(c);
}
