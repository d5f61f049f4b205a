// SPDX-License-Identifier: Apache-2.0
// Inside of a virtqueue: shared by the core (virtio.c), the common part (queue.c) and the two ring
// layouts (queue_split.c: virtio 1.2, 2.7; queue_packed.c: 2.8). Devices use virtio.h only.
//
// The guest owns ring memory and may change it at any moment. So every value is loaded exactly
// once, into a local, and then checked. An index is never taken from memory that was checked
// before.
#ifndef STRATA_DEVICE_VIRTIO_QUEUE_H
#define STRATA_DEVICE_VIRTIO_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>

#include "device/virtio/virtio.h"

enum { /* descriptor flags, both layouts */
	DESC_NEXT = 1,
	DESC_WRITE = 2,
	DESC_INDIRECT = 4,
};

enum { DESC_BYTES = 16 };

struct queue_ring; /* ops of one layout */

struct virtio_queue {
	struct virtio_device *device;
	struct memory *memory; /* not owned */
	struct loop *loop;     /* where notify runs */
	unsigned index;

	pthread_mutex_t lock; /* held while the device works on the queue in notify */
	atomic_bool pending;  /* a notify is posted and has not begun */

	/* Registers; guarded by the device's lock, constant while enabled. */
	uint16_t size;
	gpa_t desc, driver, device_area;
	atomic_bool enabled;   /* set last, when all below is valid */
	atomic_bool resetting; /* the driver asked for this queue's reset */

	/* From here on: the loop's thread, while enabled. */
	const struct queue_ring *ring;
	const uint8_t *desc_host, *driver_host; /* whole areas were validated at enable */
	uint8_t *device_host;
	bool event_idx, indirect;
	bool notify_off;	    /* the device does not want to be notified */
	uint16_t avail_idx;	    /* next entry to pop */
	uint16_t used_idx;	    /* next entry to push */
	bool avail_wrap, used_wrap; /* packed */
	uint16_t in_flight;   /* descriptors (packed) or chains (split) popped and not pushed */
	uint32_t unsignalled; /* entries pushed since the driver was last interrupted */
	struct iovec *spare;  /* owned: VIRTIO_CHAIN_MAX iovecs, kept for the next long chain */
};

struct queue_ring {
	/* Validates the areas and sets host pointers. 0, or -EFAULT. */
	int (*map)(struct virtio_queue *vq);
	int (*pop)(struct virtio_queue *vq, struct virtio_chain *chain);
	void (*unpop)(struct virtio_queue *vq, struct virtio_chain *chain);
	void (*push)(struct virtio_queue *vq, struct virtio_chain *chain, uint32_t written);
	bool (*wants_interrupt)(struct virtio_queue *vq); /* vq->unsignalled > 0 */
	void (*notify_disable)(struct virtio_queue *vq);
	void (*notify_enable)(struct virtio_queue *vq); /* with a full barrier at its end */
	bool (*has_buffers)(struct virtio_queue *vq);
};

extern const struct queue_ring queue_split, queue_packed;

/* Core to queue. */
bool virtio_device_dma_allowed(const struct virtio_device *d);
void queue_init(struct virtio_queue *vq, struct virtio_device *d, unsigned index,
	struct memory *memory, struct loop *loop);
void queue_done(struct virtio_queue *vq);
void queue_clear(struct virtio_queue *vq); /* registers and ring as after power-on */
/* Starts an enabled ring from its first entry. 0, or -errno when its registers are wrong. */
int queue_start(struct virtio_queue *vq, uint64_t features);
void queue_state(struct virtio_queue *vq, struct state *s, uint64_t features);

/* Appends a buffer to a chain in the making. -EBADMSG: refused, and the device has failed. */
int queue_chain_add(
	struct virtio_queue *vq, struct virtio_chain *chain, gpa_t addr, uint32_t len, bool write);
/* Appends a table of indirect descriptors. linked: they are chained by `next`, else in order. */
int queue_chain_add_table(
	struct virtio_queue *vq, struct virtio_chain *chain, gpa_t addr, uint32_t len, bool linked);
void queue_chain_release(struct virtio_queue *vq, struct virtio_chain *chain);
/* Fails the device because of this queue; returns -EBADMSG. */
int queue_broken(struct virtio_queue *vq, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The pages of a part of the device area are about to be written. */
static inline void queue_touch(struct virtio_queue *vq, gpa_t area, uint64_t offset, uint64_t len)
{
	memory_write_ptr(vq->memory, GPA(area.v + offset), len);
}

/* Single loads of what the guest may be writing right now. Ring areas are aligned, tables of
 * indirect descriptors need not be. */
static inline uint16_t ring_load16(const void *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED));
}
static inline uint16_t ring_load16_acquire(const void *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}
static inline void ring_store16(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELAXED);
}
static inline void ring_store16_release(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELEASE);
}
struct ring_desc {
	gpa_t addr;
	uint32_t len;
	uint16_t w12, w14; /* split: flags, next; packed: id, flags */
};
static inline struct ring_desc ring_load_desc(const void *p)
{
	typedef uint64_t unaligned64 __attribute__((aligned(1), may_alias));
	const volatile unaligned64 *w = p;
	uint64_t lo = le64toh(w[0]), hi = le64toh(w[1]);
	return (struct ring_desc){
		GPA(lo), (uint32_t)hi, (uint16_t)(hi >> 32), (uint16_t)(hi >> 48)};
}
/* True when the driver wants an interrupt for one of the entries (old, new]; 2.7.10. */
static inline bool ring_need_event(uint16_t event, uint16_t new_idx, uint16_t old)
{
	return (uint16_t)(new_idx - event - 1) < (uint16_t)(new_idx - old);
}

#endif
