// SPDX-License-Identifier: Apache-2.0
// Socket device (virtio 1.2, 5.10), stream sockets. The host's end of a connection is a Unix
// socket.
//
// Nothing is queued without bound: what the guest sends goes straight from its buffers to the
// socket, and only what the socket does not take is kept, within the credit that we gave
// (BUFFER_BYTES); what the host sends is read straight into the guest's buffers, when there are
// some and the guest gave credit. What else the guest is to be told is a bit in `pending`, and when
// there is no connection to keep it in (a reset for an unknown one), a short list; when that is
// full, the guest's packets wait.
//
// Threads: all on the device's loop, its queues too.
#include "device/virtio/devices.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "device/virtio/vsock_packet.h"

enum { QUEUE_RX, QUEUE_TX, QUEUE_EVENT, QUEUES };

enum {
	HOST_CID = 2,
	HEADER_BYTES = sizeof(struct vsock_header),
	CONNECTIONS_MAX = 1024,
	BUCKETS = 256,
	BUFFER_BYTES = 256 << 10,	/* credit that we give for one connection */
	CREDIT_STEP = BUFFER_BYTES / 4, /* forwarded before the guest is told */
	BUFFERED_MAX = 64 << 20,	/* of all connections together */
	RESETS_MAX = 128,
	BATCH = 64, /* packets before others on the loop have their turn */
	FIRST_HOST_PORT = 1 << 30,
	CONNECT_LINE_MAX = 32, /* "CONNECT 4294967295\n" and some */
};

enum conn_state {
	CONN_HANDSHAKE, /* a host client has not yet said which port it wants */
	CONN_REQUESTED, /* the guest has not yet answered */
	CONN_OPEN,
	CONN_DRAINING, /* the guest is done with it; what it sent is still on its way */
	CONN_DEAD,     /* kept until the guest was told of the reset */
};

/* What the guest is to be told; in this order. */
enum {
	PENDING_RST = 1,
	PENDING_REQUEST = 2,
	PENDING_RESPONSE = 4,
	PENDING_CREDIT = 8,
	PENDING_CREDIT_REQUEST = 16,
	PENDING_DATA = 32,     /* there may be some to read */
	PENDING_SHUTDOWN = 64, /* after the data */
};

struct conn {
	struct vsock *v;
	enum conn_state state;
	uint32_t guest_port, host_port;
	int fd; /* owned; -1 when dead */
	struct loop_fd *watch;
	unsigned pending;
	bool hashed, queued;
	bool guest_send_shut, guest_recv_shut; /* SHUTDOWN came with these bits */
	bool host_ended;		       /* the host sends no more */
	bool host_gone;			       /* nor does it receive */
	bool credit_asked;		       /* since the credit ran out */
	/* From us to the guest: its buffer, what it took out of it, what we sent. */
	uint32_t peer_alloc, peer_forwarded, sent;
	/* From the guest to the socket: received, written to the socket, and what the guest knows.
	 */
	uint32_t received, forwarded, forwarded_told;
	uint8_t *buffer; /* a ring of buffer_cap bytes; NULL while empty */
	size_t buffer_cap, buffer_head, buffer_len;
	struct conn *hash_next;
	struct conn *ready_next; /* in the list of those with something pending */
	struct conn *all_prev, *all_next;
};

struct reset {
	uint64_t cid; /* of the side that the guest wanted */
	uint32_t guest_port, host_port;
	uint16_t type;
};

struct vsock {
	struct virtio_device *device; /* not owned: owns us */
	struct loop *loop;
	uint64_t guest_cid;
	int listen_fd; /* owned */
	struct loop_fd *listen_watch;
	struct loop_timer *listen_timer; /* tries again when there were no descriptors */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	uint64_t hash_key;
	uint32_t next_host_port;
	unsigned conn_count;
	size_t buffered;
	struct conn *buckets[BUCKETS];
	struct conn *all;
	struct conn *ready, **ready_tail;
	struct reset resets[RESETS_MAX]; /* a ring */
	unsigned reset_head, reset_count;
	bool started, tx_waits, event_pending;
};

static void conn_reset(struct conn *c);
static void conn_update_watch(struct conn *c);

/* --- the table of connections ------------------------------------------------------------------
 */

static struct conn **bucket_of(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	uint64_t h = ((uint64_t)guest_port << 32 | host_port) ^ v->hash_key;
	h *= UINT64_C(0x9e3779b97f4a7c15);
	return &v->buckets[(h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 56];
}
_Static_assert(BUCKETS == 256, "bucket_of takes 8 bits");

static struct conn *conn_find(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
	struct conn *c = *bucket_of(v, guest_port, host_port);
	while (c && (c->guest_port != guest_port || c->host_port != host_port))
		c = c->hash_next;
	return c;
}

static void conn_hash(struct conn *c)
{
	struct conn **b = bucket_of(c->v, c->guest_port, c->host_port);
	c->hash_next = *b;
	*b = c;
	c->hashed = true;
}

static void conn_unhash(struct conn *c)
{
	struct conn **p = bucket_of(c->v, c->guest_port, c->host_port);
	if (!c->hashed)
		return;
	while (*p != c)
		p = &(*p)->hash_next;
	*p = c->hash_next;
	c->hashed = false;
}

static void listen_update(struct vsock *v)
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

static void conn_close_fd(struct conn *c)
{
	loop_fd_remove(c->watch);
	c->watch = NULL;
	cleanup_close_fd(&c->fd);
	c->fd = -1;
	buffer_free(c);
}

/* Not while it is in the ready list, except when all are freed. */
static void conn_free(struct conn *c)
{
	struct vsock *v = c->v;
	conn_close_fd(c);
	conn_unhash(c);
	*(c->all_prev ? &c->all_prev->all_next : &v->all) = c->all_next;
	if (c->all_next)
		c->all_next->all_prev = c->all_prev;
	v->conn_count--;
	free(c);
	listen_update(v);
}

static void on_socket(void *opaque, int fd, uint32_t events);

/* Takes fd. NULL: no room, and fd is closed. */
static struct conn *conn_new(struct vsock *v, int fd, enum conn_state state)
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
	listen_update(v);
	return c;
}

/* --- telling the guest -------------------------------------------------------------------------
 */

static void pump(struct vsock *v);

static void conn_tell(struct conn *c, unsigned what)
{
	c->pending |= what;
	if (c->queued)
		return;
	c->queued = true;
	c->ready_next = NULL;
	*c->v->ready_tail = c;
	c->v->ready_tail = &c->ready_next;
}

static bool resets_full(const struct vsock *v)
{
	return v->reset_count == RESETS_MAX;
}

/* For a packet that belongs to no connection. There is room: see tx_serve(). */
static void reset_unknown(struct vsock *v, const struct vsock_header *h)
{
	if (le16toh(h->op) == VSOCK_OP_RST || resets_full(v))
		return; /* a reset is never answered by one */
	v->resets[(v->reset_head + v->reset_count++) % RESETS_MAX] = (struct reset){
		.cid = le64toh(h->dst_cid),
		.guest_port = le32toh(h->src_port),
		.host_port = le32toh(h->dst_port),
		.type = le16toh(h->type),
	};
}

static void conn_reset(struct conn *c)
{
	c->state = CONN_DEAD;
	conn_close_fd(c);
	c->pending = 0;
	conn_tell(c, PENDING_RST);
}

static uint32_t peer_credit(const struct conn *c)
{
	uint32_t in_flight = c->sent - c->peer_forwarded;
	return in_flight < c->peer_alloc ? c->peer_alloc - in_flight : 0;
}

static struct vsock_header header_for(
	struct conn *c, enum vsock_op op, uint32_t len, uint32_t flags)
{
	c->forwarded_told = c->forwarded;
	return (struct vsock_header){
		.src_cid = htole64(HOST_CID),
		.dst_cid = htole64(c->v->guest_cid),
		.src_port = htole32(c->host_port),
		.dst_port = htole32(c->guest_port),
		.len = htole32(len),
		.type = htole16(VSOCK_TYPE_STREAM),
		.op = htole16((uint16_t)op),
		.flags = htole32(flags),
		.buf_alloc = htole32(BUFFER_BYTES),
		.fwd_cnt = htole32(c->forwarded),
	};
}

/* What a chain's in part holds after a header, as iovecs. */
static unsigned payload_iov(const struct virtio_chain *chain, uint64_t max, struct iovec *out)
{
	uint64_t skip = HEADER_BYTES;
	unsigned n = 0;
	for (unsigned i = 0; i < chain->in_count && max; i++) {
		const struct iovec *v = &chain->iov[chain->out_count + i];
		uint64_t from = MIN(skip, v->iov_len), len = MIN(v->iov_len - from, max);
		skip -= from;
		max -= len;
		if (len)
			out[n++] = (struct iovec){(uint8_t *)v->iov_base + from, (size_t)len};
	}
	return n;
}

static void put_header(const struct virtio_chain *chain, const struct vsock_header *h)
{
	iov_write(chain->iov + chain->out_count, chain->in_count, 0, h, sizeof(*h));
}

/* Reads from the socket into the chain. Bytes, 0 when there is nothing (now, or ever again). */
static ssize_t read_into(struct conn *c, const struct virtio_chain *chain)
{
	struct iovec iov[VIRTIO_CHAIN_MAX];
	uint64_t max = MIN(chain->in_bytes - HEADER_BYTES, (uint64_t)peer_credit(c));
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = payload_iov(chain, max, iov)};
	ssize_t n;
	do
		n = recvmsg(c->fd, &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		c->pending &= ~(unsigned)PENDING_DATA;
		return 0;
	}
	if (n <= 0) { /* its end; an error is one too: the peer is gone */
		c->pending &= ~(unsigned)PENDING_DATA;
		c->host_ended = true;
		c->host_gone |= n < 0;
		conn_tell(c, PENDING_SHUTDOWN);
		return 0;
	}
	if ((uint64_t)n < max) /* all there was: epoll says when there is more */
		c->pending &= ~(unsigned)PENDING_DATA;
	c->sent += (uint32_t)n;
	return n;
}

/* Makes the next packet of c in the chain: its bytes, 0 when there is nothing to say after all. */
static uint32_t next_packet(struct conn *c, const struct virtio_chain *chain)
{
	static const struct {
		unsigned bit;
		enum vsock_op op;
	} simple[] = {
		{PENDING_RST, VSOCK_OP_RST},
		{PENDING_REQUEST, VSOCK_OP_REQUEST},
		{PENDING_RESPONSE, VSOCK_OP_RESPONSE},
		{PENDING_CREDIT, VSOCK_OP_CREDIT_UPDATE},
		{PENDING_CREDIT_REQUEST, VSOCK_OP_CREDIT_REQUEST},
	};
	struct vsock_header h;
	for (size_t i = 0; i < ARRAY_SIZE(simple); i++) {
		if (!(c->pending & simple[i].bit))
			continue;
		c->pending &= ~simple[i].bit;
		h = header_for(c, simple[i].op, 0, 0);
		put_header(chain, &h);
		return HEADER_BYTES;
	}
	if ((c->pending & PENDING_DATA) && (c->fd < 0 || c->host_ended || c->guest_recv_shut))
		c->pending &= ~(unsigned)PENDING_DATA;
	if ((c->pending & PENDING_DATA) && !peer_credit(c)) {
		c->pending &= ~(unsigned)PENDING_DATA; /* goes on when credit comes */
		if (!c->credit_asked) {
			c->credit_asked = true;
			h = header_for(c, VSOCK_OP_CREDIT_REQUEST, 0, 0);
			put_header(chain, &h);
			return HEADER_BYTES;
		}
	}
	if ((c->pending & PENDING_DATA) && chain->in_bytes > HEADER_BYTES) {
		ssize_t n = read_into(c, chain);
		if (n > 0) {
			h = header_for(c, VSOCK_OP_RW, (uint32_t)n, 0);
			put_header(chain, &h);
			return (uint32_t)(HEADER_BYTES + n);
		}
	}
	if (c->pending & PENDING_SHUTDOWN) {
		c->pending &= ~(unsigned)PENDING_SHUTDOWN;
		h = header_for(c, VSOCK_OP_SHUTDOWN, 0,
			VSOCK_SHUTDOWN_SEND | (c->host_gone ? VSOCK_SHUTDOWN_RCV : 0));
		put_header(chain, &h);
		return HEADER_BYTES;
	}
	return 0;
}

/* The first that has something pending, out of the list. */
static struct conn *ready_take(struct vsock *v)
{
	struct conn *c = v->ready;
	v->ready = c->ready_next;
	if (!v->ready)
		v->ready_tail = &v->ready;
	c->queued = false;
	return c;
}

static void ready_done(struct conn *c)
{
	if (c->pending)
		conn_tell(c, 0); /* behind the others */
	else if (c->fd < 0)	 /* dead, or drained */
		conn_free(c);
	else
		conn_update_watch(c);
}

static void put_reset(struct vsock *v, const struct virtio_chain *chain)
{
	const struct reset *r = &v->resets[v->reset_head];
	struct vsock_header h = {
		.src_cid = htole64(r->cid),
		.dst_cid = htole64(v->guest_cid),
		.src_port = htole32(r->host_port),
		.dst_port = htole32(r->guest_port),
		.type = htole16(r->type),
		.op = htole16(VSOCK_OP_RST),
	};
	v->reset_head = (v->reset_head + 1) % RESETS_MAX;
	v->reset_count--;
	put_header(chain, &h);
}

/* Fills the guest's buffers with what is to be told. */
static void pump(struct vsock *v)
{
	struct virtio_queue *rx = virtio_queue_get(v->device, QUEUE_RX);
	struct virtio_chain chain;
	unsigned served = 0;
	while (served < BATCH && (v->reset_count || v->ready) &&
		virtio_queue_pop(rx, &chain) == 1) {
		if (chain.in_bytes < HEADER_BYTES) {
			virtio_fail(v->device, "a receive buffer of %llu bytes",
				(unsigned long long)chain.in_bytes);
			virtio_queue_drop(rx, &chain);
			return;
		}
		served++;
		if (v->reset_count) {
			put_reset(v, &chain);
			virtio_queue_push(rx, &chain, HEADER_BYTES);
			continue;
		}
		struct conn *c = ready_take(v);
		uint32_t n = next_packet(c, &chain);
		if (n)
			virtio_queue_push(rx, &chain, n);
		else
			virtio_queue_unpop(rx, &chain);
		ready_done(c);
	}
	virtio_queue_signal(rx);
	if (v->tx_waits && !resets_full(v)) {
		v->tx_waits = false;
		virtio_queue_again(virtio_queue_get(v->device, QUEUE_TX));
	}
	if (served == BATCH)
		virtio_queue_again(rx);
}

/* --- from the guest to the socket --------------------------------------------------------------
 */

static void conn_forwarded(struct conn *c, size_t n)
{
	c->forwarded += (uint32_t)n;
	if (c->state == CONN_OPEN && c->forwarded - c->forwarded_told >= CREDIT_STEP)
		conn_tell(c, PENDING_CREDIT);
}

/* Bytes taken by the socket, 0 when it is full, -errno when the peer is gone. */
static ssize_t socket_write(struct conn *c, const struct iovec *iov, size_t n)
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
		ssize_t n = socket_write(c, iov, 2);
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

/* The guest sends no more: so does the socket, once it has everything. */
static void conn_finish_sending(struct conn *c)
{
	if (c->buffer_len || c->fd < 0)
		return;
	if (c->state == CONN_DRAINING)
		conn_close_fd(c);
	else if (c->guest_send_shut)
		shutdown(c->fd, SHUT_WR);
}

static void conn_receive(struct conn *c, const struct virtio_chain *chain, uint32_t len)
{
	struct iovec iov[VIRTIO_CHAIN_MAX];
	uint64_t skip = HEADER_BYTES, left = len;
	unsigned n = 0;
	/* 5.10.6.3: no more than the credit. */
	if (c->guest_send_shut || len > BUFFER_BYTES - (c->received - c->forwarded)) {
		conn_reset(c);
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
	ssize_t done = c->buffer_len || !len ? 0 : socket_write(c, iov, n);
	if (done < 0) {
		conn_reset(c);
		return;
	}
	conn_forwarded(c, (size_t)done);
	if ((size_t)done < len && !buffer_add(c, iov, n, (size_t)done, len - (size_t)done)) {
		log_warn("vsock: host programs do not read what the guest sends: connection reset");
		conn_reset(c);
		return;
	}
	conn_update_watch(c);
}

/* --- packets of the guest ----------------------------------------------------------------------
 */

static void guest_requests(struct vsock *v, const struct vsock_header *h)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	uint32_t port = le32toh(h->dst_port);
	int len = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s_%u", v->path, port);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct conn *c = NULL;
	if (fd >= 0 && len < (int)sizeof(addr.sun_path) &&
		connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		c = conn_new(v, TAKE_FD(fd), CONN_OPEN);
	cleanup_close_fd(&fd);
	if (!c) {
		reset_unknown(v, h);
		return;
	}
	c->guest_port = le32toh(h->src_port);
	c->host_port = port;
	c->peer_alloc = le32toh(h->buf_alloc);
	c->peer_forwarded = le32toh(h->fwd_cnt);
	c->sent = c->peer_forwarded; /* it begins at 0, in an honest guest */
	conn_hash(c);
	conn_tell(c, PENDING_RESPONSE);
}

static void guest_accepts(struct conn *c)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "OK %u\n", c->host_port);
	struct iovec iov = {line, (size_t)len};
	if (c->state != CONN_REQUESTED || socket_write(c, &iov, 1) != len) {
		conn_reset(c);
		return;
	}
	c->state = CONN_OPEN;
	conn_update_watch(c);
}

/* Bits that came once stay. With both the guest has closed its socket: it is told so at once (it
 * waits for that), while what it sent goes on to the host. */
static void guest_shuts(struct conn *c, uint32_t flags)
{
	if (c->state != CONN_OPEN) {
		conn_reset(c);
		return;
	}
	if ((flags & VSOCK_SHUTDOWN_RCV) && !c->guest_recv_shut) {
		c->guest_recv_shut = true;
		shutdown(c->fd, SHUT_RD);
	}
	c->guest_send_shut |= (flags & VSOCK_SHUTDOWN_SEND) != 0;
	if (c->guest_send_shut && c->guest_recv_shut) {
		c->state = CONN_DRAINING;
		c->pending = 0;
		conn_tell(c, PENDING_RST);
	}
	conn_finish_sending(c);
	conn_update_watch(c);
}

static void conn_packet(
	struct conn *c, const struct vsock_header *h, const struct virtio_chain *chain)
{
	bool open = c->state == CONN_OPEN;
	c->peer_alloc = le32toh(h->buf_alloc);
	c->peer_forwarded = le32toh(h->fwd_cnt);
	switch (le16toh(h->op)) {
	case VSOCK_OP_RST:
		c->state = CONN_DEAD;
		conn_close_fd(c);
		c->pending = 0;
		if (c->queued)
			conn_unhash(c); /* freed when its turn comes */
		else
			conn_free(c);
		return;
	case VSOCK_OP_RESPONSE:
		guest_accepts(c);
		break;
	case VSOCK_OP_SHUTDOWN:
		guest_shuts(c, le32toh(h->flags));
		return;
	case VSOCK_OP_RW:
		if (open)
			conn_receive(c, chain, le32toh(h->len));
		else
			conn_reset(c);
		break;
	case VSOCK_OP_CREDIT_REQUEST:
		if (open)
			conn_tell(c, PENDING_CREDIT);
		break;
	case VSOCK_OP_CREDIT_UPDATE:
		break;
	default: /* among them a second REQUEST */
		conn_reset(c);
		return;
	}
	if (c->state == CONN_OPEN && peer_credit(c)) {
		c->credit_asked = false;
		conn_update_watch(c);
	}
}

static void guest_packet(
	struct vsock *v, const struct vsock_header *h, const struct virtio_chain *chain)
{
	if (le64toh(h->src_cid) != v->guest_cid)
		return; /* not from the guest that is on this device: 5.10.6.4 lets us drop it */
	struct conn *c = NULL;
	bool ours = le64toh(h->dst_cid) == HOST_CID && le16toh(h->type) == VSOCK_TYPE_STREAM;
	if (ours)
		c = conn_find(v, le32toh(h->src_port), le32toh(h->dst_port));
	if (c && c->state == CONN_DEAD)
		return; /* the reset is on its way */
	if (c && c->state == CONN_DRAINING) {
		/* The guest was told, or will be: the name is free again. */
		if (le16toh(h->op) != VSOCK_OP_REQUEST)
			return;
		conn_unhash(c);
		c->pending = 0;
		c = NULL;
	}
	if (c)
		conn_packet(c, h, chain);
	else if (ours && le16toh(h->op) == VSOCK_OP_REQUEST)
		guest_requests(v, h);
	else
		reset_unknown(v, h);
}

static void tx_serve(struct vsock *v)
{
	struct virtio_queue *tx = virtio_queue_get(v->device, QUEUE_TX);
	struct virtio_chain chain;
	unsigned served = 0;
	while (served < BATCH) {
		struct vsock_header h;
		if (resets_full(v)) {
			v->tx_waits = true; /* until the guest takes what it is told */
			break;
		}
		if (virtio_queue_pop(tx, &chain) != 1)
			break;
		served++;
		if (iov_read(chain.iov, chain.out_count, 0, &h, sizeof(h)) < sizeof(h) ||
			le32toh(h.len) > chain.out_bytes - sizeof(h)) {
			virtio_fail(v->device, "a packet of %llu bytes is shorter than it says",
				(unsigned long long)chain.out_bytes);
			virtio_queue_drop(tx, &chain);
			return;
		}
		guest_packet(v, &h, &chain);
		virtio_queue_push(tx, &chain, 0);
	}
	virtio_queue_signal(tx);
	if (served == BATCH)
		virtio_queue_again(tx);
	pump(v);
}

/* --- sockets -----------------------------------------------------------------------------------
 */

/* What c waits for. A socket that waits for nothing is not watched: a hang-up cannot be masked. */
static void conn_update_watch(struct conn *c)
{
	uint32_t events = 0;
	if (!c->watch)
		return;
	bool reading = c->state == CONN_OPEN && !c->host_ended && !c->guest_recv_shut;
	if (c->state == CONN_HANDSHAKE)
		events = EPOLLIN | EPOLLRDHUP;
	else if (reading && !(c->pending & PENDING_DATA) && peer_credit(c))
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
		conn_reset(c);
	} else if (c->state == CONN_OPEN && c->host_ended && !c->host_gone) {
		c->host_gone = true; /* it was only half closed when the guest was told */
		conn_tell(c, PENDING_SHUTDOWN);
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
		conn_free(c);
		return;
	}
	c->guest_port = (uint32_t)port;
	do { /* fewer connections than ports: one is free */
		c->host_port = v->next_host_port++;
		if (v->next_host_port == UINT32_MAX)
			v->next_host_port = FIRST_HOST_PORT;
	} while (conn_find(v, c->guest_port, c->host_port));
	c->state = CONN_REQUESTED;
	conn_hash(c);
	conn_tell(c, PENDING_REQUEST);
	conn_update_watch(c);
}

static void on_socket(void *opaque, int fd, uint32_t events)
{
	struct conn *c = opaque;
	struct vsock *v = c->v;
	(void)fd;
	if (c->state == CONN_HANDSHAKE) {
		handshake(c, events);
		pump(v);
		return;
	}
	if (c->buffer_len && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
		bool was_draining = c->state == CONN_DRAINING;
		bool gone = !buffer_flush(c);
		if (gone && was_draining)
			buffer_free(c);
		else if (gone)
			conn_reset(c);
		if (c->state != CONN_DEAD && !c->buffer_len)
			conn_finish_sending(c);
		if (was_draining && c->fd < 0 && !c->queued) {
			conn_free(c);
			pump(v);
			return;
		}
	}
	if (c->state == CONN_OPEN && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !c->host_ended &&
		!c->guest_recv_shut && peer_credit(c))
		conn_tell(c, PENDING_DATA);
	if (events & EPOLLHUP)
		host_hangs_up(c);
	conn_update_watch(c);
	pump(v);
}

static void on_listen_timer(void *opaque)
{
	listen_update(opaque);
}

static void on_listen(void *opaque, int fd, uint32_t events)
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
	struct conn *c = conn_new(v, conn_fd, CONN_HANDSHAKE);
	if (c)
		conn_update_watch(c);
}

/* --- the device --------------------------------------------------------------------------------
 */

static void send_event(struct vsock *v)
{
	struct virtio_queue *vq = virtio_queue_get(v->device, QUEUE_EVENT);
	uint8_t event[VSOCK_EVENT_BYTES];
	store_le32(event, VSOCK_EVENT_TRANSPORT_RESET);
	struct virtio_chain chain;
	if (!v->event_pending || virtio_queue_pop(vq, &chain) != 1)
		return;
	size_t n = iov_write(chain.iov + chain.out_count, chain.in_count, 0, event, sizeof(event));
	v->event_pending = n < sizeof(event);
	virtio_queue_push(vq, &chain, (uint32_t)n);
	virtio_queue_signal(vq);
}

static void vsock_notify(void *dev, unsigned q)
{
	struct vsock *v = dev;
	if (q == QUEUE_TX)
		tx_serve(v);
	else if (q == QUEUE_RX)
		pump(v);
	else
		send_event(v);
}

static void vsock_config_read(void *dev, uint8_t *config)
{
	const struct vsock *v = dev;
	store_le64(config, v->guest_cid);
}

static void drop_all(struct vsock *v)
{
	v->ready = NULL;
	v->ready_tail = &v->ready;
	while (v->all)
		conn_free(v->all);
	v->reset_count = 0;
	v->tx_waits = false;
}

/* Clients that came before the guest's driver wait in the listening socket until now. */
static int vsock_start(void *dev, uint64_t features)
{
	struct vsock *v = dev;
	(void)features;
	v->started = true;
	listen_update(v);
	return 0;
}

static void vsock_reset(void *dev)
{
	struct vsock *v = dev;
	v->started = false;
	v->event_pending = false;
	drop_all(v);
	listen_update(v);
}

/* Connections end with the machine that had them: the restored guest is told that its transport was
 * reset (5.10.6.7), closes what it had and asks for its CID anew. */
static void vsock_state(void *dev, struct state *s)
{
	struct vsock *v = dev;
	uint64_t cid = v->guest_cid;
	state_u64(s, "guest_cid", &cid);
	state_u32(s, "next_host_port", &v->next_host_port);
	if (state_saving(s))
		return;
	if (v->next_host_port < FIRST_HOST_PORT || v->next_host_port == UINT32_MAX)
		v->next_host_port = FIRST_HOST_PORT;
	drop_all(v);
	v->event_pending = true;
}

static void vsock_free(void *dev)
{
	struct vsock *v = dev;
	drop_all(v);
	loop_fd_remove(v->listen_watch);
	loop_timer_free(v->listen_timer);
	cleanup_close_fd(&v->listen_fd);
	free(v);
}

static const struct virtio_class vsock_class = {
	.name = "vsock",
	.id = VIRTIO_ID_VSOCK,
	.config_bytes = VSOCK_CONFIG_BYTES,
	.config_read = vsock_config_read,
	.start = vsock_start,
	.reset = vsock_reset,
	.notify = vsock_notify,
	.state = vsock_state,
	.free = vsock_free,
};

int virtio_vsock_new(struct virtio_device **out, struct memory *memory, struct loop *loop,
	uint64_t guest_cid, int listen_fd, const char *path, struct error *err)
{
	/* "_4294967295" is put behind it. */
	if (strlen(path) + 11 >= sizeof(((struct vsock *)0)->path))
		return error_set(err, ENAMETOOLONG, "vsock: the path '%.120s' is too long", path);
	if (guest_cid <= HOST_CID || guest_cid >= UINT32_MAX)
		return error_set(
			err, EINVAL, "vsock: CID %llu is reserved", (unsigned long long)guest_cid);
	int flags = fcntl(listen_fd, F_GETFL);
	if (flags < 0 || fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_errno(err, errno, "vsock: listening socket");
	struct vsock *v = xcalloc(1, sizeof(*v));
	*v = (struct vsock){
		.loop = loop,
		.guest_cid = guest_cid,
		.listen_fd = -1,
		.next_host_port = FIRST_HOST_PORT,
	};
	v->ready_tail = &v->ready;
	strcpy(v->path, path);
	int r = getrandom(&v->hash_key, sizeof(v->hash_key), 0) == sizeof(v->hash_key)
			? loop_fd_add(loop, listen_fd, 0, on_listen, v, &v->listen_watch, err)
			: error_errno(err, errno, "vsock: random key");
	if (r == 0)
		r = loop_timer_new(loop, on_listen_timer, v, &v->listen_timer, err);
	if (r == 0)
		r = virtio_device_new(&v->device, &vsock_class, v, 0, QUEUES, memory, loop, err);
	if (r < 0) {
		vsock_free(v);
		return r;
	}
	v->listen_fd = listen_fd;
	*out = v->device;
	return 0;
}
