// SPDX-License-Identifier: Apache-2.0
// The network device under a driver that does anything: the input is a list of steps that write
// into its rings, notify, reset, and send frames from the other side.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/virtio/devices.h"

#include "virtio/driver.h"

enum { STEPS_MAX = 200, DATA_BYTES = 1 << 16 };

struct input {
	const uint8_t *p;
	size_t left;
};

static uint8_t byte(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

static uint16_t word(struct input *in)
{
	uint16_t low = byte(in);
	return (uint16_t)(low | byte(in) << 8);
}

static struct guest g;
static int peer;
static uint64_t data_at;

static void set_up(void)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	int pair[2];
	guest_init(&g);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) ||
		virtio_net_new(&g.device, g.memory, g.loop, pair[0], mac, 65520, NULL))
		abort();
	peer = pair[1];
	data_at = guest_alloc(&g, DATA_BYTES);
}

/* A length that is often sensible. */
static uint32_t some_length(struct input *in)
{
	static const uint32_t usual[] = {0, 1, 2, 3, 11, 12, 13, 26, 60, 1526, 4096, 0xffffffff};
	uint8_t pick = byte(in);
	return pick < 64 ? usual[pick % 12] : word(in);
}

static void add_chain(struct input *in, struct drv_queue *q)
{
	struct buf b[4];
	unsigned n = 1 + byte(in) % 4, out = byte(in) % (n + 1);
	for (unsigned i = 0; i < n; i++) {
		b[i].addr = data_at + word(in);
		b[i].len = some_length(in);
		if (byte(in) == 0xff)
			b[i].addr = (uint64_t)word(in) << 48 | word(in);
	}
	q->use_indirect = q->indirect && (byte(in) & 1);
	if (!q->use_indirect || n <= 4)
		drv_add(q, b, out, n);
}

static void step(struct input *in)
{
	uint8_t frame[2048], config[16];
	struct drv_queue *q = &g.q[byte(in) % 3];
	const uint64_t areas[] = {q->desc, q->driver, q->device, q->tables};
	uint32_t len;
	switch (byte(in) % 8) {
	case 0: /* anything anywhere in the rings */
		*(uint8_t *)guest_ptr(&g, areas[byte(in) % 4] + word(in) % 1024) = byte(in);
		break;
	case 1:
		add_chain(in, q);
		break;
	case 2:
		drv_kick(q);
		break;
	case 3: /* notified or not, it may look */
		virtio_device_notify(g.device, q->index);
		guest_run(&g);
		break;
	case 4:
		len = word(in) % sizeof(frame);
		memset(frame, byte(in), sizeof(frame));
		frame[12] = 8;
		frame[13] = byte(in);
		if (len && send(peer, frame, len, 0) >= 0)
			guest_run(&g);
		break;
	case 5:
		while (recv(peer, frame, sizeof(frame), 0) > 0)
			;
		while (drv_used(q, &len) >= 0)
			;
		break;
	case 6:
		len = word(in) % 64;
		for (uint32_t i = 0; i < len; i++)
			((uint8_t *)guest_ptr(&g, data_at))[i] = byte(in);
		break;
	case 7:
		virtio_device_config_read(g.device, word(in), config, 1 + byte(in) % 16);
		virtio_queue_ask_reset(g.device, q->index);
		guest_run(&g);
		if (byte(in) & 1)
			drv_setup(&g, q->index, (uint16_t)(1 + byte(in) % RING_SIZE));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t drain[65536];
	if (!g.device)
		set_up();
	while (recv(peer, drain, sizeof(drain), 0) > 0)
		;
	memset(guest_ptr(&g, data_at), 0, DATA_BYTES);
	uint64_t features = (uint64_t)word(&in) << 20 | word(&in) | (uint64_t)byte(&in) << 16;
	if (!guest_start(&g, features))
		return 0;
	for (int i = 0; i < STEPS_MAX && in.left; i++)
		step(&in);
	return 0;
}
