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
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/virtio/devices.h"
#include "device/virtio/vsock_conn.h"

/* --- telling the guest --- */

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
	uint64_t max = MIN(chain->in_bytes - HEADER_BYTES, (uint64_t)vsock_conn_credit(c));
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
		vsock_conn_tell(c, PENDING_SHUTDOWN);
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
	if ((c->pending & PENDING_DATA) && !vsock_conn_credit(c)) {
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
		vsock_conn_tell(c, 0); /* behind the others */
	else if (c->fd < 0)	       /* dead, or drained */
		vsock_conn_free(c);
	else
		vsock_conn_watch(c);
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

void vsock_pump(struct vsock *v)
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

/* --- packets of the guest --- */

static void guest_requests(struct vsock *v, const struct vsock_header *h)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	uint32_t port = le32toh(h->dst_port);
	int len = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s_%u", v->path, port);
	int fd = v->path[0] ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
	struct conn *c = NULL;
	if (fd >= 0 && len < (int)sizeof(addr.sun_path) &&
		connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		c = vsock_conn_new(v, TAKE_FD(fd), CONN_OPEN);
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
	vsock_conn_hash(c);
	vsock_conn_tell(c, PENDING_RESPONSE);
}

static void guest_accepts(struct conn *c)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "OK %u\n", c->host_port);
	struct iovec iov = {line, (size_t)len};
	if (c->state != CONN_REQUESTED || vsock_conn_write(c, &iov, 1) != len) {
		vsock_conn_reset(c);
		return;
	}
	c->state = CONN_OPEN;
	vsock_conn_watch(c);
}

/* Bits that came once stay. With both the guest has closed its socket: it is told so at once (it
 * waits for that), while what it sent goes on to the host. */
static void guest_shuts(struct conn *c, uint32_t flags)
{
	if (c->state != CONN_OPEN) {
		vsock_conn_reset(c);
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
		vsock_conn_tell(c, PENDING_RST);
	}
	vsock_conn_finish_sending(c);
	vsock_conn_watch(c);
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
		vsock_conn_close(c);
		c->pending = 0;
		if (c->queued)
			vsock_conn_unhash(c); /* freed when its turn comes */
		else
			vsock_conn_free(c);
		return;
	case VSOCK_OP_RESPONSE:
		guest_accepts(c);
		break;
	case VSOCK_OP_SHUTDOWN:
		guest_shuts(c, le32toh(h->flags));
		return;
	case VSOCK_OP_RW:
		if (open)
			vsock_conn_receive(c, chain, le32toh(h->len));
		else
			vsock_conn_reset(c);
		break;
	case VSOCK_OP_CREDIT_REQUEST:
		if (open)
			vsock_conn_tell(c, PENDING_CREDIT);
		break;
	case VSOCK_OP_CREDIT_UPDATE:
		break;
	default: /* among them a second REQUEST */
		vsock_conn_reset(c);
		return;
	}
	if (c->state == CONN_OPEN && vsock_conn_credit(c)) {
		c->credit_asked = false;
		vsock_conn_watch(c);
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
		c = vsock_conn_find(v, le32toh(h->src_port), le32toh(h->dst_port));
	if (c && c->state == CONN_DEAD)
		return; /* the reset is on its way */
	if (c && c->state == CONN_DRAINING) {
		/* The guest was told, or will be: the name is free again. */
		if (le16toh(h->op) != VSOCK_OP_REQUEST)
			return;
		vsock_conn_unhash(c);
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
	vsock_pump(v);
}

/* --- the device --- */

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
		vsock_pump(v);
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
		vsock_conn_free(v->all);
	v->reset_count = 0;
	v->tx_waits = false;
}

/* Clients that came before the guest's driver wait in the listening socket until now. */
static int vsock_start(void *dev, uint64_t features)
{
	struct vsock *v = dev;
	(void)features;
	v->started = true;
	vsock_listen_update(v);
	return 0;
}

static void vsock_reset(void *dev)
{
	struct vsock *v = dev;
	v->started = false;
	v->event_pending = false;
	drop_all(v);
	vsock_listen_update(v);
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
	if (path && strlen(path) + 11 >= sizeof(((struct vsock *)0)->path))
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
	strcpy(v->path, path ? path : "");
	int r = getrandom(&v->hash_key, sizeof(v->hash_key), 0) == sizeof(v->hash_key)
			? loop_fd_add(loop, listen_fd, 0, vsock_on_listen, v, &v->listen_watch, err)
			: error_errno(err, errno, "vsock: random key");
	if (r == 0)
		r = loop_timer_new(loop, vsock_on_listen_timer, v, &v->listen_timer, err);
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
