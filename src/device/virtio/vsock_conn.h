// SPDX-License-Identifier: Apache-2.0
// The connections of a socket device. Private to vsock*.c. All on the device's loop.
#ifndef STRATA_DEVICE_VIRTIO_VSOCK_CONN_H
#define STRATA_DEVICE_VIRTIO_VSOCK_CONN_H

#include <sys/un.h>

#include "device/virtio/virtio.h"
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

struct conn *vsock_conn_find(struct vsock *v, uint32_t guest_port, uint32_t host_port);
/* Takes fd. NULL: no room, and fd is closed. */
struct conn *vsock_conn_new(struct vsock *v, int fd, enum conn_state state);
/* Not while it is queued, except when all are freed. */
void vsock_conn_free(struct conn *c);
void vsock_conn_hash(struct conn *c);
void vsock_conn_unhash(struct conn *c);
void vsock_conn_close(struct conn *c); /* the host's end, and what was kept for it */
/* Closes it and tells the guest, after which it is freed. */
void vsock_conn_reset(struct conn *c);
void vsock_conn_tell(struct conn *c, unsigned what); /* PENDING_*, at the guest's next buffer */
uint32_t vsock_conn_credit(const struct conn *c);    /* bytes that the guest has room for */
void vsock_conn_watch(struct conn *c);		     /* waits for what it can use */
/* Bytes taken by the socket, 0 when it is full, -errno when the peer is gone. */
ssize_t vsock_conn_write(struct conn *c, const struct iovec *iov, size_t n);
/* len bytes of payload behind the header in the chain: to the socket, or kept for it. */
void vsock_conn_receive(struct conn *c, const struct virtio_chain *chain, uint32_t len);
/* The guest sends no more: so does the socket, once it has everything. */
void vsock_conn_finish_sending(struct conn *c);

void vsock_listen_update(struct vsock *v); /* accepts while there is room and a driver */
void vsock_on_listen(void *vsock, int fd, uint32_t events);
void vsock_on_listen_timer(void *vsock);

/* vsock.c: fills the guest's buffers with what is to be told. */
void vsock_pump(struct vsock *v);

#endif
