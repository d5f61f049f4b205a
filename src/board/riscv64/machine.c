// SPDX-License-Identifier: Apache-2.0
#include "board/riscv64/machine.h"

#include "board/riscv64/sbi.h"
#include "device/virtio/transport_pci.h"
#include "isa/rv64/rv64.h"

static bool mmio_read(void *opaque, gpa_t addr, unsigned bytes, uint64_t *value)
{
	struct riscv_machine *m = opaque;
	return bus_read(m->board.bus, addr, bytes, value);
}

static bool mmio_write(void *opaque, gpa_t addr, unsigned bytes, uint64_t value)
{
	struct riscv_machine *m = opaque;
	return bus_write(m->board.bus, addr, bytes, value);
}

static void firmware_call(void *opaque, struct vcpu *v, void *state)
{
	sbi_call(opaque, v, state);
}

/* The interrupt controller's output: a hart's external interrupt. */
static void hart_irq(void *opaque, unsigned hart, bool level)
{
	struct riscv_machine *m = opaque;
	if (m->harts[hart].vcpu) /* NULL while the machine is taken apart */
		vcpu_set_irq(m->harts[hart].vcpu, RV64_IRQ_EXTERNAL, level);
}

/* All devices get their interrupt lines here: another controller would be named here only. */
static struct irq_line line(struct riscv_machine *m, unsigned source)
{
	return plic_line(m->plic, source);
}

static int make_cpus(struct riscv_machine *m, struct error *err)
{
	const struct vcpu_callbacks callbacks = {m, mmio_read, mmio_write, firmware_call};
	int r = vcpu_group_new(&m->board.cpus, &rv64_isa, m->board.memory, &callbacks, err);
	if (r < 0)
		return r;
	/* The guest's time starts at zero, the same for all. */
	uint64_t offset = 0;
	for (unsigned i = 0; i < m->cpus; i++) {
		r = vcpu_new(m->board.cpus, i, &m->harts[i].vcpu, err);
		if (r < 0)
			return r;
		struct rv64_cpu *c = vcpu_state(m->harts[i].vcpu);
		if (i == 0)
			offset = c->time_offset - rv64_time(c);
		c->time_offset = offset;
		m->harts[i].state = HART_STOPPED;
	}
	return 0;
}

static int make_devices(struct riscv_machine *m, const struct board_config *config,
	struct loop *loop, struct error *err)
{
	struct bus *bus = m->board.bus;
	struct irq_line outputs[RISCV_CPUS_MAX];
	for (unsigned i = 0; i < m->cpus; i++)
		outputs[i] = (struct irq_line){hart_irq, m, i};
	const struct pci_host_config pci = {
		.ecam_base = GPA(RISCV_ECAM_BASE),
		.buses = RISCV_PCI_BUSES,
		.mmio32 = {GPA(RISCV_MMIO32_BASE), RISCV_MMIO32_BYTES},
		.mmio64 = {GPA(RISCV_MMIO64_BASE), RISCV_MMIO64_BYTES},
	};
	int r = plic_new(&m->plic, bus, GPA(RISCV_PLIC_BASE), outputs, m->cpus, err);
	if (r == 0)
		r = rtc_goldfish_new(
			&m->rtc, bus, GPA(RISCV_RTC_BASE), line(m, RISCV_IRQ_RTC), loop, err);
	if (r == 0)
		r = pci_host_new(&m->pci, bus, &pci, err);
	if (r < 0)
		return r;
	const struct serial_config serial = {
		.base = GPA(RISCV_SERIAL_BASE),
		.irq = line(m, RISCV_IRQ_SERIAL),
		.in_fd = config->console_in_fd,
		.out_fd = config->console_out_fd,
		.log_bytes = config->console_log_bytes,
		.tap = config->tap,
		.tap_opaque = config->opaque,
	};
	/* Last: it takes the descriptors, so nothing may fail after it. */
	return serial_new(&m->board.serial, bus, loop, &serial, err);
}

static void machine_free(struct board *b)
{
	struct riscv_machine *m = riscv_machine(b);
	/* vCPUs first: they call devices. Then devices: they use bus and memory. */
	vcpu_group_free(b->cpus);
	for (unsigned i = 0; i < m->cpus; i++)
		m->harts[i].vcpu = NULL;
	pci_host_free(m->pci);
	serial_free(b->serial);
	rtc_goldfish_free(m->rtc);
	plic_free(m->plic);
	bus_free(b->bus);
	memory_free(b->memory);
	pthread_mutex_destroy(&m->hsm_lock);
	free(m);
}

static int machine_new(
	struct board **out, const struct board_config *config, struct loop *loop, struct error *err)
{
	struct riscv_machine *m = xcalloc(1, sizeof(*m));
	m->board.ops = &riscv_board_ops;
	m->ended = config->ended;
	m->opaque = config->opaque;
	m->cpus = config->cpus;
	m->memory_bytes = config->memory_bytes;
	m->next_slot = RISCV_FIRST_SLOT;
	pthread_mutex_init(&m->hsm_lock, NULL);
	int r = memory_new(&m->board.memory, err);
	if (r == 0)
		r = memory_add_ram(m->board.memory, GPA(RISCV_RAM_BASE), m->memory_bytes, err);
	if (r == 0)
		r = bus_new(&m->board.bus, err);
	if (r == 0)
		r = make_cpus(m, err);
	if (r == 0)
		r = make_devices(m, config, loop, err);
	if (r < 0) {
		machine_free(&m->board);
		return r;
	}
	*out = &m->board;
	return 0;
}

static int machine_add_virtio(struct board *b, struct virtio_device *d, struct error *err)
{
	struct riscv_machine *m = riscv_machine(b);
	unsigned slot = m->next_slot;
	if (slot == PCI_SLOTS)
		return error_set(
			err, ENOSPC, "the machine has slots for %u devices", riscv_board_ops.slots);
	int r = virtio_pci_add(m->pci, slot, d, line(m, RISCV_IRQ_PCI + slot), err);
	if (r < 0)
		return r;
	m->used_slots |= UINT32_C(1) << slot;
	m->next_slot++;
	return 0;
}

static int machine_load(struct board *b, const struct board_boot *boot, struct error *err)
{
	return riscv_boot_load(riscv_machine(b), boot, err);
}

static int machine_start(struct board *b, struct error *err)
{
	return riscv_harts_start(riscv_machine(b), err);
}

static void machine_pause(struct board *b)
{
	riscv_harts_pause(riscv_machine(b));
}

static void machine_resume(struct board *b)
{
	riscv_harts_resume(riscv_machine(b));
}

static void machine_state(struct board *b, struct state *s)
{
	struct riscv_machine *m = riscv_machine(b);
	if (state_begin(s, "riscv64", 1)) {
		uint32_t cpus = m->cpus, slots = m->used_slots;
		uint64_t memory_bytes = m->memory_bytes;
		state_u32(s, "cpus", &cpus);
		state_u64(s, "memory_bytes", &memory_bytes);
		state_u32(s, "slots", &slots);
		if (cpus != m->cpus || memory_bytes != m->memory_bytes || slots != m->used_slots)
			state_fail(s, "it is of a machine with other CPUs, memory or devices");
		/* The guest's clock goes on where it stood: the offset to the host's is not saved.
		 */
		struct rv64_cpu *c = vcpu_state(m->harts[0].vcpu);
		uint64_t time = rv64_time(c);
		state_u64(s, "time", &time);
		if (!state_saving(s)) {
			uint64_t offset = c->time_offset + (time - rv64_time(c));
			for (unsigned i = 0; i < m->cpus; i++)
				((struct rv64_cpu *)vcpu_state(m->harts[i].vcpu))->time_offset =
					offset;
		}
		riscv_harts_state(m, s);
		plic_state(m->plic, s);
		serial_state(b->serial, s);
		rtc_goldfish_state(m->rtc, s);
		pci_host_state(m->pci, s);
	}
	state_end(s);
}

const struct board_ops riscv_board_ops = {
	.arch = "riscv64",
	.cpus_max = RISCV_CPUS_MAX,
	.memory_min_bytes = 64 * MiB,
	.memory_max_bytes = 512 * GiB,
	.slots = PCI_SLOTS - RISCV_FIRST_SLOT,
	.new = machine_new,
	.free = machine_free,
	.add_virtio = machine_add_virtio,
	.load = machine_load,
	.start = machine_start,
	.pause = machine_pause,
	.resume = machine_resume,
	.state = machine_state,
};
