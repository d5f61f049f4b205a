// SPDX-License-Identifier: Apache-2.0
// Entropy device (virtio 1.2, 5.4): one queue of buffers that are filled from getrandom(2).
#include <sys/random.h>

#include "device/virtio/devices.h"

enum {
	FILL_MAX = 64 << 10, /* bytes per request; the driver asks again for more */
	BATCH = 64,	     /* requests before others on the loop have their turn */
};

struct rng {
	struct virtio_device *device; /* not owned: owns us */
};

static uint32_t fill(const struct virtio_chain *chain)
{
	uint32_t done = 0;
	for (unsigned i = 0; i < chain->in_count && done < FILL_MAX; i++) {
		const struct iovec *v = &chain->iov[chain->out_count + i];
		size_t want = MIN(v->iov_len, (size_t)(FILL_MAX - done)), got = 0;
		while (got < want) {
			ssize_t n = getrandom((uint8_t *)v->iov_base + got, want - got, 0);
			if (n < 0 && errno != EINTR)
				return done; /* no such call: impossible since Linux 3.17 */
			got += n > 0 ? (size_t)n : 0;
		}
		done += (uint32_t)got;
	}
	return done;
}

static void rng_notify(void *dev, unsigned q)
{
	struct rng *rng = dev;
	struct virtio_queue *vq = virtio_queue_get(rng->device, q);
	struct virtio_chain chain;
	unsigned served = 0;
	while (served < BATCH && virtio_queue_pop(vq, &chain) == 1) {
		virtio_queue_push(vq, &chain, fill(&chain));
		served++;
	}
	virtio_queue_signal(vq);
	if (served == BATCH)
		virtio_queue_again(vq);
}

static int rng_start(void *dev, uint64_t features)
{
	return 0;
}

static void rng_reset(void *dev)
{
}

static void rng_queue_reset(void *dev, unsigned q)
{
}

static const struct virtio_class rng_class = {
	.name = "rng",
	.id = VIRTIO_ID_ENTROPY,
	.start = rng_start,
	.reset = rng_reset,
	.notify = rng_notify,
	.queue_reset = rng_queue_reset,
	.free = free,
};

int virtio_rng_new(
	struct virtio_device **out, struct memory *memory, struct loop *loop, struct error *err)
{
	struct rng *rng = xcalloc(1, sizeof(*rng));
	int r = virtio_device_new(&rng->device, &rng_class, rng, 0, 1, memory, loop, err);
	if (r < 0) {
		free(rng);
		return r;
	}
	*out = rng->device;
	return 0;
}
