// SPDX-License-Identifier: Apache-2.0
// Constructors of the virtio device types, and what each needs from the host. Every constructor
// takes ownership of the descriptors it is given only when it succeeds.
#ifndef STRATA_DEVICE_VIRTIO_DEVICES_H
#define STRATA_DEVICE_VIRTIO_DEVICES_H

#include "device/virtio/virtio.h"

/* blk.c: a disk image. queues: one I/O thread each is the caller's choice of loops. */
struct block; /* block/block.h */
int virtio_blk_new(struct virtio_device **out, struct memory *memory, struct loop *loop,
	struct block *disk /* owned by the device on success */, const char *serial,
	unsigned queues, struct error *err);

/* rng.c: entropy from getrandom(2). */
int virtio_rng_new(
	struct virtio_device **out, struct memory *memory, struct loop *loop, struct error *err);

/* console.c: ports; port 0 is a console. The process must ignore SIGPIPE. Each port has a pair of
 * descriptors (owned, nonblocking, may be the same number; -1: not connected). */
struct virtio_console_port {
	const char *name; /* NULL for a console port */
	int in_fd, out_fd;
};
int virtio_console_new(struct virtio_device **out, struct memory *memory, struct loop *loop,
	const struct virtio_console_port *ports, unsigned port_count, struct error *err);
void virtio_console_resize(
	struct virtio_device *d, uint16_t columns, uint16_t rows); /* [any thread] */

/* net.c: frames to and from a datagram or seqpacket socket (one frame a message), owned. */
int virtio_net_new(struct virtio_device **out, struct memory *memory, struct loop *loop,
	int frame_fd, const uint8_t mac[6], unsigned mtu, struct error *err);

/* vsock.c: host side is Unix sockets: listens at `path` (Firecracker's convention: a client
 * connects, sends "CONNECT <port>\n", reads "OK <host port>\n"); a guest that connects to CID 2
 * port N reaches the Unix socket "<path>_N", or nobody when path is NULL. listen_fd is the bound,
 * listening socket (owned). */
int virtio_vsock_new(struct virtio_device **out, struct memory *memory, struct loop *loop,
	uint64_t guest_cid, int listen_fd, const char *path, struct error *err);

/* fs.c: a FUSE file system (device/virtio/fuse.h) under a mount tag. */
struct fuse_fs;
int virtio_fs_new(struct virtio_device **out, struct memory *memory, struct loop *loop,
	const char *tag, struct fuse_fs *fs /* owned on success */, unsigned queues,
	struct error *err);

#endif
