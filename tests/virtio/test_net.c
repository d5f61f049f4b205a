// SPDX-License-Identifier: Apache-2.0
// The network device, driven by a guest's driver; the other end of its socket is the test.
#include <sys/socket.h>
#include <unistd.h>

#include "device/virtio/devices.h"
#include "net/frame.h"

#include "driver.h"

enum { RX, TX, CTRL, MTU = 65520, HDR = 12 };
#define F_GUEST_CSUM (UINT64_C(1) << 1)
#define F_MRG_RXBUF  (UINT64_C(1) << 15)
#define F_ALL	     (UINT64_C(0xffffff)) /* every feature of the device type that is offered */

static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static struct guest g;
static int peer;

static void start(uint64_t features)
{
	int pair[2];
	guest_init(&g);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) ||
		virtio_net_new(&g.device, g.memory, g.loop, pair[0], mac, MTU, NULL))
		abort();
	peer = pair[1];
	guest_start(&g, features);
}

static void stop(void)
{
	close(peer);
	guest_done(&g);
}

static bool needs_reset(void)
{
	return virtio_device_status(g.device) & VIRTIO_STATUS_NEEDS_RESET;
}

static void pattern(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 13 + (i >> 8) + seed);
	memcpy(p, mac, 6);
	store_be16(p + 12, 0x88b5); /* an experiment's EtherType */
}

/* A frame with its header, in guest memory. */
static uint64_t put_frame(const uint8_t *frame, size_t len)
{
	uint64_t at = guest_alloc(&g, HDR + len);
	memcpy((uint8_t *)guest_ptr(&g, at) + HDR, frame, len);
	return at;
}

static const size_t sizes[] = {14, 60, 61, 1514, 4082, 4096, 9000, MTU + 14};

static void transmits_on(const struct ring_kind *kind)
{
	static uint8_t frame[FRAME_MAX], got[FRAME_MAX + 1];
	start(F_ALL | kind->features);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		pattern(frame, sizes[i], (unsigned)i);
		uint64_t at = put_frame(frame, sizes[i]);
		/* Header and frame together, apart, and cut in the middle of the header. */
		const uint32_t cuts[] = {HDR, 5, HDR + 7};
		struct buf b[2] = {{at, cuts[i % 3]},
			{at + cuts[i % 3], (uint32_t)(HDR + sizes[i] - cuts[i % 3])}};
		CHECK_EQ(drv_transact(&g.q[TX], b, 2, 2), 0);
		CHECK_EQ(recv(peer, got, sizeof(got), 0), (ssize_t)sizes[i]);
		CHECK(!memcmp(got, frame, sizes[i]));
	}
	CHECK(g.queue_interrupts > 0);
	CHECK(!needs_reset());
	stop();
}

static void transmits(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(RINGS); i++)
		transmits_on(&RINGS[i]);
}

/* Receives with buffers of `bytes` each; the frame is put together again. */
static void receives_on(const struct ring_kind *kind, uint32_t bytes)
{
	static uint8_t frame[FRAME_MAX], got[FRAME_MAX + HDR];
	start((F_ALL & ~F_GUEST_CSUM) | kind->features);
	struct drv_queue *q = &g.q[RX];
	uint64_t addr[IDS], posted = 0;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (int id;; posted++) {
			uint64_t at = guest_alloc(&g, bytes);
			id = drv_add(q, (struct buf[]){{at, bytes}}, 0, 1);
			if (id < 0)
				break;
			addr[id] = at;
		}
		drv_kick(q);
		pattern(frame, sizes[i], (unsigned)i);
		CHECK_EQ(send(peer, frame, sizes[i], 0), (ssize_t)sizes[i]);
		guest_run(&g);
		size_t have = 0;
		unsigned buffers = 0, want = 1;
		uint32_t len;
		for (int id; (id = drv_used(q, &len)) >= 0; buffers++, have += len) {
			REQUIRE(len <= bytes && have + len <= sizeof(got));
			memcpy(got + have, guest_ptr(&g, addr[id]), len);
		}
		bool fits = HDR + sizes[i] <= bytes * posted;
		CHECK_EQ(have, fits ? HDR + sizes[i] : 0);
		if (have >= HDR)
			want = load_le16(got + 10);
		CHECK_EQ(buffers, fits ? want : 0);
		posted -= buffers;
		CHECK(!fits || !memcmp(got + HDR, frame, sizes[i]));
		if (!fits)
			break;
	}
	CHECK(!needs_reset());
	stop();
}

static void receives(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(RINGS); i++) {
		receives_on(&RINGS[i], 70000);
		receives_on(&RINGS[i], 4096);
		receives_on(&RINGS[i], 1536);
	}
	receives_on(&RINGS[0], 1); /* header and frame byte by byte, until it fits no more */
	receives_on(&RINGS[4], 7);
}

static void without_mergeable_buffers_a_frame_needs_one(void)
{
	uint8_t frame[2000];
	uint32_t len;
	start(F_ALL & ~F_MRG_RXBUF);
	uint64_t small = guest_alloc(&g, 1526), second = guest_alloc(&g, 1526);
	drv_add(&g.q[RX], (struct buf[]){{small, 1526}}, 0, 1);
	drv_add(&g.q[RX], (struct buf[]){{second, 1526}}, 0, 1);
	drv_kick(&g.q[RX]);
	pattern(frame, sizeof(frame), 1);
	send(peer, frame, sizeof(frame), 0); /* lost */
	send(peer, frame, 1514, 0);
	guest_run(&g);
	CHECK(drv_used(&g.q[RX], &len) >= 0);
	CHECK_EQ(len, 1526);
	CHECK_EQ(load_le16((uint8_t *)guest_ptr(&g, small) + 10), 1);
	CHECK_EQ(drv_used(&g.q[RX], &len), -1);
	CHECK(!needs_reset());
	stop();
}

static void a_frame_waits_for_buffers(void)
{
	uint8_t frame[100];
	uint32_t len;
	for (size_t i = 0; i < ARRAY_SIZE(RINGS); i++) {
		start(F_ALL | RINGS[i].features);
		for (unsigned n = 0; n < 10; n++) {
			pattern(frame, sizeof(frame), n);
			send(peer, frame, sizeof(frame), 0);
		}
		guest_run(&g);
		uint64_t at[10];
		for (unsigned n = 0; n < 10; n++) {
			at[n] = guest_alloc(&g, 200);
			drv_add(&g.q[RX], (struct buf[]){{at[n], 200}}, 0, 1);
			CHECK(drv_kick(&g.q[RX])); /* it wants to know */
			CHECK(drv_used(&g.q[RX], &len) >= 0);
			CHECK_EQ(len, HDR + sizeof(frame));
			pattern(frame, sizeof(frame), n);
			CHECK(!memcmp((uint8_t *)guest_ptr(&g, at[n]) + HDR, frame, sizeof(frame)));
		}
		stop();
	}
}

static void a_full_socket_holds_the_queue(void)
{
	enum { FRAMES = 400, LEN = 30000 };
	static uint8_t frame[LEN], got[LEN + 1];
	start(F_ALL | VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX);
	int bytes = 100000;
	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	uint64_t at[RING_SIZE];
	for (int i = 0; i < RING_SIZE; i++)
		at[i] = guest_alloc(&g, HDR + LEN);
	unsigned added = 0, done = 0, received = 0, most = 0;
	uint32_t len;
	for (int idle = 0; received < FRAMES && idle < 3;) {
		while (added < FRAMES && added - done < RING_SIZE - 1) {
			pattern(frame, LEN, added);
			memcpy((uint8_t *)guest_ptr(&g, at[added % RING_SIZE]) + HDR, frame, LEN);
			struct buf b = {at[added % RING_SIZE], HDR + LEN};
			REQUIRE(drv_add(&g.q[TX], &b, 1, 1) >= 0);
			added++;
		}
		drv_kick(&g.q[TX]);
		idle++;
		for (int i = 0; i < 3 && recv(peer, got, sizeof(got), 0) == LEN; i++, idle = 0) {
			pattern(frame, LEN, received++);
			CHECK(!memcmp(got, frame, LEN));
		}
		guest_run(&g);
		while (drv_used(&g.q[TX], &len) >= 0)
			done++;
		most = MAX(most, added - done);
	}
	CHECK_EQ(received, FRAMES);
	CHECK(most > RING_SIZE / 2); /* it did have to wait */
	stop();
}

/* An UDP packet to complete or to check; its checksum is left out. */
static size_t udp_packet(uint8_t *p)
{
	memset(p, 0, 60);
	memcpy(p, mac, 6);
	store_be16(p + 12, FRAME_TYPE_IPV4);
	memcpy(p + 14, "\x45\0\0\x2e\0\0\0\0\x40\x11\0\0\x0a\0\2\2\x0a\0\2\x0f", 20);
	store_be16(p + 34, 53);
	store_be16(p + 36, 4000);
	store_be16(p + 38, 26);
	memset(p + 42, 0x5a, 18);
	return 60;
}

static void completes_and_vouches_for_checksums(void)
{
	uint8_t frame[60], got[100];
	struct frame f;
	uint32_t len;
	start(F_ALL);
	size_t n = udp_packet(frame);
	uint8_t pseudo[12] = {10, 0, 2, 2, 10, 0, 2, 15, 0, 17, 0, 26};
	uint16_t sum = checksum_fold(checksum_add(0, pseudo, sizeof(pseudo)));
	memcpy(frame + 40, &sum, 2);
	uint64_t at = put_frame(frame, n);
	uint8_t *hdr = guest_ptr(&g, at);
	hdr[0] = 1; /* NEEDS_CSUM */
	store_le16(hdr + 6, 34);
	store_le16(hdr + 8, 6);
	CHECK_EQ(drv_transact(&g.q[TX], (struct buf[]){{at, (uint32_t)(HDR + n)}}, 1, 1), 0);
	CHECK_EQ(recv(peer, got, sizeof(got), 0), (ssize_t)n);
	CHECK(frame_parse(got, n, &f) && frame_checksum_valid(got, &f));
	/* Outside the frame: dropped. Not negotiated segmentation: dropped. */
	store_le16(hdr + 8, 25);
	CHECK_EQ(drv_transact(&g.q[TX], (struct buf[]){{at, (uint32_t)(HDR + n)}}, 1, 1), 0);
	store_le16(hdr + 6, 65535);
	CHECK_EQ(drv_transact(&g.q[TX], (struct buf[]){{at, (uint32_t)(HDR + n)}}, 1, 1), 0);
	hdr[0] = 0;
	hdr[1] = 1;
	CHECK_EQ(drv_transact(&g.q[TX], (struct buf[]){{at, (uint32_t)(HDR + n)}}, 1, 1), 0);
	uint8_t more[100];
	CHECK_EQ(recv(peer, more, sizeof(more), 0), -1);

	for (int good = 0; good < 2; good++) {
		uint64_t in = guest_alloc(&g, 200);
		drv_add(&g.q[RX], (struct buf[]){{in, 200}}, 0, 1);
		drv_kick(&g.q[RX]);
		got[50] ^= good ? 0 : 1;
		send(peer, got, n, 0);
		got[50] ^= good ? 0 : 1;
		guest_run(&g);
		CHECK(drv_used(&g.q[RX], &len) >= 0);
		CHECK_EQ(*(uint8_t *)guest_ptr(&g, in), good ? 2 : 0); /* DATA_VALID */
	}
	CHECK(!needs_reset());
	stop();
}

static uint16_t config_status(void)
{
	uint8_t config[12];
	virtio_device_config_read(g.device, 0, config, sizeof(config));
	CHECK(!memcmp(config, mac, 6));
	CHECK_EQ(load_le16(config + 10), MTU);
	return load_le16(config + 6);
}

static void link_goes_down_with_the_back_end(void)
{
	start(F_ALL);
	guest_run(&g);
	CHECK_EQ(config_status(), 1);
	CHECK_EQ(g.config_interrupts, 0);
	close(peer);
	guest_run(&g);
	CHECK_EQ(config_status(), 0);
	CHECK_EQ(g.config_interrupts, 1);
	uint8_t frame[60];
	pattern(frame, sizeof(frame), 0);
	/* What the guest still sends goes nowhere, and it gets its buffers back. */
	struct buf b = {put_frame(frame, sizeof(frame)), HDR + sizeof(frame)};
	for (int i = 0; i < 300; i++)
		CHECK_EQ(drv_transact(&g.q[TX], &b, 1, 1), 0);
	CHECK(!needs_reset());
	peer = -1;
	stop();
}

static int command(const void *bytes, uint32_t len)
{
	uint64_t at = guest_alloc(&g, len), ack = guest_alloc(&g, 1);
	memcpy(guest_ptr(&g, at), bytes, len);
	*(uint8_t *)guest_ptr(&g, ack) = 0xee;
	struct buf b[] = {{at, 2}, {at + 2, len - 2}, {ack, 1}};
	if (drv_transact(&g.q[CTRL], b, 2, 3) != 1)
		return -1;
	return *(uint8_t *)guest_ptr(&g, ack);
}

/* Whether a frame to that address reaches the guest. */
static bool reaches(const uint8_t to[6])
{
	uint8_t frame[60];
	uint32_t len;
	pattern(frame, sizeof(frame), 0);
	memcpy(frame, to, 6);
	send(peer, frame, sizeof(frame), 0);
	drv_add(&g.q[RX], (struct buf[]){{guest_alloc(&g, 100), 100}}, 0, 1);
	drv_kick(&g.q[RX]);
	return drv_used(&g.q[RX], &len) >= 0;
}

static void filters_as_the_driver_says(void)
{
	static const uint8_t other[6] = {2, 0, 0, 0, 0, 1}, multi[6] = {0x33, 0x33, 0, 0, 0, 1},
			     multi2[6] = {0x33, 0x33, 0, 0, 0, 2},
			     all[6] = {255, 255, 255, 255, 255, 255};
	uint8_t set[2 + 4 + 6 + 4 + 6] = {1, 0, 1, 0, 0, 0};
	memcpy(set + 6, other, 6);
	set[12] = 1;
	memcpy(set + 16, multi, 6);
	start(F_ALL);
	CHECK(reaches(mac) && reaches(other) && reaches(multi) && reaches(all));
	CHECK_EQ(command("\0\0\0", 3), 0); /* not promiscuous */
	CHECK(reaches(mac) && !reaches(other) && !reaches(multi) && reaches(all));
	CHECK_EQ(command(set, sizeof(set)), 0);
	CHECK(reaches(mac) && reaches(other) && reaches(multi) && !reaches(multi2));
	CHECK_EQ(command("\0\1\1", 3), 0); /* all multicast */
	CHECK(reaches(multi2));
	CHECK_EQ(command("\0\3\1\0", 4), 0); /* no multicast */
	CHECK(!reaches(multi));
	CHECK_EQ(command("\0\5\1", 3), 0); /* no broadcast */
	CHECK(!reaches(all));
	CHECK_EQ(command("\1\1\2\0\0\0\0\2", 8), 0); /* another MAC address */
	CHECK(reaches((const uint8_t[]){2, 0, 0, 0, 0, 2}) && !reaches(mac));
	/* More addresses than are kept: all of that kind. */
	static uint8_t many[2 + 4 + 6 * 65 + 4] = {1, 0, 65};
	CHECK_EQ(command(many, sizeof(many)), 0);
	CHECK(reaches(mac));
	/* Refused: unknown class and code, tables that are cut short or lie about their size. */
	CHECK_EQ(command("\4\0\1\0", 4), 1);
	CHECK_EQ(command("\0\6\1", 3), 1);
	CHECK_EQ(command("\1\1\2\0\0", 5), 1);
	CHECK_EQ(command(set, sizeof(set) - 1), 1);
	CHECK_EQ(command(set, 11), 1);
	CHECK_EQ(command("\1\0\xff\xff\xff\xff\0\0\0\0", 10), 1);
	CHECK(!needs_reset());
	stop();
}

static void hostile_chains_fail_the_device(void)
{
	for (int i = 0; i < 4; i++) {
		start(F_ALL | VIRTIO_F_INDIRECT_DESC);
		uint64_t at = guest_alloc(&g, 4096);
		struct buf b[] = {{at, 100}, {at + 100, 100}};
		if (i == 0) { /* a frame without its header */
			b[0].len = HDR - 1;
			drv_add(&g.q[TX], b, 1, 1);
		} else if (i == 1) { /* a frame to send with a part to write */
			drv_add(&g.q[TX], b, 1, 2);
		} else if (i == 2) { /* a receive buffer to read from */
			drv_add(&g.q[RX], b, 1, 2);
			send(peer, "01234567890123456789", 20, 0);
		} else { /* a command without room for its status */
			drv_add(&g.q[CTRL], b, 2, 2);
		}
		for (unsigned q = RX; q <= CTRL; q++)
			drv_kick(&g.q[q]);
		CHECK(needs_reset());
		CHECK_EQ(g.config_interrupts, 1);
		send(peer, "01234567890123456789", 20, 0);
		guest_run(&g); /* does not spin or touch memory */
		/* After a reset it works again. */
		guest_start(&g, F_ALL);
		CHECK(!needs_reset());
		uint8_t frame[60], got[64];
		pattern(frame, sizeof(frame), 9);
		struct buf ok = {put_frame(frame, sizeof(frame)), HDR + sizeof(frame)};
		CHECK_EQ(drv_transact(&g.q[TX], &ok, 1, 1), 0);
		CHECK_EQ(recv(peer, got, sizeof(got), 0), (ssize_t)sizeof(frame));
		stop();
	}
}

static void state_round_trip(void)
{
	struct strbuf saved = STRBUF_INIT, again = STRBUF_INIT;
	uint8_t frame[60], got[100];
	uint32_t len;
	start(F_ALL);
	CHECK_EQ(command("\0\0\0", 3), 0);
	CHECK_EQ(command("\1\1\2\0\0\0\0\2", 8), 0);
	pattern(frame, sizeof(frame), 3);
	memcpy(frame, "\2\0\0\0\0\2", 6);
	send(peer, frame, sizeof(frame), 0); /* waits for a buffer */
	guest_run(&g);
	struct state *s = state_new_save(&saved);
	virtio_device_state(g.device, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	s = state_new_restore(saved.data, saved.len);
	virtio_device_state(g.device, s); /* over what it was: as good as new */
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	s = state_new_save(&again);
	virtio_device_state(g.device, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	CHECK(saved.len == again.len && !memcmp(saved.data, again.data, saved.len));
	uint64_t at = guest_alloc(&g, 100);
	drv_add(&g.q[RX], (struct buf[]){{at, 100}}, 0, 1);
	drv_kick(&g.q[RX]);
	CHECK(drv_used(&g.q[RX], &len) >= 0);
	CHECK(!memcmp((uint8_t *)guest_ptr(&g, at) + HDR, frame, sizeof(frame)));
	CHECK(!reaches((const uint8_t[]){2, 0, 0, 0, 0, 1})); /* the filter came along */
	(void)got;
	/* Cut short anywhere: refused or taken, never worse. */
	for (size_t n = 0; n < saved.len; n += 7) {
		s = state_new_restore(saved.data, n);
		virtio_device_state(g.device, s);
		CHECK(state_finish(s, NULL) < 0);
		state_free(s);
	}
	strbuf_done(&saved);
	strbuf_done(&again);
	stop();
}

static void bad_configurations(void)
{
	struct virtio_device *d = NULL;
	guest_init(&g);
	CHECK(virtio_net_new(
		      &d, g.memory, g.loop, 0, (const uint8_t[]){1, 0, 0, 0, 0, 0}, 0, NULL) < 0);
	CHECK(virtio_net_new(
		      &d, g.memory, g.loop, 0, (const uint8_t[]){0, 0, 0, 0, 0, 0}, 0, NULL) < 0);
	CHECK(virtio_net_new(&d, g.memory, g.loop, 0, mac, 67, NULL) < 0);
	CHECK(virtio_net_new(&d, g.memory, g.loop, 0, mac, 65536, NULL) < 0);
	guest_done(&g);
}

int main(void)
{
	RUN(transmits);
	RUN(receives);
	RUN(without_mergeable_buffers_a_frame_needs_one);
	RUN(a_frame_waits_for_buffers);
	RUN(a_full_socket_holds_the_queue);
	RUN(completes_and_vouches_for_checksums);
	RUN(link_goes_down_with_the_back_end);
	RUN(filters_as_the_driver_says);
	RUN(hostile_chains_fail_the_device);
	RUN(state_round_trip);
	RUN(bad_configurations);
	return tap_done();
}
