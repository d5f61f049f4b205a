// SPDX-License-Identifier: Apache-2.0
// The driver's side by hand, the host's side with Unix sockets.
#include "device/virtio/devices.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "device/virtio/vsock_packet.h"
#include "virtio/driver.h"

enum { CID = 3, RX = 0, TX = 1, EVENT = 2, RX_BYTES = 4096, TX_BYTES = 65536 };
enum { HDR = sizeof(struct vsock_header), GUEST_ALLOC = 64 << 10 };

struct vguest {
	struct guest g;
	char dir[64], path[96];
	uint64_t rx_buf, tx_buf;
	bool rx_posted;
	/* the last packet received */
	struct vsock_header h;
	uint8_t data[RX_BYTES];
	uint32_t alloc, forwarded; /* what packets say of the guest's buffer */
};

static int listen_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 1024))
		abort();
	return fd;
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		abort();
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static int listen_port(struct vguest *v, unsigned port)
{
	char path[128];
	snprintf(path, sizeof(path), "%s_%u", v->path, port);
	return listen_at(path);
}

static bool vguest_init(struct vguest *v, uint64_t features)
{
	memset(v, 0, sizeof(*v));
	strcpy(v->dir, "/tmp/strata-vsock-XXXXXX");
	if (!mkdtemp(v->dir))
		return false;
	snprintf(v->path, sizeof(v->path), "%s/v", v->dir);
	v->alloc = GUEST_ALLOC;
	guest_init(&v->g);
	if (virtio_vsock_new(
		    &v->g.device, v->g.memory, v->g.loop, CID, listen_at(v->path), v->path, NULL) ||
		!guest_start(&v->g, features))
		return false;
	v->rx_buf = guest_alloc(&v->g, RX_BYTES);
	v->tx_buf = guest_alloc(&v->g, TX_BYTES + HDR);
	return true;
}

static void vguest_done(struct vguest *v)
{
	char line[128];
	guest_done(&v->g);
	snprintf(line, sizeof(line), "rm -rf %s", v->dir);
	if (system(line))
		TAP_FAIL_("rm");
}

/* Posts one receive buffer, lets the device work, takes it back: true when a packet came. */
static bool receive(struct vguest *v)
{
	uint32_t len;
	struct drv_queue *q = &v->g.q[RX];
	if (!v->rx_posted) {
		/* header and data apart, the data in two pieces */
		uint64_t at = v->rx_buf;
		struct buf b[] = {{at, 20}, {at + 20, HDR - 20 + 1000},
			{at + HDR + 1000, RX_BYTES - HDR - 1000}};
		if (drv_add(q, b, 0, 3) < 0)
			return false;
		v->rx_posted = true;
	}
	drv_kick(q);
	guest_run(&v->g);
	if (drv_used(q, &len) < 0)
		return false;
	v->rx_posted = false;
	memcpy(&v->h, guest_ptr(&v->g, v->rx_buf), HDR);
	memcpy(v->data, (uint8_t *)guest_ptr(&v->g, v->rx_buf) + HDR, RX_BYTES - HDR);
	if (len != HDR + v->h.len)
		TAP_FAIL_("a packet of %u bytes in %u", v->h.len, len);
	return true;
}

static bool send_packet(struct vguest *v, uint32_t guest_port, uint32_t host_port, uint16_t op,
	uint32_t flags, const void *data, uint32_t len)
{
	struct vsock_header h = {.src_cid = CID,
		.dst_cid = 2,
		.src_port = guest_port,
		.dst_port = host_port,
		.len = len,
		.type = VSOCK_TYPE_STREAM,
		.op = op,
		.flags = flags,
		.buf_alloc = v->alloc,
		.fwd_cnt = v->forwarded};
	uint8_t *p = guest_ptr(&v->g, v->tx_buf);
	memcpy(p, &h, HDR);
	if (len)
		memcpy(p + HDR, data, len);
	struct buf b[2] = {{v->tx_buf, HDR}, {v->tx_buf + HDR, len}};
	return drv_transact(&v->g.q[TX], b, len ? 2 : 1, len ? 2 : 1) >= 0;
}

/* A packet of this kind comes next. */
static bool expect(struct vguest *v, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
	if (!receive(v)) {
		TAP_FAIL_("no packet, expected op %u", op);
		return false;
	}
	if (v->h.op != op || v->h.dst_port != guest_port || v->h.src_port != host_port ||
		v->h.dst_cid != CID) {
		TAP_FAIL_("op %u for port %u from %u, expected op %u for %u from %u", v->h.op,
			v->h.dst_port, v->h.src_port, op, guest_port, host_port);
		return false;
	}
	return true;
}

static int open_from_guest(struct vguest *v, int listener, uint32_t guest_port, uint32_t port)
{
	send_packet(v, guest_port, port, VSOCK_OP_REQUEST, 0, NULL, 0);
	if (!expect(v, VSOCK_OP_RESPONSE, guest_port, port))
		return -1;
	return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* The host connects to a port of the guest, which accepts. */
static int open_from_host(struct vguest *v, uint32_t port, uint32_t *host_port)
{
	char line[32] = "", want[32];
	int fd = connect_to(v->path);
	snprintf(line, sizeof(line), "CONNECT %u\n", port);
	if (write(fd, line, 3) != 3)
		return -1;
	guest_run(&v->g);
	if (write(fd, line + 3, strlen(line) - 3) < 0)
		return -1;
	guest_run(&v->g);
	if (!receive(v) || v->h.op != VSOCK_OP_REQUEST || v->h.dst_port != port)
		return -1;
	*host_port = v->h.src_port;
	send_packet(v, port, *host_port, VSOCK_OP_RESPONSE, 0, NULL, 0);
	ssize_t n = read(fd, line, sizeof(line) - 1);
	line[MAX(n, 0)] = '\0';
	snprintf(want, sizeof(want), "OK %u\n", *host_port);
	CHECK_STR(line, want);
	return fd;
}

static void connects_both_ways(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct vguest v;
		uint32_t port;
		char buf[64];
		REQUIRE(vguest_init(&v, RINGS[r].features));
		int l = listen_port(&v, 52);
		int fd = open_from_guest(&v, l, 1000, 52);
		REQUIRE(fd >= 0);
		CHECK(send_packet(&v, 1000, 52, VSOCK_OP_RW, 0, "hello", 5));
		CHECK_EQ(read(fd, buf, sizeof(buf)), 5);
		CHECK_EQ(write(fd, "world!", 6), 6);
		CHECK(expect(&v, VSOCK_OP_RW, 1000, 52));
		CHECK(v.h.len == 6 && !memcmp(v.data, "world!", 6));
		int first = fd;
		fd = open_from_host(&v, 7, &port);
		REQUIRE(fd >= 0);
		CHECK_EQ(write(fd, "abc", 3), 3);
		CHECK(expect(&v, VSOCK_OP_RW, 7, port));
		CHECK(v.h.len == 3 && !memcmp(v.data, "abc", 3));
		close(first);
		close(fd);
		close(l);
		vguest_done(&v);
	}
}

static void refusals(void)
{
	struct vguest v;
	REQUIRE(vguest_init(&v, 0));
	/* nobody listens */
	send_packet(&v, 1, 99, VSOCK_OP_REQUEST, 0, NULL, 0);
	CHECK(expect(&v, VSOCK_OP_RST, 1, 99));
	/* the guest refuses */
	int fd = connect_to(v.path);
	CHECK(write(fd, "CONNECT 5\n", 10) == 10);
	guest_run(&v.g);
	CHECK(receive(&v) && v.h.op == VSOCK_OP_REQUEST);
	send_packet(&v, 5, v.h.src_port, VSOCK_OP_RST, 0, NULL, 0);
	char c;
	CHECK_EQ(read(fd, &c, 1), 0);
	close(fd);
	static const char *const bad[] = {"HELLO\n", "CONNECT \n", "CONNECT x\n", "CONNECT -1\n",
		"CONNECT 4294967296\n", "CONNECT 12345678901234567890123456789012", "\n"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		fd = connect_to(v.path);
		CHECK(write(fd, bad[i], strlen(bad[i])) > 0);
		guest_run(&v.g);
		CHECK(read(fd, &c, 1) <= 0 && errno != EAGAIN);
		errno = 0;
		close(fd);
	}
	CHECK(!receive(&v));
	vguest_done(&v);
}

/* Bytes in both directions at once, with credit on both sides; far more than the buffers. */
/* Without a path the guest reaches nothing, whatever there is in the working directory. */
static void no_way_out_without_a_path(void)
{
	struct vguest v;
	char where[128];
	snprintf(where, sizeof(where), "/tmp/strata-vsock-%d", (int)getpid());
	memset(&v, 0, sizeof(v));
	guest_init(&v.g);
	REQUIRE(virtio_vsock_new(&v.g.device, v.g.memory, v.g.loop, CID, listen_at(where), NULL,
			NULL) == 0 &&
		guest_start(&v.g, 0));
	v.rx_buf = guest_alloc(&v.g, RX_BYTES);
	v.tx_buf = guest_alloc(&v.g, TX_BYTES + HDR);
	int fd = listen_at("_77");
	REQUIRE(fd >= 0);
	send_packet(&v, 1000, 77, VSOCK_OP_REQUEST, 0, NULL, 0);
	CHECK(receive(&v) && v.h.op == VSOCK_OP_RST);
	close(fd);
	unlink("_77");
	unlink(where);
	guest_done(&v.g);
}

static void echoes_100_mib(void)
{
	enum { TOTAL = 100 << 20 };
	struct vguest v;
	REQUIRE(vguest_init(&v, VIRTIO_F_EVENT_IDX));
	int l = listen_port(&v, 1), fd = open_from_guest(&v, l, 9, 1);
	REQUIRE(fd >= 0);
	static uint8_t out[TX_BYTES], chunk[60000];
	uint64_t sent = 0, received = 0, host_pending = 0, host_at = 0;
	uint32_t peer_alloc = v.h.buf_alloc, peer_forwarded = v.h.fwd_cnt;
	unsigned seed = 7, idle = 0;
	while (received < TOTAL && idle < 100000 && !tap_failed) {
		bool moved = false;
		uint32_t room = peer_alloc - ((uint32_t)sent - peer_forwarded);
		uint32_t n = MIN((uint32_t)(rand_r(&seed) % TX_BYTES + 1), room);
		n = (uint32_t)MIN((uint64_t)n, TOTAL - sent);
		if (n) {
			for (uint32_t i = 0; i < n; i++)
				out[i] = (uint8_t)((sent + i) * 2654435761u >> 13);
			CHECK(send_packet(&v, 9, 1, VSOCK_OP_RW, 0, out, n));
			sent += n;
			moved = true;
		}
		/* the host echoes */
		if (!host_pending) {
			ssize_t k = read(fd, chunk, sizeof(chunk));
			host_pending = k > 0 ? (uint64_t)k : 0;
			host_at = 0;
			moved |= k > 0;
		}
		if (host_pending) {
			ssize_t k = write(fd, chunk + host_at, host_pending);
			host_pending -= k > 0 ? (uint64_t)k : 0;
			host_at += k > 0 ? (uint64_t)k : 0;
			moved |= k > 0;
		}
		for (int i = 0; i < 20 && receive(&v); i++) {
			peer_alloc = v.h.buf_alloc;
			peer_forwarded = v.h.fwd_cnt;
			moved = true;
			if (v.h.op == VSOCK_OP_CREDIT_REQUEST) {
				send_packet(&v, 9, 1, VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
				continue;
			}
			if (v.h.op != VSOCK_OP_RW)
				continue;
			for (uint32_t k = 0; k < v.h.len; k++)
				if (v.data[k] != (uint8_t)((received + k) * 2654435761u >> 13)) {
					TAP_FAIL_("byte %llu differs",
						(unsigned long long)(received + k));
					break;
				}
			received += v.h.len;
			if ((uint32_t)received - v.forwarded > GUEST_ALLOC)
				TAP_FAIL_("more than the guest's credit");
			if ((uint32_t)received - v.forwarded > GUEST_ALLOC / 2) {
				v.forwarded = (uint32_t)received;
				send_packet(&v, 9, 1, VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
			}
		}
		idle = moved ? 0 : idle + 1;
	}
	CHECK_EQ(received, (uint64_t)TOTAL);
	close(fd);
	close(l);
	vguest_done(&v);
}

static void half_closes(void)
{
	struct vguest v;
	char buf[64];
	REQUIRE(vguest_init(&v, 0));
	int l = listen_port(&v, 1);
	/* the guest ends its direction; the other goes on */
	int fd = open_from_guest(&v, l, 10, 1);
	send_packet(&v, 10, 1, VSOCK_OP_RW, 0, "end", 3);
	send_packet(&v, 10, 1, VSOCK_OP_SHUTDOWN, VSOCK_SHUTDOWN_SEND, NULL, 0);
	CHECK_EQ(read(fd, buf, sizeof(buf)), 3);
	CHECK_EQ(read(fd, buf, sizeof(buf)), 0);
	CHECK_EQ(write(fd, "still", 5), 5);
	CHECK(expect(&v, VSOCK_OP_RW, 10, 1));
	CHECK_EQ(v.h.len, 5u);
	CHECK(!receive(&v));
	CHECK_EQ(write(fd, "more", 4), 4);
	close(fd);
	CHECK(expect(&v, VSOCK_OP_RW, 10, 1));
	CHECK(expect(&v, VSOCK_OP_SHUTDOWN, 10, 1));
	CHECK(v.h.flags & VSOCK_SHUTDOWN_SEND);
	send_packet(&v, 10, 1, VSOCK_OP_SHUTDOWN, 3, NULL, 0);
	bool rst = false;
	for (int i = 0; i < 3 && !rst; i++)
		rst = receive(&v) && v.h.op == VSOCK_OP_RST;
	CHECK(rst);
	/* the host ends its direction; the guest goes on */
	fd = open_from_guest(&v, l, 11, 1);
	CHECK_EQ(write(fd, "bye", 3), 3);
	shutdown(fd, SHUT_WR);
	CHECK(expect(&v, VSOCK_OP_RW, 11, 1));
	CHECK(expect(&v, VSOCK_OP_SHUTDOWN, 11, 1));
	CHECK_EQ(v.h.flags, (uint32_t)VSOCK_SHUTDOWN_SEND);
	CHECK(!receive(&v));
	send_packet(&v, 11, 1, VSOCK_OP_RW, 0, "answer", 6);
	CHECK_EQ(read(fd, buf, sizeof(buf)), 6);
	CHECK(!receive(&v));
	close(fd); /* now altogether: the guest hears of it */
	CHECK(expect(&v, VSOCK_OP_SHUTDOWN, 11, 1));
	CHECK_EQ(v.h.flags, 3u);
	send_packet(&v, 11, 1, VSOCK_OP_RST, 0, NULL, 0);
	/* the guest closes with data that the host has not read yet: nothing is lost */
	static uint8_t big[60000];
	fd = open_from_guest(&v, l, 12, 1);
	for (int i = 0; i < 4; i++)
		send_packet(&v, 12, 1, VSOCK_OP_RW, 0, big, sizeof(big));
	send_packet(&v, 12, 1, VSOCK_OP_SHUTDOWN, 3, NULL, 0);
	CHECK(expect(&v, VSOCK_OP_RST, 12, 1));
	size_t total = 0;
	for (int i = 0; i < 1000; i++) {
		ssize_t n = read(fd, big, sizeof(big));
		guest_run(&v.g);
		if (n == 0)
			break;
		total += n > 0 ? (size_t)n : 0;
	}
	CHECK_EQ(total, 4 * sizeof(big));
	close(fd);
	close(l);
	vguest_done(&v);
}

static void hostile_packets(void)
{
	struct vguest v;
	char buf[64];
	REQUIRE(vguest_init(&v, 0));
	int l = listen_port(&v, 1), fd = open_from_guest(&v, l, 10, 1);
	/* data for nothing, an unknown op, a wrong type, a wrong CID */
	send_packet(&v, 77, 1, VSOCK_OP_RW, 0, "x", 1);
	CHECK(expect(&v, VSOCK_OP_RST, 77, 1));
	send_packet(&v, 77, 1, 1234, 0, NULL, 0);
	CHECK(expect(&v, VSOCK_OP_RST, 77, 1));
	send_packet(&v, 77, 1, VSOCK_OP_RST, 0, NULL, 0);
	CHECK(!receive(&v));
	struct vsock_header h = {.src_cid = 99,
		.dst_cid = 2,
		.src_port = 10,
		.dst_port = 1,
		.type = 1,
		.op = VSOCK_OP_RST};
	memcpy(guest_ptr(&v.g, v.tx_buf), &h, HDR);
	drv_transact(&v.g.q[TX], (struct buf[]){{v.tx_buf, HDR}}, 1, 1);
	CHECK(!receive(&v));
	h.src_cid = CID;
	h.dst_cid = 55;
	h.op = VSOCK_OP_REQUEST;
	memcpy(guest_ptr(&v.g, v.tx_buf), &h, HDR);
	drv_transact(&v.g.q[TX], (struct buf[]){{v.tx_buf, HDR}}, 1, 1);
	CHECK(receive(&v) && v.h.op == VSOCK_OP_RST && v.h.src_cid == 55);
	h.dst_cid = 2;
	h.type = VSOCK_TYPE_SEQPACKET;
	memcpy(guest_ptr(&v.g, v.tx_buf), &h, HDR);
	drv_transact(&v.g.q[TX], (struct buf[]){{v.tx_buf, HDR}}, 1, 1);
	CHECK(receive(&v) && v.h.op == VSOCK_OP_RST && v.h.type == 2);
	/* the honest connection lives */
	send_packet(&v, 10, 1, VSOCK_OP_RW, 0, "ok", 2);
	CHECK_EQ(read(fd, buf, sizeof(buf)), 2);
	/* more than the credit */
	static uint8_t big[TX_BYTES];
	bool rst = false;
	for (int i = 0; i < 12 && !rst; i++) {
		send_packet(&v, 10, 1, VSOCK_OP_RW, 0, big, sizeof(big));
		rst = receive(&v) && v.h.op == VSOCK_OP_RST;
	}
	CHECK(rst);
	close(fd);
	/* a second REQUEST, a RESPONSE to nothing asked */
	fd = open_from_guest(&v, l, 10, 1);
	send_packet(&v, 10, 1, VSOCK_OP_REQUEST, 0, NULL, 0);
	CHECK(expect(&v, VSOCK_OP_RST, 10, 1));
	close(fd);
	fd = open_from_guest(&v, l, 10, 1);
	send_packet(&v, 10, 1, VSOCK_OP_RESPONSE, 0, NULL, 0);
	CHECK(expect(&v, VSOCK_OP_RST, 10, 1));
	close(fd);
	CHECK(virtio_running(v.g.device));
	/* a length beyond the buffers: the device fails and works again after a reset */
	h.type = 1;
	h.len = 1000;
	memcpy(guest_ptr(&v.g, v.tx_buf), &h, HDR);
	drv_transact(&v.g.q[TX], (struct buf[]){{v.tx_buf, HDR}}, 1, 1);
	CHECK(!virtio_running(v.g.device));
	CHECK(guest_start(&v.g, 0));
	v.rx_posted = false;
	fd = open_from_guest(&v, l, 10, 1);
	CHECK(fd >= 0);
	close(fd);
	close(l);
	vguest_done(&v);
}

/* Resets that the guest does not take must not pile up: its packets wait instead. */
static void a_guest_that_takes_nothing(void)
{
	struct vguest v;
	REQUIRE(vguest_init(&v, 0));
	unsigned done = 0, resets = 0;
	uint32_t len;
	struct vsock_header h = {.src_cid = CID, .dst_cid = 2, .type = 1, .op = VSOCK_OP_RW};
	memcpy(guest_ptr(&v.g, v.tx_buf), &h, HDR);
	for (unsigned i = 0; i < 1000; i++) {
		drv_add(&v.g.q[TX], (struct buf[]){{v.tx_buf, HDR}}, 1, 1);
		drv_kick(&v.g.q[TX]);
		while (drv_used(&v.g.q[TX], &len) >= 0)
			done++;
	}
	CHECK(done >= 128 && done <= 128 + 16);
	while (receive(&v))
		resets++;
	while (drv_used(&v.g.q[TX], &len) >= 0)
		done++;
	CHECK_EQ(resets, done);
	CHECK(done > 128 + 8);
	vguest_done(&v);
}

static void a_thousand_connections(void)
{
	enum { N = 1000 };
	struct vguest v;
	static int fds[N];
	unsigned got = 0;
	REQUIRE(vguest_init(&v, VIRTIO_F_RING_PACKED));
	int l = listen_port(&v, 1);
	for (unsigned i = 0; i < N; i++) {
		fds[i] = open_from_guest(&v, l, 5000 + i, 1);
		REQUIRE(fds[i] >= 0);
	}
	for (unsigned i = 0; i < N; i++)
		CHECK_EQ(write(fds[i], &i, sizeof(i)), (ssize_t)sizeof(i));
	for (unsigned i = 0; i < 4 * N && got < N; i++) {
		unsigned n;
		if (!receive(&v) || v.h.op != VSOCK_OP_RW)
			continue;
		memcpy(&n, v.data, sizeof(n));
		CHECK_EQ(v.h.dst_port, 5000 + n);
		got++;
	}
	CHECK_EQ(got, (unsigned)N);
	for (unsigned i = 0; i < N; i++)
		send_packet(&v, 5000 + i, 1, VSOCK_OP_SHUTDOWN, 3, NULL, 0);
	got = 0;
	while (receive(&v))
		got += v.h.op == VSOCK_OP_RST;
	CHECK_EQ(got, (unsigned)N);
	char c;
	for (unsigned i = 0; i < N; i++) {
		CHECK_EQ(read(fds[i], &c, 1), 0);
		close(fds[i]);
	}
	close(l);
	vguest_done(&v);
}

static void restored_guest_is_told(void)
{
	struct vguest v;
	REQUIRE(vguest_init(&v, 0));
	int l = listen_port(&v, 1), fd = open_from_guest(&v, l, 10, 1);
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&sb);
	virtio_device_class(v.g.device)->state(virtio_device_impl(v.g.device), s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	s = state_new_restore(sb.data, sb.len);
	virtio_device_class(v.g.device)->state(virtio_device_impl(v.g.device), s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	uint64_t ev = guest_alloc(&v.g, 8);
	memset(guest_ptr(&v.g, ev), 0xff, 8);
	CHECK_EQ(drv_transact(&v.g.q[EVENT], (struct buf[]){{ev, 8}}, 0, 1), 4);
	CHECK_EQ(load_le32(guest_ptr(&v.g, ev)), 0u);
	char c;
	CHECK_EQ(read(fd, &c, 1), 0);
	close(fd);
	close(l);
	vguest_done(&v);
}

int main(void)
{
	RUN(connects_both_ways);
	RUN(refusals);
	RUN(no_way_out_without_a_path);
	RUN(echoes_100_mib);
	RUN(half_closes);
	RUN(hostile_packets);
	RUN(a_guest_that_takes_nothing);
	RUN(a_thousand_connections);
	RUN(restored_guest_is_told);
	return tap_done();
}
