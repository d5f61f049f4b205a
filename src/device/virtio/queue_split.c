// SPDX-License-Identifier: Apache-2.0
// Split virtqueues: virtio 1.2, 2.7.
//
//   descriptor area: size x { le64 addr, le32 len, le16 flags, le16 next }
//   driver area:     le16 flags, le16 idx, le16 ring[size], le16 used_event
//   device area:     le16 flags, le16 idx, size x { le32 id, le32 len }, le16 avail_event
#include "device/virtio/queue.h"

#include <inttypes.h>

enum {
	AVAIL_NO_INTERRUPT = 1,
	USED_NO_NOTIFY = 1,
	OFF_FLAGS = 0,
	OFF_IDX = 2,
	OFF_RING = 4,
	USED_BYTES = 8,
};

static uint64_t avail_event_offset(const struct virtio_queue *vq)
{
	return OFF_RING + (uint64_t)vq->size * USED_BYTES;
}

static int split_map(struct virtio_queue *vq)
{
	if (!is_pow2(vq->size) || vq->desc.v % 16 || vq->driver.v % 2 || vq->device_area.v % 4)
		return -EFAULT;
	uint64_t n = vq->size;
	vq->desc_host = memory_read_ptr(vq->memory, vq->desc, n * DESC_BYTES);
	vq->driver_host = memory_read_ptr(vq->memory, vq->driver, OFF_RING + n * 2 + 2);
	vq->device_host = memory_write_ptr(vq->memory, vq->device_area, avail_event_offset(vq) + 2);
	return vq->desc_host && vq->driver_host && vq->device_host ? 0 : -EFAULT;
}

static bool split_has_buffers(struct virtio_queue *vq)
{
	return ring_load16_acquire(vq->driver_host + OFF_IDX) != vq->avail_idx;
}

static void store_device(struct virtio_queue *vq, uint64_t off, uint16_t v)
{
	queue_touch(vq, vq->device_area, off, 2);
	ring_store16(vq->device_host + off, v);
}

static void split_notify_enable(struct virtio_queue *vq)
{
	if (vq->event_idx)
		store_device(vq, avail_event_offset(vq), vq->avail_idx);
	else
		store_device(vq, OFF_FLAGS, 0);
	atomic_thread_fence(memory_order_seq_cst);
}

static void split_notify_disable(struct virtio_queue *vq)
{
	if (vq->event_idx) /* an entry that has passed: reached again after 65535 more */
		store_device(vq, avail_event_offset(vq), (uint16_t)(vq->avail_idx - 1));
	else
		store_device(vq, OFF_FLAGS, USED_NO_NOTIFY);
}

/* Follows a chain of the descriptor area from `head`. */
static int split_walk(struct virtio_queue *vq, struct virtio_chain *chain, uint16_t head)
{
	uint16_t at = head;
	for (unsigned n = 0; n < vq->size; n++) {
		struct ring_desc desc = ring_load_desc(vq->desc_host + (size_t)at * DESC_BYTES);
		uint16_t flags = desc.w12, next = desc.w14;
		if (flags & DESC_INDIRECT) {
			if (flags & DESC_NEXT)
				return queue_broken(vq, "a descriptor is indirect and has a next");
			return queue_chain_add_table(vq, chain, desc.addr, desc.len, true);
		}
		int r = queue_chain_add(vq, chain, desc.addr, desc.len, flags & DESC_WRITE);
		if (r < 0 || !(flags & DESC_NEXT))
			return r;
		if (next >= vq->size)
			return queue_broken(vq, "descriptor %u of %u", next, vq->size);
		at = next;
	}
	return queue_broken(vq, "descriptors form a loop");
}

static int split_pop(struct virtio_queue *vq, struct virtio_chain *chain)
{
	uint16_t idx = ring_load16_acquire(vq->driver_host + OFF_IDX);
	uint16_t ready = (uint16_t)(idx - vq->avail_idx);
	if (!ready)
		return 0;
	if (ready > vq->size)
		return queue_broken(vq, "the driver's index jumped by %u", ready);
	if (vq->in_flight >= vq->size)
		return queue_broken(vq, "more chains are in use than there are descriptors");
	uint16_t slot = vq->avail_idx & (vq->size - 1);
	uint16_t head = ring_load16(vq->driver_host + OFF_RING + slot * 2);
	if (head >= vq->size)
		return queue_broken(vq, "descriptor %u of %u", head, vq->size);
	chain->id = head;
	chain->desc_count = 1;
	int r = split_walk(vq, chain, head);
	if (r < 0)
		return r;
	vq->avail_idx++;
	return 1;
}

static void split_unpop(struct virtio_queue *vq, struct virtio_chain *chain)
{
	vq->avail_idx--;
}

static void split_push(struct virtio_queue *vq, struct virtio_chain *chain, uint32_t written)
{
	uint64_t off = OFF_RING + (uint64_t)(vq->used_idx & (vq->size - 1)) * USED_BYTES;
	queue_touch(vq, vq->device_area, off, USED_BYTES);
	store_le32(vq->device_host + off, chain->id);
	store_le32(vq->device_host + off + 4, written);
	vq->used_idx++;
	queue_touch(vq, vq->device_area, OFF_IDX, 2);
	ring_store16_release(vq->device_host + OFF_IDX, vq->used_idx);
}

static bool split_wants_interrupt(struct virtio_queue *vq)
{
	if (!vq->event_idx)
		return !(ring_load16(vq->driver_host + OFF_FLAGS) & AVAIL_NO_INTERRUPT);
	if (vq->unsignalled > UINT16_MAX)
		return true;
	uint16_t used_event = ring_load16(vq->driver_host + OFF_RING + (size_t)vq->size * 2);
	return ring_need_event(
		used_event, vq->used_idx, (uint16_t)(vq->used_idx - vq->unsignalled));
}

const struct queue_ring queue_split = {
	.map = split_map,
	.pop = split_pop,
	.unpop = split_unpop,
	.push = split_push,
	.wants_interrupt = split_wants_interrupt,
	.notify_disable = split_notify_disable,
	.notify_enable = split_notify_enable,
	.has_buffers = split_has_buffers,
};
