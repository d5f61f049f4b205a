// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/virtio/devices.h"
#include "virtio/driver.h"

enum { F_SIZE = 1, F_MULTIPORT = 2 };
enum { READY = 0, ADD = 1, PORT_READY = 3, CONSOLE_PORT = 4, RESIZE = 5, OPEN = 6, NAME = 7 };

struct con {
	struct guest g;
	int host[2]; /* our end of each port's socket */
	uint64_t msg, rx, tx;
	uint8_t last[64]; /* last control message */
	uint32_t last_len;
};

static void socket_pair(int fds[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
}

static void con_init(struct con *c, unsigned ports, uint64_t features)
{
	struct virtio_console_port p[2];
	memset(c, 0, sizeof(*c));
	guest_init(&c->g);
	for (unsigned i = 0; i < ports; i++) {
		int fds[2];
		socket_pair(fds);
		c->host[i] = fds[0];
		p[i] = (struct virtio_console_port){i ? "org.test.1" : NULL, fds[1], fds[1]};
	}
	if (virtio_console_new(&c->g.device, c->g.memory, c->g.loop, p, ports, NULL))
		abort();
	CHECK(guest_start(&c->g, features));
	c->msg = guest_alloc(&c->g, 64 * 64);
	c->rx = guest_alloc(&c->g, 4096);
	c->tx = guest_alloc(&c->g, 1 << 20);
}

static void con_done(struct con *c)
{
	for (unsigned i = 0; i < 2; i++)
		if (c->host[i] > 0)
			close(c->host[i]);
	guest_done(&c->g);
}

static void control(struct con *c, uint32_t id, uint16_t event, uint16_t value)
{
	uint8_t *p = guest_ptr(&c->g, c->msg + 63 * 64);
	store_le32(p, id);
	store_le16(p + 4, event);
	store_le16(p + 6, value);
	CHECK_EQ(drv_transact(&c->g.q[3], (struct buf[]){{c->msg + 63 * 64, 8}}, 1, 1), 0);
}

/* Gives a control buffer and takes the next message: its event, or -1. */
static int message(struct con *c)
{
	struct drv_queue *q = &c->g.q[2];
	static int id = -1;
	uint32_t len;
	if (id < 0 || !q->count[id])
		id = drv_add(q, (struct buf[]){{c->msg, 64}}, 0, 1);
	drv_kick(q);
	int got = drv_used(q, &len);
	if (got < 0)
		return -1;
	c->last_len = len;
	memcpy(c->last, guest_ptr(&c->g, c->msg), sizeof(c->last));
	return load_le16(c->last + 4);
}

static int64_t transmit(struct con *c, unsigned q, const char *s)
{
	size_t n = strlen(s);
	memcpy(guest_ptr(&c->g, c->tx), s, n);
	return drv_transact(&c->g.q[q], (struct buf[]){{c->tx, (uint32_t)n}}, 1, 1);
}

static bool host_reads(int fd, const char *want)
{
	char got[256] = "";
	ssize_t n = read(fd, got, sizeof(got) - 1);
	return n == (ssize_t)strlen(want) && !strcmp(got, want);
}

static void one_console(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct con c;
		con_init(&c, 1, RINGS[r].features | F_SIZE | F_MULTIPORT);
		CHECK(!(c.g.features & F_MULTIPORT));
		CHECK_EQ(virtio_device_queue_count(c.g.device), 2u);
		for (unsigned i = 0; i < 100; i++) {
			CHECK_EQ(transmit(&c, 1, "to the host"), 0);
			CHECK(host_reads(c.host[0], "to the host"));
			uint32_t len;
			int id =
				drv_add(&c.g.q[0], (struct buf[]){{c.rx, 3}, {c.rx + 3, 60}}, 0, 2);
			drv_kick(&c.g.q[0]);
			CHECK_EQ(drv_used(&c.g.q[0], &len), -1);
			CHECK_EQ(write(c.host[0], "to the guest", 12), 12);
			guest_run(&c.g);
			CHECK_EQ(drv_used(&c.g.q[0], &len), id);
			CHECK_EQ(len, 12u);
			CHECK(!memcmp(guest_ptr(&c.g, c.rx), "to the guest", 12));
		}
		con_done(&c);
	}
}

static void input_waits_for_buffers(void)
{
	struct con c;
	con_init(&c, 1, 0);
	CHECK_EQ(write(c.host[0], "abcdef", 6), 6);
	guest_run(&c.g);
	uint32_t len;
	char *rx = guest_ptr(&c.g, c.rx);
	for (unsigned i = 0; i < 3; i++) {
		int id = drv_add(&c.g.q[0], (struct buf[]){{c.rx, 2}}, 0, 1);
		drv_kick(&c.g.q[0]);
		CHECK_EQ(drv_used(&c.g.q[0], &len), id);
		CHECK_EQ(len, 2u);
		CHECK(!memcmp(rx, &"abcdef"[i * 2], 2));
	}
	con_done(&c);
}

static void output_waits_for_the_host(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct con c;
		con_init(&c, 1, RINGS[r].features);
		uint8_t *tx = guest_ptr(&c.g, c.tx);
		const uint32_t total = 1 << 20;
		for (uint32_t i = 0; i < total; i++)
			tx[i] = (uint8_t)(i * 7 + (i >> 8));
		/* One buffer larger than the socket takes, and one more. */
		int first = drv_add(&c.g.q[1],
			(struct buf[]){{c.tx, total / 2}, {c.tx + total / 2, total / 4}}, 2, 2);
		int second =
			drv_add(&c.g.q[1], (struct buf[]){{c.tx + total / 4 * 3, total / 4}}, 1, 1);
		drv_kick(&c.g.q[1]);
		uint32_t len, got = 0;
		CHECK_EQ(drv_used(&c.g.q[1], &len), -1);
		static uint8_t buf[70000];
		unsigned wrong = 0;
		for (unsigned i = 0; i < 10000 && got < total; i++) {
			ssize_t n = read(c.host[0], buf, sizeof(buf));
			for (ssize_t k = 0; k < n; k++)
				wrong += buf[k] != tx[got + (uint32_t)k];
			got += n > 0 ? (uint32_t)n : 0;
			guest_run(&c.g);
		}
		CHECK_EQ(got, total);
		CHECK_EQ(wrong, 0u);
		CHECK_EQ(drv_used(&c.g.q[1], &len), first);
		CHECK_EQ(drv_used(&c.g.q[1], &len), second);
		con_done(&c);
	}
}

static void state_in_the_middle_of_a_buffer(void)
{
	struct con c;
	con_init(&c, 1, VIRTIO_F_RING_PACKED);
	uint8_t *tx = guest_ptr(&c.g, c.tx);
	const uint32_t total = 1 << 20;
	for (uint32_t i = 0; i < total; i++)
		tx[i] = (uint8_t)(i * 7 + (i >> 8));
	drv_add(&c.g.q[1], (struct buf[]){{c.tx, total}}, 1, 1);
	drv_kick(&c.g.q[1]);
	struct strbuf saved _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&saved);
	virtio_device_state(c.g.device, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	uint32_t got = 0, wrong = 0;
	static uint8_t buf[70000];
	for (unsigned side = 0; side < 2; side++) {
		for (unsigned i = 0; i < 10000; i++) {
			ssize_t n = read(c.host[0], buf, sizeof(buf));
			if (n <= 0 && !side)
				break;
			for (ssize_t k = 0; k < n; k++)
				wrong += buf[k] != tx[got + (uint32_t)k];
			got += n > 0 ? (uint32_t)n : 0;
			if (side)
				guest_run(&c.g);
		}
		if (side)
			break;
		/* The rest comes from another device with another socket. */
		virtio_device_free(c.g.device);
		close(c.host[0]);
		int fds[2];
		socket_pair(fds);
		c.host[0] = fds[0];
		struct virtio_console_port p = {NULL, fds[1], fds[1]};
		REQUIRE(!virtio_console_new(&c.g.device, c.g.memory, c.g.loop, &p, 1, NULL));
		guest_attach(&c.g);
		s = state_new_restore(saved.data, saved.len);
		virtio_device_state(c.g.device, s);
		CHECK_EQ(state_finish(s, NULL), 0);
		state_free(s);
		guest_run(&c.g);
	}
	CHECK_EQ(got, total);
	CHECK_EQ(wrong, 0u);
	con_done(&c);
}

static void two_ports(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct con c;
		con_init(&c, 2, RINGS[r].features | F_SIZE | F_MULTIPORT);
		CHECK_EQ(virtio_device_queue_count(c.g.device), 6u);
		virtio_console_resize(c.g.device, 132, 43);
		CHECK_EQ(message(&c), -1);
		control(&c, 0xffffffff, READY, 1);
		CHECK_EQ(message(&c), ADD);
		CHECK_EQ(load_le32(c.last), 0u);
		CHECK_EQ(message(&c), ADD);
		CHECK_EQ(load_le32(c.last), 1u);
		CHECK_EQ(message(&c), -1);
		control(&c, 0, PORT_READY, 1);
		CHECK_EQ(message(&c), CONSOLE_PORT);
		CHECK_EQ(message(&c), RESIZE);
		CHECK_EQ(c.last_len, 12u);
		CHECK_EQ(load_le16(c.last + 8), 132u);
		CHECK_EQ(load_le16(c.last + 10), 43u);
		CHECK_EQ(message(&c), OPEN);
		CHECK_EQ(load_le16(c.last + 6), 1u);
		control(&c, 1, PORT_READY, 1);
		CHECK_EQ(message(&c), NAME);
		CHECK_EQ(c.last_len, 18u);
		CHECK(!memcmp(c.last + 8, "org.test.1", 10));
		CHECK_EQ(message(&c), OPEN);
		/* Port 1 gets nothing before the guest opens it. */
		uint32_t len;
		CHECK_EQ(write(c.host[1], "early", 5), 5);
		int id = drv_add(&c.g.q[4], (struct buf[]){{c.rx, 64}}, 0, 1);
		drv_kick(&c.g.q[4]);
		CHECK_EQ(drv_used(&c.g.q[4], &len), -1);
		control(&c, 1, OPEN, 1);
		CHECK_EQ(drv_used(&c.g.q[4], &len), id);
		CHECK_EQ(len, 5u);
		CHECK_EQ(transmit(&c, 5, "out of port 1"), 0);
		CHECK(host_reads(c.host[1], "out of port 1"));
		CHECK_EQ(transmit(&c, 1, "out of port 0"), 0);
		CHECK(host_reads(c.host[0], "out of port 0"));
		/* A new size. */
		control(&c, 0, OPEN, 1);
		virtio_console_resize(c.g.device, 80, 24);
		guest_run(&c.g);
		CHECK_EQ(message(&c), RESIZE);
		CHECK_EQ(load_le16(c.last + 8), 80u);
		/* The host's side closes. */
		close(c.host[1]);
		c.host[1] = -1;
		drv_add(&c.g.q[4], (struct buf[]){{c.rx, 64}}, 0, 1);
		drv_kick(&c.g.q[4]);
		CHECK_EQ(message(&c), OPEN);
		CHECK_EQ(load_le32(c.last), 1u);
		CHECK_EQ(load_le16(c.last + 6), 0u);
		CHECK_EQ(transmit(&c, 5, "nobody"), 0);
		con_done(&c);
	}
}

static void a_peer_that_stops_writing_still_reads(void)
{
	struct con c;
	con_init(&c, 1, 0);
	drv_add(&c.g.q[0], (struct buf[]){{c.rx, 64}}, 0, 1);
	drv_kick(&c.g.q[0]);
	shutdown(c.host[0], SHUT_WR);
	guest_run(&c.g);
	CHECK_EQ(transmit(&c, 1, "still there"), 0);
	CHECK(host_reads(c.host[0], "still there"));
	close(c.host[0]);
	c.host[0] = -1;
	CHECK_EQ(transmit(&c, 1, "gone"), 0);
	CHECK_EQ(transmit(&c, 1, "gone"), 0);
	CHECK(virtio_running(c.g.device));
	con_done(&c);
}

static void files_and_nothing(void)
{
	struct guest g;
	guest_init(&g);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	struct virtio_console_port p[] = {{NULL, null, -1}, {"n", -1, -1}};
	REQUIRE(!virtio_console_new(&g.device, g.memory, g.loop, p, 2, NULL));
	REQUIRE(guest_start(&g, 0)); /* the driver knows one port only */
	uint64_t mem = guest_alloc(&g, 64);
	uint32_t len;
	drv_add(&g.q[0], (struct buf[]){{mem, 64}}, 0, 1);
	drv_kick(&g.q[0]);
	CHECK_EQ(drv_used(&g.q[0], &len), -1);
	CHECK_EQ(drv_transact(&g.q[1], (struct buf[]){{mem, 64}}, 1, 1), 0);
	CHECK(virtio_running(g.device));
	guest_done(&g);
}

static void nonsense_on_the_control_queue(void)
{
	struct con c;
	con_init(&c, 2, F_SIZE | F_MULTIPORT);
	control(&c, 77, PORT_READY, 1);
	control(&c, 0, 99, 1);
	control(&c, 0, NAME, 1);
	CHECK_EQ(drv_transact(&c.g.q[3], (struct buf[]){{c.msg, 3}}, 1, 1), 0);
	CHECK_EQ(drv_transact(&c.g.q[3], (struct buf[]){{c.msg, 8}}, 0, 1), 0);
	CHECK(virtio_running(c.g.device));
	/* No room for a message. */
	drv_add(&c.g.q[2], (struct buf[]){{c.msg, 7}}, 0, 1);
	control(&c, 0, READY, 1);
	CHECK(virtio_device_status(c.g.device) & VIRTIO_STATUS_NEEDS_RESET);
	CHECK(guest_start(&c.g, F_MULTIPORT));
	con_done(&c);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	RUN(one_console);
	RUN(input_waits_for_buffers);
	RUN(output_waits_for_the_host);
	RUN(state_in_the_middle_of_a_buffer);
	RUN(two_ports);
	RUN(a_peer_that_stops_writing_still_reads);
	RUN(files_and_nothing);
	RUN(nonsense_on_the_control_queue);
	return tap_done();
}
