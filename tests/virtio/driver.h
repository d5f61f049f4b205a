// SPDX-License-Identifier: Apache-2.0
// A guest's driver, for tests: builds rings in guest memory and drives a device through its
// registers, with split or packed rings, with or without event indices and indirect descriptors.
//
//     struct guest g;
//     guest_init(&g);                          memory and a loop
//     virtio_rng_new(&g.device, g.memory, g.loop, NULL);
//     guest_start(&g, RINGS[i].features);      negotiates, sets up every queue, DRIVER_OK
//     uint64_t buf = guest_alloc(&g, 64);
//     drv_add(&g.q[0], (struct buf[]){{buf, 64}}, 0, 1);
//     drv_kick(&g.q[0]);                       notifies if the device wants it; runs the loop
//     int id = drv_used(&g.q[0], &len);
//     guest_done(&g);
#ifndef STRATA_TESTS_VIRTIO_DRIVER_H
#define STRATA_TESTS_VIRTIO_DRIVER_H

#include <stdatomic.h>

#include "device/virtio/transport.h"
#include "device/virtio/virtio.h"
#include "tap.h"

enum { GUEST_RAM = 16 << 20, GUEST_QUEUES = 8, RING_SIZE = 64, IDS = 256 };
#define GUEST_BASE UINT64_C(0x80000000)

struct buf {
	uint64_t addr;
	uint32_t len;
};

struct drv_queue {
	struct guest *g;
	unsigned index;
	uint16_t size;
	bool packed, event_idx, indirect;
	bool use_indirect; /* for the next drv_add() */
	uint64_t desc, driver, device, tables;
	/* split: next entry; packed: next slot */
	uint16_t avail, used;
	bool avail_wrap, used_wrap;
	uint16_t kicked_at;  /* avail when the device was last notified */
	uint16_t count[IDS]; /* descriptors of a chain by id; 0: free */
	unsigned kicks;
	bool no_interrupts;
};

struct guest {
	struct memory *memory;
	struct loop *loop;
	struct virtio_device *device;
	uint64_t next; /* allocator */
	struct drv_queue q[GUEST_QUEUES];
	unsigned queue_interrupts, config_interrupts;
	uint64_t features;
};

struct ring_kind {
	const char *name;
	uint64_t features;
};
TAP_UNUSED static const struct ring_kind RINGS[] = {
	{"split", 0},
	{"split, event index", VIRTIO_F_EVENT_IDX},
	{"split, indirect", VIRTIO_F_INDIRECT_DESC},
	{"split, both", VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC},
	{"packed", VIRTIO_F_RING_PACKED},
	{"packed, event index", VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX},
	{"packed, indirect", VIRTIO_F_RING_PACKED | VIRTIO_F_INDIRECT_DESC},
	{"packed, both", VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC},
};

TAP_UNUSED static void *guest_ptr(struct guest *g, uint64_t addr)
{
	return (void *)(uintptr_t)memory_read_ptr(g->memory, GPA(addr), 0);
}

TAP_UNUSED static uint64_t guest_alloc(struct guest *g, uint64_t bytes)
{
	uint64_t at = g->next;
	g->next = align_up(g->next + bytes, 64);
	if (g->next > GUEST_BASE + GUEST_RAM)
		abort();
	memset(guest_ptr(g, at), 0, bytes);
	return at;
}

TAP_UNUSED static void guest_queue_interrupt(void *opaque, unsigned q)
{
	__atomic_fetch_add(&((struct guest *)opaque)->queue_interrupts, 1, __ATOMIC_RELAXED);
}
TAP_UNUSED static void guest_config_interrupt(void *opaque)
{
	__atomic_fetch_add(&((struct guest *)opaque)->config_interrupts, 1, __ATOMIC_RELAXED);
}

TAP_UNUSED static void guest_init(struct guest *g)
{
	memset(g, 0, sizeof(*g));
	if (memory_new(&g->memory, NULL) || loop_new(&g->loop, NULL) ||
		memory_add_ram(g->memory, GPA(GUEST_BASE), GUEST_RAM, NULL))
		abort();
	g->next = GUEST_BASE;
}

TAP_UNUSED static void guest_done(struct guest *g)
{
	virtio_device_free(g->device);
	loop_free(g->loop);
	memory_free(g->memory);
}

/* Lets the device work until it has nothing to do. */
TAP_UNUSED static void guest_run(struct guest *g)
{
	for (int i = 0; i < 8; i++)
		loop_once(g->loop, 0, NULL);
}

TAP_UNUSED static void guest_attach(struct guest *g)
{
	static const struct virtio_transport transport = {
		guest_queue_interrupt, guest_config_interrupt};
	virtio_device_attach(g->device, &transport, g);
}

TAP_UNUSED static void drv_ring_reset(struct drv_queue *q)
{
	q->avail = q->used = q->kicked_at = 0;
	q->avail_wrap = q->used_wrap = true;
	memset(q->count, 0, sizeof(q->count));
	memset(guest_ptr(q->g, q->desc), 0, (size_t)q->size * 16);
	memset(guest_ptr(q->g, q->driver), 0, (size_t)q->size * 2 + 6);
	memset(guest_ptr(q->g, q->device), 0, (size_t)q->size * 8 + 6);
}

TAP_UNUSED static void drv_enable(struct drv_queue *q)
{
	struct virtio_queue_registers regs = {
		.size = q->size,
		.desc = GPA(q->desc),
		.driver = GPA(q->driver),
		.device = GPA(q->device),
	};
	virtio_queue_registers_set(q->g->device, q->index, &regs);
	virtio_queue_enable(q->g->device, q->index);
}

TAP_UNUSED static void drv_setup(struct guest *g, unsigned index, uint16_t size)
{
	struct drv_queue *q = &g->q[index];
	if (!q->desc) {
		q->desc = guest_alloc(g, VIRTIO_QUEUE_MAX * 16);
		q->driver = guest_alloc(g, VIRTIO_QUEUE_MAX * 2 + 6);
		q->device = guest_alloc(g, VIRTIO_QUEUE_MAX * 8 + 6);
		q->tables = guest_alloc(g, IDS * 16 * 16);
	}
	q->g = g;
	q->index = index;
	q->size = size;
	q->packed = g->features & VIRTIO_F_RING_PACKED;
	q->event_idx = g->features & VIRTIO_F_EVENT_IDX;
	q->indirect = g->features & VIRTIO_F_INDIRECT_DESC;
	q->use_indirect = q->indirect;
	drv_ring_reset(q);
	drv_enable(q);
}

/* Resets the device, negotiates `features` (VERSION_1 is added) up to FEATURES_OK. */
TAP_UNUSED static bool guest_negotiate(struct guest *g, uint64_t features)
{
	struct virtio_device *d = g->device;
	guest_attach(g);
	virtio_device_set_status(d, 0);
	guest_run(g);
	if (virtio_device_status(d) != 0)
		return false;
	virtio_device_set_status(d, VIRTIO_STATUS_ACKNOWLEDGE);
	virtio_device_set_status(d, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
	g->features = (features | VIRTIO_F_VERSION_1) & virtio_device_offered(d);
	virtio_device_accept(d, 0, (uint32_t)g->features);
	virtio_device_accept(d, 1, (uint32_t)(g->features >> 32));
	virtio_device_set_status(
		d, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK);
	return virtio_device_status(d) & VIRTIO_STATUS_FEATURES_OK;
}

TAP_UNUSED static void guest_driver_ok(struct guest *g)
{
	virtio_device_set_status(g->device, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
						    VIRTIO_STATUS_FEATURES_OK |
						    VIRTIO_STATUS_DRIVER_OK);
	guest_run(g);
}

TAP_UNUSED static bool guest_start(struct guest *g, uint64_t features)
{
	if (!guest_negotiate(g, features))
		return false;
	for (unsigned i = 0; i < virtio_device_queue_count(g->device) && i < GUEST_QUEUES; i++)
		drv_setup(g, i, RING_SIZE);
	guest_driver_ok(g);
	return virtio_running(g->device);
}

static inline uint16_t load_acquire16(const void *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}

static inline void store_relaxed16(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELAXED);
}

TAP_UNUSED static void put_desc(
	struct guest *g, uint64_t at, uint64_t addr, uint32_t len, uint16_t w12, uint16_t w14)
{
	uint8_t *p = guest_ptr(g, at);
	store_le64(p, addr);
	store_le32(p + 8, len);
	store_relaxed16(p + 12, w12);
	__atomic_store_n((uint16_t *)(void *)(p + 14), w14, __ATOMIC_RELEASE);
}

TAP_UNUSED static int free_id(struct drv_queue *q, unsigned step)
{
	for (unsigned i = 0; i + step <= q->size; i += step)
		if (!q->count[i])
			return (int)i;
	return -1;
}

enum { SPLIT_CHAIN = 4 }; /* split: ids are multiples of it, so that chains do not overlap */

TAP_UNUSED static int add_split(struct drv_queue *q, const struct buf *b, unsigned out, unsigned n)
{
	struct guest *g = q->g;
	int id = free_id(q, SPLIT_CHAIN);
	if (id < 0 || (!q->use_indirect && n > SPLIT_CHAIN))
		return -1;
	uint64_t table = q->use_indirect ? q->tables + (uint64_t)id * 256 : q->desc;
	unsigned first = q->use_indirect ? 0 : (unsigned)id;
	for (unsigned i = 0; i < n; i++)
		put_desc(g, table + (first + i) * 16, b[i].addr, b[i].len,
			(uint16_t)((i < out ? 0 : 2) | (i + 1 < n ? 1 : 0)),
			(uint16_t)(first + i + 1));
	if (q->use_indirect)
		put_desc(g, q->desc + (unsigned)id * 16, table, n * 16, 4, 0);
	q->count[id] = 1;
	uint8_t *avail = guest_ptr(g, q->driver);
	store_relaxed16(avail + 4 + (q->avail % q->size) * 2, (uint16_t)id);
	q->avail++;
	__atomic_store_n((uint16_t *)(void *)(avail + 2), q->avail, __ATOMIC_RELEASE);
	return id;
}

TAP_UNUSED static int add_packed(struct drv_queue *q, const struct buf *b, unsigned out, unsigned n)
{
	struct guest *g = q->g;
	int id = free_id(q, 1);
	unsigned in_use = 0;
	for (unsigned i = 0; i < q->size; i++)
		in_use += q->count[i];
	unsigned need = q->use_indirect ? 1 : n;
	if (id < 0 || in_use + need > q->size)
		return -1;
	uint64_t table = q->tables + (uint64_t)id * 256;
	if (q->use_indirect)
		for (unsigned i = 0; i < n; i++)
			put_desc(g, table + i * 16, b[i].addr, b[i].len, 0, i < out ? 0 : 2);
	uint16_t head = q->avail, head_flags = 0;
	for (unsigned i = 0; i < need; i++) {
		uint16_t flags = q->avail_wrap ? 1 << 7 : 1 << 15;
		if (q->use_indirect)
			flags |= 4;
		else
			flags |= (uint16_t)((i < out ? 0 : 2) | (i + 1 < n ? 1 : 0));
		uint64_t slot = q->desc + (uint64_t)q->avail * 16;
		put_desc(g, slot, q->use_indirect ? table : b[i].addr,
			q->use_indirect ? n * 16 : b[i].len, (uint16_t)id,
			i ? flags : (uint16_t)(flags ^ (1 << 7 | 1 << 15)));
		if (!i)
			head_flags = flags;
		if (++q->avail == q->size) {
			q->avail = 0;
			q->avail_wrap = !q->avail_wrap;
		}
	}
	q->count[id] = (uint16_t)need;
	uint8_t *p = guest_ptr(g, q->desc + (uint64_t)head * 16);
	__atomic_store_n((uint16_t *)(void *)(p + 14), head_flags, __ATOMIC_RELEASE);
	return id;
}

/* Makes a chain of n buffers, the first `out` of them for the device to read. At most 4 buffers
 * (16 when indirect). Returns its id, or -1 when the ring is full. */
TAP_UNUSED static int drv_add(struct drv_queue *q, const struct buf *b, unsigned out, unsigned n)
{
	return q->packed ? add_packed(q, b, out, n) : add_split(q, b, out, n);
}

TAP_UNUSED static bool device_wants_kick(struct drv_queue *q)
{
	const uint8_t *dev = guest_ptr(q->g, q->device);
	atomic_thread_fence(memory_order_seq_cst);
	if (!q->packed && !q->event_idx)
		return !(load_acquire16(dev) & 1);
	if (!q->packed) {
		uint16_t event = load_acquire16(dev + 4 + q->size * 8);
		return (uint16_t)(q->avail - event - 1) < (uint16_t)(q->avail - q->kicked_at);
	}
	uint16_t flags = load_acquire16(dev + 2), event = load_acquire16(dev);
	if (flags != 2)
		return flags == 0;
	uint16_t off = event & 0x7fff, added = (uint16_t)(q->avail - q->kicked_at);
	if (q->avail < q->kicked_at)
		added = (uint16_t)(added + q->size);
	if ((event >> 15) != q->avail_wrap)
		off = (uint16_t)(off - q->size);
	return (uint16_t)(q->avail - off - 1) < added;
}

/* Notifies the device when it wants to be notified, and lets it work. */
TAP_UNUSED static bool drv_kick(struct drv_queue *q)
{
	bool wanted = device_wants_kick(q);
	q->kicked_at = q->avail;
	if (wanted) {
		q->kicks++;
		virtio_device_notify(q->g->device, q->index);
	}
	guest_run(q->g);
	return wanted;
}

/* Takes a used chain: its id, or -1. */
TAP_UNUSED static int drv_used(struct drv_queue *q, uint32_t *len)
{
	int id;
	if (!q->packed) {
		const uint8_t *dev = guest_ptr(q->g, q->device);
		if (load_acquire16(dev + 2) == q->used)
			return -1;
		const uint8_t *e = dev + 4 + (q->used % q->size) * 8;
		id = (int)load_le32(e);
		*len = load_le32(e + 4);
		q->used++;
	} else {
		const uint8_t *e = guest_ptr(q->g, q->desc + (uint64_t)q->used * 16);
		uint16_t flags = load_acquire16(e + 14);
		if (!!(flags & 1 << 7) != q->used_wrap || !!(flags & 1 << 15) != q->used_wrap)
			return -1;
		id = load_le16(e + 12);
		*len = load_le32(e + 8);
		if (id >= IDS || !q->count[id])
			return -2; /* an id that was not made available */
		q->used = (uint16_t)(q->used + q->count[id]);
		if (q->used >= q->size) {
			q->used = (uint16_t)(q->used - q->size);
			q->used_wrap = !q->used_wrap;
		}
	}
	if (id < 0 || id >= IDS || !q->count[id])
		return -2;
	q->count[id] = 0;
	return id;
}

/* Asks to be interrupted for the next used chain (event index), or not at all. */
TAP_UNUSED static void drv_want_interrupt(struct drv_queue *q, bool want)
{
	uint8_t *drv = guest_ptr(q->g, q->driver);
	if (!q->packed && q->event_idx)
		store_relaxed16(drv + 4 + q->size * 2, want ? q->used : (uint16_t)(q->used - 1));
	else if (!q->packed)
		store_relaxed16(drv, want ? 0 : 1);
	else if (want && q->event_idx) {
		store_relaxed16(drv, (uint16_t)(q->used | q->used_wrap << 15));
		store_relaxed16(drv + 2, 2);
	} else {
		store_relaxed16(drv + 2, want ? 0 : 1);
	}
}

/* Adds, kicks and takes one chain: bytes written, or -1. */
TAP_UNUSED static int64_t drv_transact(
	struct drv_queue *q, const struct buf *b, unsigned out, unsigned n)
{
	uint32_t len;
	int id = drv_add(q, b, out, n);
	if (id < 0)
		return -1;
	drv_kick(q);
	return drv_used(q, &len) == id ? (int64_t)len : -1;
}

#endif
