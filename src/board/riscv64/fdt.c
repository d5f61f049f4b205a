// SPDX-License-Identifier: Apache-2.0
#include "board/riscv64/fdt.h"

#include <libfdt.h>
#include <stdio.h>

#include "base/vec.h"
#include "board/riscv64/machine.h"
#include "isa/rv64/rv64.h"

/* Phandles: the PLIC, then one for each hart's own interrupt controller. */
enum { PHANDLE_PLIC = 1, PHANDLE_HART = 2 };

/* Sequential writing; the first error sticks. */
struct tree {
	void *fdt;
	int error; /* of libfdt */
};

#define DO(t, call)                                                                                \
	do {                                                                                       \
		if (!(t)->error)                                                                   \
			(t)->error = (call);                                                       \
	} while (0)

static void begin(struct tree *t, const char *name)
{
	DO(t, fdt_begin_node(t->fdt, name));
}
static void begin_at(struct tree *t, const char *name, uint64_t address)
{
	char full[64];
	snprintf(full, sizeof(full), "%s@%llx", name, (unsigned long long)address);
	begin(t, full);
}
static void end(struct tree *t)
{
	DO(t, fdt_end_node(t->fdt));
}
static void flag(struct tree *t, const char *name)
{
	DO(t, fdt_property(t->fdt, name, NULL, 0));
}
static void string(struct tree *t, const char *name, const char *value)
{
	DO(t, fdt_property_string(t->fdt, name, value));
}
static void u32(struct tree *t, const char *name, uint32_t value)
{
	DO(t, fdt_property_u32(t->fdt, name, value));
}
static void u64(struct tree *t, const char *name, uint64_t value)
{
	DO(t, fdt_property_u64(t->fdt, name, value));
}
static void cells(struct tree *t, const char *name, const uint32_t *values, size_t n)
{
	void *to = NULL;
	DO(t, fdt_property_placeholder(t->fdt, name, (int)(4 * n), &to));
	for (size_t i = 0; i < n && !t->error; i++)
		store_be32((uint8_t *)to + 4 * i, values[i]);
}
static void address_cells(struct tree *t, uint32_t address, uint32_t size)
{
	u32(t, "#address-cells", address);
	u32(t, "#size-cells", size);
}
#define HI(v) ((uint32_t)((uint64_t)(v) >> 32))
#define LO(v) ((uint32_t)(v))
static void reg(struct tree *t, uint64_t base, uint64_t bytes)
{
	cells(t, "reg", (uint32_t[]){HI(base), LO(base), HI(bytes), LO(bytes)}, 4);
}

static void chosen(struct tree *t, const struct riscv_fdt_config *c)
{
	char serial[64];
	snprintf(serial, sizeof(serial), "/soc/serial@%llx", (unsigned long long)RISCV_SERIAL_BASE);
	begin(t, "chosen");
	string(t, "bootargs", c->cmdline);
	string(t, "stdout-path", serial);
	if (c->initrd_bytes) {
		u64(t, "linux,initrd-start", c->initrd_addr);
		u64(t, "linux,initrd-end", c->initrd_addr + c->initrd_bytes);
	}
	/* Linux wipes both after it has read them. */
	DO(t, fdt_property(t->fdt, "rng-seed", c->seed + 8, RISCV_SEED_BYTES - 8));
	u64(t, "kaslr-seed", load_le64(c->seed));
	end(t);
}

static void isa_properties(struct tree *t)
{
	string(t, "riscv,isa", rv64_isa_string());
	string(t, "riscv,isa-base", "rv64i");
	struct strbuf list _strbuf_ = STRBUF_INIT;
	for (const char *const *e = rv64_extensions; *e; e++)
		strbuf_add(&list, *e, strlen(*e) + 1);
	DO(t, fdt_property(t->fdt, "riscv,isa-extensions", list.data, (int)list.len));
	u32(t, "riscv,cbom-block-size", RV64_CBO_BYTES);
	u32(t, "riscv,cboz-block-size", RV64_CBO_BYTES);
	string(t, "mmu-type", RV64_MMU_TYPE);
}

static void cpus(struct tree *t, const struct riscv_fdt_config *c)
{
	begin(t, "cpus");
	address_cells(t, 1, 0);
	u32(t, "timebase-frequency", RV64_TIMEBASE_HZ);
	for (unsigned i = 0; i < c->cpus; i++) {
		begin_at(t, "cpu", i);
		string(t, "device_type", "cpu");
		string(t, "compatible", "riscv");
		string(t, "status", "okay");
		u32(t, "reg", i);
		isa_properties(t);
		begin(t, "interrupt-controller");
		string(t, "compatible", "riscv,cpu-intc");
		u32(t, "#address-cells", 0);
		u32(t, "#interrupt-cells", 1);
		flag(t, "interrupt-controller");
		u32(t, "phandle", PHANDLE_HART + i);
		end(t);
		end(t);
	}
	end(t);
}

static void plic(struct tree *t, const struct riscv_fdt_config *c)
{
	uint32_t to[2 * RISCV_CPUS_MAX];
	for (unsigned i = 0; i < c->cpus; i++) {
		to[2 * i] = PHANDLE_HART + i;
		to[2 * i + 1] = RV64_IRQ_EXTERNAL;
	}
	begin_at(t, "interrupt-controller", RISCV_PLIC_BASE);
	DO(t, fdt_property(t->fdt, "compatible", "sifive,plic-1.0.0\0riscv,plic0",
		      sizeof("sifive,plic-1.0.0\0riscv,plic0")));
	reg(t, RISCV_PLIC_BASE, PLIC_BYTES);
	u32(t, "#address-cells", 0);
	u32(t, "#interrupt-cells", 1);
	flag(t, "interrupt-controller");
	cells(t, "interrupts-extended", to, 2 * c->cpus);
	u32(t, "riscv,ndev", PLIC_SOURCES);
	u32(t, "phandle", PHANDLE_PLIC);
	end(t);
}

static void device(struct tree *t, const char *name, uint64_t base, uint64_t bytes,
	const char *compatible, uint32_t irq)
{
	begin_at(t, name, base);
	string(t, "compatible", compatible);
	reg(t, base, bytes);
	u32(t, "interrupt-parent", PHANDLE_PLIC);
	u32(t, "interrupts", irq);
}

/* Linux, Documentation/devicetree/bindings/pci/host-generic-pci.yaml */
static void pci(struct tree *t, const struct riscv_fdt_config *c)
{
	enum { SPACE_MEM32 = 0x02000000, SPACE_MEM64 = 0x43000000, INTA = 1 };
	begin_at(t, "pci", RISCV_ECAM_BASE);
	string(t, "compatible", "pci-host-ecam-generic");
	string(t, "device_type", "pci");
	reg(t, RISCV_ECAM_BASE, RISCV_PCI_BUSES * MiB);
	address_cells(t, 3, 2);
	u32(t, "#interrupt-cells", 1);
	u32(t, "linux,pci-domain", 0);
	cells(t, "bus-range", (uint32_t[]){0, RISCV_PCI_BUSES - 1}, 2);
	flag(t, "dma-coherent");
	cells(t, "ranges",
		(uint32_t[]){SPACE_MEM32, HI(RISCV_MMIO32_BASE), LO(RISCV_MMIO32_BASE),
			HI(RISCV_MMIO32_BASE), LO(RISCV_MMIO32_BASE), HI(RISCV_MMIO32_BYTES),
			LO(RISCV_MMIO32_BYTES), SPACE_MEM64, HI(RISCV_MMIO64_BASE),
			LO(RISCV_MMIO64_BASE), HI(RISCV_MMIO64_BASE), LO(RISCV_MMIO64_BASE),
			HI(RISCV_MMIO64_BYTES), LO(RISCV_MMIO64_BYTES)},
		14);
	VEC(uint32_t) map = {0};
	for (uint32_t slot = 0; slot < PCI_SLOTS; slot++) {
		if (!(c->pci_slots >> slot & 1))
			continue;
		const uint32_t row[] = {slot << 11, 0, 0, INTA, PHANDLE_PLIC, RISCV_IRQ_PCI + slot};
		for (size_t i = 0; i < ARRAY_SIZE(row); i++)
			vec_push(&map, row[i]);
	}
	if (map.len) {
		cells(t, "interrupt-map-mask", (uint32_t[]){0xf800, 0, 0, 7}, 4);
		cells(t, "interrupt-map", map.items, map.len);
	}
	vec_done(&map);
	end(t);
}

static void soc(struct tree *t, const struct riscv_fdt_config *c)
{
	begin(t, "soc");
	string(t, "compatible", "simple-bus");
	address_cells(t, 2, 2);
	flag(t, "ranges");
	device(t, "rtc", RISCV_RTC_BASE, RTC_GOLDFISH_BYTES, "google,goldfish-rtc", RISCV_IRQ_RTC);
	end(t);
	plic(t, c);
	device(t, "serial", RISCV_SERIAL_BASE, SERIAL_BYTES, "ns16550a", RISCV_IRQ_SERIAL);
	u32(t, "clock-frequency", SERIAL_CLOCK_HZ);
	end(t);
	pci(t, c);
	end(t);
}

static int build(void *buffer, size_t bytes, const struct riscv_fdt_config *c)
{
	struct tree t = {buffer, 0};
	DO(&t, fdt_create(buffer, (int)bytes));
	DO(&t, fdt_finish_reservemap(buffer));
	begin(&t, "");
	address_cells(&t, 2, 2);
	string(&t, "model", "Strata virtual machine");
	string(&t, "compatible", "strata,virt-riscv64");
	chosen(&t, c);
	begin_at(&t, "memory", RISCV_RAM_BASE);
	string(&t, "device_type", "memory");
	reg(&t, RISCV_RAM_BASE, c->memory_bytes);
	end(&t);
	cpus(&t, c);
	soc(&t, c);
	end(&t);
	DO(&t, fdt_finish(buffer));
	return t.error;
}

int riscv_fdt_build(
	void **out, size_t *bytes, const struct riscv_fdt_config *config, struct error *err)
{
	size_t cmdline_bytes = strlen(config->cmdline);
	if (cmdline_bytes > RISCV_CMDLINE_MAX)
		return error_set(err, E2BIG,
			"the kernel's command line has %zu bytes, Linux on riscv64 takes %u",
			cmdline_bytes, RISCV_CMDLINE_MAX);
	uint64_t initrd_end;
	if (!config->cpus || config->cpus > RISCV_CPUS_MAX ||
		add_overflows(config->initrd_addr, config->initrd_bytes, &initrd_end))
		return error_set(err, EINVAL, "device tree: impossible machine");
	size_t room = 16384 + 1024 * (size_t)config->cpus; /* ample; all parts are bounded */
	void *buffer = xcalloc(1, room);
	int r = build(buffer, room, config);
	if (r) {
		free(buffer);
		return error_set(err, EINVAL, "device tree: %s", fdt_strerror(r));
	}
	*bytes = fdt_totalsize(buffer);
	*out = buffer;
	return 0;
}
