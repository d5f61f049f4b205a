// SPDX-License-Identifier: Apache-2.0
#include "tap.h"
#include "os/relay.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static struct loop *loop;
static struct {
	int calls;
	enum relay_end end;
} ended;

static void on_done(void *opaque, enum relay_end end, int code)
{
	ended.calls++;
	ended.end = end;
}

static void run_to_end(void)
{
	for (int i = 0; i < 100 && !ended.calls; i++)
		loop_once(loop, 100, NULL);
}

static struct relay *start(int from, int to)
{
	struct relay *r = NULL;
	struct relay_config c = {.from = from, .to = to, .done = on_done};
	memset(&ended, 0, sizeof(ended));
	CHECK_EQ(relay_new(&r, loop, &c, NULL), 0);
	return r;
}

static void copies_to_the_end_with_back_pressure(void)
{
	int in[2], out[2];
	REQUIRE(pipe(in) == 0 && pipe2(out, O_NONBLOCK) == 0);
	struct relay *r = start(in[0], out[1]);
	size_t sent = 0, got = 0, wrong = 0;
	uint8_t piece[3000];
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	while (!ended.calls) {
		for (size_t i = 0; i < sizeof(piece); i++)
			piece[i] = (uint8_t)((sent + i) * 7);
		if (sent < 3000000) {
			ssize_t n = write(in[1], piece, sizeof(piece));
			sent += n > 0 ? (size_t)n : 0;
		} else if (in[1] >= 0) {
			close(in[1]);
			in[1] = -1;
		}
		loop_once(loop, 0, NULL);
		ssize_t n = read(out[0], piece, 1 + got % sizeof(piece));
		for (ssize_t i = 0; i < n; i++)
			wrong += piece[i] != (uint8_t)((got + (size_t)i) * 7);
		got += n > 0 ? (size_t)n : 0;
	}
	for (ssize_t n; (n = read(out[0], piece, sizeof(piece))) > 0;)
		got += (size_t)n;
	CHECK_EQ(ended.end, RELAY_EOF);
	CHECK_EQ(got, sent);
	CHECK_EQ(wrong, (size_t)0);
	CHECK_EQ(relay_total(r), (uint64_t)sent);
	relay_free(r);
	close(in[0]), close(out[0]), close(out[1]);
}

static void stops_reading_when_nobody_takes(void)
{
	int in[2], out[2];
	REQUIRE(pipe2(in, O_NONBLOCK) == 0 && pipe(out) == 0); /* `to` blocks: must not hang */
	struct relay *r = start(in[0], out[1]);
	static char block[8192];
	size_t accepted = 0;
	for (int idle = 0; idle < 50;) {
		ssize_t n = write(in[1], block, sizeof(block));
		accepted += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		loop_once(loop, 0, NULL);
	}
	CHECK(accepted <= 65536 * 3 + sizeof(block));
	CHECK(!ended.calls);
	relay_free(r);
	close(in[0]), close(in[1]), close(out[0]), close(out[1]);
}

static void notices_a_reader_that_leaves(void)
{
	int in[2], out[2];
	REQUIRE(pipe(in) == 0 && pipe(out) == 0);
	struct relay *r = start(in[0], out[1]);
	close(out[0]);
	run_to_end(); /* although nothing was written */
	CHECK_EQ(ended.end, RELAY_BROKEN);
	CHECK_EQ(ended.calls, 1);
	relay_free(r);
	close(in[0]), close(in[1]), close(out[1]);
}

static void drains_although_a_writer_stays(void)
{
	int in[2], out[2];
	REQUIRE(pipe(in) == 0 && pipe(out) == 0);
	REQUIRE(write(in[1], "last words", 10) == 10);
	struct relay *r = start(in[0], out[1]);
	relay_drain(r);
	run_to_end();
	CHECK_EQ(ended.end, RELAY_EOF);
	char got[32] = "";
	CHECK_EQ(read(out[0], got, sizeof(got)), (ssize_t)10);
	CHECK_STR(got, "last words");
	relay_free(r);
	close(in[0]), close(in[1]), close(out[0]), close(out[1]);
}

static void copies_files(void)
{
	char name[] = "/tmp/strata-relay-XXXXXX";
	int file = mkstemp(name), out[2];
	REQUIRE(file >= 0 && pipe(out) == 0);
	unlink(name);
	REQUIRE(write(file, "from a file", 11) == 11 && lseek(file, 0, SEEK_SET) == 0);
	struct relay *r = start(file, out[1]);
	run_to_end();
	CHECK_EQ(ended.end, RELAY_EOF);
	CHECK_EQ(relay_total(r), (uint64_t)11);
	relay_free(r);

	int null = open("/dev/null", O_RDWR);
	r = start(null, file); /* both ends refuse epoll */
	relay_free(r);	       /* with a turn queued */
	loop_once(loop, 0, NULL);
	CHECK_EQ(ended.calls, 0);
	close(null), close(file), close(out[0]), close(out[1]);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	loop_new(&loop, NULL);
	RUN(copies_to_the_end_with_back_pressure);
	RUN(stops_reading_when_nobody_takes);
	RUN(notices_a_reader_that_leaves);
	RUN(drains_although_a_writer_stays);
	RUN(copies_files);
	loop_free(loop);
	return tap_done();
}
