// SPDX-License-Identifier: Apache-2.0
// The rings alone: a device that keeps chains, gives them back in any order, unpops, and touches
// every byte that it was given.
#include "virtio_fuzz.h"

enum { HELD_MAX = 16 };

struct any {
	struct virtio_device *device;
	uint8_t mode;
	struct virtio_chain held[HELD_MAX];
	unsigned held_in[HELD_MAX]; /* queue + 1; 0: free */
};

static void drop_all(struct any *a, unsigned q)
{
	for (unsigned i = 0; i < HELD_MAX; i++)
		if (a->held_in[i] && (q == UINT32_MAX || a->held_in[i] == q + 1)) {
			virtio_queue_drop(
				virtio_queue_get(a->device, a->held_in[i] - 1), &a->held[i]);
			a->held_in[i] = 0;
		}
}

static uint32_t touch(const struct virtio_chain *c)
{
	uint64_t sum = 0, out = 0, in = 0;
	for (unsigned i = 0; i < c->out_count + c->in_count; i++) {
		uint8_t *p = c->iov[i].iov_base;
		size_t n = c->iov[i].iov_len;
		if (!n)
			abort();
		if (i < c->out_count) {
			sum += p[0] + p[n - 1];
			out += n;
		} else {
			p[0] = (uint8_t)sum;
			p[n - 1] = (uint8_t)sum;
			in += n;
		}
	}
	if (out != c->out_bytes || in != c->in_bytes)
		abort();
	return (uint32_t)in;
}

static void give_back(struct any *a, unsigned i)
{
	struct virtio_queue *vq = virtio_queue_get(a->device, a->held_in[i] - 1);
	virtio_queue_push(vq, &a->held[i], touch(&a->held[i]));
	virtio_queue_signal(vq);
	a->held_in[i] = 0;
}

static void any_notify(void *dev, unsigned q)
{
	struct any *a = dev;
	struct virtio_queue *vq = virtio_queue_get(a->device, q);
	for (unsigned n = 0; n < 64; n++) {
		unsigned i = 0;
		while (i < HELD_MAX && a->held_in[i])
			i++;
		if (i == HELD_MAX || virtio_queue_pop(vq, &a->held[i]) != 1)
			break;
		a->held_in[i] = q + 1;
		if (a->mode & 1 && n % 3 == 2) {
			virtio_queue_unpop(vq, &a->held[i]);
			a->held_in[i] = 0;
			break;
		}
		if (!(a->mode & 2))
			give_back(a, i);
	}
	if (a->mode & 4)
		virtio_queue_notify_disable(vq);
	else if (a->mode & 8 && virtio_queue_notify_enable(vq))
		virtio_queue_again(vq);
}

static int any_start(void *dev, uint64_t features)
{
	return 0;
}
static void any_reset(void *dev)
{
	drop_all(dev, UINT32_MAX);
}
static void any_queue_reset(void *dev, unsigned q)
{
	drop_all(dev, q);
}

static const struct virtio_class any_class = {
	.name = "any",
	.id = 1,
	.start = any_start,
	.reset = any_reset,
	.notify = any_notify,
	.queue_reset = any_queue_reset,
	.free = free,
};

static void host(struct vf *v, uint8_t arg)
{
	struct any *a = v->opaque;
	if (arg & 0x80)
		a->mode = arg;
	else if (a->held_in[arg % HELD_MAX])
		give_back(a, arg % HELD_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vf v;
	vf_init(&v, data, size);
	struct any *a = xcalloc(1, sizeof(*a));
	if (virtio_device_new(&v.device, &any_class, a, 0, 3, v.memory, v.loop, NULL))
		abort();
	a->device = v.device;
	v.host = host;
	v.opaque = a;
	vf_run(&v);
	vf_done(&v);
	return 0;
}
