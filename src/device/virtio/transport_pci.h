// SPDX-License-Identifier: Apache-2.0
// Virtio over PCI, the modern interface only (virtio 1.2, 4.1), interrupts through INTx.
#ifndef STRATA_DEVICE_VIRTIO_TRANSPORT_PCI_H
#define STRATA_DEVICE_VIRTIO_TRANSPORT_PCI_H

#include "device/pci.h"
#include "device/virtio/virtio.h"

/* Puts a device into a slot of the host, which owns it on success: its life, reset and state follow
 * pci_host_free(), pci_host_reset() and pci_host_state(). irq is that slot's own line. */
int virtio_pci_add(struct pci_host *host, unsigned slot, struct virtio_device *device,
	struct irq_line irq, struct error *err);

#endif
