// SPDX-License-Identifier: Apache-2.0
// Both rings and the device core, with a device of the test's own: it answers each chain with the
// bytes it read, each plus one.
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "device/virtio/queue.h"
#include "virtio/driver.h"

struct echo {
	struct virtio_device *d;
	unsigned starts, resets, queue_resets;
	bool hold; /* keep chains until release_held() */
	bool fail_start;
	struct virtio_chain held[64];
	unsigned held_count;
	uint8_t config[8];
	uint32_t counter; /* state */
};

static void echo_config_read(void *dev, uint8_t *config)
{
	memcpy(config, ((struct echo *)dev)->config, 8);
}
static void echo_config_write(void *dev, unsigned offset, const uint8_t *bytes, unsigned len)
{
	memcpy(((struct echo *)dev)->config + offset, bytes, len);
}
static int echo_start(void *dev, uint64_t features)
{
	struct echo *e = dev;
	e->starts++;
	return e->fail_start ? -EIO : 0;
}
static void echo_reset(void *dev)
{
	struct echo *e = dev;
	e->resets++;
	for (unsigned i = 0; i < e->held_count; i++)
		virtio_queue_drop(virtio_queue_get(e->d, 0), &e->held[i]);
	e->held_count = 0;
}
static void echo_queue_reset(void *dev, unsigned q)
{
	((struct echo *)dev)->queue_resets++;
}
static void answer(struct virtio_queue *vq, struct virtio_chain *chain)
{
	uint8_t data[4096];
	size_t n = iov_read(chain->iov, chain->out_count, 0, data, sizeof(data));
	for (size_t i = 0; i < n; i++)
		data[i]++;
	n = iov_write(chain->iov + chain->out_count, chain->in_count, 0, data, n);
	virtio_queue_push(vq, chain, (uint32_t)n);
}
static void echo_notify(void *dev, unsigned q)
{
	struct echo *e = dev;
	struct virtio_queue *vq = virtio_queue_get(e->d, q);
	for (;;) {
		struct virtio_chain local,
			*chain = e->hold && e->held_count < 64 ? &e->held[e->held_count] : &local;
		if (virtio_queue_pop(vq, chain) != 1)
			break;
		e->counter++;
		if (e->hold)
			e->held_count++;
		else
			answer(vq, chain);
	}
	virtio_queue_signal(vq);
}
static void release_held(struct echo *e, bool backwards)
{
	struct virtio_queue *vq = virtio_queue_get(e->d, 0);
	for (unsigned i = 0; i < e->held_count; i++)
		answer(vq, &e->held[backwards ? e->held_count - 1 - i : i]);
	e->held_count = 0;
	virtio_queue_signal(vq);
}
static void echo_state(void *dev, struct state *s)
{
	state_u32(s, "counter", &((struct echo *)dev)->counter);
}
static void echo_free(void *dev)
{
	free(dev);
}

static const struct virtio_class echo_class = {
	.name = "echo",
	.id = 42,
	.features = 3,
	.config_bytes = 8,
	.config_writable_from = 2,
	.config_writable_to = 6,
	.config_read = echo_config_read,
	.config_write = echo_config_write,
	.start = echo_start,
	.reset = echo_reset,
	.notify = echo_notify,
	.queue_reset = echo_queue_reset,
	.state = echo_state,
	.free = echo_free,
};

static struct echo *echo_guest(struct guest *g)
{
	guest_init(g);
	struct echo *e = xcalloc(1, sizeof(*e));
	if (virtio_device_new(&g->device, &echo_class, e, 1, 2, g->memory, g->loop, NULL))
		abort();
	e->d = g->device;
	return e;
}

/* --- rings --- */

/* One exchange of `bytes` bytes in two out and two in buffers. */
static bool exchange(struct drv_queue *q, uint64_t out, uint64_t in, uint32_t bytes, uint8_t seed)
{
	struct guest *g = q->g;
	uint8_t *o = guest_ptr(g, out), *i = guest_ptr(g, in);
	for (uint32_t k = 0; k < bytes; k++)
		o[k] = (uint8_t)(seed + k * 7);
	memset(i, 0, bytes);
	uint32_t half = bytes / 2;
	struct buf b[] = {
		{out, half}, {out + half, bytes - half}, {in, half}, {in + half, bytes - half}};
	if (drv_transact(q, b, 2, 4) != bytes)
		return false;
	for (uint32_t k = 0; k < bytes; k++)
		if (i[k] != (uint8_t)(o[k] + 1))
			return false;
	return true;
}

static void transfers_and_wraps(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct guest g;
		echo_guest(&g);
		REQUIRE(guest_start(&g, RINGS[r].features));
		uint64_t out = guest_alloc(&g, 4096), in = guest_alloc(&g, 4096);
		unsigned good = 0;
		for (unsigned i = 0; i < 1000; i++)
			good += exchange(&g.q[0], out, in, 8 + i % 100, (uint8_t)i);
		CHECK_EQ(good, 1000u);
		CHECK(virtio_running(g.device));
		if (!virtio_running(g.device))
			printf("# ring: %s\n", RINGS[r].name);
		guest_done(&g);
	}
}

static void index_passes_16_bits(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r += 1) {
		struct guest g;
		echo_guest(&g);
		REQUIRE(guest_start(&g, RINGS[r].features));
		uint64_t out = guest_alloc(&g, 16), in = guest_alloc(&g, 16);
		uint32_t len;
		unsigned done = 0;
		for (unsigned i = 0; i < 70000 / 8; i++) {
			for (unsigned k = 0; k < 8; k++)
				drv_add(&g.q[0], (struct buf[]){{out, 4}, {in, 4}}, 1, 2);
			drv_kick(&g.q[0]);
			while (drv_used(&g.q[0], &len) >= 0)
				done++;
		}
		CHECK_EQ(done, 70000u);
		guest_done(&g);
	}
}

static void pushes_out_of_order(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct guest g;
		struct echo *e = echo_guest(&g);
		REQUIRE(guest_start(&g, RINGS[r].features));
		e->hold = true;
		uint64_t mem = guest_alloc(&g, 64 * 64);
		for (unsigned round = 0; round < 40; round++) {
			int ids[10];
			for (unsigned i = 0; i < 10; i++) {
				uint8_t *p = guest_ptr(&g, mem + i * 64);
				p[0] = (uint8_t)i;
				ids[i] = drv_add(&g.q[0],
					(struct buf[]){
						{mem + i * 64, 1 + i}, {mem + i * 64 + 32, 32}},
					1, 2);
				CHECK(ids[i] >= 0);
			}
			drv_kick(&g.q[0]);
			CHECK_EQ(e->held_count, 10u);
			release_held(e, true);
			uint32_t len;
			for (unsigned i = 10; i-- > 0;) {
				CHECK_EQ(drv_used(&g.q[0], &len), ids[i]);
				CHECK_EQ(len, 1 + i);
				CHECK_EQ(((uint8_t *)guest_ptr(&g, mem + i * 64))[32], i + 1);
			}
		}
		guest_done(&g);
	}
}

static void interrupts_only_when_wanted(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct guest g;
		struct echo *e = echo_guest(&g);
		REQUIRE(guest_start(&g, RINGS[r].features));
		struct drv_queue *q = &g.q[0];
		uint64_t out = guest_alloc(&g, 64), in = guest_alloc(&g, 64);
		struct buf b[] = {{out, 4}, {in, 4}};
		for (unsigned i = 0; i < 300; i++) {
			drv_want_interrupt(q, true);
			g.queue_interrupts = 0;
			CHECK_EQ(drv_transact(q, b, 1, 2), 4);
			CHECK_EQ(g.queue_interrupts, 1u);
			drv_want_interrupt(q, false);
			CHECK_EQ(drv_transact(q, b, 1, 2), 4);
			CHECK_EQ(g.queue_interrupts, 1u);
		}
		/* A batch makes one interrupt. */
		e->hold = true;
		drv_want_interrupt(q, true);
		for (unsigned i = 0; i < 5; i++)
			drv_add(q, b, 1, 2);
		drv_kick(q);
		release_held(e, false);
		CHECK_EQ(g.queue_interrupts, 2u);
		guest_done(&g);
	}
}

static void notifications_only_when_wanted(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct guest g;
		struct echo *e = echo_guest(&g);
		REQUIRE(guest_start(&g, RINGS[r].features));
		struct drv_queue *q = &g.q[0];
		struct virtio_queue *vq = virtio_queue_get(g.device, 0);
		uint64_t out = guest_alloc(&g, 64), in = guest_alloc(&g, 64);
		struct buf b[] = {{out, 4}, {in, 4}};
		for (unsigned i = 0; i < 100; i++) {
			CHECK_EQ(drv_transact(q, b, 1, 2), 4);
			virtio_queue_notify_disable(vq);
			unsigned before = e->counter;
			int id = drv_add(q, b, 1, 2);
			CHECK(!drv_kick(q));
			CHECK_EQ(e->counter, before);
			CHECK(virtio_queue_notify_enable(vq)); /* it is there already */
			echo_notify(e, 0);
			uint32_t len;
			CHECK_EQ(drv_used(q, &len), id);
			CHECK(!virtio_queue_notify_enable(vq));
		}
		guest_done(&g);
	}
}

static void unpop_gives_back(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct guest g;
		struct echo *e = echo_guest(&g);
		REQUIRE(guest_start(&g, RINGS[r].features));
		struct drv_queue *q = &g.q[0];
		struct virtio_queue *vq = virtio_queue_get(g.device, 0);
		uint64_t out = guest_alloc(&g, 64), in = guest_alloc(&g, 64);
		struct buf b[] = {{out, 4}, {out, 4}, {in, 4}};
		for (unsigned i = 0; i < 200; i++) {
			struct virtio_chain chain;
			int id = drv_add(q, b, 2, 3);
			CHECK_EQ(virtio_queue_pop(vq, &chain), 1);
			CHECK_EQ(chain.out_bytes, 8u);
			virtio_queue_unpop(vq, &chain);
			CHECK_EQ(virtio_queue_pop(vq, &chain), 1);
			CHECK_EQ(chain.in_bytes, 4u);
			answer(vq, &chain);
			CHECK_EQ(virtio_queue_pop(vq, &chain), 0);
			uint32_t len;
			CHECK_EQ(drv_used(q, &len), id);
		}
		CHECK_EQ(e->counter, 0u);
		guest_done(&g);
	}
}

static void long_chains(void)
{
	struct guest g;
	echo_guest(&g);
	REQUIRE(guest_start(&g, VIRTIO_F_INDIRECT_DESC));
	struct drv_queue *q = &g.q[0];
	uint64_t table = guest_alloc(&g, 2000 * 16), mem = guest_alloc(&g, 4096);
	for (unsigned count = 2; count <= VIRTIO_CHAIN_MAX; count += 73) {
		for (unsigned i = 0; i < count; i++)
			put_desc(&g, table + i * 16, mem + i, 1,
				(uint16_t)((i >= count / 2 ? 2 : 0) | (i + 1 < count)),
				(uint16_t)(i + 1));
		put_desc(&g, q->desc, table, count * 16, 4, 0);
		uint8_t *avail = guest_ptr(&g, q->driver);
		store_le16(avail + 4 + (q->avail % q->size) * 2, 0);
		store_le16(avail + 2, ++q->avail);
		q->count[0] = 1;
		virtio_device_notify(g.device, 0);
		guest_run(&g);
		uint32_t len;
		CHECK_EQ(drv_used(q, &len), 0);
		CHECK_EQ(len, count / 2);
	}
	guest_done(&g);
}

/* --- what the guest does wrong --- */

static uint64_t bad_mem;
struct bad {
	const char *name;
	bool packed;
	void (*make)(struct guest *g, struct drv_queue *q);
};

static void split_head(struct guest *g, struct drv_queue *q, uint16_t head)
{
	uint8_t *avail = guest_ptr(g, q->driver);
	store_le16(avail + 4 + (q->avail % q->size) * 2, head);
	store_le16(avail + 2, ++q->avail);
}
static void packed_one(
	struct guest *g, struct drv_queue *q, uint64_t addr, uint32_t len, uint16_t flags)
{
	put_desc(g, q->desc, addr, len, 0, flags | 1 << 7);
}
static void bad_head(struct guest *g, struct drv_queue *q)
{
	split_head(g, q, q->size);
}
static void bad_jump(struct guest *g, struct drv_queue *q)
{
	store_le16((uint8_t *)guest_ptr(g, q->driver) + 2, (uint16_t)(q->size + 1));
}
static void bad_next(struct guest *g, struct drv_queue *q)
{
	put_desc(g, q->desc, bad_mem, 4, 1, 0xffff);
	split_head(g, q, 0);
}
static void bad_loop(struct guest *g, struct drv_queue *q)
{
	put_desc(g, q->desc, bad_mem, 4, 1, 1);
	put_desc(g, q->desc + 16, bad_mem, 4, 1, 0);
	split_head(g, q, 0);
}
static void bad_address(struct guest *g, struct drv_queue *q)
{
	put_desc(g, q->desc, GUEST_BASE + GUEST_RAM - 2, 4, 0, 0);
	split_head(g, q, 0);
}
static void bad_address_wraps(struct guest *g, struct drv_queue *q)
{
	put_desc(g, q->desc, UINT64_MAX - 1, 4, 0, 0);
	split_head(g, q, 0);
}
static void bad_length(struct guest *g, struct drv_queue *q)
{
	put_desc(g, q->desc, bad_mem, UINT32_MAX, 2, 0);
	split_head(g, q, 0);
}
static void bad_empty(struct guest *g, struct drv_queue *q)
{
	put_desc(g, q->desc, bad_mem, 0, 0, 0);
	split_head(g, q, 0);
}
static void bad_order(struct guest *g, struct drv_queue *q)
{
	put_desc(g, q->desc, bad_mem, 4, 3, 1);
	put_desc(g, q->desc + 16, bad_mem, 4, 0, 0);
	split_head(g, q, 0);
}
static void bad_indirect_next(struct guest *g, struct drv_queue *q)
{
	put_desc(g, q->desc, bad_mem, 16, 5, 1);
	split_head(g, q, 0);
}
static void bad_table_length(struct guest *g, struct drv_queue *q)
{
	put_desc(g, q->desc, bad_mem, 24, 4, 0);
	split_head(g, q, 0);
}
static void bad_table_address(struct guest *g, struct drv_queue *q)
{
	put_desc(g, q->desc, 0x1000, 16, 4, 0);
	split_head(g, q, 0);
}
static void bad_nested(struct guest *g, struct drv_queue *q)
{
	put_desc(g, bad_mem, bad_mem, 16, 4, 0);
	put_desc(g, q->desc, bad_mem, 16, 4, 0);
	split_head(g, q, 0);
}
static void bad_table_loop(struct guest *g, struct drv_queue *q)
{
	put_desc(g, bad_mem, bad_mem, 16, 1, 0);
	put_desc(g, q->desc, bad_mem, 32, 4, 0);
	split_head(g, q, 0);
}
static void bad_table_next(struct guest *g, struct drv_queue *q)
{
	put_desc(g, bad_mem, bad_mem, 16, 1, 2);
	put_desc(g, q->desc, bad_mem, 32, 4, 0);
	split_head(g, q, 0);
}
static void bad_table_too_long(struct guest *g, struct drv_queue *q)
{
	unsigned n = VIRTIO_CHAIN_MAX + 1;
	for (unsigned i = 0; i < n; i++)
		put_desc(g, bad_mem + i * 16, bad_mem, 1, i + 1 < n, (uint16_t)(i + 1));
	put_desc(g, q->desc, bad_mem, n * 16, 4, 0);
	split_head(g, q, 0);
}
static void packed_address(struct guest *g, struct drv_queue *q)
{
	packed_one(g, q, 0x1000, 4, 0);
}
static void packed_empty(struct guest *g, struct drv_queue *q)
{
	packed_one(g, q, bad_mem, 0, 2);
}
static void packed_endless(struct guest *g, struct drv_queue *q)
{
	for (unsigned i = 0; i < q->size; i++)
		put_desc(g, q->desc + i * 16, bad_mem, 4, 0, 1 | 1 << 7);
}
static void packed_order(struct guest *g, struct drv_queue *q)
{
	put_desc(g, q->desc + 16, bad_mem, 4, 0, 1 << 7);
	packed_one(g, q, bad_mem, 4, 3);
}
static void packed_indirect_next(struct guest *g, struct drv_queue *q)
{
	packed_one(g, q, bad_mem, 16, 5);
}
static void packed_late_indirect(struct guest *g, struct drv_queue *q)
{
	put_desc(g, q->desc + 16, bad_mem, 16, 0, 4 | 1 << 7);
	packed_one(g, q, bad_mem, 4, 1);
}
static void packed_table_length(struct guest *g, struct drv_queue *q)
{
	packed_one(g, q, bad_mem, 8, 4);
}
static void packed_nested(struct guest *g, struct drv_queue *q)
{
	put_desc(g, bad_mem, bad_mem, 16, 0, 4);
	packed_one(g, q, bad_mem, 16, 4);
}

static const struct bad BAD[] = {
	{"head outside the ring", false, bad_head},
	{"index jumps", false, bad_jump},
	{"next outside the ring", false, bad_next},
	{"loop", false, bad_loop},
	{"buffer over the end of memory", false, bad_address},
	{"buffer wraps around", false, bad_address_wraps},
	{"length", false, bad_length},
	{"empty buffer", false, bad_empty},
	{"readable after writable", false, bad_order},
	{"indirect and next", false, bad_indirect_next},
	{"indirect table's length", false, bad_table_length},
	{"indirect table's address", false, bad_table_address},
	{"indirect inside indirect", false, bad_nested},
	{"loop inside a table", false, bad_table_loop},
	{"next outside the table", false, bad_table_next},
	{"table too long", false, bad_table_too_long},
	{"packed: address", true, packed_address},
	{"packed: empty buffer", true, packed_empty},
	{"packed: chain without end", true, packed_endless},
	{"packed: readable after writable", true, packed_order},
	{"packed: indirect and next", true, packed_indirect_next},
	{"packed: indirect later in a chain", true, packed_late_indirect},
	{"packed: indirect table's length", true, packed_table_length},
	{"packed: indirect inside indirect", true, packed_nested},
};

static void bad_rings_need_a_reset(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(BAD); i++) {
		struct guest g;
		struct echo *e = echo_guest(&g);
		uint64_t features =
			VIRTIO_F_INDIRECT_DESC | (BAD[i].packed ? VIRTIO_F_RING_PACKED : 0);
		REQUIRE(guest_start(&g, features));
		bad_mem = guest_alloc(&g, 32768);
		BAD[i].make(&g, &g.q[0]);
		virtio_device_notify(g.device, 0);
		guest_run(&g);
		bool failed = virtio_device_status(g.device) & VIRTIO_STATUS_NEEDS_RESET;
		CHECK(failed);
		if (!failed)
			printf("# %s\n", BAD[i].name);
		CHECK_EQ(g.config_interrupts, 1u);
		CHECK_EQ(g.queue_interrupts, 0u);
		CHECK_EQ(e->counter, 0u);
		uint32_t len;
		CHECK_EQ(drv_used(&g.q[0], &len), -1);
		/* After a reset it works. */
		REQUIRE(guest_start(&g, features));
		uint64_t out = guest_alloc(&g, 64), in = guest_alloc(&g, 64);
		CHECK(exchange(&g.q[0], out, in, 16, 3));
		CHECK_EQ(e->resets, 1u);
		guest_done(&g);
	}
}

static void indirect_needs_negotiation(void)
{
	struct guest g;
	echo_guest(&g);
	REQUIRE(guest_start(&g, 0));
	g.q[0].use_indirect = true;
	uint64_t mem = guest_alloc(&g, 64);
	drv_add(&g.q[0], (struct buf[]){{mem, 4}}, 0, 1);
	drv_kick(&g.q[0]);
	CHECK(virtio_device_status(g.device) & VIRTIO_STATUS_NEEDS_RESET);
	guest_done(&g);
}

/* --- the core --- */

static void negotiation(void)
{
	struct guest g;
	struct echo *e = echo_guest(&g);
	struct virtio_device *d = g.device;
	CHECK_EQ(virtio_device_offered(d), 1 | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED |
						   VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC |
						   VIRTIO_F_RING_RESET);
	/* Legacy drivers and unknown bits are refused. */
	virtio_device_set_status(d, 3);
	virtio_device_accept(d, 0, 1);
	virtio_device_set_status(d, 11);
	CHECK_EQ(virtio_device_status(d), 3);
	virtio_device_accept(d, 0, 2);
	virtio_device_accept(d, 1, 1);
	virtio_device_set_status(d, 11);
	CHECK_EQ(virtio_device_status(d), 3);
	/* DRIVER_OK without features does not start it. */
	virtio_device_set_status(d, 7);
	guest_run(&g);
	CHECK_EQ(e->starts, 0u);
	virtio_device_accept(d, 0, 1);
	virtio_device_set_status(d, 11);
	CHECK_EQ(virtio_device_status(d), 11);
	virtio_device_accept(d, 0, 0); /* too late */
	CHECK_EQ(virtio_device_accepted(d), 1 | VIRTIO_F_VERSION_1);
	virtio_device_set_status(d, 15);
	guest_run(&g);
	CHECK_EQ(e->starts, 1u);
	CHECK(virtio_running(d));
	virtio_device_set_status(d, 128);
	CHECK(!virtio_running(d));
	virtio_device_set_status(d, 0);
	CHECK(virtio_device_status(d) != 0); /* not before the loop did it */
	virtio_device_set_status(d, 3);
	guest_run(&g);
	CHECK_EQ(virtio_device_status(d), 0);
	CHECK_EQ(e->resets, 1u);
	CHECK_EQ(virtio_device_accepted(d), 0u);
	guest_done(&g);
}

static void start_may_fail(void)
{
	struct guest g;
	struct echo *e = echo_guest(&g);
	e->fail_start = true;
	CHECK(!guest_start(&g, 0));
	CHECK(virtio_device_status(g.device) & VIRTIO_STATUS_NEEDS_RESET);
	e->fail_start = false;
	CHECK(guest_start(&g, 0));
	guest_done(&g);
}

static void configuration_space(void)
{
	struct guest g;
	struct echo *e = echo_guest(&g);
	memcpy(e->config, "abcdefgh", 8);
	char got[4];
	virtio_device_config_read(g.device, 6, got, 4);
	CHECK(!memcmp(got, "gh\0\0", 4));
	virtio_device_config_read(g.device, UINT64_MAX, got, 4);
	CHECK(!memcmp(got, "\0\0\0\0", 4));
	virtio_device_config_write(g.device, 0, "XXXX", 4);
	virtio_device_config_write(g.device, 4, "XXXX", 4);
	virtio_device_config_write(g.device, UINT64_MAX, "X", 1);
	CHECK(!memcmp(e->config, "abcdefgh", 8));
	virtio_device_config_write(g.device, 2, "XYZW", 4);
	CHECK(!memcmp(e->config, "abXYZWgh", 8));
	uint8_t generation = virtio_device_generation(g.device);
	guest_start(&g, 0);
	virtio_config_changed(g.device);
	CHECK_EQ(virtio_device_generation(g.device), generation + 1);
	CHECK_EQ(g.config_interrupts, 1u);
	guest_done(&g);
}

static void bad_queue_registers(void)
{
	struct guest g;
	echo_guest(&g);
	const struct virtio_queue_registers bad[] = {
		{.size = 48,
			.desc = GPA(GUEST_BASE),
			.driver = GPA(GUEST_BASE),
			.device = GPA(GUEST_BASE)},
		{.size = 64, .desc = GPA(0), .driver = GPA(GUEST_BASE), .device = GPA(GUEST_BASE)},
		{.size = 64,
			.desc = GPA(GUEST_BASE + 8),
			.driver = GPA(GUEST_BASE),
			.device = GPA(GUEST_BASE)},
		{.size = 64,
			.desc = GPA(GUEST_BASE),
			.driver = GPA(GUEST_BASE + 1),
			.device = GPA(GUEST_BASE)},
		{.size = 64,
			.desc = GPA(GUEST_BASE),
			.driver = GPA(GUEST_BASE),
			.device = GPA(GUEST_BASE + 2)},
		{.size = 64,
			.desc = GPA(GUEST_BASE + GUEST_RAM - 1008),
			.driver = GPA(GUEST_BASE),
			.device = GPA(GUEST_BASE)},
		{.size = 64,
			.desc = GPA(GUEST_BASE),
			.driver = GPA(GUEST_BASE + GUEST_RAM - 132),
			.device = GPA(GUEST_BASE)},
		{.size = 64,
			.desc = GPA(GUEST_BASE),
			.driver = GPA(GUEST_BASE),
			.device = GPA(GUEST_BASE + GUEST_RAM - 516)},
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		REQUIRE(guest_negotiate(&g, 0));
		virtio_queue_registers_set(g.device, 0, &bad[i]);
		virtio_queue_enable(g.device, 0);
		CHECK(virtio_device_status(g.device) & VIRTIO_STATUS_NEEDS_RESET);
		struct virtio_queue_registers got;
		CHECK(virtio_queue_registers_get(g.device, 0, &got));
		CHECK(!got.enabled);
	}
	/* Sizes that cannot be are not taken; an enabled queue does not change. */
	REQUIRE(guest_start(&g, 0));
	struct virtio_queue_registers got, set = {.size = 8};
	virtio_queue_registers_set(g.device, 0, &set);
	virtio_queue_registers_get(g.device, 0, &got);
	CHECK_EQ(got.size, RING_SIZE);
	CHECK(got.enabled);
	CHECK(!virtio_queue_registers_get(g.device, 2, &got));
	virtio_device_notify(g.device, 77);
	guest_done(&g);
}

static void one_queue_resets(void)
{
	struct guest g;
	struct echo *e = echo_guest(&g);
	REQUIRE(guest_start(&g, VIRTIO_F_RING_RESET | VIRTIO_F_RING_PACKED));
	uint64_t out = guest_alloc(&g, 64), in = guest_alloc(&g, 64);
	CHECK(exchange(&g.q[0], out, in, 16, 3));
	CHECK(exchange(&g.q[1], out, in, 16, 3));
	virtio_queue_ask_reset(g.device, 0);
	struct virtio_queue_registers got;
	virtio_queue_registers_get(g.device, 0, &got);
	CHECK(got.resetting);
	guest_run(&g);
	virtio_queue_registers_get(g.device, 0, &got);
	CHECK(!got.resetting && !got.enabled);
	CHECK_EQ(got.size, VIRTIO_QUEUE_MAX);
	CHECK_EQ(e->queue_resets, 1u);
	CHECK(exchange(&g.q[1], out, in, 16, 3));
	drv_setup(&g, 0, 32);
	CHECK(exchange(&g.q[0], out, in, 16, 3));
	guest_done(&g);
}

static void buffers_before_start_are_seen(void)
{
	struct guest g;
	echo_guest(&g);
	REQUIRE(guest_negotiate(&g, 0));
	drv_setup(&g, 0, 16);
	uint64_t mem = guest_alloc(&g, 64);
	int id = drv_add(&g.q[0], (struct buf[]){{mem, 4}, {mem, 4}}, 1, 2);
	uint32_t len;
	drv_kick(&g.q[0]);
	CHECK_EQ(drv_used(&g.q[0], &len), -1); /* not before DRIVER_OK */
	guest_driver_ok(&g);
	CHECK_EQ(drv_used(&g.q[0], &len), id);
	guest_done(&g);
}

static void writes_drop_code_pages(void)
{
	struct guest g;
	echo_guest(&g);
	REQUIRE(guest_start(&g, 0));
	uint64_t mem = GUEST_BASE + (4 << 20);
	unsigned count;
	const struct memory_region *r = memory_regions(g.memory, &count);
	_Atomic uint8_t *flags = &r->page_flags[(4 << 20) >> GUEST_PAGE_SHIFT];
	atomic_fetch_or(&flags[0], MEMORY_PAGE_CODE);
	atomic_fetch_or(&flags[1], MEMORY_PAGE_CODE);
	atomic_fetch_or(&flags[2], MEMORY_PAGE_CODE);
	CHECK_EQ(drv_transact(&g.q[0], (struct buf[]){{mem, 100}, {mem + 4096 + 4090, 100}}, 1, 2),
		100);
	CHECK(atomic_load(&flags[0]) & MEMORY_PAGE_CODE); /* was only read */
	CHECK(!(atomic_load(&flags[1]) & MEMORY_PAGE_CODE));
	CHECK(!(atomic_load(&flags[2]) & MEMORY_PAGE_CODE));
	guest_done(&g);
}

static unsigned pages_of_code(_Atomic uint8_t *flags, unsigned count)
{
	unsigned n = 0;
	for (unsigned i = 0; i < count; i++)
		n += (atomic_load(&flags[i]) & MEMORY_PAGE_CODE) != 0;
	return n;
}

/* A device may have written to a chain that never comes back: it is reset, or cannot give it back.
 */
static void what_is_dropped_counts_as_written(void)
{
	for (int pushed = 0; pushed < 2; pushed++) {
		struct guest g;
		struct echo *e = echo_guest(&g);
		REQUIRE(guest_start(&g, 0));
		uint64_t mem = GUEST_BASE + (4 << 20);
		unsigned count;
		const struct memory_region *r = memory_regions(g.memory, &count);
		_Atomic uint8_t *flags = &r->page_flags[(4 << 20) >> GUEST_PAGE_SHIFT];
		for (unsigned i = 0; i < 4; i++)
			atomic_fetch_or(&flags[i], MEMORY_PAGE_CODE);
		e->hold = true;
		drv_add(&g.q[0],
			(struct buf[]){{mem, 100}, {mem + 4096, 50}, {mem + 2 * 4096 + 4090, 50}},
			1, 3);
		drv_kick(&g.q[0]);
		CHECK_EQ(e->held_count, 1);
		CHECK_EQ(pages_of_code(flags, 4), 4);
		if (pushed) { /* pushed where nothing can be pushed any more */
			virtio_fail(g.device, "for the test");
			release_held(e, false);
		} else {
			iov_write(e->held[0].iov + 1, 2, 0, "written", 7);
			echo_reset(e);
		}
		CHECK(atomic_load(&flags[0]) & MEMORY_PAGE_CODE); /* was only read */
		CHECK_EQ(pages_of_code(flags, 4), 1);
		guest_done(&g);
	}
}

/* The driver adds a chain after the device has found the ring empty and before it has said that it
 * wants to be notified. Writing to a page that holds code calls us at just that moment. */
struct late {
	struct drv_queue *q;
	uint64_t mem;
	int id;
	bool kicked;
};

static void add_late(void *opaque, gpa_t page)
{
	struct late *l = opaque;
	l->id = drv_add(l->q, (struct buf[]){{l->mem, 4}, {l->mem, 4}}, 1, 2);
	l->kicked = device_wants_kick(l->q);
	l->q->kicked_at = l->q->avail;
}

static void a_late_chain_is_seen(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct guest g;
		echo_guest(&g);
		REQUIRE(guest_start(&g, RINGS[r].features));
		struct late late = {&g.q[0], guest_alloc(&g, 64), -1, false};
		CHECK_EQ(drv_transact(late.q, (struct buf[]){{late.mem, 4}, {late.mem, 4}}, 1, 2),
			4);
		if (!late.q->event_idx) {
			guest_done(&g);
			continue; /* notifications are always on */
		}
		/* As if the device had not armed again since the last chain. */
		virtio_queue_notify_disable(virtio_queue_get(g.device, 0));
		virtio_queue_get(g.device, 0)->notify_off = false;
		late.q->kicked_at = late.q->avail;
		unsigned count;
		const struct memory_region *m = memory_regions(g.memory, &count);
		memory_on_code_written(g.memory, add_late, &late);
		atomic_fetch_or(&m->page_flags[(late.q->device - GUEST_BASE) >> GUEST_PAGE_SHIFT],
			MEMORY_PAGE_CODE);
		virtio_device_notify(g.device, 0);
		guest_run(&g);
		uint32_t len;
		CHECK(!late.kicked);
		CHECK(late.id >= 0);
		CHECK_EQ(drv_used(late.q, &len), late.id);
		guest_done(&g);
	}
}

/* --- two threads --- */

static void *run_loop(void *loop)
{
	loop_run(loop, NULL);
	return NULL;
}

/* Takes one used chain; sleeps, as a driver does, until an interrupt says that there is one. */
static bool wait_used(struct drv_queue *q)
{
	uint64_t deadline = clock_monotonic_ns() + 5 * NS_PER_SEC;
	uint32_t len;
	if (drv_used(q, &len) >= 0)
		return true;
	unsigned seen = __atomic_load_n(&q->g->queue_interrupts, __ATOMIC_SEQ_CST);
	drv_want_interrupt(q, true);
	atomic_thread_fence(memory_order_seq_cst);
	if (drv_used(q, &len) >= 0)
		return true;
	while (__atomic_load_n(&q->g->queue_interrupts, __ATOMIC_SEQ_CST) == seen) {
		if (clock_monotonic_ns() > deadline)
			return false;
		sched_yield();
	}
	return wait_used(q);
}

/* A driver that notifies and is interrupted only when the rings say so: neither gets lost. */
static void nothing_is_lost_between_threads(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct guest g;
		pthread_t thread;
		echo_guest(&g);
		REQUIRE(guest_start(&g, RINGS[r].features));
		struct drv_queue *q = &g.q[0];
		uint64_t mem = guest_alloc(&g, 64);
		pthread_create(&thread, NULL, run_loop, g.loop);
		unsigned done = 0, added = 0;
		const unsigned total = 20000;
		uint32_t len;
		bool lost = false;
		while (done < total && !lost) {
			while (added < total && added - done < 16) {
				drv_add(q, (struct buf[]){{mem, 4}, {mem, 4}}, 1, 2);
				added++;
				if (device_wants_kick(q))
					virtio_device_notify(g.device, 0);
				q->kicked_at = q->avail;
				/* Keep the device at the point where the ring becomes empty. */
				while (added - done > 1 && drv_used(q, &len) >= 0)
					done++;
			}
			if (done < added && wait_used(q))
				done++;
			else
				lost = true;
		}
		CHECK_EQ(done, total);
		if (done != total)
			printf("# ring: %s\n", RINGS[r].name);
		loop_stop(g.loop);
		pthread_join(thread, NULL);
		guest_done(&g);
	}
}

/* --- saved state --- */

static void save(struct guest *g, struct strbuf *out)
{
	struct state *s = state_new_save(out);
	virtio_device_state(g->device, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
}

static void state_round_trip(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct guest g;
		struct echo *e = echo_guest(&g);
		REQUIRE(guest_start(&g, RINGS[r].features));
		uint64_t out = guest_alloc(&g, 64), in = guest_alloc(&g, 64);
		for (unsigned i = 0; i < 77; i++)
			CHECK(exchange(&g.q[0], out, in, 16, 3));
		/* A buffer that the device has not seen yet. */
		int id = drv_add(&g.q[0], (struct buf[]){{out, 4}, {in, 4}}, 1, 2);
		struct strbuf saved _strbuf_ = STRBUF_INIT;
		save(&g, &saved);
		/* A new device over the same memory. */
		virtio_device_free(g.device);
		e = xcalloc(1, sizeof(*e));
		REQUIRE(!virtio_device_new(
			&g.device, &echo_class, e, 1, 2, g.memory, g.loop, NULL));
		e->d = g.device;
		guest_attach(&g);
		struct state *s = state_new_restore(saved.data, saved.len);
		virtio_device_state(g.device, s);
		CHECK_EQ(state_finish(s, NULL), 0);
		state_free(s);
		CHECK_EQ(e->counter, 77u);
		CHECK_EQ(e->starts, 1u);
		guest_run(&g);
		uint32_t len;
		CHECK_EQ(drv_used(&g.q[0], &len), id);
		for (unsigned i = 0; i < 77; i++)
			CHECK(exchange(&g.q[0], out, in, 16, 3));
		guest_done(&g);
	}
}

static void state_is_checked(void)
{
	struct guest g;
	echo_guest(&g);
	REQUIRE(guest_start(&g, VIRTIO_F_RING_PACKED));
	struct strbuf saved _strbuf_ = STRBUF_INIT;
	save(&g, &saved);
	for (size_t i = 0; i < saved.len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			saved.data[i] ^= (char)(1 << bit);
			struct state *s = state_new_restore(saved.data, saved.len);
			virtio_device_state(g.device, s);
			guest_run(&g);
			state_finish(s, NULL);
			state_free(s);
			saved.data[i] ^= (char)(1 << bit);
		}
	}
	CHECK(guest_start(&g, 0));
	guest_done(&g);
}

static void state_refuses_requests_in_flight(void)
{
	struct guest g;
	struct echo *e = echo_guest(&g);
	REQUIRE(guest_start(&g, 0));
	e->hold = true;
	uint64_t mem = guest_alloc(&g, 64);
	drv_add(&g.q[0], (struct buf[]){{mem, 4}}, 0, 1);
	drv_kick(&g.q[0]);
	struct strbuf saved _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&saved);
	virtio_device_state(g.device, s);
	struct error err _error_ = ERROR_INIT;
	CHECK(state_finish(s, &err) < 0);
	CHECK_CONTAINS(err.message, "in flight");
	state_free(s);
	guest_done(&g);
}

int main(void)
{
	RUN(transfers_and_wraps);
	RUN(index_passes_16_bits);
	RUN(pushes_out_of_order);
	RUN(interrupts_only_when_wanted);
	RUN(notifications_only_when_wanted);
	RUN(unpop_gives_back);
	RUN(long_chains);
	RUN(bad_rings_need_a_reset);
	RUN(indirect_needs_negotiation);
	RUN(negotiation);
	RUN(start_may_fail);
	RUN(configuration_space);
	RUN(bad_queue_registers);
	RUN(one_queue_resets);
	RUN(buffers_before_start_are_seen);
	RUN(writes_drop_code_pages);
	RUN(what_is_dropped_counts_as_written);
	RUN(a_late_chain_is_seen);
	RUN(nothing_is_lost_between_threads);
	RUN(state_round_trip);
	RUN(state_is_checked);
	RUN(state_refuses_requests_in_flight);
	return tap_done();
}
