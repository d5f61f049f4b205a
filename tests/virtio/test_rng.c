// SPDX-License-Identifier: Apache-2.0
#include "device/virtio/devices.h"
#include "virtio/driver.h"

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static void fills_buffers(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct guest g;
		guest_init(&g);
		REQUIRE(!virtio_rng_new(&g.device, g.memory, g.loop, NULL));
		REQUIRE(guest_start(&g, RINGS[r].features));
		uint64_t a = guest_alloc(&g, 4096), b = guest_alloc(&g, 4096);
		for (unsigned i = 0; i < 100; i++) {
			memset(guest_ptr(&g, a), 0, 4096);
			memset(guest_ptr(&g, b), 0, 4096);
			CHECK_EQ(drv_transact(&g.q[0], (struct buf[]){{a, 64}, {b, 100}}, 0, 2),
				164);
			const uint8_t *pa = guest_ptr(&g, a), *pb = guest_ptr(&g, b);
			CHECK(!all_zero(pa, 64) && all_zero(pa + 64, 4096 - 64));
			CHECK(!all_zero(pb, 100) && all_zero(pb + 100, 4096 - 100));
		}
		guest_done(&g);
	}
}

static void large_and_odd_requests(void)
{
	struct guest g;
	guest_init(&g);
	REQUIRE(!virtio_rng_new(&g.device, g.memory, g.loop, NULL));
	REQUIRE(guest_start(&g, 0));
	uint64_t a = guest_alloc(&g, 1 << 20);
	CHECK_EQ(drv_transact(&g.q[0], (struct buf[]){{a, 1 << 20}}, 0, 1), 64 << 10);
	CHECK_EQ(drv_transact(&g.q[0], (struct buf[]){{a, 16}}, 1, 1), 0); /* nothing to write to */
	CHECK_EQ(drv_transact(&g.q[0], (struct buf[]){{a, 16}, {a, 5}}, 1, 2), 5);
	CHECK(virtio_running(g.device));
	guest_done(&g);
}

static void many_requests_at_once(void)
{
	struct guest g;
	guest_init(&g);
	REQUIRE(!virtio_rng_new(&g.device, g.memory, g.loop, NULL));
	REQUIRE(guest_negotiate(&g, VIRTIO_F_RING_PACKED));
	drv_setup(&g, 0, 256);
	guest_driver_ok(&g);
	uint64_t a = guest_alloc(&g, 64);
	unsigned added = 0, used = 0;
	uint32_t len;
	while (drv_add(&g.q[0], (struct buf[]){{a, 8}}, 0, 1) >= 0)
		added++;
	CHECK_EQ(added, 256u);
	drv_kick(&g.q[0]);
	while (drv_used(&g.q[0], &len) >= 0)
		used++;
	CHECK_EQ(used, 256u);
	guest_done(&g);
}

int main(void)
{
	RUN(fills_buffers);
	RUN(large_and_odd_requests);
	RUN(many_requests_at_once);
	return tap_done();
}
