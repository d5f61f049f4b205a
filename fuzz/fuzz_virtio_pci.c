// SPDX-License-Identifier: Apache-2.0
// Any access anywhere in configuration space and in the BAR.
#include "virtio_fuzz.h"
#include "device/virtio/devices.h"
#include "device/virtio/transport_pci.h"

static void line_set(void *opaque, unsigned n, bool level)
{
	*(bool *)opaque = level;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint64_t ecam = 0x30000000, mmio = 0x40000000;
	const struct pci_host_config config = {
		.ecam_base = GPA(ecam), .buses = 1, .mmio32 = {GPA(mmio), 1 << 20}};
	struct vf v;
	struct bus *bus;
	struct pci_host *host;
	bool line = false;
	vf_init(&v, data, size);
	if (bus_new(&bus, NULL) || pci_host_new(&host, bus, &config, NULL) ||
		virtio_rng_new(&v.device, v.memory, v.loop, NULL) ||
		virtio_pci_add(host, 1, v.device, (struct irq_line){line_set, &line, 1}, NULL))
		abort();
	bus_write(bus, GPA(ecam + 0x8010), 4, mmio);
	bus_write(bus, GPA(ecam + 0x8004), 2, 6);
	for (int i = 0; i < VF_STEPS_MAX && v.p < v.end; i++) {
		uint8_t op = vf_u8(&v);
		uint64_t at = vf_u16(&v), value;
		uint64_t addr = op & 1 ? mmio + at : ecam + 0x8000 + at % 0x200;
		unsigned bytes = 1u << (op >> 1 & 3);
		if (op & 8) {
			value = vf_u16(&v);
			value |= (uint64_t)vf_u16(&v) << 16;
			bus_write(bus, GPA(addr), bytes, value);
		} else {
			bus_read(bus, GPA(addr), bytes, &value);
		}
		if (op & 16)
			vf_work(&v);
	}
	vf_work(&v);
	pci_host_free(host);
	v.device = NULL;
	bus_free(bus);
	vf_done(&v);
	return 0;
}
