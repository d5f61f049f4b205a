// SPDX-License-Identifier: Apache-2.0
// A guest that writes nonsense into every device register, from two CPUs at once, with nonsense in
// its memory: the monitor goes on, the machine can still be paused, saved and taken apart.
// HAMMER_SEED and HAMMER_ROUNDS change what is tried.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "tap.h"
#include "vm/internal.h"

enum { ROUNDS = 60000, THREADS = 2, DEVICES = 6 };
#define RAM_BASE UINT64_C(0x80000000)
#define RAM	 (64 * MiB)
#define ECAM	 UINT64_C(0x30000000)
#define WINDOW	 UINT64_C(0x40000000)

/* Where rings and junk lie: small, so that they meet. */
#define PLAYGROUND	 (RAM_BASE + 32 * MiB)
#define PLAYGROUND_BYTES MiB

static uint64_t seed = 1;
static unsigned rounds = ROUNDS;

static uint64_t next(uint64_t *s) /* xorshift64* */
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * UINT64_C(2685821657736338717);
}

/* Where devices are: base, bytes. */
static const struct {
	uint64_t base, bytes;
} areas[] = {
	{0x00101000, 0x1000},	/* clock */
	{0x0c000000, 0x400000}, /* PLIC, all of it */
	{0x0c000000, 0x2200},	/* and its registers */
	{0x0c200000, 0x3000},
	{0x10000000, 0x100}, /* serial port */
	{0x10000000, 8},
	{ECAM, 0x100000}, /* PCI configuration */
	{ECAM + 0x8000, 0x40000},
	{WINDOW, 0x80000}, /* where the BARs are */
	{WINDOW, 0x40000000},
	{UINT64_C(0x10000000000), 0x1000000},
	{0, UINT64_MAX},
};

struct hammer {
	struct vm *vm;
	uint64_t seed;
	uint64_t answered;
};

static uint64_t value_for(uint64_t *s)
{
	switch (next(s) % 8) {
	case 0:
		return next(s);
	case 1:
		return 0;
	case 2:
		return UINT64_MAX;
	case 3:
		return PLAYGROUND + next(s) % PLAYGROUND_BYTES; /* a place for a ring */
	case 4:
		return UINT64_C(1) << next(s) % 64;
	case 5:
		return 0x0f; /* DRIVER_OK and all before it */
	default:
		return next(s) % 300;
	}
}

/* What a driver does to make a virtio device listen, with nonsense in between. The layout of the
 * BAR is that of device/virtio/transport_pci.c: common configuration first. */
static void set_up_queue(struct bus *bus, uint64_t *s)
{
	uint64_t bar = WINDOW + next(s) % DEVICES * 0x10000, offered = 0;
	for (unsigned status = 0; status <= 3; status = 2 * status + 1)
		bus_write(bus, GPA(bar + 0x14), 1, status);
	for (unsigned half = 0; half < 2; half++) {
		bus_write(bus, GPA(bar + 0x00), 4, half);
		bus_read(bus, GPA(bar + 0x04), 4, &offered);
		bus_write(bus, GPA(bar + 0x08), 4, half);
		bus_write(bus, GPA(bar + 0x0c), 4, offered & (next(s) | half));
	}
	bus_write(bus, GPA(bar + 0x14), 1, 0x0b);
	for (unsigned q = 0; q < 3; q++) {
		bus_write(bus, GPA(bar + 0x16), 2, q);
		bus_write(bus, GPA(bar + 0x18), 2, UINT64_C(1) << next(s) % 9);
		for (unsigned at = 0x20; at < 0x38; at += 8) {
			uint64_t ring =
				PLAYGROUND + (next(s) % PLAYGROUND_BYTES & ~UINT64_C(0xfff));
			bus_write(bus, GPA(bar + at), 4, ring);
			bus_write(bus, GPA(bar + at + 4), 4, ring >> 32);
		}
		bus_write(bus, GPA(bar + 0x1c), 2, 1);
	}
	bus_write(bus, GPA(bar + 0x14), 1, 0x0f);
	for (unsigned i = 0; i < 8; i++)
		bus_write(bus, GPA(bar + 0x3000 + 4 * (next(s) % 8)), 2, next(s) % 3);
}

/* Races with the devices that read it: as guests do, and not seen by the thread sanitizer. */
__attribute__((no_sanitize("thread"))) static void scribble(struct memory *m, uint64_t *s)
{
	enum { WORDS = 64 };
	uint64_t at = next(s) % (PLAYGROUND_BYTES - 8 * WORDS) & ~UINT64_C(15);
	volatile uint64_t *to = memory_write_ptr(m, GPA(PLAYGROUND + at), 8 * WORDS);
	for (unsigned i = 0; to && i < WORDS; i++)
		to[i] = value_for(s);
}

static void *hammer(void *opaque)
{
	struct hammer *h = opaque;
	struct bus *bus = h->vm->board->bus;
	uint64_t *s = &h->seed, value;
	for (unsigned i = 0; i < rounds; i++) {
		unsigned a = (unsigned)(next(s) % ARRAY_SIZE(areas));
		gpa_t at = GPA(areas[a].base + next(s) % areas[a].bytes);
		unsigned bytes = next(s) % 16 ? 1u << next(s) % 4 : (unsigned)(next(s) % 9);
		if (next(s) % 4)
			at.v &= ~(uint64_t)(bytes ? bytes - 1 : 0);
		if (at.v >= RAM_BASE && at.v < RAM_BASE + RAM)
			continue;
		if (next(s) & 1)
			h->answered += bus_read(bus, at, bytes, &value);
		else
			h->answered += bus_write(bus, at, bytes, value_for(s));
		if (i % 64 == 0)
			scribble(h->vm->board->memory, s);
		if (i % 256 == 0)
			set_up_queue(bus, s);
	}
	return NULL;
}

/* Memory decoding on and BARs in a row, as an operating system leaves them. */
static void place_bars(struct bus *bus)
{
	for (unsigned d = 0; d < DEVICES; d++) {
		uint64_t config = ECAM + ((d + 1) << 15);
		bus_write(bus, GPA(config + 0x10), 4, WINDOW + d * 0x10000);
		bus_write(bus, GPA(config + 0x04), 2, 6);
	}
}

static void on_ended(void *opaque, enum vm_end end, const char *reason)
{
}

/* A kernel that waits for interrupts: wfi; j -4. */
static int idle_kernel(void)
{
	uint8_t image[4096] = {0};
	store_le32(image, 0x10500073);
	store_le32(image + 4, 0xffdff06f);
	store_le64(image + 16, sizeof(image));
	store_le32(image + 32, 2);
	memcpy(image + 48, "RISCV", 5);
	memcpy(image + 56, "RSC\x05", 4);
	int fd = memfd_create("kernel", MFD_CLOEXEC);
	CHECK_EQ(write(fd, image, sizeof(image)), (ssize_t)sizeof(image));
	return fd;
}

static int sized(off_t bytes)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	CHECK_EQ(ftruncate(fd, bytes), 0);
	return fd;
}

static void *far_side(void *opaque) /* of the network cable: reads and echoes */
{
	int fd = *(int *)opaque;
	uint8_t frame[2048];
	ssize_t n;
	while ((n = recv(fd, frame, sizeof(frame), 0)) > 0)
		send(fd, frame, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	return NULL;
}

static void nonsense_in_every_register(void)
{
	struct error err _error_ = ERROR_INIT;
	struct loop *loop;
	struct vm *vm;
	int frames[2];
	char dir[] = "/tmp/strata-hammer-XXXXXX";
	REQUIRE(mkdtemp(dir) && loop_new(&loop, NULL) == 0);
	REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, frames) == 0);
	fcntl(frames[0], F_SETFL, O_NONBLOCK);
	struct vm_config config = {.arch = "riscv64",
		.cpus = 2,
		.memory_bytes = RAM,
		.kernel_fd = idle_kernel(),
		.cmdline = "",
		.disks = {{.path = "a", .fd = sized(MiB)},
			{.path = "b", .fd = sized(MiB), .readonly = true}},
		.disk_count = 2,
		.shares = {{.tag = "share", .dir_fd = open(dir, O_PATH | O_CLOEXEC)}},
		.share_count = 1,
		.net_fd = frames[0],
		.mac = {0x52, 0x54, 0, 1, 2, 3},
		.vsock_listen_fd = -1,
		.console_in_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC),
		.console_out_fd = -1};
	int r = vm_new(&vm, &config, loop, on_ended, NULL, &err);
	CHECK_STR(err.message ? err.message : "", "");
	REQUIRE(r == 0 && vm_start(vm, NULL) == 0);
	place_bars(vm->board->bus);
	pthread_t echo, threads[THREADS];
	struct hammer h[THREADS];
	pthread_create(&echo, NULL, far_side, &frames[1]);
	for (unsigned i = 0; i < THREADS; i++) {
		h[i] = (struct hammer){vm, seed * 1000 + i + 1, 0};
		pthread_create(&threads[i], NULL, hammer, &h[i]);
	}
	void *unused;
	while (pthread_tryjoin_np(threads[0], &unused))
		loop_once(loop, 1, NULL);
	while (pthread_tryjoin_np(threads[1], &unused))
		loop_once(loop, 1, NULL);
	CHECK(h[0].answered > rounds / 2);
	/* And in peace, so that devices get to see rings full of nonsense. */
	place_bars(vm->board->bus);
	for (unsigned i = 0; i < 200; i++) {
		scribble(vm->board->memory, &h[0].seed);
		set_up_queue(vm->board->bus, &h[0].seed);
		loop_once(loop, 1, NULL);
	}
	/* Everything still answers. */
	uint64_t v = 0;
	CHECK(bus_read(vm->board->bus, GPA(ECAM + 0x8000), 4, &v) && (v & 0xffff) == 0x1af4);
	vm_pause(vm);
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&sb);
	vm_state(vm, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	CHECK(sb.len > 1000);
	vm_resume(vm);
	vm_free(vm);
	shutdown(frames[1], SHUT_RDWR);
	pthread_join(echo, NULL);
	close(frames[1]);
	loop_free(loop);
	char *rm _free_ = xasprintf("rm -rf %s", dir);
	CHECK_EQ(system(rm), 0);
}

static _Atomic unsigned complaints;

static void on_log(void *opaque, enum log_level level, const char *message)
{
	if (complaints++ < 10 && getenv("HAMMER_VERBOSE"))
		printf("# %s\n", message);
}

int main(void)
{
	log_set_sink(on_log, NULL, LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	if (getenv("HAMMER_SEED"))
		seed = strtoull(getenv("HAMMER_SEED"), NULL, 0);
	if (getenv("HAMMER_ROUNDS"))
		rounds = (unsigned)strtoul(getenv("HAMMER_ROUNDS"), NULL, 0);
	RUN(nonsense_in_every_register);
	/* The devices have seen rings full of nonsense, not only registers. */
	CHECK(complaints > 0);
	printf("# %u complaints of devices\n", complaints);
	return tap_done();
}
