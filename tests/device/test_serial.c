// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/serial.h"
#include "tap.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };
#define BASE UINT64_C(0x10000000)

static struct bus *bus;
static struct loop *loop;
static struct serial *port;
static int far_in, far_out; /* our ends of the cable */
static bool irq;

static void on_irq(void *opaque, unsigned n, bool level)
{
	irq = level;
}
static uint8_t rd(unsigned reg)
{
	uint64_t v = 0;
	CHECK(bus_read(bus, GPA(BASE + reg), 1, &v));
	return (uint8_t)v;
}
static void wr(unsigned reg, uint8_t v)
{
	CHECK(bus_write(bus, GPA(BASE + reg), 1, v));
}
static void turn(void)
{
	for (int i = 0; i < 3; i++)
		loop_once(loop, 5, NULL);
}

static void setup(void)
{
	int in[2], out[2];
	if (pipe2(in, O_CLOEXEC | O_NONBLOCK) || pipe2(out, O_CLOEXEC | O_NONBLOCK) ||
		loop_new(&loop, NULL) || bus_new(&bus, NULL))
		exit(1);
	struct serial_config config = {
		.base = GPA(BASE), .irq = {on_irq, NULL, 0}, .in_fd = in[0], .out_fd = out[1]};
	if (serial_new(&port, bus, loop, &config, NULL))
		exit(1);
	far_in = out[0];
	far_out = in[1];
	irq = false;
}
static void teardown(void)
{
	serial_free(port);
	bus_free(bus);
	loop_free(loop);
	close(far_in);
	close(far_out);
}

static void output_arrives_in_order(void)
{
	setup();
	char got[64] = "";
	CHECK_EQ(rd(LSR), 0x60);
	for (const char *s = "hello, world"; *s; s++)
		wr(DATA, (uint8_t)*s);
	CHECK_EQ(serial_put(port, "!", 1), 1u);
	turn();
	CHECK_EQ(read(far_in, got, sizeof(got) - 1), 13);
	CHECK_STR(got, "hello, world!");
	teardown();
}

static void input_interrupts(void)
{
	setup();
	wr(IIR, 0xc1); /* FIFO on, trigger 14 */
	CHECK_EQ(rd(IIR), 0xc1);
	wr(IER, 1);
	CHECK(!irq);
	CHECK_EQ(write(far_out, "ab", 2), 2);
	turn();
	CHECK(irq);
	CHECK_EQ(rd(IIR), 0xcc); /* below the trigger level: time-out */
	CHECK_EQ(rd(LSR), 0x61);
	CHECK_EQ(rd(DATA), 'a');
	CHECK(irq);
	CHECK_EQ(rd(DATA), 'b');
	CHECK(!irq);
	CHECK_EQ(rd(LSR), 0x60);
	CHECK_EQ(write(far_out, "0123456789abcdef", 16), 16);
	turn();
	CHECK_EQ(rd(IIR), 0xc4);
	wr(IIR, 0xc3); /* clears what was received */
	CHECK_EQ(rd(LSR), 0x60);
	CHECK(!irq);
	teardown();
}

static void transmitter_interrupt(void)
{
	setup();
	wr(IER, 2);
	CHECK(irq); /* it is empty when it is enabled */
	CHECK_EQ(rd(IIR), 0x02);
	CHECK(!irq); /* reading it was the acknowledgement */
	CHECK_EQ(rd(IIR), 0x01);
	wr(DATA, 'x');
	CHECK(irq);
	wr(IER, 0);
	CHECK(!irq);
	teardown();
}

static void a_slow_reader_makes_the_transmitter_busy(void)
{
	setup();
	unsigned sent = 0;
	while (rd(LSR) & 0x20 && sent < 1 << 20) {
		wr(DATA, (uint8_t)sent++);
		if (sent % 1000 == 0)
			turn();
	}
	CHECK(sent > 65536 && sent < 1 << 20); /* the pipe's and the port's buffer */
	wr(IER, 2);
	CHECK(!irq);
	uint8_t chunk[4096];
	unsigned got = 0;
	bool right = true;
	for (int idle = 0; got < sent && idle < 20;) {
		ssize_t n = read(far_in, chunk, sizeof(chunk));
		idle = n > 0 ? 0 : idle + 1;
		for (ssize_t i = 0; i < n; i++)
			right &= chunk[i] == (uint8_t)got++;
		turn();
	}
	CHECK_EQ(got, sent);
	CHECK(right);
	CHECK(irq && rd(LSR) & 0x20);
	teardown();
}

static void a_flood_of_input_waits(void)
{
	setup();
	char bytes[3000];
	memset(bytes, 'z', sizeof(bytes));
	CHECK_EQ(write(far_out, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
	turn();
	unsigned got = 0;
	for (int idle = 0; idle < 10;) {
		if (rd(LSR) & 1) {
			got += rd(DATA) == 'z';
			idle = 0;
		} else {
			turn();
			idle++;
		}
	}
	CHECK_EQ(got, 3000u);
	teardown();
}

static void a_reader_that_is_gone_stops_nothing(void)
{
	setup();
	signal(SIGPIPE, SIG_IGN);
	close(far_in);
	far_in = -1;
	for (int i = 0; i < 200000; i++) {
		wr(DATA, 'x');
		if (i % 1000 == 0)
			turn();
	}
	turn();
	CHECK_EQ(rd(LSR) & 0x20, 0x20);
	close(far_out); /* end of input */
	far_out = -1;
	turn();
	CHECK_EQ(rd(LSR) & 1, 0);
	teardown();
}

static void loopback_and_modem_lines(void)
{
	setup();
	CHECK_EQ(rd(MSR) & 0xf0, 0xb0);
	wr(MCR, 0x1a); /* loop, OUT2, RTS: as Linux probes */
	CHECK_EQ(rd(MSR) & 0xf0, 0x90);
	CHECK_EQ(rd(MSR) & 0x0f, 0); /* deltas were read */
	wr(DATA, 'L');
	CHECK_EQ(rd(LSR) & 1, 1);
	CHECK_EQ(rd(DATA), 'L');
	wr(MCR, 0);
	turn();
	char c;
	CHECK(read(far_in, &c, 1) < 0); /* it never went out */
	teardown();
}

static void divisor_and_scratch(void)
{
	setup();
	wr(LCR, 0x83);
	wr(DATA, 0x34);
	wr(IER, 0x12);
	CHECK_EQ(rd(DATA), 0x34);
	CHECK_EQ(rd(IER), 0x12);
	wr(LCR, 0x03);
	CHECK_EQ(rd(IER), 0);
	CHECK_EQ(rd(DATA), 0);
	wr(SCR, 0xa5);
	CHECK_EQ(rd(SCR), 0xa5);
	teardown();
}

static void state_round_trip(void)
{
	setup();
	wr(IER, 1);
	wr(SCR, 0x77);
	CHECK_EQ(write(far_out, "qr", 2), 2);
	turn();
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&sb);
	serial_state(port, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	teardown();

	setup();
	s = state_new_restore(sb.data, sb.len);
	serial_state(port, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	CHECK(irq);
	CHECK_EQ(rd(SCR), 0x77);
	CHECK_EQ(rd(DATA), 'q');
	CHECK_EQ(rd(DATA), 'r');
	CHECK(!irq);
	/* A hostile length is refused. */
	for (size_t i = 0; i + 4 < sb.len; i++) {
		sb.data[i] ^= (char)0xff;
		s = state_new_restore(sb.data, sb.len);
		serial_state(port, s);
		state_free(s);
		sb.data[i] ^= (char)0xff;
		for (unsigned r = 0; r < 8; r++)
			rd(r);
	}
	teardown();
}

static void one_socket_for_both_directions_and_plain_files(void)
{
	int pair[2];
	uint64_t v;
	char c = 0;
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	REQUIRE(loop_new(&loop, NULL) == 0 && bus_new(&bus, NULL) == 0);
	struct serial_config config = {.base = GPA(BASE), .in_fd = pair[0], .out_fd = pair[0]};
	REQUIRE(serial_new(&port, bus, loop, &config, NULL) == 0);
	CHECK_EQ(write(pair[1], "i", 1), 1);
	wr(DATA, 'o');
	turn();
	CHECK_EQ(rd(DATA), 'i');
	CHECK_EQ(read(pair[1], &c, 1), 1);
	CHECK_EQ(c, 'o');
	serial_free(port);
	close(pair[1]);

	int in = open("/dev/null", O_RDONLY | O_CLOEXEC),
	    out = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	int look = dup(out);
	config = (struct serial_config){.base = GPA(BASE), .in_fd = in, .out_fd = out};
	REQUIRE(serial_new(&port, bus, loop, &config, NULL) == 0);
	wr(DATA, 'f');
	turn();
	CHECK_EQ(pread(look, &c, 1, 0), 1);
	CHECK_EQ(c, 'f');
	CHECK(bus_read(bus, GPA(BASE + LSR), 1, &v) && !(v & 1));
	serial_free(port);
	close(look);

	/* No cable at all. */
	config = (struct serial_config){.base = GPA(BASE), .in_fd = -1, .out_fd = -1};
	REQUIRE(serial_new(&port, bus, loop, &config, NULL) == 0);
	for (int i = 0; i < 100000; i++) {
		wr(DATA, 'x');
		if (i % 10000 == 0)
			turn();
	}
	turn();
	CHECK(rd(LSR) & 0x20);
	serial_free(port);
	bus_free(bus);
	loop_free(loop);
}

static void a_log_keeps_its_newest_part(void)
{
	enum { LIMIT = 64 * 1024, LINES = 312 * 64 };
	FILE *file = tmpfile();
	struct serial *log;
	setup();
	struct serial_config config = {.base = GPA(BASE + SERIAL_BYTES),
		.irq = {on_irq, NULL, 0},
		.in_fd = -1,
		.out_fd = dup(fileno(file)),
		.log_bytes = LIMIT};
	CHECK_EQ(serial_new(&log, bus, loop, &config, NULL), 0);
	for (unsigned i = 0; i < LINES; i++) {
		char line[16];
		int n = snprintf(line, sizeof(line), "line %05u\n", i);
		CHECK_EQ(serial_put(log, line, (size_t)n), (size_t)n);
		if (i % 64 == 63) {
			serial_flush(log, 100);
			CHECK(lseek(fileno(file), 0, SEEK_END) <= LIMIT);
		}
	}
	serial_free(log);
	static char text[LIMIT + 1];
	long bytes = pread(fileno(file), text, LIMIT, 0);
	CHECK(bytes >= LIMIT / 2 - 4096);
	CHECK(!strcmp(text + bytes - 11, "line 19967\n"));
	bool whole = true; /* nothing is missing inside */
	for (long at = 0, end = bytes / 11 - 1; at < end; at++) {
		const char *line = text + bytes - 11 * (at + 1);
		whole &= strtol(line + 5, NULL, 10) == LINES - 1 - at;
	}
	CHECK(whole);
	fclose(file);
	teardown();
}

int main(void)
{
	RUN(output_arrives_in_order);
	RUN(input_interrupts);
	RUN(transmitter_interrupt);
	RUN(a_slow_reader_makes_the_transmitter_busy);
	RUN(a_flood_of_input_waits);
	RUN(a_reader_that_is_gone_stops_nothing);
	RUN(loopback_and_modem_lines);
	RUN(divisor_and_scratch);
	RUN(state_round_trip);
	RUN(a_log_keeps_its_newest_part);
	RUN(one_socket_for_both_directions_and_plain_files);
	return tap_done();
}
