// SPDX-License-Identifier: Apache-2.0
// Virtio over PCI: virtio 1.2, 4.1. One BAR holds the four structures, a page each; capabilities in
// configuration space say where. No MSI-X: its vectors read as "none" and the ISR byte is used.
#include "device/virtio/transport_pci.h"

#include <pthread.h>
#include <stdatomic.h>

#include "device/virtio/transport.h"

enum { /* the BAR */
	BAR_COMMON = 0x0000,
	BAR_ISR = 0x1000,
	BAR_DEVICE = 0x2000,
	BAR_NOTIFY = 0x3000,
	BAR_BYTES = 0x4000,
	PAGE = 0x1000,
	NOTIFY_MULTIPLIER = 4,
};

enum { PCI_CAP_VENDOR = 0x09, VIRTIO_PCI_VENDOR = 0x1af4, VIRTIO_PCI_DEVICE = 0x1040 };

enum cap_type { /* 4.1.4 */
	CAP_COMMON = 1,
	CAP_NOTIFY = 2,
	CAP_ISR = 3,
	CAP_DEVICE = 4,
	CAP_PCI = 5,
};
enum { /* struct virtio_pci_cap */
	CAP_OFF_LEN = 2,
	CAP_OFF_TYPE = 3,
	CAP_OFF_BAR = 4,
	CAP_OFF_OFFSET = 8,
	CAP_OFF_LENGTH = 12,
	CAP_OFF_EXTRA = 16, /* notify: multiplier; PCI: data */
	CAP_BYTES = 16,
	CAP_EXTRA_BYTES = 20,
};

/* struct virtio_pci_common_cfg, 4.1.4.3. */
#define COMMON_FIELDS(X)                                                                           \
	X(DEVICE_FEATURE_SELECT, 0, 4)                                                             \
	X(DEVICE_FEATURE, 4, 4)                                                                    \
	X(DRIVER_FEATURE_SELECT, 8, 4)                                                             \
	X(DRIVER_FEATURE, 12, 4)                                                                   \
	X(CONFIG_MSIX_VECTOR, 16, 2)                                                               \
	X(NUM_QUEUES, 18, 2)                                                                       \
	X(DEVICE_STATUS, 20, 1)                                                                    \
	X(CONFIG_GENERATION, 21, 1)                                                                \
	X(QUEUE_SELECT, 22, 2)                                                                     \
	X(QUEUE_SIZE, 24, 2)                                                                       \
	X(QUEUE_MSIX_VECTOR, 26, 2)                                                                \
	X(QUEUE_ENABLE, 28, 2)                                                                     \
	X(QUEUE_NOTIFY_OFF, 30, 2)                                                                 \
	X(QUEUE_DESC, 32, 8)                                                                       \
	X(QUEUE_DRIVER, 40, 8)                                                                     \
	X(QUEUE_DEVICE, 48, 8)                                                                     \
	X(QUEUE_NOTIFY_DATA, 56, 2)                                                                \
	X(QUEUE_RESET, 58, 2)
enum common_field {
#define X(name, offset, bytes) COMMON_##name,
	COMMON_FIELDS(X)
#undef X
		COMMON_COUNT
};
static const struct {
	uint8_t offset, bytes;
} common_fields[COMMON_COUNT] = {
#define X(name, offset, bytes) [COMMON_##name] = {offset, bytes},
	COMMON_FIELDS(X)
#undef X
};
enum { COMMON_BYTES = 60, COMMON_IMAGE_BYTES = 64 + 8 };

enum { ISR_QUEUE = 1, ISR_CONFIG = 2, NO_VECTOR = 0xffff };

struct virtio_pci {
	struct virtio_device *device; /* owned */
	struct pci_function *function;
	unsigned pci_cap; /* where configuration space has the PCI access capability */
	_Atomic uint8_t isr;

	pthread_mutex_t lock; /* guards what follows */
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select;
};

/* --- interrupts --- */

static void raise_isr(struct virtio_pci *t, uint8_t bit)
{
	/* Who set the bit first also drives the line; who clears it looks at it again. */
	if (!(atomic_fetch_or(&t->isr, bit) & bit))
		pci_function_update_irq(t->function);
}

static void queue_interrupt(void *opaque, unsigned q)
{
	raise_isr(opaque, ISR_QUEUE);
}

static void config_interrupt(void *opaque)
{
	raise_isr(opaque, ISR_CONFIG);
}

static void device_was_reset(void *opaque)
{
	struct virtio_pci *t = opaque;
	atomic_store(&t->isr, 0);
	pci_function_update_irq(t->function);
}

static const struct virtio_transport pci_transport = {
	queue_interrupt,
	config_interrupt,
	device_was_reset,
};

static bool irq_level(void *opaque)
{
	return atomic_load(&((struct virtio_pci *)opaque)->isr);
}

static void bus_master(void *opaque, bool on)
{
	virtio_device_allow_dma(((struct virtio_pci *)opaque)->device, on);
}

static uint8_t isr_read(struct virtio_pci *t)
{
	uint8_t isr = atomic_exchange(&t->isr, 0);
	if (isr)
		pci_function_update_irq(t->function);
	return isr;
}

/* --- common configuration --- */

static void put(uint8_t *image, enum common_field field, uint64_t value)
{
	uint8_t bytes[8];
	store_le64(bytes, value);
	memcpy(image + common_fields[field].offset, bytes, common_fields[field].bytes);
}

static uint64_t get(const uint8_t *image, enum common_field field)
{
	uint8_t bytes[8] = {0};
	memcpy(bytes, image + common_fields[field].offset, common_fields[field].bytes);
	return load_le64(bytes);
}

static uint32_t feature_half(uint64_t features, uint32_t half)
{
	return half == 0 ? (uint32_t)features : half == 1 ? (uint32_t)(features >> 32) : 0;
}

/* All registers as they read now. Lock held. */
static void common_image(struct virtio_pci *t, uint8_t image[COMMON_IMAGE_BYTES])
{
	struct virtio_device *d = t->device;
	memset(image, 0, COMMON_IMAGE_BYTES);
	put(image, COMMON_DEVICE_FEATURE_SELECT, t->device_feature_select);
	put(image, COMMON_DEVICE_FEATURE,
		feature_half(virtio_device_offered(d), t->device_feature_select));
	put(image, COMMON_DRIVER_FEATURE_SELECT, t->driver_feature_select);
	put(image, COMMON_DRIVER_FEATURE,
		feature_half(virtio_device_accepted(d), t->driver_feature_select));
	put(image, COMMON_CONFIG_MSIX_VECTOR, NO_VECTOR);
	put(image, COMMON_NUM_QUEUES, virtio_device_queue_count(d));
	put(image, COMMON_DEVICE_STATUS, virtio_device_status(d));
	put(image, COMMON_CONFIG_GENERATION, virtio_device_generation(d));
	put(image, COMMON_QUEUE_SELECT, t->queue_select);
	put(image, COMMON_QUEUE_MSIX_VECTOR, NO_VECTOR);
	struct virtio_queue_registers q;
	if (!virtio_queue_registers_get(d, t->queue_select, &q))
		return; /* size 0: there is no such queue */
	put(image, COMMON_QUEUE_SIZE, q.size);
	put(image, COMMON_QUEUE_ENABLE, q.enabled);
	put(image, COMMON_QUEUE_NOTIFY_OFF, t->queue_select);
	put(image, COMMON_QUEUE_DESC, q.desc.v);
	put(image, COMMON_QUEUE_DRIVER, q.driver.v);
	put(image, COMMON_QUEUE_DEVICE, q.device.v);
	put(image, COMMON_QUEUE_NOTIFY_DATA, t->queue_select);
	put(image, COMMON_QUEUE_RESET, q.resetting);
}

/* The guest wrote to `field`; image is what the registers read as with its bytes put in. */
static void common_apply(struct virtio_pci *t, enum common_field field, const uint8_t *image)
{
	uint64_t value = get(image, field);
	switch (field) {
	case COMMON_DEVICE_FEATURE_SELECT:
		t->device_feature_select = (uint32_t)value;
		break;
	case COMMON_DRIVER_FEATURE_SELECT:
		t->driver_feature_select = (uint32_t)value;
		break;
	case COMMON_DRIVER_FEATURE:
		virtio_device_accept(t->device, t->driver_feature_select, (uint32_t)value);
		break;
	case COMMON_DEVICE_STATUS:
		virtio_device_set_status(t->device, (uint8_t)value);
		break;
	case COMMON_QUEUE_SELECT:
		t->queue_select = (uint16_t)value;
		break;
	case COMMON_QUEUE_SIZE:
	case COMMON_QUEUE_DESC:
	case COMMON_QUEUE_DRIVER:
	case COMMON_QUEUE_DEVICE:
		virtio_queue_registers_set(t->device, t->queue_select,
			&(struct virtio_queue_registers){
				.size = (uint16_t)get(image, COMMON_QUEUE_SIZE),
				.desc = GPA(get(image, COMMON_QUEUE_DESC)),
				.driver = GPA(get(image, COMMON_QUEUE_DRIVER)),
				.device = GPA(get(image, COMMON_QUEUE_DEVICE)),
			});
		break;
	case COMMON_QUEUE_ENABLE:
		if (value == 1)
			virtio_queue_enable(t->device, t->queue_select);
		break;
	case COMMON_QUEUE_RESET:
		if (value == 1)
			virtio_queue_ask_reset(t->device, t->queue_select);
		break;
	default:
		break; /* read-only, or of MSI-X */
	}
}

static uint64_t common_read(struct virtio_pci *t, uint64_t offset, unsigned bytes)
{
	uint8_t image[COMMON_IMAGE_BYTES], out[8] = {0};
	pthread_mutex_lock(&t->lock);
	common_image(t, image);
	pthread_mutex_unlock(&t->lock);
	if (offset < COMMON_BYTES)
		memcpy(out, image + offset, bytes);
	return load_le64(out);
}

/* Any width at any place: what is not written keeps the value that it reads as. */
static void common_write(struct virtio_pci *t, uint64_t offset, unsigned bytes, uint64_t value)
{
	uint8_t image[COMMON_IMAGE_BYTES], in[8];
	if (offset >= COMMON_BYTES)
		return;
	store_le64(in, value);
	pthread_mutex_lock(&t->lock);
	for (unsigned f = 0; f < COMMON_COUNT; f++) {
		unsigned at = common_fields[f].offset, end = at + common_fields[f].bytes;
		if (end <= offset || at >= offset + bytes)
			continue;
		common_image(t, image); /* an earlier field may have selected another queue */
		memcpy(image + offset, in, bytes);
		common_apply(t, f, image);
	}
	pthread_mutex_unlock(&t->lock);
}

/* --- the BAR --- */

static uint64_t bar_read(void *opaque, unsigned bar, uint64_t offset, unsigned bytes)
{
	struct virtio_pci *t = opaque;
	uint8_t out[8] = {0};
	switch (offset & ~(uint64_t)(PAGE - 1)) {
	case BAR_COMMON:
		return common_read(t, offset - BAR_COMMON, bytes);
	case BAR_ISR:
		return offset == BAR_ISR ? isr_read(t) : 0;
	case BAR_DEVICE:
		virtio_device_config_read(t->device, offset - BAR_DEVICE, out, bytes);
		return load_le64(out);
	default:
		return 0;
	}
}

static void bar_write(void *opaque, unsigned bar, uint64_t offset, unsigned bytes, uint64_t value)
{
	struct virtio_pci *t = opaque;
	uint8_t in[8];
	switch (offset & ~(uint64_t)(PAGE - 1)) {
	case BAR_NOTIFY:
		virtio_device_notify(
			t->device, (unsigned)((offset - BAR_NOTIFY) / NOTIFY_MULTIPLIER));
		break;
	case BAR_COMMON:
		common_write(t, offset - BAR_COMMON, bytes, value);
		break;
	case BAR_DEVICE:
		store_le64(in, value);
		virtio_device_config_write(t->device, offset - BAR_DEVICE, in, bytes);
		break;
	default:
		break;
	}
}

/* --- configuration space --- */

/* Is this an access of the window into the BAR (4.1.4.9), and does it make sense? */
static bool window_selected(
	struct virtio_pci *t, unsigned at, unsigned bytes, uint32_t *offset, uint32_t *length)
{
	unsigned data = t->pci_cap + CAP_OFF_EXTRA;
	if (at >= data + 4 || at + bytes <= data)
		return false;
	const uint8_t *cap = pci_config(t->function) + t->pci_cap;
	*offset = load_le32(cap + CAP_OFF_OFFSET);
	*length = load_le32(cap + CAP_OFF_LENGTH);
	return cap[CAP_OFF_BAR] == 0 && (*length == 1 || *length == 2 || *length == 4) &&
	       *offset % *length == 0 && range_fits(*offset, *length, BAR_BYTES);
}

static void config_read(void *opaque, unsigned at, unsigned bytes)
{
	struct virtio_pci *t = opaque;
	uint32_t offset, length;
	if (window_selected(t, at, bytes, &offset, &length))
		store_le32(pci_config(t->function) + t->pci_cap + CAP_OFF_EXTRA,
			(uint32_t)bar_read(t, 0, offset, length));
}

static void config_written(void *opaque, unsigned at, unsigned bytes)
{
	struct virtio_pci *t = opaque;
	uint32_t offset, length;
	if (window_selected(t, at, bytes, &offset, &length))
		bar_write(t, 0, offset, length,
			load_le32(pci_config(t->function) + t->pci_cap + CAP_OFF_EXTRA));
}

static unsigned add_cap(struct virtio_pci *t, enum cap_type type, uint32_t offset, uint32_t length,
	uint32_t extra, unsigned bytes, const uint8_t *writable)
{
	uint8_t cap[CAP_EXTRA_BYTES] = {0};
	cap[CAP_OFF_LEN] = (uint8_t)bytes;
	cap[CAP_OFF_TYPE] = (uint8_t)type;
	store_le32(cap + CAP_OFF_OFFSET, offset);
	store_le32(cap + CAP_OFF_LENGTH, length);
	store_le32(cap + CAP_OFF_EXTRA, extra);
	return pci_function_add_capability(t->function, PCI_CAP_VENDOR, cap, writable, bytes);
}

static void add_capabilities(struct virtio_pci *t)
{
	unsigned config_bytes = virtio_device_class(t->device)->config_bytes;
	unsigned queues = virtio_device_queue_count(t->device);
	add_cap(t, CAP_COMMON, BAR_COMMON, COMMON_BYTES, 0, CAP_BYTES, NULL);
	add_cap(t, CAP_ISR, BAR_ISR, 1, 0, CAP_BYTES, NULL);
	if (config_bytes)
		add_cap(t, CAP_DEVICE, BAR_DEVICE, config_bytes, 0, CAP_BYTES, NULL);
	add_cap(t, CAP_NOTIFY, BAR_NOTIFY, queues * NOTIFY_MULTIPLIER, NOTIFY_MULTIPLIER,
		CAP_EXTRA_BYTES, NULL);
	uint8_t writable[CAP_EXTRA_BYTES] = {0};
	writable[CAP_OFF_BAR] = 0xff;
	memset(writable + CAP_OFF_OFFSET, 0xff, CAP_EXTRA_BYTES - CAP_OFF_OFFSET);
	t->pci_cap = add_cap(t, CAP_PCI, 0, 0, 0, CAP_EXTRA_BYTES, writable);
}

/* --- life --- */

static void transport_reset(void *opaque)
{
	struct virtio_pci *t = opaque;
	virtio_device_reset(t->device);
	pthread_mutex_lock(&t->lock);
	t->device_feature_select = t->driver_feature_select = 0;
	t->queue_select = 0;
	pthread_mutex_unlock(&t->lock);
}

static void transport_state(void *opaque, struct state *s)
{
	struct virtio_pci *t = opaque;
	if (state_begin(s, "virtio-pci", 1)) {
		uint8_t isr = atomic_load(&t->isr);
		virtio_device_state(t->device, s);
		state_u32(s, "device_feature_select", &t->device_feature_select);
		state_u32(s, "driver_feature_select", &t->driver_feature_select);
		state_u16(s, "queue_select", &t->queue_select);
		state_u8(s, "isr", &isr);
		if (!state_saving(s)) /* starting may have raised one already */
			atomic_fetch_or(&t->isr, isr & (ISR_QUEUE | ISR_CONFIG));
	}
	state_end(s);
}

static void transport_free(void *opaque)
{
	struct virtio_pci *t = opaque;
	virtio_device_free(t->device);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static const struct pci_function_ops virtio_pci_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.config_read = config_read,
	.config_written = config_written,
	.bus_master = bus_master,
	.irq_level = irq_level,
	.reset = transport_reset,
	.state = transport_state,
	.free = transport_free,
};

static uint32_t class_code(uint16_t id)
{
	switch (id) {
	case VIRTIO_ID_NET:
		return 0x020000; /* Ethernet controller */
	case VIRTIO_ID_BLOCK:
	case VIRTIO_ID_FS:
		return 0x018000; /* mass storage, other */
	case VIRTIO_ID_CONSOLE:
		return 0x078000; /* communication, other */
	default:
		return 0xff0000;
	}
}

int virtio_pci_add(struct pci_host *host, unsigned slot, struct virtio_device *device,
	struct irq_line irq, struct error *err)
{
	uint16_t id = virtio_device_class(device)->id;
	const struct pci_identity identity = {
		.vendor = VIRTIO_PCI_VENDOR,
		.device = (uint16_t)(VIRTIO_PCI_DEVICE + id),
		.subsystem_vendor = VIRTIO_PCI_VENDOR,
		.subsystem = 0x1100, /* 4.1.2.1: 0x40 or higher */
		.class_code = class_code(id),
		.revision = 1,
	};
	struct virtio_pci *t = xcalloc(1, sizeof(*t));
	int r = pci_function_add(&t->function, host, slot, &identity, &virtio_pci_ops, t, irq, err);
	if (r < 0) {
		free(t);
		return error_wrap(err, r, "virtio-%s", virtio_device_class(device)->name);
	}
	pthread_mutex_init(&t->lock, NULL);
	t->device = device;
	pci_function_add_bar(t->function, 0, BAR_BYTES);
	add_capabilities(t);
	virtio_device_attach(device, &pci_transport, t);
	virtio_device_allow_dma(device, false); /* until the guest sets the bus master bit */
	return 0;
}
