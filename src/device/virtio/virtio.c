// SPDX-License-Identifier: Apache-2.0
// The device core: status, features, configuration space, notifications, reset (virtio 1.2, 2 and
// 3).
//
// Life of a device: the driver negotiates on a vCPU thread; DRIVER_OK posts `start` to the loop;
// `live` becomes true there and queues are served; writing zero posts `reset` to the loop, which
// first makes live false, then passes each queue's lock once, so that no other loop is inside
// notify, and then clears everything.
#include "device/virtio/virtio.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "device/virtio/queue.h"
#include "device/virtio/transport.h"

enum {
	CONFIG_BYTES_MAX = 256,
	FAILURES_LOGGED = 8, /* a guest that fails a device for ever does not fill the log */
};

struct virtio_device {
	const struct virtio_class *class;
	void *impl; /* owned, freed by class->free */
	struct loop *loop;
	uint64_t offered;
	const struct virtio_transport *transport;
	void *transport_opaque;

	pthread_mutex_t lock; /* guards accepted, started and the queues' registers */
	uint64_t accepted;
	bool started; /* class->start was called, reset not yet */

	_Atomic uint8_t status;
	atomic_bool live; /* queues may be served */
	atomic_bool reset_pending;
	atomic_bool dma_denied; /* by the transport; survives a reset of the device */
	_Atomic uint8_t generation;
	atomic_uint failures;

	unsigned queue_count;
	struct virtio_queue queues[];
};

int virtio_device_new(struct virtio_device **out, const struct virtio_class *class, void *dev,
	uint64_t features, unsigned queue_count, struct memory *memory, struct loop *loop,
	struct error *err)
{
	if (!queue_count || queue_count > UINT8_MAX || class->config_bytes > CONFIG_BYTES_MAX)
		return error_set(err, EINVAL, "virtio-%s: %u queues", class->name, queue_count);
	struct virtio_device *d =
		xcalloc(1, sizeof(*d) + queue_count * sizeof(struct virtio_queue));
	d->class = class;
	d->impl = dev;
	d->loop = loop;
	d->offered = (class->features & features) | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED |
		     VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC |
		     (class->queue_reset ? VIRTIO_F_RING_RESET : 0);
	pthread_mutex_init(&d->lock, NULL);
	d->queue_count = queue_count;
	for (unsigned i = 0; i < queue_count; i++)
		queue_init(&d->queues[i], d, i, memory, loop);
	*out = d;
	return 0;
}

void virtio_device_free(struct virtio_device *d)
{
	if (!d)
		return;
	if (d->started)
		d->class->reset(d->impl);
	d->class->free(d->impl);
	for (unsigned i = 0; i < d->queue_count; i++)
		queue_done(&d->queues[i]);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

const struct virtio_class *virtio_device_class(const struct virtio_device *d)
{
	return d->class;
}

void *virtio_device_impl(struct virtio_device *d)
{
	return d->impl;
}

struct loop *virtio_device_loop(struct virtio_device *d)
{
	return d->loop;
}

void virtio_device_set_queue_loop(struct virtio_device *d, unsigned q, struct loop *loop)
{
	if (q < d->queue_count)
		d->queues[q].loop = loop;
}

struct virtio_queue *virtio_queue_get(struct virtio_device *d, unsigned q)
{
	return q < d->queue_count ? &d->queues[q] : NULL;
}

void virtio_device_attach(
	struct virtio_device *d, const struct virtio_transport *transport, void *opaque)
{
	d->transport = transport;
	d->transport_opaque = opaque;
}

bool virtio_device_dma_allowed(const struct virtio_device *d)
{
	return !atomic_load_explicit(&d->dma_denied, memory_order_relaxed);
}

uint64_t virtio_device_offered(const struct virtio_device *d)
{
	return d->offered;
}

uint8_t virtio_device_status(struct virtio_device *d)
{
	return atomic_load(&d->status);
}

uint8_t virtio_device_generation(struct virtio_device *d)
{
	return atomic_load(&d->generation);
}

unsigned virtio_device_queue_count(const struct virtio_device *d)
{
	return d->queue_count;
}

bool virtio_running(struct virtio_device *d)
{
	return atomic_load_explicit(&d->live, memory_order_acquire) &&
	       !(atomic_load(&d->status) & (VIRTIO_STATUS_NEEDS_RESET | VIRTIO_STATUS_FAILED)) &&
	       !atomic_load(&d->reset_pending);
}

/* --- interrupts --- */

void virtio_config_changed(struct virtio_device *d)
{
	atomic_fetch_add(&d->generation, 1);
	if ((atomic_load(&d->status) & VIRTIO_STATUS_DRIVER_OK) && d->transport)
		d->transport->config_interrupt(d->transport_opaque);
}

void virtio_fail(struct virtio_device *d, const char *fmt, ...)
{
	uint8_t old = atomic_fetch_or(&d->status, VIRTIO_STATUS_NEEDS_RESET);
	if (old & VIRTIO_STATUS_NEEDS_RESET)
		return;
	if (atomic_fetch_add(&d->failures, 1) < FAILURES_LOGGED) {
		char reason[200];
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(reason, sizeof(reason), fmt, ap);
		va_end(ap);
		log_warn("virtio-%s: the guest's driver is at fault, the device needs a reset: %s",
			d->class->name, reason);
	}
	if ((old & VIRTIO_STATUS_DRIVER_OK) && d->transport)
		d->transport->config_interrupt(d->transport_opaque);
}

void virtio_queue_signal(struct virtio_queue *vq)
{
	struct virtio_device *d = vq->device;
	if (!vq->unsignalled || !virtio_queue_ready(vq))
		return;
	/* The used index is visible before we look whether the driver waits for it. */
	atomic_thread_fence(memory_order_seq_cst);
	bool wanted = vq->ring->wants_interrupt(vq);
	vq->unsignalled = 0;
	if (wanted && d->transport)
		d->transport->queue_interrupt(d->transport_opaque, vq->index);
}

/* --- notifications --- */

static void serve_queue(void *opaque)
{
	struct virtio_queue *vq = opaque;
	struct virtio_device *d = vq->device;
	pthread_mutex_lock(&vq->lock);
	atomic_store(&vq->pending, false);	   /* from here on, a new notify comes again */
	atomic_thread_fence(memory_order_seq_cst); /* before the ring is looked at */
	if (virtio_queue_ready(vq))
		d->class->notify(d->impl, vq->index);
	pthread_mutex_unlock(&vq->lock);
}

void virtio_device_notify(struct virtio_device *d, unsigned q)
{
	/* Of the ring that the driver wrote and `live`, one is seen: by us, or by start, which
	 * looks at all queues. */
	atomic_thread_fence(memory_order_seq_cst);
	if (q >= d->queue_count || !atomic_load(&d->live))
		return;
	struct virtio_queue *vq = &d->queues[q];
	if (!atomic_exchange(&vq->pending, true))
		loop_post(vq->loop, serve_queue, vq);
}

void virtio_queue_again(struct virtio_queue *vq)
{
	virtio_device_notify(vq->device, vq->index);
}

/* --- status --- */

/* Any thread that is the loop's; the device's lock is held. */
static void start_locked(struct virtio_device *d)
{
	uint8_t status = atomic_load(&d->status);
	if (d->started || !(status & VIRTIO_STATUS_DRIVER_OK) || (status & VIRTIO_STATUS_FAILED))
		return;
	d->started = true;
	int r = d->class->start(d->impl, d->accepted);
	if (r < 0)
		virtio_fail(d, "it cannot start: %s", strerror(-r));
	else
		atomic_store(&d->live, true);
}

static void notify_all(struct virtio_device *d)
{
	for (unsigned i = 0; i < d->queue_count; i++)
		if (atomic_load(&d->queues[i].enabled))
			virtio_device_notify(d, i);
}

void virtio_device_allow_dma(struct virtio_device *d, bool allowed)
{
	/* Only queues that were notified meanwhile have something to do, but which is not known. */
	if (atomic_exchange(&d->dma_denied, !allowed) && allowed)
		notify_all(d);
}

static void start_on_loop(void *opaque)
{
	struct virtio_device *d = opaque;
	pthread_mutex_lock(&d->lock);
	if (!atomic_load(&d->reset_pending))
		start_locked(d);
	pthread_mutex_unlock(&d->lock);
	notify_all(d);
}

static void clear_locked(struct virtio_device *d)
{
	for (unsigned i = 0; i < d->queue_count; i++)
		queue_clear(&d->queues[i]);
	d->accepted = 0;
	if (d->transport && d->transport->reset)
		d->transport->reset(d->transport_opaque);
	atomic_store(&d->reset_pending, false);
	atomic_store(&d->status, 0);
}

void virtio_device_reset(struct virtio_device *d)
{
	atomic_store(&d->live, false);
	for (unsigned i = 0; i < d->queue_count; i++) {
		/* Whoever was inside notify has left; who comes later sees that live is false. */
		pthread_mutex_lock(&d->queues[i].lock);
		pthread_mutex_unlock(&d->queues[i].lock);
	}
	pthread_mutex_lock(&d->lock);
	if (d->started)
		d->class->reset(d->impl);
	d->started = false;
	clear_locked(d);
	pthread_mutex_unlock(&d->lock);
}

static void reset_on_loop(void *opaque)
{
	struct virtio_device *d = opaque;
	if (atomic_load(&d->reset_pending))
		virtio_device_reset(d);
}

static bool features_acceptable(const struct virtio_device *d)
{
	return !(d->accepted & ~d->offered) && (d->accepted & VIRTIO_F_VERSION_1);
}

void virtio_device_set_status(struct virtio_device *d, uint8_t value)
{
	const uint8_t driver_bits = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
				    VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK |
				    VIRTIO_STATUS_FAILED;
	bool post_start = false, post_reset = false;
	pthread_mutex_lock(&d->lock);
	uint8_t old = atomic_load(&d->status);
	if (atomic_load(&d->reset_pending)) {
		/* Nothing counts before the reset is complete. */
	} else if (!value && !(old & VIRTIO_STATUS_DRIVER_OK)) {
		clear_locked(d); /* never started: no one else uses it */
	} else if (!value) {
		atomic_store(&d->reset_pending, true);
		post_reset = true;
	} else {
		uint8_t set = value & driver_bits & (uint8_t)~old; /* bits are never taken back */
		uint8_t have = old | set;
		if ((set & VIRTIO_STATUS_FEATURES_OK) &&
			(!(have & VIRTIO_STATUS_DRIVER) || !features_acceptable(d)))
			have = old | (set &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK);
		if ((set & VIRTIO_STATUS_DRIVER_OK) && !(have & VIRTIO_STATUS_FEATURES_OK))
			set &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
		atomic_fetch_or(&d->status, set);
		post_start = set & VIRTIO_STATUS_DRIVER_OK;
	}
	pthread_mutex_unlock(&d->lock);
	if (post_start)
		loop_post(d->loop, start_on_loop, d);
	if (post_reset)
		loop_post(d->loop, reset_on_loop, d);
}

/* --- features and configuration --- */

uint64_t virtio_device_accepted(struct virtio_device *d)
{
	pthread_mutex_lock(&d->lock);
	uint64_t accepted = d->accepted;
	pthread_mutex_unlock(&d->lock);
	return accepted;
}

static bool negotiating(struct virtio_device *d)
{
	return !(atomic_load(&d->status) & VIRTIO_STATUS_FEATURES_OK) &&
	       !atomic_load(&d->reset_pending);
}

void virtio_device_accept(struct virtio_device *d, unsigned half, uint32_t bits)
{
	pthread_mutex_lock(&d->lock);
	if (negotiating(d) && half == 0)
		d->accepted = (d->accepted & ~(uint64_t)UINT32_MAX) | bits;
	else if (negotiating(d) && half == 1)
		d->accepted = (d->accepted & UINT32_MAX) | (uint64_t)bits << 32;
	pthread_mutex_unlock(&d->lock);
}

void virtio_device_config_read(struct virtio_device *d, uint64_t offset, void *out, unsigned len)
{
	uint8_t config[CONFIG_BYTES_MAX] = {0};
	memset(out, 0, len);
	if (offset >= d->class->config_bytes)
		return;
	pthread_mutex_lock(&d->lock);
	d->class->config_read(d->impl, config);
	pthread_mutex_unlock(&d->lock);
	memcpy(out, config + offset, MIN(len, d->class->config_bytes - offset));
}

void virtio_device_config_write(
	struct virtio_device *d, uint64_t offset, const void *bytes, unsigned len)
{
	const struct virtio_class *class = d->class;
	if (!class->config_write || offset < class->config_writable_from ||
		!range_fits(offset, len, class->config_writable_to))
		return;
	pthread_mutex_lock(&d->lock);
	if (!atomic_load(&d->reset_pending))
		class->config_write(d->impl, (unsigned)offset, bytes, len);
	pthread_mutex_unlock(&d->lock);
}

/* --- queue registers --- */

bool virtio_queue_registers_get(
	struct virtio_device *d, unsigned q, struct virtio_queue_registers *out)
{
	if (q >= d->queue_count)
		return false;
	struct virtio_queue *vq = &d->queues[q];
	pthread_mutex_lock(&d->lock);
	*out = (struct virtio_queue_registers){
		.size = vq->size,
		.enabled = atomic_load(&vq->enabled),
		.resetting = atomic_load(&vq->resetting),
		.desc = vq->desc,
		.driver = vq->driver,
		.device = vq->device_area,
	};
	pthread_mutex_unlock(&d->lock);
	return true;
}

/* The device's lock is held. */
static bool configurable(struct virtio_device *d, struct virtio_queue *vq)
{
	return !atomic_load(&vq->enabled) && !atomic_load(&vq->resetting) &&
	       !atomic_load(&d->reset_pending);
}

void virtio_queue_registers_set(
	struct virtio_device *d, unsigned q, const struct virtio_queue_registers *in)
{
	if (q >= d->queue_count)
		return;
	struct virtio_queue *vq = &d->queues[q];
	pthread_mutex_lock(&d->lock);
	if (configurable(d, vq)) {
		if (in->size && in->size <= VIRTIO_QUEUE_MAX)
			vq->size = in->size;
		vq->desc = in->desc;
		vq->driver = in->driver;
		vq->device_area = in->device;
	}
	pthread_mutex_unlock(&d->lock);
}

void virtio_queue_enable(struct virtio_device *d, unsigned q)
{
	if (q >= d->queue_count)
		return;
	struct virtio_queue *vq = &d->queues[q];
	int r = 0;
	pthread_mutex_lock(&d->lock);
	if (configurable(d, vq) && (atomic_load(&d->status) & VIRTIO_STATUS_FEATURES_OK))
		r = queue_start(vq, d->accepted);
	pthread_mutex_unlock(&d->lock);
	if (r < 0)
		virtio_fail(d, "queue %u: size %u or addresses are wrong", q, vq->size);
}

static void queue_reset_on_loop(void *opaque)
{
	struct virtio_queue *vq = opaque;
	struct virtio_device *d = vq->device;
	pthread_mutex_lock(&vq->lock);
	if (atomic_load(&vq->resetting)) {
		if (atomic_load(&d->live))
			d->class->queue_reset(d->impl, vq->index);
		pthread_mutex_lock(&d->lock);
		queue_clear(vq);
		pthread_mutex_unlock(&d->lock);
	}
	pthread_mutex_unlock(&vq->lock);
}

void virtio_queue_ask_reset(struct virtio_device *d, unsigned q)
{
	if (q >= d->queue_count)
		return;
	struct virtio_queue *vq = &d->queues[q];
	pthread_mutex_lock(&d->lock);
	bool post = (d->accepted & VIRTIO_F_RING_RESET) && !atomic_load(&d->reset_pending) &&
		    atomic_load(&vq->enabled) && !atomic_exchange(&vq->resetting, true);
	pthread_mutex_unlock(&d->lock);
	if (post)
		loop_post(vq->loop, queue_reset_on_loop, vq);
}

/* --- saved state --- */

static void restore_started(struct virtio_device *d, struct state *s, uint8_t status)
{
	const uint8_t known = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
			      VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK |
			      VIRTIO_STATUS_NEEDS_RESET | VIRTIO_STATUS_FAILED;
	if ((status & ~known) ||
		((status & VIRTIO_STATUS_FEATURES_OK) && !features_acceptable(d)) ||
		((status & VIRTIO_STATUS_DRIVER_OK) && !(status & VIRTIO_STATUS_FEATURES_OK)))
		state_fail(s, "virtio-%s: status 0x%x with features 0x%llx", d->class->name, status,
			(unsigned long long)d->accepted);
	else
		atomic_store(&d->status, status);
}

void virtio_device_state(struct virtio_device *d, struct state *s)
{
	if (!state_saving(s) || atomic_load(&d->reset_pending))
		virtio_device_reset(d);
	if (state_begin(s, d->class->name, 1)) {
		uint8_t status = atomic_load(&d->status), generation = atomic_load(&d->generation);
		uint32_t count = d->queue_count;
		state_u64(s, "features", &d->accepted);
		state_u8(s, "status", &status);
		state_u8(s, "generation", &generation);
		state_u32(s, "queues", &count);
		if (count != d->queue_count)
			state_fail(s, "virtio-%s: %u queues, expected %u", d->class->name, count,
				d->queue_count);
		if (!state_saving(s))
			restore_started(d, s, status);
		atomic_store(&d->generation, generation);
		for (unsigned i = 0; i < d->queue_count; i++)
			queue_state(&d->queues[i], s, d->accepted);
		if (!state_saving(s)) {
			pthread_mutex_lock(&d->lock);
			start_locked(d);
			pthread_mutex_unlock(&d->lock);
		}
		if (d->class->state)
			d->class->state(d->impl, s);
		if (!state_saving(s))
			notify_all(d);
	}
	state_end(s);
}
