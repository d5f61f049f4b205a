// SPDX-License-Identifier: Apache-2.0
// What a transport (PCI) needs of a virtio device: its registers, in the terms of virtio 1.2,
// sections 2.1 to 2.7, without the layout. All functions are for any thread unless said.
#ifndef STRATA_DEVICE_VIRTIO_TRANSPORT_H
#define STRATA_DEVICE_VIRTIO_TRANSPORT_H

#include "device/virtio/virtio.h"

enum virtio_status {
	VIRTIO_STATUS_ACKNOWLEDGE = 1,
	VIRTIO_STATUS_DRIVER = 2,
	VIRTIO_STATUS_DRIVER_OK = 4,
	VIRTIO_STATUS_FEATURES_OK = 8,
	VIRTIO_STATUS_NEEDS_RESET = 64,
	VIRTIO_STATUS_FAILED = 128,
};

/* Feature bits that belong to rings and transports (section 6). */
#define VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX     (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1     (UINT64_C(1) << 32)
#define VIRTIO_F_RING_PACKED   (UINT64_C(1) << 34)
#define VIRTIO_F_RING_RESET    (UINT64_C(1) << 40)

/* Called from any thread; must not call the device and not wait for a lock that is held while it
 * is called. */
struct virtio_transport {
	void (*queue_interrupt)(void *opaque, unsigned q);
	void (*config_interrupt)(void *opaque);
	void (*reset)(
		void *opaque); /* optional: the device has just been reset; nothing is pending */
};
/* Before the machine starts. */
void virtio_device_attach(
	struct virtio_device *d, const struct virtio_transport *transport, void *opaque);

/* Whether the device may use the guest's memory; it may until it is told otherwise. While it may
 * not, its queues are as if they were empty, and what it was busy with is lost: the device fails.
 */
void virtio_device_allow_dma(struct virtio_device *d, bool allowed);

uint64_t virtio_device_offered(const struct virtio_device *d);
uint64_t virtio_device_accepted(struct virtio_device *d);
void virtio_device_accept(struct virtio_device *d, unsigned half, uint32_t bits);
uint8_t virtio_device_status(struct virtio_device *d);
/* Zero asks for a reset: the status stays as it is until the reset is complete. */
void virtio_device_set_status(struct virtio_device *d, uint8_t status);
uint8_t virtio_device_generation(struct virtio_device *d);
unsigned virtio_device_queue_count(const struct virtio_device *d);
/* Bytes outside the configuration space read as zero and are not written. */
void virtio_device_config_read(struct virtio_device *d, uint64_t offset, void *out, unsigned len);
void virtio_device_config_write(
	struct virtio_device *d, uint64_t offset, const void *bytes, unsigned len);
/* The driver says that queue q has buffers; an index that does not exist is ignored. */
void virtio_device_notify(struct virtio_device *d, unsigned q);

/* Registers of one queue. Writes are ignored while the queue is enabled or a reset is going on. */
struct virtio_queue_registers {
	uint16_t size; /* entries; the most there can be after a reset */
	bool enabled, resetting;
	gpa_t desc, driver, device; /* descriptor, driver (avail) and device (used) area */
};
bool virtio_queue_registers_get(
	struct virtio_device *d, unsigned q, struct virtio_queue_registers *out);
/* Takes size and addresses of *in. */
void virtio_queue_registers_set(
	struct virtio_device *d, unsigned q, const struct virtio_queue_registers *in);
void virtio_queue_enable(struct virtio_device *d, unsigned q);
void virtio_queue_ask_reset(struct virtio_device *d, unsigned q);

#endif
