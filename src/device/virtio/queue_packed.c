// SPDX-License-Identifier: Apache-2.0
// Packed virtqueues: virtio 1.2, 2.8.
//
//   descriptor area:         size x { le64 addr, le32 len, le16 id, le16 flags }, read and written
//   driver and device area:  le16 offset and wrap, le16 flags     (event suppression)
#include "device/virtio/queue.h"

enum {
	FLAG_AVAIL = 1 << 7,
	FLAG_USED = 1 << 15,
	OFF_LEN = 8,
	OFF_ID = 12,
	OFF_DESC_FLAGS = 14,
	EVENT_BYTES = 4,
	OFF_EVENT_WRAP = 0,
	OFF_EVENT_FLAGS = 2,
};

enum event_flags { EVENT_ENABLE, EVENT_DISABLE, EVENT_DESC };

static int packed_map(struct virtio_queue *vq)
{
	if (!vq->size || vq->desc.v % 16 || vq->driver.v % 4 || vq->device_area.v % 4)
		return -EFAULT;
	vq->desc_host = memory_write_ptr(vq->memory, vq->desc, (uint64_t)vq->size * DESC_BYTES);
	vq->driver_host = memory_read_ptr(vq->memory, vq->driver, EVENT_BYTES);
	vq->device_host = memory_write_ptr(vq->memory, vq->device_area, EVENT_BYTES);
	return vq->desc_host && vq->driver_host && vq->device_host ? 0 : -EFAULT;
}

/* Moves an index of the ring on by n <= size; true when it wrapped. */
static bool advance(const struct virtio_queue *vq, uint16_t *idx, uint16_t n)
{
	uint32_t at = (uint32_t)*idx + n;
	bool wrapped = at >= vq->size;
	*idx = (uint16_t)(wrapped ? at - vq->size : at);
	return wrapped;
}

static bool available(uint16_t flags, bool wrap)
{
	return !!(flags & FLAG_AVAIL) == wrap && !!(flags & FLAG_USED) != wrap;
}

static bool packed_has_buffers(struct virtio_queue *vq)
{
	const uint8_t *desc = vq->desc_host + (size_t)vq->avail_idx * DESC_BYTES;
	return available(ring_load16_acquire(desc + OFF_DESC_FLAGS), vq->avail_wrap);
}

static void packed_notify_enable(struct virtio_queue *vq)
{
	queue_touch(vq, vq->device_area, 0, EVENT_BYTES);
	if (vq->event_idx)
		ring_store16(vq->device_host + OFF_EVENT_WRAP,
			(uint16_t)(vq->avail_idx | vq->avail_wrap << 15));
	ring_store16_release(
		vq->device_host + OFF_EVENT_FLAGS, vq->event_idx ? EVENT_DESC : EVENT_ENABLE);
	atomic_thread_fence(memory_order_seq_cst);
}

static void packed_notify_disable(struct virtio_queue *vq)
{
	queue_touch(vq, vq->device_area, 0, EVENT_BYTES);
	ring_store16(vq->device_host + OFF_EVENT_FLAGS, EVENT_DISABLE);
}

static int packed_pop(struct virtio_queue *vq, struct virtio_chain *chain)
{
	if (!packed_has_buffers(vq))
		return 0;
	uint16_t at = vq->avail_idx;
	for (unsigned n = 1;; n++) {
		if (vq->in_flight + n > vq->size)
			return queue_broken(vq, "more descriptors are in use than there are");
		struct ring_desc desc = ring_load_desc(vq->desc_host + (size_t)at * DESC_BYTES);
		uint16_t id = desc.w12, flags = desc.w14;
		int r;
		if (flags & DESC_INDIRECT) {
			if (n > 1 || (flags & DESC_NEXT))
				return queue_broken(vq, "an indirect descriptor inside a chain");
			r = queue_chain_add_table(vq, chain, desc.addr, desc.len, false);
		} else {
			r = queue_chain_add(vq, chain, desc.addr, desc.len, flags & DESC_WRITE);
		}
		if (r < 0)
			return r;
		advance(vq, &at, 1);
		if (flags & DESC_NEXT)
			continue;
		chain->id = id; /* the last descriptor's counts: 2.8.6 */
		chain->desc_count = (uint16_t)n;
		vq->avail_wrap ^= advance(vq, &vq->avail_idx, (uint16_t)n);
		return 1;
	}
}

static void packed_unpop(struct virtio_queue *vq, struct virtio_chain *chain)
{
	if (vq->avail_idx < chain->desc_count) {
		vq->avail_idx = (uint16_t)(vq->avail_idx + vq->size);
		vq->avail_wrap ^= true;
	}
	vq->avail_idx = (uint16_t)(vq->avail_idx - chain->desc_count);
}

static void packed_push(struct virtio_queue *vq, struct virtio_chain *chain, uint32_t written)
{
	uint64_t off = (uint64_t)vq->used_idx * DESC_BYTES;
	queue_touch(vq, vq->desc, off, DESC_BYTES);
	uint8_t *desc = (uint8_t *)(uintptr_t)vq->desc_host + off;
	store_le32(desc + OFF_LEN, written);
	ring_store16(desc + OFF_ID, chain->id);
	uint16_t flags = vq->used_wrap ? FLAG_AVAIL | FLAG_USED : 0;
	if (written)
		flags |= DESC_WRITE;
	ring_store16_release(desc + OFF_DESC_FLAGS, flags);
	vq->used_wrap ^= advance(vq, &vq->used_idx, chain->desc_count);
}

static bool packed_wants_interrupt(struct virtio_queue *vq)
{
	uint16_t flags = ring_load16_acquire(vq->driver_host + OFF_EVENT_FLAGS);
	if (flags == EVENT_DISABLE)
		return false;
	if (flags != EVENT_DESC || !vq->event_idx || vq->unsignalled >= vq->size)
		return true;
	uint16_t event = ring_load16(vq->driver_host + OFF_EVENT_WRAP);
	uint16_t off = event & 0x7fff;
	if ((event >> 15) != vq->used_wrap)
		off = (uint16_t)(off - vq->size); /* an entry of the round before this one */
	return ring_need_event(off, vq->used_idx, (uint16_t)(vq->used_idx - vq->unsignalled));
}

const struct queue_ring queue_packed = {
	.map = packed_map,
	.pop = packed_pop,
	.unpop = packed_unpop,
	.push = packed_push,
	.wants_interrupt = packed_wants_interrupt,
	.notify_disable = packed_notify_disable,
	.notify_enable = packed_notify_enable,
	.has_buffers = packed_has_buffers,
};
