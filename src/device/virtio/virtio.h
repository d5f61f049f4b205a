// SPDX-License-Identifier: Apache-2.0
// Virtio 1.2 devices, whatever transport carries them. A device type is one constant
// `struct virtio_class`; its facts (queues, features, size of the configuration space) are data, so
// that this layer bounds every access of the guest and the device sees only what is valid.
//
// Threads: a device works on the thread of its `loop` (an I/O thread or the main loop).
// Register accesses come on vCPU threads and are served here under the device's lock, which
// config_read and config_write are called with. start, reset and state run on the loop's thread,
// so they may use the loop; start and reset hold the device's lock too. notify and queue_reset run
// on the thread of that queue's loop and hold the lock of that queue only. The interrupt path, fail
// and config_changed take no lock. A vCPU never waits for a device: a reset that the guest asks for
// is done on the loop, and the status register reads 0 once it is complete (4.1.4.3.2).
//
// What the guest does wrong (a descriptor outside memory, a loop, a bad length) makes the device
// call virtio_fail(): it sets DEVICE_NEEDS_RESET and stops until the guest resets it.
#ifndef STRATA_DEVICE_VIRTIO_VIRTIO_H
#define STRATA_DEVICE_VIRTIO_VIRTIO_H

#include <sys/uio.h>

#include "device/bus.h"
#include "os/loop.h"
#include "wire/state.h"

struct virtio_device;
struct virtio_queue;

/* Virtio 1.2, section 5: device types. */
enum virtio_id {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLOCK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_ENTROPY = 4,
	VIRTIO_ID_VSOCK = 19,
	VIRTIO_ID_FS = 26,
};

enum { VIRTIO_QUEUE_MAX = 256, VIRTIO_CHAIN_MAX = 1024 };

struct virtio_class {
	const char *name; /* "blk"; also the tag of its saved state */
	uint16_t id;	  /* enum virtio_id */
	uint64_t
		features; /* device features it can offer, without the transport's and ring's own */
	uint16_t config_bytes;
	uint16_t config_writable_from, config_writable_to; /* driver may write [from, to) */

	/* Reads of the configuration space: copy of the bytes [0, config_bytes), little-endian. */
	void (*config_read)(void *dev, uint8_t *config);
	void (*config_write)(void *dev, unsigned offset, const uint8_t *bytes, unsigned len);
	/* DRIVER_OK was written; features are final. 0, or -errno: the device fails. notify of
	 * every enabled queue follows. */
	int (*start)(void *dev, uint64_t features);
	/* The guest reset the device, or the machine stops: drop requests (virtio_queue_drop),
	 * forget queues. When it returns, nothing of the device touches guest memory. Only after
	 * start. */
	void (*reset)(void *dev);
	/* Queue q has (perhaps) new buffers. On the thread of the queue's loop. */
	void (*notify)(void *dev, unsigned q);
	/* Optional: queue q alone was reset; drop its requests. VIRTIO_F_RING_RESET is offered by
	 * classes that have it. */
	void (*queue_reset)(void *dev, unsigned q);
	/* What the device itself keeps. Restoring a device that ran, it is called after start. No
	 * chain may be popped and not pushed when it saves. */
	void (*state)(void *dev, struct state *s);
	void (*free)(void *dev);
};

/* Creates the transport-independent part; `dev` is the device's own object, freed by class->free
 * when the virtio_device is freed. features narrows class->features. */
int virtio_device_new(struct virtio_device **out, const struct virtio_class *class, void *dev,
	uint64_t features, unsigned queue_count, struct memory *memory, struct loop *loop,
	struct error *err);
/* None of its loops runs any more. Accepts NULL. */
void virtio_device_free(struct virtio_device *d);
/* As after power-on; complete when it returns. [the loop's thread, or while no loop runs] */
void virtio_device_reset(struct virtio_device *d);
/* vCPUs and the queues' own loops are stopped. [the loop's thread, or while it does not run] */
void virtio_device_state(struct virtio_device *d, struct state *s);
const struct virtio_class *virtio_device_class(const struct virtio_device *d);
void *virtio_device_impl(struct virtio_device *d);
struct loop *virtio_device_loop(struct virtio_device *d);
/* Lets queue q's notify run on another loop (one I/O thread a queue). Before the machine starts. */
void virtio_device_set_queue_loop(struct virtio_device *d, unsigned q, struct loop *loop);

/* The guest made a mistake that the device cannot go on from: NEEDS_RESET, with a logged reason.
 * [any thread] */
void virtio_fail(struct virtio_device *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool virtio_running(struct virtio_device *d); /* DRIVER_OK and neither failed nor reset */
void virtio_config_changed(
	struct virtio_device *d); /* raises the configuration interrupt [any thread] */

/* --- queues: split and packed rings look the same from here --- */

/* One buffer the driver made available. The first `out_count` of iov are for the device to read,
 * the next `in_count` for it to write; all are valid host memory, none is empty. Owned by the
 * caller of pop until push. iov may point into the object itself, so a chain is not copied or
 * moved; iov is not changed: push tells from it which pages were written. */
struct virtio_chain {
	uint16_t id; /* ring's own name for it */
	uint16_t desc_count;
	unsigned out_count, in_count;
	uint64_t out_bytes, in_bytes;
	struct iovec *iov; /* storage or big: valid until push, unpop or drop */
	struct iovec storage[16];
	struct iovec *big; /* owned when the chain is longer; taken back by push */
};

struct virtio_queue *virtio_queue_get(struct virtio_device *d, unsigned q);
/* 1: *chain is filled; 0: none available; -EBADMSG: the ring is broken and the device has failed.
 * Caller: the queue's loop thread. */
int virtio_queue_pop(struct virtio_queue *vq, struct virtio_chain *chain);
/* Returns a buffer with `written` bytes put into its in part. Pushes may come in any order (within
 * VIRTIO_F_IN_ORDER rules when negotiated: it is not offered). [thread of the queue's loop] */
void virtio_queue_push(struct virtio_queue *vq, struct virtio_chain *chain, uint32_t written);
/* Forgets a popped chain without giving it back: the device is being reset. All of its in part
 * counts as written. */
void virtio_queue_drop(struct virtio_queue *vq, struct virtio_chain *chain);
/* Interrupts the driver if it wants to know of what was pushed. */
void virtio_queue_signal(struct virtio_queue *vq);
/* Gives back the last popped chain unprocessed (a device that waits for room). */
void virtio_queue_unpop(struct virtio_queue *vq, struct virtio_chain *chain);
/* Suppress or want notifications of new buffers; enabling returns true when some are already there.
 */
void virtio_queue_notify_disable(struct virtio_queue *vq);
bool virtio_queue_notify_enable(struct virtio_queue *vq);
bool virtio_queue_ready(struct virtio_queue *vq); /* enabled and device running */
/* Calls notify for this queue again, after whatever else waits on its loop: for a device that has
 * served a batch and must not keep the loop to itself. [any thread] */
void virtio_queue_again(struct virtio_queue *vq);

/* Copies between iovecs and flat memory; return the bytes copied (less than len at the end). */
size_t iov_read(const struct iovec *iov, unsigned n, uint64_t offset, void *out, size_t len);
size_t iov_write(const struct iovec *iov, unsigned n, uint64_t offset, const void *in, size_t len);

#endif
