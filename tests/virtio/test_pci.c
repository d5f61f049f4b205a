// SPDX-License-Identifier: Apache-2.0
// Finds and drives an entropy device through ECAM and its BAR, in the way Linux does.
#include <stdatomic.h>
#include <stdlib.h>

#include "device/virtio/devices.h"
#include "device/virtio/transport_pci.h"
#include "virtio/driver.h"

#define ECAM   UINT64_C(0x30000000)
#define MMIO32 UINT64_C(0x40000000)
#define MMIO64 UINT64_C(0x400000000)
enum { WINDOW = 64 << 20, SLOT = 3 };

struct machine {
	struct guest g;
	struct bus *bus;
	struct pci_host *host;
	bool line;
	unsigned edges;
	uint64_t bar;
	struct {
		uint64_t at; /* in configuration space */
		uint32_t offset, length;
	} caps[6];
};

static void line_set(void *opaque, unsigned n, bool level)
{
	struct machine *m = opaque;
	if (level && !m->line)
		m->edges++;
	m->line = level;
}

static uint64_t cfg(unsigned slot, unsigned at)
{
	return ECAM + ((uint64_t)slot << 15) + at;
}
static uint64_t rd(struct machine *m, uint64_t addr, unsigned bytes)
{
	uint64_t v = 0;
	CHECK(bus_read(m->bus, GPA(addr), bytes, &v));
	return bytes < 8 ? v & ((UINT64_C(1) << bytes * 8) - 1) : v;
}
static void wr(struct machine *m, uint64_t addr, unsigned bytes, uint64_t v)
{
	CHECK(bus_write(m->bus, GPA(addr), bytes, v));
}

static void machine_init(struct machine *m)
{
	memset(m, 0, sizeof(*m));
	guest_init(&m->g);
	const struct pci_host_config config = {
		.ecam_base = GPA(ECAM),
		.buses = 16,
		.mmio32 = {GPA(MMIO32), WINDOW},
		.mmio64 = {GPA(MMIO64), WINDOW},
	};
	struct virtio_device *d;
	if (bus_new(&m->bus, NULL) || pci_host_new(&m->host, m->bus, &config, NULL) ||
		virtio_rng_new(&d, m->g.memory, m->g.loop, NULL) ||
		virtio_pci_add(m->host, SLOT, d, (struct irq_line){line_set, m, 5}, NULL))
		abort();
	m->g.device = d;
}

static void machine_done(struct machine *m)
{
	pci_host_free(m->host);
	m->g.device = NULL;
	bus_free(m->bus);
	guest_done(&m->g);
}

/* Reads the capability list, places the BAR, enables memory. */
static void enumerate(struct machine *m, uint64_t bar)
{
	wr(m, cfg(SLOT, 0x10), 4, bar);
	wr(m, cfg(SLOT, 4), 2, 6);
	m->bar = bar;
	uint8_t at = (uint8_t)rd(m, cfg(SLOT, 0x34), 1);
	for (unsigned i = 0; at && i < 48; i++) {
		CHECK_EQ(rd(m, cfg(SLOT, at), 1), 9u);
		unsigned type = (unsigned)rd(m, cfg(SLOT, at + 3), 1);
		CHECK(type >= 1 && type <= 5);
		if (type >= 1 && type <= 5) {
			CHECK_EQ(m->caps[type].at, 0u);
			m->caps[type].at = cfg(SLOT, at);
			m->caps[type].offset = (uint32_t)rd(m, cfg(SLOT, at + 8), 4);
			m->caps[type].length = (uint32_t)rd(m, cfg(SLOT, at + 12), 4);
		}
		at = (uint8_t)rd(m, cfg(SLOT, at + 1), 1);
	}
}

static uint64_t common(struct machine *m, unsigned at)
{
	return m->bar + m->caps[1].offset + at;
}

static uint64_t offered(struct machine *m)
{
	wr(m, common(m, 0), 4, 0);
	uint64_t lo = rd(m, common(m, 4), 4);
	wr(m, common(m, 0), 4, 1);
	return rd(m, common(m, 4), 4) << 32 | lo;
}

static bool drive_start(struct machine *m, uint64_t features)
{
	struct guest *g = &m->g;
	wr(m, common(m, 20), 1, 0);
	guest_run(g);
	if (rd(m, common(m, 20), 1))
		return false;
	wr(m, common(m, 20), 1, 1);
	wr(m, common(m, 20), 1, 3);
	g->features = (features | VIRTIO_F_VERSION_1) & offered(m);
	for (unsigned half = 0; half < 2; half++) {
		wr(m, common(m, 8), 4, half);
		wr(m, common(m, 12), 4, g->features >> half * 32);
	}
	wr(m, common(m, 20), 1, 11);
	if (rd(m, common(m, 20), 1) != 11)
		return false;
	struct drv_queue *q = &g->q[0];
	if (!q->desc) {
		q->desc = guest_alloc(g, 64 * 16);
		q->driver = guest_alloc(g, 64 * 2 + 6);
		q->device = guest_alloc(g, 64 * 8 + 6);
	}
	q->g = g;
	q->size = 64;
	q->packed = g->features & VIRTIO_F_RING_PACKED;
	drv_ring_reset(q);
	wr(m, common(m, 22), 2, 0);
	CHECK_EQ(rd(m, common(m, 24), 2), VIRTIO_QUEUE_MAX);
	wr(m, common(m, 24), 2, 64);
	const uint64_t areas[] = {q->desc, q->driver, q->device};
	for (unsigned i = 0; i < 3; i++) {
		wr(m, common(m, 32 + i * 8), 4, (uint32_t)areas[i]);
		wr(m, common(m, 36 + i * 8), 4, areas[i] >> 32);
	}
	wr(m, common(m, 28), 2, 1);
	CHECK_EQ(rd(m, common(m, 28), 2), 1u);
	wr(m, common(m, 20), 1, 15);
	guest_run(g);
	return rd(m, common(m, 20), 1) == 15;
}

static bool drive_once(struct machine *m)
{
	struct guest *g = &m->g;
	uint64_t mem = guest_alloc(g, 64);
	uint32_t len = 0;
	int id = drv_add(&g->q[0], (struct buf[]){{mem, 32}}, 0, 1);
	wr(m, m->bar + m->caps[2].offset, 2, 0);
	guest_run(g);
	return drv_used(&g->q[0], &len) == id && len == 32;
}

static void enumeration(void)
{
	struct machine m;
	machine_init(&m);
	for (unsigned slot = 0; slot < 32; slot++)
		CHECK_EQ(rd(&m, cfg(slot, 0), 4), slot == SLOT ? 0x10441af4u : 0xffffffffu);
	CHECK_EQ(rd(&m, cfg(SLOT, 1 << 12), 4), 0xffffffffu); /* function 1 */
	CHECK_EQ(rd(&m, ECAM + (1 << 20), 4), 0xffffffffu);   /* bus 1 */
	CHECK_EQ(rd(&m, cfg(SLOT, 8), 4), 0xff000001u);
	CHECK_EQ(rd(&m, cfg(SLOT, 0x0e), 1), 0u);
	CHECK_EQ(rd(&m, cfg(SLOT, 0x2e), 2), 0x1100u);
	CHECK_EQ(rd(&m, cfg(SLOT, 0x3d), 1), 1u);
	CHECK_EQ(rd(&m, cfg(SLOT, 0x100), 4), 0u);
	wr(&m, cfg(SLOT, 0), 4, 0); /* read-only */
	CHECK_EQ(rd(&m, cfg(SLOT, 0), 4), 0x10441af4u);
	/* Sizing: BAR 0 is 16 KiB of 32-bit memory, there is no other. */
	for (unsigned bar = 0; bar < 6; bar++) {
		wr(&m, cfg(SLOT, 0x10 + bar * 4), 4, 0xffffffff);
		CHECK_EQ(rd(&m, cfg(SLOT, 0x10 + bar * 4), 4), bar ? 0 : 0xffffc000u);
	}
	wr(&m, cfg(SLOT, 0x30), 4, 0xffffffff);
	CHECK_EQ(rd(&m, cfg(SLOT, 0x30), 4), 0u);
	enumerate(&m, MMIO32 + 0x8000);
	CHECK(m.caps[1].at && m.caps[2].at && m.caps[3].at && m.caps[5].at);
	CHECK(!m.caps[4].at); /* no configuration space */
	CHECK_EQ(rd(&m, common(&m, 18), 2), 1u);
	CHECK_EQ(offered(&m), virtio_device_offered(m.g.device));
	machine_done(&m);
}

static void drives_the_device(void)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct machine m;
		machine_init(&m);
		enumerate(&m, MMIO32);
		REQUIRE(drive_start(&m, packed ? VIRTIO_F_RING_PACKED : 0));
		for (unsigned i = 0; i < 200; i++) {
			CHECK(drive_once(&m));
			CHECK(m.line);
			CHECK_EQ(rd(&m, cfg(SLOT, 6), 2) & 8, 8u);
			CHECK_EQ(rd(&m, m.bar + m.caps[3].offset, 1), 1u);
			CHECK(!m.line);
			CHECK_EQ(rd(&m, cfg(SLOT, 6), 2) & 8, 0u);
			CHECK_EQ(rd(&m, m.bar + m.caps[3].offset, 1), 0u);
		}
		CHECK_EQ(m.edges, 200u);
		machine_done(&m);
	}
}

static void bars_move(void)
{
	struct machine m;
	machine_init(&m);
	enumerate(&m, MMIO32);
	REQUIRE(drive_start(&m, 0));
	const uint64_t places[] = {MMIO32 + 0x4000, MMIO32 + WINDOW - 0x4000, MMIO32};
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		uint64_t old = m.bar;
		wr(&m, cfg(SLOT, 0x10), 4, 0xffffffff);
		CHECK_EQ(rd(&m, old + 18, 2), 0xffffu);
		wr(&m, cfg(SLOT, 0x10), 4, places[i]);
		m.bar = places[i];
		CHECK_EQ(rd(&m, old + 18, 2), 0xffffu);
		CHECK_EQ(rd(&m, m.bar + 18, 2), 1u);
		CHECK(drive_once(&m));
	}
	wr(&m, cfg(SLOT, 4), 2, 0); /* memory decoding off */
	CHECK_EQ(rd(&m, m.bar + 18, 2), 0xffffu);
	wr(&m, cfg(SLOT, 4), 2, 2);
	CHECK_EQ(rd(&m, m.bar + 18, 2), 1u);
	wr(&m, cfg(SLOT, 0x10), 4, 0x80000000); /* over memory: not in a window */
	CHECK_EQ(rd(&m, m.bar + 18, 2), 0xffffu);
	machine_done(&m);
}

/* No buffer is looked at while the device is not a bus master; what waits is then served. */
static void bus_master_bit_stops_the_device(void)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct machine m;
		machine_init(&m);
		enumerate(&m, MMIO32);
		REQUIRE(drive_start(&m, packed ? VIRTIO_F_RING_PACKED : 0));
		CHECK(drive_once(&m));
		wr(&m, cfg(SLOT, 4), 2, 2);
		uint64_t mem = guest_alloc(&m.g, 64);
		uint32_t len = 0;
		int id = drv_add(&m.g.q[0], (struct buf[]){{mem, 32}}, 0, 1);
		wr(&m, m.bar + m.caps[2].offset, 2, 0);
		guest_run(&m.g);
		CHECK(drv_used(&m.g.q[0], &len) < 0);
		CHECK_EQ(rd(&m, common(&m, 20), 1), 15u); /* nothing is wrong */
		wr(&m, cfg(SLOT, 4), 2, 6);
		guest_run(&m.g);
		CHECK_EQ(drv_used(&m.g.q[0], &len), id);
		CHECK_EQ(len, 32u);
		CHECK(drive_once(&m));
		machine_done(&m);
	}
}

static void interrupts_can_be_disabled(void)
{
	struct machine m;
	machine_init(&m);
	enumerate(&m, MMIO32);
	REQUIRE(drive_start(&m, 0));
	wr(&m, cfg(SLOT, 4), 2, 0x406);
	CHECK(drive_once(&m));
	CHECK(!m.line);
	CHECK_EQ(rd(&m, cfg(SLOT, 6), 2) & 8, 8u);
	wr(&m, cfg(SLOT, 4), 2, 6);
	CHECK(m.line);
	wr(&m, cfg(SLOT, 4), 2, 0x406);
	CHECK(!m.line);
	wr(&m, cfg(SLOT, 4), 2, 6);
	/* Reset clears it. */
	wr(&m, common(&m, 20), 1, 0);
	guest_run(&m.g);
	CHECK(!m.line);
	CHECK_EQ(rd(&m, m.bar + m.caps[3].offset, 1), 0u);
	machine_done(&m);
}

static void needs_reset_is_a_configuration_interrupt(void)
{
	struct machine m;
	machine_init(&m);
	enumerate(&m, MMIO32);
	REQUIRE(drive_start(&m, 0));
	drv_add(&m.g.q[0], (struct buf[]){{0x10, 8}}, 0, 1);
	wr(&m, m.bar + m.caps[2].offset, 2, 0);
	guest_run(&m.g);
	CHECK_EQ(rd(&m, common(&m, 20), 1), 0x4fu);
	CHECK(m.line);
	CHECK_EQ(rd(&m, m.bar + m.caps[3].offset, 1), 2u);
	REQUIRE(drive_start(&m, 0));
	CHECK(drive_once(&m));
	machine_done(&m);
}

static void access_through_configuration_space(void)
{
	struct machine m;
	machine_init(&m);
	enumerate(&m, MMIO32);
	wr(&m, cfg(SLOT, 4), 2, 0); /* works without the BAR */
	uint64_t cap = m.caps[5].at;
	wr(&m, cap + 4, 1, 0);
	wr(&m, cap + 8, 4, 18);
	wr(&m, cap + 12, 4, 2);
	CHECK_EQ(rd(&m, cap + 16, 2), 1u);
	wr(&m, cap + 8, 4, 20);
	wr(&m, cap + 12, 4, 1);
	wr(&m, cap + 16, 1, 1);
	CHECK_EQ(rd(&m, cap + 16, 1), 1u);
	CHECK_EQ(virtio_device_status(m.g.device), 1);
	/* Nonsense is refused. */
	const uint32_t bad[][3] = {{1, 20, 1}, {0, 20, 8}, {0, 20, 0}, {0, 21, 2}, {0, 0x4000, 1},
		{0, 0xffffffff, 4}, {0xff, 20, 4}};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		wr(&m, cap + 4, 1, bad[i][0]);
		wr(&m, cap + 8, 4, bad[i][1]);
		wr(&m, cap + 12, 4, bad[i][2]);
		wr(&m, cap + 16, 4, 3);
		rd(&m, cap + 16, 4);
		CHECK_EQ(virtio_device_status(m.g.device), 1);
	}
	machine_done(&m);
}

static void every_width_is_served(void)
{
	struct machine m;
	machine_init(&m);
	enumerate(&m, MMIO32);
	REQUIRE(drive_start(&m, 0));
	uint64_t desc = m.g.q[0].desc;
	CHECK_EQ(rd(&m, common(&m, 32), 8), desc);
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQ(rd(&m, common(&m, 32 + i), 1), (desc >> i * 8) & 0xff);
	CHECK_EQ(rd(&m, common(&m, 33), 2), (desc >> 8) & 0xffff);
	CHECK_EQ(rd(&m, common(&m, 20), 4), 15u); /* status, generation, queue 0 */
	wr(&m, common(&m, 20), 1, 0);
	guest_run(&m.g);
	wr(&m, common(&m, 20), 1, 3);
	wr(&m, common(&m, 22), 2, 0);
	wr(&m, common(&m, 32), 8, UINT64_C(0x1122334455667788));
	CHECK_EQ(rd(&m, common(&m, 32), 8), UINT64_C(0x1122334455667788));
	wr(&m, common(&m, 34), 2, 0xaaaa);
	wr(&m, common(&m, 39), 1, 0xbb);
	CHECK_EQ(rd(&m, common(&m, 32), 8), UINT64_C(0xbb223344aaaa7788));
	/* A queue that is not there. */
	wr(&m, common(&m, 22), 2, 9);
	CHECK_EQ(rd(&m, common(&m, 24), 2), 0u);
	wr(&m, common(&m, 28), 2, 1);
	CHECK_EQ(rd(&m, common(&m, 28), 2), 0u);
	machine_done(&m);
}

static void random_accesses(void)
{
	struct machine m;
	machine_init(&m);
	enumerate(&m, MMIO32);
	srand(1);
	for (unsigned i = 0; i < 300000; i++) {
		unsigned bytes = 1u << rand() % 4;
		uint64_t r = (uint64_t)rand() << 32 ^ (uint64_t)rand() << 16 ^ (uint64_t)rand(), v;
		uint64_t addr = rand() % 3 ? cfg(SLOT, r % 4096) : m.bar + r % 0x4000;
		if (rand() % 8 == 0)
			addr = MMIO64 + r % WINDOW;
		if (rand() % 2)
			bus_read(m.bus, GPA(addr), bytes, &v);
		else
			bus_write(m.bus, GPA(addr), bytes, r ^ r << 7);
		if (i % 64 == 0) {
			guest_run(&m.g);
			wr(&m, cfg(SLOT, 4), 2, 6);
			wr(&m, cfg(SLOT, 0x10), 4, m.bar);
		}
	}
	memset(m.caps, 0, sizeof(m.caps));
	enumerate(&m, MMIO32);
	REQUIRE(drive_start(&m, 0));
	CHECK(drive_once(&m));
	machine_done(&m);
}

static void state_and_reset(void)
{
	struct machine m, n;
	machine_init(&m);
	enumerate(&m, MMIO32 + 0x10000);
	REQUIRE(drive_start(&m, VIRTIO_F_RING_PACKED));
	CHECK(drive_once(&m));
	CHECK(m.line);
	wr(&m, cfg(SLOT, 0x3c), 1, 0x77);
	wr(&m, common(&m, 0), 4, 1);
	struct strbuf saved _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&saved);
	pci_host_state(m.host, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);

	machine_init(&n);
	memcpy(guest_ptr(&n.g, GUEST_BASE), guest_ptr(&m.g, GUEST_BASE), GUEST_RAM);
	s = state_new_restore(saved.data, saved.len);
	pci_host_state(n.host, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	CHECK(n.line);
	n.g.q[0] = m.g.q[0];
	n.g.q[0].g = &n.g;
	n.g.next = m.g.next;
	n.bar = m.bar;
	memcpy(n.caps, m.caps, sizeof(n.caps));
	CHECK_EQ(rd(&n, cfg(SLOT, 0x3c), 1), 0x77u);
	CHECK_EQ(rd(&n, common(&n, 0), 4), 1u);
	CHECK_EQ(rd(&n, n.bar + n.caps[3].offset, 1), 1u);
	CHECK(!n.line);
	CHECK(drive_once(&n));

	pci_host_reset(n.host);
	CHECK(!n.line);
	CHECK_EQ(rd(&n, cfg(SLOT, 4), 2), 0u);
	CHECK_EQ(rd(&n, cfg(SLOT, 0x3c), 1), 0u);
	CHECK_EQ(rd(&n, n.bar, 4), 0xffffffffu);
	CHECK_EQ(virtio_device_status(n.g.device), 0);
	memset(n.caps, 0, sizeof(n.caps));
	enumerate(&n, MMIO32);
	REQUIRE(drive_start(&n, 0));
	CHECK(drive_once(&n));

	/* A damaged stream is refused or taken, and nothing breaks. */
	for (size_t i = 0; i < saved.len; i++) {
		saved.data[i] ^= (char)(1 << i % 8);
		s = state_new_restore(saved.data, saved.len);
		pci_host_state(n.host, s);
		state_finish(s, NULL);
		state_free(s);
		guest_run(&n.g);
		saved.data[i] ^= (char)(1 << i % 8);
	}
	machine_done(&m);
	machine_done(&n);
}

static void slots_are_exclusive(void)
{
	struct machine m;
	machine_init(&m);
	struct virtio_device *d;
	struct error err _error_ = ERROR_INIT;
	REQUIRE(!virtio_rng_new(&d, m.g.memory, m.g.loop, NULL));
	CHECK_EQ(virtio_pci_add(m.host, SLOT, d, (struct irq_line){0}, &err), -EEXIST);
	CHECK_STR(err.message, "virtio-rng: pci: slot 3 is not free");
	CHECK(virtio_pci_add(m.host, 32, d, (struct irq_line){0}, NULL) < 0);
	virtio_device_free(d);
	machine_done(&m);
}

int main(void)
{
	RUN(enumeration);
	RUN(drives_the_device);
	RUN(bars_move);
	RUN(bus_master_bit_stops_the_device);
	RUN(interrupts_can_be_disabled);
	RUN(needs_reset_is_a_configuration_interrupt);
	RUN(access_through_configuration_space);
	RUN(every_width_is_served);
	RUN(random_accesses);
	RUN(state_and_reset);
	RUN(slots_are_exclusive);
	return tap_done();
}
