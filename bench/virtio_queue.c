// SPDX-License-Identifier: Apache-2.0
// Requests a second through pop and push, for both ring layouts: chains of one buffer to read and
// one to write, in batches of 32; the driver's side is counted too.
#include <stdio.h>

#include "virtio/driver.h"

enum { BATCH = 32, ROUNDS = 30000 };

struct bench_device {
	struct virtio_device *device;
};

static void bench_notify(void *dev, unsigned q)
{
	struct virtio_queue *vq = virtio_queue_get(((struct bench_device *)dev)->device, q);
	struct virtio_chain chain;
	while (virtio_queue_pop(vq, &chain) == 1)
		virtio_queue_push(vq, &chain, 1);
	virtio_queue_signal(vq);
}
static int bench_start(void *dev, uint64_t features)
{
	return 0;
}
static void bench_reset(void *dev)
{
}

static const struct virtio_class bench_class = {
	.name = "bench",
	.id = 42,
	.start = bench_start,
	.reset = bench_reset,
	.notify = bench_notify,
	.free = free,
};

static void run(const struct ring_kind *kind)
{
	struct guest g;
	guest_init(&g);
	struct bench_device *dev = xcalloc(1, sizeof(*dev));
	if (virtio_device_new(&g.device, &bench_class, dev, 0, 1, g.memory, g.loop, NULL))
		abort();
	dev->device = g.device;
	if (!guest_negotiate(&g, kind->features))
		abort();
	drv_setup(&g, 0, 256);
	guest_driver_ok(&g);
	struct drv_queue *q = &g.q[0];
	uint64_t mem = guest_alloc(&g, 4096), device_ns = 0, begin = clock_monotonic_ns();
	uint32_t len;
	for (unsigned i = 0; i < ROUNDS; i++) {
		for (unsigned k = 0; k < BATCH; k++)
			drv_add(q, (struct buf[]){{mem, 64}, {mem + 2048, 64}}, 1, 2);
		uint64_t t = clock_monotonic_ns();
		bench_notify(dev, 0);
		device_ns += clock_monotonic_ns() - t;
		for (unsigned k = 0; k < BATCH; k++)
			if (drv_used(q, &len) < 0)
				abort();
	}
	uint64_t total_ns = clock_monotonic_ns() - begin;
	printf("%-22s %6.1f ns a request, %5.1f million a second (with the driver: %.1f)\n",
		kind->name, (double)device_ns / (ROUNDS * BATCH),
		ROUNDS * BATCH * 1e3 / (double)device_ns, ROUNDS * BATCH * 1e3 / (double)total_ns);
	guest_done(&g);
}

int main(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(RINGS); i++)
		run(&RINGS[i]);
	return 0;
}
