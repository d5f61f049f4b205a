// SPDX-License-Identifier: Apache-2.0
// Configuration space is bytes with a mask of what the guest may write, so that sizing of BARs and
// read-only fields need no code (PCI Local Bus 3.0, 6.1 and 6.2).
//
// The windows are registered on the bus as a whole and dispatched here: a BAR that moves changes
// one atomic word, and no vCPU waits for another.
#include "device/pci.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

enum { /* registers of a type 0 header */
	REG_VENDOR = 0x00,
	REG_DEVICE = 0x02,
	REG_COMMAND = 0x04,
	REG_STATUS = 0x06,
	REG_REVISION = 0x08,
	REG_CLASS = 0x09,
	REG_CACHE_LINE = 0x0c,
	REG_BAR0 = 0x10,
	REG_BAR_END = 0x28,
	REG_SUBSYSTEM_VENDOR = 0x2c,
	REG_SUBSYSTEM = 0x2e,
	REG_CAPABILITIES = 0x34,
	REG_INTERRUPT_LINE = 0x3c,
	REG_INTERRUPT_PIN = 0x3d,
	HEADER_BYTES = 0x40,
};

enum {
	COMMAND_MEMORY = 1 << 1,
	COMMAND_MASTER = 1 << 2,
	COMMAND_PARITY = 1 << 6,
	COMMAND_SERR = 1 << 8,
	COMMAND_INTX_DISABLE = 1 << 10,
	STATUS_INTERRUPT = 1 << 3,
	STATUS_CAPABILITIES = 1 << 4,
};

enum { ECAM_FUNCTION_BYTES = 4096, ECAM_SLOT_SHIFT = 15, ECAM_BUS_BYTES = 1 << 20 };

#define UNMAPPED UINT64_MAX

struct bar {
	struct pci_function *function;
	unsigned index;
	uint32_t bytes;
	_Atomic uint64_t base; /* where it is visible now, or UNMAPPED */
};

struct pci_function {
	struct pci_host *host;
	unsigned slot;
	const struct pci_function_ops *ops;
	void *opaque; /* owned: ops->free */
	struct irq_line irq;
	atomic_bool intx_disabled;
	bool master; /* as ops->bus_master was told; guarded by the host's lock */
	unsigned last_capability, capabilities_end;
	uint8_t config[PCI_CONFIG_BYTES];   /* guarded by the host's lock */
	uint8_t writable[PCI_CONFIG_BYTES]; /* constant once set up */
	uint8_t initial[PCI_CONFIG_BYTES];  /* writable bits after a reset */
};

struct window {
	struct pci_host *host;
	struct pci_window range;
};

struct pci_host {
	struct bus *bus; /* not owned */
	gpa_t ecam_base;
	uint64_t ecam_bytes;
	struct window windows[2];
	bool on_bus[3];	      /* ECAM and the windows: which ranges to take off again */
	pthread_mutex_t lock; /* guards configuration space */
	struct pci_function *slots[PCI_SLOTS];
	struct bar bars[PCI_SLOTS * PCI_BARS];
	unsigned bar_count;
};

/* --- memory windows --- */

static struct bar *find_bar(struct pci_host *host, uint64_t addr, unsigned bytes, uint64_t *offset)
{
	for (unsigned i = 0; i < host->bar_count; i++) {
		struct bar *bar = &host->bars[i];
		uint64_t base = atomic_load_explicit(&bar->base, memory_order_acquire);
		if (base == UNMAPPED || !range_fits(addr - base, bytes, bar->bytes))
			continue;
		*offset = addr - base;
		return bar;
	}
	return NULL;
}

static uint64_t window_read(void *opaque, uint64_t offset, unsigned bytes)
{
	struct window *w = opaque;
	struct bar *bar = find_bar(w->host, w->range.base.v + offset, bytes, &offset);
	if (!bar)
		return UINT64_MAX;
	return bar->function->ops->bar_read(bar->function->opaque, bar->index, offset, bytes);
}

static void window_write(void *opaque, uint64_t offset, unsigned bytes, uint64_t value)
{
	struct window *w = opaque;
	struct bar *bar = find_bar(w->host, w->range.base.v + offset, bytes, &offset);
	if (bar)
		bar->function->ops->bar_write(
			bar->function->opaque, bar->index, offset, bytes, value);
}

static const struct bus_ops window_ops = {window_read, window_write, 1, 8};

/* Makes BARs visible where the guest put them; only accesses of the windows get here, so that a
 * BAR over something else shows nothing. Lock held. */
static void place_bars(struct pci_function *f)
{
	bool enabled = load_le16(f->config + REG_COMMAND) & COMMAND_MEMORY;
	for (unsigned i = 0; i < f->host->bar_count; i++) {
		struct bar *bar = &f->host->bars[i];
		if (bar->function != f)
			continue;
		uint64_t base = load_le32(f->config + REG_BAR0 + bar->index * 4) & ~UINT32_C(15);
		if (!enabled)
			base = UNMAPPED;
		atomic_store_explicit(&bar->base, base, memory_order_release);
	}
}

/* --- configuration space --- */

static void command_changed(struct pci_function *f)
{
	uint16_t command = load_le16(f->config + REG_COMMAND);
	bool disabled = command & COMMAND_INTX_DISABLE, master = command & COMMAND_MASTER;
	if (atomic_exchange(&f->intx_disabled, disabled) != disabled)
		pci_function_update_irq(f);
	if (f->master != master && f->ops->bus_master)
		f->ops->bus_master(f->opaque, master);
	f->master = master;
	place_bars(f);
}

static void config_write(struct pci_function *f, unsigned at, unsigned bytes, uint64_t value)
{
	for (unsigned i = 0; i < bytes; i++, value >>= 8) {
		uint8_t mask = f->writable[at + i];
		f->config[at + i] = (uint8_t)((f->config[at + i] & ~mask) | (value & mask));
	}
	if (at < REG_BAR_END)
		command_changed(f);
	if (f->ops->config_written)
		f->ops->config_written(f->opaque, at, bytes);
}

static uint64_t config_read(struct pci_function *f, unsigned at, unsigned bytes)
{
	uint8_t status = STATUS_CAPABILITIES;
	if (f->ops->irq_level(f->opaque))
		status |= STATUS_INTERRUPT;
	f->config[REG_STATUS] = status;
	if (f->ops->config_read)
		f->ops->config_read(f->opaque, at, bytes);
	uint64_t value = 0;
	for (unsigned i = bytes; i-- > 0;)
		value = value << 8 | f->config[at + i];
	return value;
}

/* The function behind an ECAM offset, and which register; NULL: nobody answers. */
static struct pci_function *ecam_decode(struct pci_host *host, uint64_t offset, unsigned *at)
{
	*at = offset % ECAM_FUNCTION_BYTES;
	uint64_t slot = offset >> ECAM_SLOT_SHIFT;
	bool first = !(offset & ((1 << ECAM_SLOT_SHIFT) - ECAM_FUNCTION_BYTES));
	return first && slot < PCI_SLOTS ? host->slots[slot] : NULL;
}

static uint64_t ecam_read(void *opaque, uint64_t offset, unsigned bytes)
{
	struct pci_host *host = opaque;
	unsigned at;
	struct pci_function *f = ecam_decode(host, offset, &at);
	if (!f)
		return UINT64_MAX;
	if (!range_fits(at, bytes, PCI_CONFIG_BYTES))
		return 0; /* no extended capabilities */
	pthread_mutex_lock(&host->lock);
	uint64_t value = config_read(f, at, bytes);
	pthread_mutex_unlock(&host->lock);
	return value;
}

static void ecam_write(void *opaque, uint64_t offset, unsigned bytes, uint64_t value)
{
	struct pci_host *host = opaque;
	unsigned at;
	struct pci_function *f = ecam_decode(host, offset, &at);
	if (!f || !range_fits(at, bytes, PCI_CONFIG_BYTES))
		return;
	pthread_mutex_lock(&host->lock);
	config_write(f, at, bytes, value);
	pthread_mutex_unlock(&host->lock);
}

static const struct bus_ops ecam_ops = {ecam_read, ecam_write, 1, 4};

/* --- the host bridge --- */

int pci_host_new(struct pci_host **out, struct bus *bus, const struct pci_host_config *config,
	struct error *err)
{
	if (!config->buses || config->buses > 256)
		return error_set(err, EINVAL, "pci: %u buses", config->buses);
	struct pci_host *host = xcalloc(1, sizeof(*host));
	host->bus = bus;
	host->ecam_base = config->ecam_base;
	host->ecam_bytes = (uint64_t)config->buses * ECAM_BUS_BYTES;
	host->windows[0] = (struct window){host, config->mmio32};
	host->windows[1] = (struct window){host, config->mmio64};
	pthread_mutex_init(&host->lock, NULL);
	int r = bus_add(bus, host->ecam_base, host->ecam_bytes, &ecam_ops, host, "pci-ecam", err);
	host->on_bus[0] = r == 0;
	for (size_t i = 0; i < ARRAY_SIZE(host->windows) && r == 0; i++) {
		struct window *w = &host->windows[i];
		if (!w->range.bytes)
			continue;
		r = bus_add(bus, w->range.base, w->range.bytes, &window_ops, w, "pci-mmio", err);
		host->on_bus[1 + i] = r == 0;
	}
	if (r < 0) {
		pci_host_free(host);
		return error_wrap(err, r, "pci host");
	}
	*out = host;
	return 0;
}

void pci_host_free(struct pci_host *host)
{
	if (!host)
		return;
	if (host->on_bus[0])
		bus_remove(host->bus, host->ecam_base);
	for (size_t i = 0; i < ARRAY_SIZE(host->windows); i++)
		if (host->on_bus[1 + i])
			bus_remove(host->bus, host->windows[i].range.base);
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		struct pci_function *f = host->slots[i];
		if (f)
			f->ops->free(f->opaque);
		free(f);
	}
	pthread_mutex_destroy(&host->lock);
	free(host);
}

/* Gives the writable bits of configuration space the values of `from`. */
static void config_load(struct pci_function *f, const uint8_t *from)
{
	pthread_mutex_lock(&f->host->lock);
	for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++)
		f->config[i] =
			(uint8_t)((f->config[i] & ~f->writable[i]) | (from[i] & f->writable[i]));
	command_changed(f);
	pthread_mutex_unlock(&f->host->lock);
}

void pci_host_reset(struct pci_host *host)
{
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		struct pci_function *f = host->slots[i];
		if (!f)
			continue;
		f->ops->reset(f->opaque);
		config_load(f, f->initial);
		pci_function_update_irq(f);
	}
}

void pci_host_state(struct pci_host *host, struct state *s)
{
	if (state_begin(s, "pci", 1)) {
		for (unsigned i = 0; i < PCI_SLOTS; i++) {
			struct pci_function *f = host->slots[i];
			uint8_t config[PCI_CONFIG_BYTES];
			uint8_t slot = (uint8_t)i;
			if (!f)
				continue;
			memcpy(config, f->config, sizeof(config));
			state_u8(s, "slot", &slot);
			state_bytes(s, "config", config, sizeof(config));
			if (slot != i)
				state_fail(s, "pci: slot %u, expected %u", slot, i);
			if (!state_saving(s))
				config_load(f, config);
			f->ops->state(f->opaque, s);
			if (!state_saving(s))
				pci_function_update_irq(f);
		}
	}
	state_end(s);
}

/* --- functions --- */

int pci_function_add(struct pci_function **out, struct pci_host *host, unsigned slot,
	const struct pci_identity *identity, const struct pci_function_ops *ops, void *opaque,
	struct irq_line irq, struct error *err)
{
	if (slot >= PCI_SLOTS || host->slots[slot])
		return error_set(err, EEXIST, "pci: slot %u is not free", slot);
	struct pci_function *f = xcalloc(1, sizeof(*f));
	f->host = host;
	f->slot = slot;
	f->ops = ops;
	f->opaque = opaque;
	f->irq = irq;
	f->capabilities_end = HEADER_BYTES;
	store_le16(f->config + REG_VENDOR, identity->vendor);
	store_le16(f->config + REG_DEVICE, identity->device);
	f->config[REG_STATUS] = STATUS_CAPABILITIES;
	f->config[REG_REVISION] = identity->revision;
	f->config[REG_CLASS] = (uint8_t)identity->class_code;
	store_le16(f->config + REG_CLASS + 1, (uint16_t)(identity->class_code >> 8));
	store_le16(f->config + REG_SUBSYSTEM_VENDOR, identity->subsystem_vendor);
	store_le16(f->config + REG_SUBSYSTEM, identity->subsystem);
	f->config[REG_INTERRUPT_PIN] = 1; /* INTA */
	store_le16(f->writable + REG_COMMAND, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_PARITY |
						      COMMAND_SERR | COMMAND_INTX_DISABLE);
	f->writable[REG_CACHE_LINE] = 0xff;
	f->writable[REG_INTERRUPT_LINE] = 0xff;
	host->slots[slot] = f;
	*out = f;
	return 0;
}

void pci_function_add_bar(struct pci_function *f, unsigned bar, uint32_t bytes)
{
	struct pci_host *host = f->host;
	store_le32(f->writable + REG_BAR0 + bar * 4, ~(bytes - 1));
	struct bar *b = &host->bars[host->bar_count++];
	b->function = f;
	b->index = bar;
	b->bytes = bytes;
	atomic_init(&b->base, UNMAPPED);
}

unsigned pci_function_add_capability(struct pci_function *f, uint8_t id, const uint8_t *content,
	const uint8_t *writable, unsigned bytes)
{
	unsigned at = (unsigned)align_up(f->capabilities_end, 4);
	if (bytes < 2 || !range_fits(at, bytes, PCI_CONFIG_BYTES))
		return 0;
	memcpy(f->config + at, content, bytes);
	f->config[at] = id;
	f->config[at + 1] = 0;
	if (writable)
		memcpy(f->writable + at, writable, bytes);
	for (unsigned i = 0; i < bytes; i++)
		f->initial[at + i] = f->config[at + i];
	f->config[f->last_capability ? f->last_capability + 1 : REG_CAPABILITIES] = (uint8_t)at;
	f->last_capability = at;
	f->capabilities_end = at + bytes;
	return at;
}

uint8_t *pci_config(struct pci_function *f)
{
	return f->config;
}

static bool irq_wanted(struct pci_function *f)
{
	return !atomic_load(&f->intx_disabled) && f->ops->irq_level(f->opaque);
}

void pci_function_update_irq(struct pci_function *f)
{
	/* Another thread may clear the cause between our question and our answer, and set the line
	 * before us. Whoever sets it last asks again, so the last answer is right. */
	bool level;
	do {
		level = irq_wanted(f);
		irq_line_set(&f->irq, level);
	} while (irq_wanted(f) != level);
}
