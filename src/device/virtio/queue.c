// SPDX-License-Identifier: Apache-2.0
// What both ring layouts share: chains of host buffers, the device's side of a queue, saved state.
#include "device/virtio/queue.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "device/virtio/transport.h"

void queue_init(struct virtio_queue *vq, struct virtio_device *d, unsigned index,
	struct memory *memory, struct loop *loop)
{
	vq->device = d;
	vq->memory = memory;
	vq->loop = loop;
	vq->index = index;
	pthread_mutex_init(&vq->lock, NULL);
	queue_clear(vq);
}

void queue_done(struct virtio_queue *vq)
{
	free(vq->spare);
	pthread_mutex_destroy(&vq->lock);
}

void queue_clear(struct virtio_queue *vq)
{
	atomic_store(&vq->enabled, false);
	atomic_store(&vq->resetting, false);
	vq->size = VIRTIO_QUEUE_MAX;
	vq->desc = vq->driver = vq->device_area = GPA(0);
	vq->ring = NULL;
	vq->desc_host = vq->driver_host = NULL;
	vq->device_host = NULL;
	vq->notify_off = false;
	vq->avail_idx = vq->used_idx = 0;
	vq->avail_wrap = vq->used_wrap = true; /* 2.8.1: both counters begin at 1 */
	vq->in_flight = 0;
	vq->unsignalled = 0;
}

static int queue_map(struct virtio_queue *vq, uint64_t features)
{
	vq->ring = features & VIRTIO_F_RING_PACKED ? &queue_packed : &queue_split;
	vq->event_idx = features & VIRTIO_F_EVENT_IDX;
	vq->indirect = features & VIRTIO_F_INDIRECT_DESC;
	return vq->ring->map(vq);
}

int queue_start(struct virtio_queue *vq, uint64_t features)
{
	int r = queue_map(vq, features);
	if (r < 0)
		return r;
	if (vq->ring == &queue_packed)
		vq->ring->notify_enable(vq); /* tells the driver how it wants to be notified */
	atomic_store_explicit(&vq->enabled, true, memory_order_release);
	return 0;
}

int queue_broken(struct virtio_queue *vq, const char *fmt, ...)
{
	char reason[160];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	virtio_fail(vq->device, "queue %u: %s", vq->index, reason);
	return -EBADMSG;
}

/* --- chains --- */

static void chain_grow(struct virtio_queue *vq, struct virtio_chain *chain)
{
	chain->big =
		vq->spare ? TAKE_PTR(vq->spare) : xmalloc(VIRTIO_CHAIN_MAX * sizeof(*chain->big));
	memcpy(chain->big, chain->storage, sizeof(chain->storage));
	chain->iov = chain->big;
}

void queue_chain_release(struct virtio_queue *vq, struct virtio_chain *chain)
{
	if (vq->spare)
		free(chain->big);
	else
		vq->spare = chain->big;
	chain->big = NULL;
	chain->iov = NULL;
	chain->out_count = chain->in_count = 0;
}

int queue_chain_add(
	struct virtio_queue *vq, struct virtio_chain *chain, gpa_t addr, uint32_t len, bool write)
{
	unsigned n = chain->out_count + chain->in_count;
	if (n == VIRTIO_CHAIN_MAX)
		return queue_broken(vq, "a chain has more than %u buffers", VIRTIO_CHAIN_MAX);
	if (!len)
		return queue_broken(vq, "an empty buffer");
	if (!write && chain->in_count)
		return queue_broken(vq, "a buffer to read follows one to write");
	/* What is to be written is marked as written when it is pushed. */
	const void *host = memory_read_ptr(vq->memory, addr, len);
	if (!host)
		return queue_broken(
			vq, "buffer 0x%" PRIx64 "+0x%" PRIx32 " is not in memory", addr.v, len);
	if (chain->out_bytes + chain->in_bytes + len > UINT32_MAX)
		return queue_broken(vq, "a chain is longer than 4 GiB");
	if (n == ARRAY_SIZE(chain->storage))
		chain_grow(vq, chain);
	chain->iov[n] = (struct iovec){(void *)(uintptr_t)host, len};
	if (write) {
		chain->in_count++;
		chain->in_bytes += len;
	} else {
		chain->out_count++;
		chain->out_bytes += len;
	}
	return 0;
}

int queue_chain_add_table(
	struct virtio_queue *vq, struct virtio_chain *chain, gpa_t addr, uint32_t len, bool linked)
{
	if (!vq->indirect)
		return queue_broken(vq, "an indirect descriptor was not negotiated");
	if (!len || len % DESC_BYTES)
		return queue_broken(vq, "an indirect table of %" PRIu32 " bytes", len);
	const uint8_t *table = memory_read_ptr(vq->memory, addr, len);
	if (!table)
		return queue_broken(vq,
			"indirect table 0x%" PRIx64 "+0x%" PRIx32 " is not in memory", addr.v, len);
	uint32_t count = len / DESC_BYTES, at = 0;
	for (uint32_t n = 0; n < count; n++) {
		struct ring_desc desc = ring_load_desc(table + (size_t)at * DESC_BYTES);
		uint16_t flags = linked ? desc.w12 : desc.w14;
		if (flags & DESC_INDIRECT)
			return queue_broken(vq, "an indirect descriptor inside an indirect table");
		int r = queue_chain_add(vq, chain, desc.addr, desc.len, flags & DESC_WRITE);
		if (r < 0)
			return r;
		if (!linked) {
			at++;
			continue;
		}
		if (!(flags & DESC_NEXT))
			return 0;
		at = desc.w14;
		if (at >= count)
			return queue_broken(vq, "indirect descriptor %u of %u", at, count);
	}
	return linked ? queue_broken(vq, "indirect descriptors form a loop") : 0;
}

/* The first `written` bytes of the in part were written: code made from them must go, and a copy of
 * memory that someone else made is old. Done after the data and before the driver is told. */
static void chain_mark_written(
	struct virtio_queue *vq, const struct virtio_chain *chain, uint32_t written)
{
	unsigned regions;
	const struct memory_region *region = memory_regions(vq->memory, &regions);
	const struct iovec *v = chain->iov + chain->out_count;
	for (unsigned i = 0; i < chain->in_count && written; i++, v++) {
		uint32_t len = (uint32_t)MIN(v->iov_len, written);
		for (unsigned k = 0; k < regions; k++) {
			uint64_t off =
				(uint64_t)((uintptr_t)v->iov_base - (uintptr_t)region[k].host);
			if (off >= region[k].bytes)
				continue;
			memory_write_ptr(vq->memory, GPA(region[k].base.v + off), len);
			break;
		}
		written -= len;
	}
}

/* --- the device's side --- */

bool virtio_queue_ready(struct virtio_queue *vq)
{
	return virtio_running(vq->device) && virtio_device_dma_allowed(vq->device) &&
	       atomic_load_explicit(&vq->enabled, memory_order_acquire) &&
	       !atomic_load_explicit(&vq->resetting, memory_order_relaxed);
}

static int pop_one(struct virtio_queue *vq, struct virtio_chain *chain)
{
	chain->out_count = chain->in_count = 0;
	chain->out_bytes = chain->in_bytes = 0;
	chain->big = NULL;
	chain->iov = chain->storage;
	int r = vq->ring->pop(vq, chain);
	if (r <= 0)
		queue_chain_release(vq, chain);
	else
		vq->in_flight = (uint16_t)(vq->in_flight + chain->desc_count);
	return r;
}

int virtio_queue_pop(struct virtio_queue *vq, struct virtio_chain *chain)
{
	if (!virtio_queue_ready(vq))
		return virtio_device_status(vq->device) & VIRTIO_STATUS_NEEDS_RESET ? -EBADMSG : 0;
	int r = pop_one(vq, chain);
	if (r || vq->notify_off || !vq->event_idx)
		return r;
	/* The ring is empty: say from where on the driver is to notify. Buffers that it added
	 * before it could read that are ours to see. */
	vq->ring->notify_enable(vq);
	return vq->ring->has_buffers(vq) ? pop_one(vq, chain) : 0;
}

void virtio_queue_unpop(struct virtio_queue *vq, struct virtio_chain *chain)
{
	if (virtio_queue_ready(vq) && chain->desc_count <= vq->in_flight) {
		vq->ring->unpop(vq, chain);
		vq->in_flight = (uint16_t)(vq->in_flight - chain->desc_count);
	}
	queue_chain_release(vq, chain);
}

void virtio_queue_drop(struct virtio_queue *vq, struct virtio_chain *chain)
{
	chain_mark_written(vq, chain, (uint32_t)chain->in_bytes);
	queue_chain_release(vq, chain);
}

void virtio_queue_push(struct virtio_queue *vq, struct virtio_chain *chain, uint32_t written)
{
	chain_mark_written(vq, chain, written); /* whether or not the driver hears of it */
	if (virtio_queue_ready(vq) && chain->desc_count <= vq->in_flight) {
		vq->ring->push(vq, chain, written);
		vq->in_flight = (uint16_t)(vq->in_flight - chain->desc_count);
		vq->unsignalled += chain->desc_count;
	} else if (virtio_running(vq->device) && !virtio_device_dma_allowed(vq->device)) {
		virtio_fail(vq->device,
			"queue %u: a request cannot be completed, the device is "
			"no bus master any more",
			vq->index);
	}
	queue_chain_release(vq, chain);
}

void virtio_queue_notify_disable(struct virtio_queue *vq)
{
	if (vq->notify_off || !virtio_queue_ready(vq))
		return;
	vq->notify_off = true;
	vq->ring->notify_disable(vq);
}

bool virtio_queue_notify_enable(struct virtio_queue *vq)
{
	if (!virtio_queue_ready(vq))
		return false;
	vq->notify_off = false;
	vq->ring->notify_enable(vq);
	return vq->ring->has_buffers(vq);
}

/* --- saved state --- */

static void state_gpa(struct state *s, const char *tag, gpa_t *addr)
{
	state_u64(s, tag, &addr->v);
}

void queue_state(struct virtio_queue *vq, struct state *s, uint64_t features)
{
	bool enabled = atomic_load(&vq->enabled);
	if (state_saving(s) && vq->in_flight)
		state_fail(s, "queue %u: requests are in flight", vq->index);
	if (state_begin(s, "queue", 1)) {
		state_u16(s, "size", &vq->size);
		state_bool(s, "enabled", &enabled);
		state_gpa(s, "desc", &vq->desc);
		state_gpa(s, "driver", &vq->driver);
		state_gpa(s, "device", &vq->device_area);
		state_bool(s, "notify_off", &vq->notify_off);
		state_u16(s, "avail_idx", &vq->avail_idx);
		state_u16(s, "used_idx", &vq->used_idx);
		state_bool(s, "avail_wrap", &vq->avail_wrap);
		state_bool(s, "used_wrap", &vq->used_wrap);
		state_u32(s, "unsignalled", &vq->unsignalled);
	}
	state_end(s);
	if (state_saving(s))
		return;
	bool packed = features & VIRTIO_F_RING_PACKED;
	if (!vq->size || vq->size > VIRTIO_QUEUE_MAX ||
		(packed && (vq->avail_idx >= vq->size || vq->used_idx >= vq->size))) {
		state_fail(s, "queue %u: indices outside the ring", vq->index);
		queue_clear(vq);
	} else if (enabled && queue_map(vq, features) < 0) {
		state_fail(s, "queue %u: its rings are not in memory", vq->index);
		queue_clear(vq);
	} else {
		atomic_store_explicit(&vq->enabled, enabled, memory_order_release);
	}
}

/* --- iovecs --- */

/* Calls for each piece of [offset, offset + len): copies to or from flat memory. */
static size_t iov_copy(const struct iovec *iov, unsigned n, uint64_t offset, uint8_t *flat,
	size_t len, bool to_iov)
{
	size_t done = 0;
	for (unsigned i = 0; i < n && done < len; i++) {
		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		size_t piece = MIN(iov[i].iov_len - offset, len - done);
		uint8_t *p = (uint8_t *)iov[i].iov_base + offset;
		if (to_iov)
			memcpy(p, flat + done, piece);
		else
			memcpy(flat + done, p, piece);
		done += piece;
		offset = 0;
	}
	return done;
}

size_t iov_read(const struct iovec *iov, unsigned n, uint64_t offset, void *out, size_t len)
{
	return iov_copy(iov, n, offset, out, len, false);
}

size_t iov_write(const struct iovec *iov, unsigned n, uint64_t offset, const void *in, size_t len)
{
	return iov_copy(iov, n, offset, (uint8_t *)(uintptr_t)in, len, true);
}
