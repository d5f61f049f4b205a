// SPDX-License-Identifier: Apache-2.0
// The socket device's packets (virtio 1.2, 5.10.6), little-endian as they are in memory.
#ifndef STRATA_DEVICE_VIRTIO_VSOCK_PACKET_H
#define STRATA_DEVICE_VIRTIO_VSOCK_PACKET_H

#include <stdint.h>

struct vsock_header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len; /* bytes that follow */
	uint16_t type, op;
	uint32_t flags;
	uint32_t buf_alloc; /* the sender's receive buffer */
	uint32_t fwd_cnt;   /* bytes that it has taken out of it, ever */
} __attribute__((packed));
_Static_assert(sizeof(struct vsock_header) == 44, "5.10.6");

enum { VSOCK_TYPE_STREAM = 1, VSOCK_TYPE_SEQPACKET = 2 };

enum vsock_op {
	VSOCK_OP_REQUEST = 1,
	VSOCK_OP_RESPONSE = 2,
	VSOCK_OP_RST = 3,
	VSOCK_OP_SHUTDOWN = 4,
	VSOCK_OP_RW = 5,
	VSOCK_OP_CREDIT_UPDATE = 6,
	VSOCK_OP_CREDIT_REQUEST = 7,
};

enum { VSOCK_SHUTDOWN_RCV = 1, VSOCK_SHUTDOWN_SEND = 2 };

enum { VSOCK_EVENT_TRANSPORT_RESET = 0, VSOCK_EVENT_BYTES = 4, VSOCK_CONFIG_BYTES = 8 };

#endif
