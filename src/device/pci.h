// SPDX-License-Identifier: Apache-2.0
// A PCI host bridge as Linux's "pci-host-ecam-generic" knows it: configuration space is ECAM (PCI
// Express Base 5.0, 7.2.2), memory windows are identity mapped, and each slot of bus 0 has one
// function with its own level-triggered INTA line. The operating system places the BARs.
//
// For the device tree: reg is (ecam_base, buses MiB); ranges are the windows with PCI address = CPU
// address (0x02000000 for mmio32, 0x03000000 for mmio64); interrupt-map has one row for each used
// slot: child unit (slot << 11, 0, 0), pin 1; interrupt-map-mask is <0xf800 0 0 7>.
//
// Threads: registers are for any vCPU thread. Setting up and freeing are for the creator, while
// no vCPU runs. Virtio devices are added with virtio_pci_add() (device/virtio/transport_pci.h).
#ifndef STRATA_DEVICE_PCI_H
#define STRATA_DEVICE_PCI_H

#include "device/bus.h"
#include "wire/state.h"

enum { PCI_SLOTS = 32, PCI_BARS = 6, PCI_CONFIG_BYTES = 256 };

struct pci_window {
	gpa_t base;
	uint64_t bytes; /* 0: there is no such window */
};

struct pci_host_config {
	gpa_t ecam_base;
	unsigned buses;			  /* ECAM is that many MiB; devices are on bus 0 */
	struct pci_window mmio32, mmio64; /* where BARs may lie */
};

struct pci_host;
struct pci_function;

/* Registers ECAM and the windows on the bus, which must outlive the host. */
int pci_host_new(struct pci_host **out, struct bus *bus, const struct pci_host_config *config,
	struct error *err);
void pci_host_free(struct pci_host *host); /* and all its functions */
/* As after power-on. No vCPU runs; called on the thread of the devices' loop. */
void pci_host_reset(struct pci_host *host);
void pci_host_state(struct pci_host *host, struct state *s); /* and that of all its functions */

/* --- for what sits in a slot --- */

struct pci_function_ops {
	/* Accesses of a BAR's memory, which lie inside it; bytes is 1, 2, 4 or 8, offset need not
	 * be aligned. [any vCPU thread] */
	uint64_t (*bar_read)(void *opaque, unsigned bar, uint64_t offset, unsigned bytes);
	void (*bar_write)(
		void *opaque, unsigned bar, uint64_t offset, unsigned bytes, uint64_t value);
	/* Optional: the guest accesses [at, at + bytes) of configuration space. Called before a
	 * read, so that the function can update what it shows (pci_config()), and after a write.
	 * With the host's configuration lock held: of this header, only pci_config() and
	 * pci_function_update_irq() may be called. */
	void (*config_read)(void *opaque, unsigned at, unsigned bytes);
	void (*config_written)(void *opaque, unsigned at, unsigned bytes);
	/* Optional: the guest lets the function read and write memory, or no longer (the command
	 * register's bus master bit, 0 after a reset). On return of false nothing new is begun.
	 * With the configuration lock held. */
	void (*bus_master)(void *opaque, bool on);
	/* Does the function ask for an interrupt now? Lock-free. [any thread] */
	bool (*irq_level)(void *opaque);
	void (*reset)(void *opaque);
	void (*state)(void *opaque, struct state *s);
	void (*free)(void *opaque);
};

struct pci_identity {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits */
	uint8_t revision;
};

/* Puts a function into a slot. The host owns opaque when this succeeds. */
int pci_function_add(struct pci_function **out, struct pci_host *host, unsigned slot,
	const struct pci_identity *identity, const struct pci_function_ops *ops, void *opaque,
	struct irq_line irq, struct error *err);
/* A 32-bit memory BAR. bytes: a power of two, at least 16. */
void pci_function_add_bar(struct pci_function *f, unsigned bar, uint32_t bytes);
/* Appends a capability: content[0] and [1] (its id and link) are made here, the rest is copied.
 * writable: a mask for each byte, or NULL. Returns its offset, or 0 when there is no room left. */
unsigned pci_function_add_capability(struct pci_function *f, uint8_t id, const uint8_t *content,
	const uint8_t *writable, unsigned bytes);
uint8_t *pci_config(struct pci_function *f); /* PCI_CONFIG_BYTES of it */
/* To be called whenever irq_level() may have changed: drives INTA, unless the guest has disabled
 * it. Calls on several threads at once end with the line at the right level. [any thread] */
void pci_function_update_irq(struct pci_function *f);

#endif
