// SPDX-License-Identifier: Apache-2.0
// The socket device between a guest that sends what it likes and a host that comes and goes. Steps
// of an opcode byte and its arguments: packets (fields from small sets, so that they meet), receive
// buffers, the host's connects, writes, reads, half and whole closes, resets of the device.
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "device/virtio/devices.h"
#include "device/virtio/vsock_packet.h"
#include "virtio/driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { HOSTS = 4 };

static int listen_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 8))
		abort();
	return fd;
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		cleanup_close_fd(&fd);
	return fd;
}

struct run {
	struct guest g;
	uint64_t tx, rx, rx_at[IDS];
	unsigned rx_next;
	int listener, hosts[HOSTS];
	uint32_t last_port; /* the host's, of the last packet */
	char path[64];
};

static uint8_t next(const uint8_t **p, const uint8_t *end)
{
	return *p < end ? *(*p)++ : 0;
}

static void packet(struct run *r, const uint8_t **p, const uint8_t *end)
{
	static const uint32_t sizes[] = {0, 1, 100, 4000, 65536, 262144, UINT32_MAX, 1 << 31};
	uint8_t a = next(p, end), b = next(p, end), c = next(p, end);
	struct vsock_header h = {
		.src_cid = a & 0x80 ? 9 : 3,
		.dst_cid = a & 0x40 ? 9 : 2,
		.src_port = a & 3,
		.dst_port = a & 4 ? r->last_port : 1,
		.type = a & 0x20 ? 2 : 1,
		.op = b & 15,
		.flags = b >> 4,
		.buf_alloc = sizes[c & 7],
		.fwd_cnt = sizes[c >> 3 & 7] & 0xffff,
	};
	uint32_t len = h.op == VSOCK_OP_RW ? (c >> 6) * 20000u : 0;
	h.len = c == 0xff ? 70000 : len;
	memcpy(guest_ptr(&r->g, r->tx), &h, sizeof(h));
	drv_add(&r->g.q[1], (struct buf[]){{r->tx, sizeof(h)}, {r->tx + 64, MAX(len, 1u)}},
		len ? 2 : 1, len ? 2 : 1);
	drv_kick(&r->g.q[1]);
}

static void receive(struct run *r, uint8_t kind)
{
	uint32_t len;
	uint32_t size = kind & 8 ? 20 : kind & 4 ? 44 : 4096;
	uint64_t at = r->rx + (r->rx_next++ % IDS) * 4096;
	int id = drv_add(&r->g.q[0], (struct buf[]){{at, size}}, 0, 1);
	if (id >= 0)
		r->rx_at[id] = at;
	drv_kick(&r->g.q[0]);
	while ((id = drv_used(&r->g.q[0], &len)) >= 0) {
		struct vsock_header h;
		memcpy(&h, guest_ptr(&r->g, r->rx_at[id]), sizeof(h));
		if (len < sizeof(h) || len != sizeof(h) + h.len || h.dst_cid != 3)
			abort();
		r->last_port = h.src_port;
	}
}

static void host(struct run *r, uint8_t what)
{
	int *fd = &r->hosts[what & 3];
	static char bytes[100000];
	switch (what >> 2 & 7) {
	case 0:
		if (*fd < 0)
			*fd = connect_to(r->path);
		if (*fd >= 0 && send(*fd, "CONNECT 1\n", what & 64 ? 10 : 4, MSG_NOSIGNAL) < 0)
			cleanup_close_fd(fd);
		break;
	case 1:
		if (*fd < 0)
			*fd = accept4(r->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		break;
	case 2:
		if (*fd >= 0 && send(*fd, bytes, what & 64 ? sizeof(bytes) : 10, MSG_NOSIGNAL) < 0)
			errno = 0;
		break;
	case 3:
		if (*fd >= 0 && recv(*fd, bytes, sizeof(bytes), MSG_DONTWAIT) < 0)
			errno = 0;
		break;
	case 4:
		if (*fd >= 0)
			shutdown(*fd, what & 64 ? SHUT_WR : SHUT_RD);
		break;
	default:
		cleanup_close_fd(fd);
		*fd = -1;
	}
	guest_run(&r->g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct run r = {.hosts = {-1, -1, -1, -1}};
	const uint8_t *p = data, *end = data + len;
	char port_path[80];
	snprintf(r.path, sizeof(r.path), "/tmp/strata-fuzz-vsock-%d", (int)getpid());
	snprintf(port_path, sizeof(port_path), "%s_1", r.path);
	r.listener = listen_at(port_path);
	guest_init(&r.g);
	uint64_t features = RINGS[next(&p, end) % ARRAY_SIZE(RINGS)].features;
	if (virtio_vsock_new(
		    &r.g.device, r.g.memory, r.g.loop, 3, listen_at(r.path), r.path, NULL) ||
		!guest_start(&r.g, features))
		abort();
	r.tx = guest_alloc(&r.g, 80000);
	r.rx = guest_alloc(&r.g, IDS * 4096);
	for (int i = 0; i < 200 && p < end; i++) {
		uint8_t op = next(&p, end);
		uint32_t used;
		while (drv_used(&r.g.q[1], &used) >= 0)
			;
		if ((op & 3) == 0)
			packet(&r, &p, end);
		else if ((op & 3) == 1)
			receive(&r, op >> 2);
		else if ((op & 3) == 2)
			host(&r, next(&p, end));
		else if (op == 0xff)
			guest_start(&r.g, features);
	}
	guest_done(&r.g);
	for (int i = 0; i < HOSTS; i++)
		cleanup_close_fd(&r.hosts[i]);
	close(r.listener);
	unlink(r.path);
	unlink(port_path);
	return 0;
}
