// SPDX-License-Identifier: Apache-2.0
// The block device over a disk in memory that can be told to fail.
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "block/block.h"
#include "device/virtio/devices.h"
#include "virtio/driver.h"

enum { DISK_BYTES = 1 << 20, SECTORS = DISK_BYTES / 512 };
enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
#define F_FLUSH	       (1 << 9)
#define F_CONFIG_WCE   (1 << 11)
#define F_DISCARD      (1 << 13)
#define F_WRITE_ZEROES (1 << 14)
#define F_RO	       (1 << 5)
#define F_MQ	       (1 << 12)
#define ALL_FEATURES   (F_FLUSH | F_CONFIG_WCE | F_DISCARD | F_WRITE_ZEROES | F_RO | F_MQ)

struct mem_disk {
	struct block block;
	uint8_t bytes[DISK_BYTES];
	int fail; /* -errno of everything */
	unsigned flushes, discards, zeroings, unmaps;
};

static int mem_readv(struct block *b, const struct iovec *iov, int n, uint64_t offset)
{
	struct mem_disk *m = (struct mem_disk *)b;
	for (int i = 0; i < n && !m->fail; offset += iov[i++].iov_len) {
		CHECK(range_fits(offset, iov[i].iov_len, DISK_BYTES));
		memcpy(iov[i].iov_base, m->bytes + offset, iov[i].iov_len);
	}
	return m->fail;
}
static int mem_writev(struct block *b, const struct iovec *iov, int n, uint64_t offset)
{
	struct mem_disk *m = (struct mem_disk *)b;
	for (int i = 0; i < n && !m->fail; offset += iov[i++].iov_len) {
		CHECK(range_fits(offset, iov[i].iov_len, DISK_BYTES));
		memcpy(m->bytes + offset, iov[i].iov_base, iov[i].iov_len);
	}
	return m->fail;
}
static int mem_flush(struct block *b)
{
	((struct mem_disk *)b)->flushes++;
	return ((struct mem_disk *)b)->fail;
}
static int mem_discard(struct block *b, uint64_t offset, uint64_t bytes)
{
	struct mem_disk *m = (struct mem_disk *)b;
	CHECK(range_fits(offset, bytes, DISK_BYTES));
	m->discards++;
	memset(m->bytes + offset, 0, bytes);
	return m->fail;
}
static int mem_zero(struct block *b, uint64_t offset, uint64_t bytes, bool unmap)
{
	struct mem_disk *m = (struct mem_disk *)b;
	CHECK(range_fits(offset, bytes, DISK_BYTES));
	m->zeroings++;
	m->unmaps += unmap;
	memset(m->bytes + offset, 0, bytes);
	return m->fail;
}
static void mem_free(struct block *b)
{
	free(b);
}
static const struct block_ops mem_ops = {
	"memory", mem_readv, mem_writev, mem_flush, mem_discard, mem_zero, mem_free};

struct blk_guest {
	struct guest g;
	struct mem_disk *disk;
	uint64_t header, data, status;
};

static struct mem_disk *new_disk(bool readonly)
{
	struct mem_disk *m = xcalloc(1, sizeof(*m));
	m->block = (struct block){&mem_ops, DISK_BYTES, readonly};
	for (unsigned i = 0; i < DISK_BYTES; i++)
		m->bytes[i] = (uint8_t)(i / 512 * 7 + i);
	return m;
}

static void blk_init(struct blk_guest *b, bool readonly, unsigned queues, uint64_t features)
{
	guest_init(&b->g);
	b->disk = new_disk(readonly);
	if (virtio_blk_new(&b->g.device, b->g.memory, b->g.loop, &b->disk->block, "serial-1",
		    queues, NULL))
		abort();
	CHECK(guest_start(&b->g, features));
	b->header = guest_alloc(&b->g, 16);
	b->data = guest_alloc(&b->g, 128 << 10);
	b->status = guest_alloc(&b->g, 1);
}

static void set_header(struct blk_guest *b, uint32_t type, uint64_t sector)
{
	uint8_t *h = guest_ptr(&b->g, b->header);
	store_le32(h, type);
	store_le32(h + 4, 0);
	store_le64(h + 8, sector);
	*(uint8_t *)guest_ptr(&b->g, b->status) = 0xee;
}

/* One request on queue q: its status byte, or -1. */
static int request_on(
	struct blk_guest *b, unsigned q, uint32_t type, uint64_t sector, uint32_t bytes)
{
	set_header(b, type, sector);
	bool in = type == IN || type == GET_ID;
	struct buf v[3] = {{b->header, 16}};
	unsigned n = 1, out = 1;
	if (bytes) {
		v[n++] = (struct buf){b->data, bytes};
		out += !in;
	}
	v[n++] = (struct buf){b->status, 1};
	int64_t written = drv_transact(&b->g.q[q], v, out, n);
	CHECK_EQ(written, in ? bytes + 1 : 1);
	return written < 0 ? -1 : *(uint8_t *)guest_ptr(&b->g, b->status);
}
static int request(struct blk_guest *b, uint32_t type, uint64_t sector, uint32_t bytes)
{
	return request_on(b, 0, type, sector, bytes);
}

static void reads_and_writes(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct blk_guest b;
		blk_init(&b, false, 1, RINGS[r].features | ALL_FEATURES);
		uint8_t *data = guest_ptr(&b.g, b.data);
		for (unsigned i = 0; i < 100; i++) {
			unsigned sector = i * 13 % SECTORS, bytes = 512 * (1 + i % 8);
			CHECK_EQ(request(&b, IN, sector, bytes), 0);
			CHECK(!memcmp(data, b.disk->bytes + sector * 512, bytes));
			memset(data, (int)i, bytes);
			CHECK_EQ(request(&b, OUT, sector, bytes), 0);
			CHECK(!memcmp(data, b.disk->bytes + sector * 512, bytes));
		}
		CHECK_EQ(request(&b, IN, SECTORS - 1, 512), 0);
		CHECK_EQ(b.disk->flushes, 0u);
		CHECK_EQ(request(&b, FLUSH, 0, 0), 0);
		CHECK_EQ(b.disk->flushes, 1u);
		guest_done(&b.g);
	}
}

static void beyond_the_end(void)
{
	struct blk_guest b;
	blk_init(&b, false, 1, ALL_FEATURES);
	CHECK_EQ(request(&b, IN, SECTORS, 512), 1);
	CHECK_EQ(request(&b, IN, SECTORS - 1, 1024), 1);
	CHECK_EQ(request(&b, OUT, SECTORS - 1, 1024), 1);
	CHECK_EQ(request(&b, IN, UINT64_MAX, 512), 1);
	CHECK_EQ(request(&b, OUT, UINT64_MAX / 512, 1024), 1);
	CHECK_EQ(request(&b, OUT, UINT64_C(1) << 55, 512), 1);
	CHECK_EQ(request(&b, IN, 0, 511), 1);
	CHECK_EQ(request(&b, OUT, 0, 513), 1);
	CHECK_EQ(request(&b, IN, 0, 0), 0);
	CHECK(virtio_running(b.g.device));
	CHECK_EQ(b.disk->bytes[513], (uint8_t)(7 + 513));
	guest_done(&b.g);
}

static void unknown_requests(void)
{
	struct blk_guest b;
	blk_init(&b, false, 1, ALL_FEATURES);
	CHECK_EQ(request(&b, 2, 0, 512), 2);
	CHECK_EQ(request(&b, 14, 0, 16), 2);
	CHECK_EQ(request(&b, UINT32_MAX, 0, 0), 2);
	guest_done(&b.g);
	/* What was not negotiated is not supported. */
	blk_init(&b, false, 1, F_FLUSH);
	CHECK_EQ(request(&b, DISCARD, 0, 16), 2);
	CHECK_EQ(request(&b, WRITE_ZEROES, 0, 16), 2);
	guest_done(&b.g);
}

static void identification(void)
{
	struct blk_guest b;
	blk_init(&b, false, 1, 0);
	char *data = guest_ptr(&b.g, b.data);
	memset(data, 0xff, 32);
	CHECK_EQ(request(&b, GET_ID, 0, 20), 0);
	CHECK(!memcmp(data, "serial-1\0\0\0\0\0\0\0\0\0\0\0\0\xff", 21));
	CHECK_EQ(request(&b, GET_ID, 0, 4), 0);
	CHECK_EQ(request(&b, GET_ID, 0, 600), 0);
	guest_done(&b.g);
}

static void put_segment(
	struct blk_guest *b, unsigned i, uint64_t sector, uint32_t n, uint32_t flags)
{
	uint8_t *p = (uint8_t *)guest_ptr(&b->g, b->data) + i * 16;
	store_le64(p, sector);
	store_le32(p + 8, n);
	store_le32(p + 12, flags);
}

static void discard_and_write_zeroes(void)
{
	struct blk_guest b;
	blk_init(&b, false, 1, ALL_FEATURES);
	put_segment(&b, 0, 10, 2, 0);
	put_segment(&b, 1, 100, 1, 1);
	CHECK_EQ(request(&b, WRITE_ZEROES, 0, 32), 0);
	CHECK_EQ(b.disk->zeroings, 2u);
	CHECK_EQ(b.disk->unmaps, 1u);
	CHECK_EQ(b.disk->bytes[10 * 512 + 1], 0);
	CHECK(b.disk->bytes[12 * 512 + 1] != 0);
	put_segment(&b, 0, 20, 2, 0);
	CHECK_EQ(request(&b, DISCARD, 0, 16), 0);
	CHECK_EQ(b.disk->discards, 1u);
	/* Flags that mean nothing here. */
	put_segment(&b, 0, 20, 2, 1);
	CHECK_EQ(request(&b, DISCARD, 0, 16), 2);
	put_segment(&b, 0, 20, 2, 2);
	CHECK_EQ(request(&b, WRITE_ZEROES, 0, 16), 2);
	/* Ranges and sizes. */
	put_segment(&b, 0, SECTORS, 1, 0);
	CHECK_EQ(request(&b, DISCARD, 0, 16), 1);
	put_segment(&b, 0, UINT64_MAX, 2, 0);
	CHECK_EQ(request(&b, WRITE_ZEROES, 0, 16), 1);
	put_segment(&b, 0, 0, UINT32_MAX, 0);
	CHECK_EQ(request(&b, WRITE_ZEROES, 0, 16), 1);
	CHECK_EQ(request(&b, DISCARD, 0, 16), 1);
	CHECK_EQ(request(&b, DISCARD, 0, 0), 1);
	CHECK_EQ(request(&b, DISCARD, 0, 17), 1);
	CHECK_EQ(request(&b, DISCARD, 0, 33 * 16), 1);
	guest_done(&b.g);
}

static void read_only_disks(void)
{
	struct blk_guest b;
	blk_init(&b, true, 1, ALL_FEATURES);
	CHECK(b.g.features & F_RO);
	CHECK(!(b.g.features & (F_DISCARD | F_WRITE_ZEROES)));
	CHECK_EQ(request(&b, IN, 0, 512), 0);
	CHECK_EQ(request(&b, OUT, 0, 512), 1);
	CHECK_EQ(request(&b, DISCARD, 0, 16), 2);
	CHECK_EQ(b.disk->bytes[1], 1);
	guest_done(&b.g);
}

static void errors_of_the_disk(void)
{
	struct blk_guest b;
	blk_init(&b, false, 1, ALL_FEATURES);
	b.disk->fail = -ENOSPC;
	CHECK_EQ(request(&b, OUT, 0, 512), 1);
	CHECK_EQ(request(&b, IN, 0, 512), 1);
	CHECK_EQ(request(&b, FLUSH, 0, 0), 1);
	put_segment(&b, 0, 0, 1, 0);
	CHECK_EQ(request(&b, WRITE_ZEROES, 0, 16), 1);
	b.disk->fail = 0;
	CHECK_EQ(request(&b, OUT, 0, 512), 0);
	CHECK(virtio_running(b.g.device));
	guest_done(&b.g);
}

static void write_cache(void)
{
	struct blk_guest b;
	uint8_t wce = 0xff;
	blk_init(&b, false, 1, ALL_FEATURES);
	virtio_device_config_read(b.g.device, 32, &wce, 1);
	CHECK_EQ(wce, 1);
	CHECK_EQ(request(&b, OUT, 0, 512), 0);
	CHECK_EQ(b.disk->flushes, 0u);
	virtio_device_config_write(b.g.device, 32, "\0", 1);
	virtio_device_config_read(b.g.device, 32, &wce, 1);
	CHECK_EQ(wce, 0);
	CHECK_EQ(request(&b, OUT, 0, 512), 0);
	CHECK_EQ(b.disk->flushes, 1u);
	guest_done(&b.g);
	blk_init(&b, false, 1, 0); /* a driver that cannot flush */
	CHECK_EQ(request(&b, OUT, 0, 512), 0);
	CHECK_EQ(b.disk->flushes, 1u);
	guest_done(&b.g);
}

static void configuration(void)
{
	struct blk_guest b;
	uint8_t c[60];
	blk_init(&b, false, 3, ALL_FEATURES);
	virtio_device_config_read(b.g.device, 0, c, sizeof(c));
	CHECK_EQ(load_le64(c), (uint64_t)SECTORS);
	CHECK_EQ(load_le32(c + 12), 254u);
	CHECK_EQ(load_le32(c + 20), 512u);
	CHECK_EQ(load_le16(c + 34), 3u);
	CHECK(load_le32(c + 36) && load_le32(c + 48));
	for (unsigned q = 0; q < 3; q++)
		CHECK_EQ(request_on(&b, q, IN, q, 512), 0);
	guest_done(&b.g);
}

/* Header, data and status may be cut anywhere (2.7.4). */
static void any_framing(void)
{
	struct blk_guest b;
	blk_init(&b, false, 1, VIRTIO_F_INDIRECT_DESC | F_FLUSH);
	uint64_t h = b.header, d = b.data;
	set_header(&b, IN, 3);
	struct buf in[] = {{h, 1}, {h + 1, 6}, {h + 7, 9}, {d, 100}, {d + 100, 411}, {d + 511, 2}};
	CHECK_EQ(drv_transact(&b.g.q[0], in, 3, 6), 513);
	uint8_t *data = guest_ptr(&b.g, d);
	CHECK(!memcmp(data, b.disk->bytes + 3 * 512, 512));
	CHECK_EQ(data[512], 0);
	/* Header and data in one piece. */
	uint8_t *p = guest_ptr(&b.g, d);
	store_le32(p, OUT);
	store_le32(p + 4, 0);
	store_le64(p + 8, 9);
	memset(p + 16, 0x5a, 512);
	CHECK_EQ(drv_transact(&b.g.q[0], (struct buf[]){{d, 528}, {b.status, 1}}, 1, 2), 1);
	CHECK_EQ(b.disk->bytes[9 * 512], 0x5a);
	CHECK_EQ(b.disk->bytes[9 * 512 + 511], 0x5a);
	/* Too short to be a request. */
	drv_transact(&b.g.q[0], (struct buf[]){{h, 15}, {b.status, 1}}, 1, 2);
	CHECK(virtio_device_status(b.g.device) & VIRTIO_STATUS_NEEDS_RESET);
	REQUIRE(guest_start(&b.g, F_FLUSH));
	drv_transact(&b.g.q[0], (struct buf[]){{h, 16}}, 1, 1);
	CHECK(virtio_device_status(b.g.device) & VIRTIO_STATUS_NEEDS_RESET);
	REQUIRE(guest_start(&b.g, F_FLUSH));
	CHECK_EQ(request(&b, IN, 0, 512), 0);
	guest_done(&b.g);
}

static void state_round_trip(void)
{
	struct blk_guest b;
	blk_init(&b, false, 2, ALL_FEATURES | VIRTIO_F_RING_PACKED);
	virtio_device_config_write(b.g.device, 32, "\0", 1);
	CHECK_EQ(request_on(&b, 1, OUT, 5, 512), 0);
	struct strbuf saved _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&saved);
	virtio_device_state(b.g.device, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	virtio_device_free(b.g.device);
	b.disk = new_disk(false);
	REQUIRE(!virtio_blk_new(&b.g.device, b.g.memory, b.g.loop, &b.disk->block, "x", 2, NULL));
	guest_attach(&b.g);
	s = state_new_restore(saved.data, saved.len);
	virtio_device_state(b.g.device, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	CHECK_EQ(request_on(&b, 1, OUT, 5, 512), 0);
	CHECK_EQ(b.disk->flushes, 1u); /* still write-through */
	CHECK_EQ(request_on(&b, 0, IN, 5, 512), 0);
	/* Another disk. */
	b.disk = new_disk(false);
	b.disk->block.bytes /= 2;
	virtio_device_free(b.g.device);
	REQUIRE(!virtio_blk_new(&b.g.device, b.g.memory, b.g.loop, &b.disk->block, "x", 2, NULL));
	s = state_new_restore(saved.data, saved.len);
	virtio_device_state(b.g.device, s);
	struct error err _error_ = ERROR_INIT;
	CHECK(state_finish(s, &err) < 0);
	CHECK_CONTAINS(err.message, "sectors");
	state_free(s);
	guest_done(&b.g);
}

/* --- queues on threads of their own, with resets at any moment --- */

static void *run_loop(void *loop)
{
	loop_run(loop, NULL);
	return NULL;
}

static void queues_on_threads(void)
{
	struct blk_guest b;
	guest_init(&b.g);
	b.disk = new_disk(false);
	REQUIRE(!virtio_blk_new(&b.g.device, b.g.memory, b.g.loop, &b.disk->block, NULL, 2, NULL));
	struct loop *loops[2];
	pthread_t threads[3];
	for (unsigned i = 0; i < 2; i++) {
		REQUIRE(!loop_new(&loops[i], NULL));
		virtio_device_set_queue_loop(b.g.device, i, loops[i]);
		pthread_create(&threads[i], NULL, run_loop, loops[i]);
	}
	pthread_create(&threads[2], NULL, run_loop, b.g.loop);
	guest_attach(&b.g);
	struct virtio_device *d = b.g.device;
	unsigned done = 0;
	for (unsigned round = 0; round < 60; round++) {
		virtio_device_set_status(d, 0);
		while (virtio_device_status(d))
			sched_yield();
		b.g.next = GUEST_BASE;
		memset(b.g.q, 0, sizeof(b.g.q));
		virtio_device_set_status(d, 3);
		b.g.features = VIRTIO_F_VERSION_1 | (round % 2 ? VIRTIO_F_RING_PACKED : 0);
		virtio_device_accept(d, 0, (uint32_t)b.g.features);
		virtio_device_accept(d, 1, (uint32_t)(b.g.features >> 32));
		virtio_device_set_status(d, 11);
		drv_setup(&b.g, 0, 64);
		drv_setup(&b.g, 1, 64);
		b.header = guest_alloc(&b.g, 16);
		b.status = guest_alloc(&b.g, 1);
		set_header(&b, IN, 1);
		virtio_device_set_status(d, 15);
		for (unsigned i = 0; i < 15; i++) {
			uint64_t data = guest_alloc(&b.g, 513);
			drv_add(&b.g.q[i % 2], (struct buf[]){{b.header, 16}, {data, 513}}, 1, 2);
			virtio_device_notify(d, i % 2);
		}
		if (round % 3)
			continue; /* reset in the middle */
		for (unsigned q = 0, got = 0; got < (q ? 7u : 8u) && q < 2;) {
			uint32_t len;
			if (drv_used(&b.g.q[q], &len) >= 0) {
				CHECK_EQ(len, 513u);
				done++;
				if (++got == (q ? 7u : 8u)) {
					q++;
					got = 0;
				}
			} else {
				sched_yield();
			}
		}
	}
	CHECK_EQ(done, 20 * 15u);
	for (unsigned i = 0; i < 2; i++)
		loop_stop(loops[i]);
	loop_stop(b.g.loop);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	virtio_device_free(d);
	b.g.device = NULL;
	loop_free(loops[0]);
	loop_free(loops[1]);
	guest_done(&b.g);
}

int main(void)
{
	RUN(reads_and_writes);
	RUN(beyond_the_end);
	RUN(unknown_requests);
	RUN(identification);
	RUN(discard_and_write_zeroes);
	RUN(read_only_disks);
	RUN(errors_of_the_disk);
	RUN(write_cache);
	RUN(configuration);
	RUN(any_framing);
	RUN(state_round_trip);
	RUN(queues_on_threads);
	return tap_done();
}
