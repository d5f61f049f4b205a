// SPDX-License-Identifier: Apache-2.0
// Runs a program (guest.h) in a machine and passes its findings on.
#ifndef STRATA_TESTS_GUEST_RUN_H
#define STRATA_TESTS_GUEST_RUN_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "board/board.h"
#include "tap.h"

struct run {
	struct loop *loop;
	int far_in, far_out; /* our ends of the console */
	bool fed;
	_Atomic int end; /* enum board_end + 1 */
	struct strbuf text;
};

static void on_ended(void *opaque, enum board_end how)
{
	struct run *r = opaque;
	r->end = (int)how + 1;
	loop_stop(r->loop);
}

static void on_output(void *opaque, int fd, uint32_t events)
{
	struct run *r = opaque;
	char chunk[4096];
	ssize_t n = read(fd, chunk, sizeof(chunk));
	if (n > 0)
		strbuf_add(&r->text, chunk, (size_t)n);
	if (!r->fed && r->text.data && strstr(r->text.data, "ready for input")) {
		r->fed = true;
		CHECK_EQ(write(r->far_out, "hello", 5), 5);
	}
}

static void on_timeout(void *opaque)
{
	struct run *r = opaque;
	TAP_FAIL_("the guest does not come to an end");
	loop_stop(r->loop);
}

/* The program in the file runs until it switches the machine off; `least` checks are good, and none
 * fails. Its remarks begin with '#'. */
static void run_guest(const char *path, unsigned cpus, unsigned least)
{
	struct run r = {.text = STRBUF_INIT};
	struct error err _error_ = ERROR_INIT;
	struct board *b;
	struct loop_fd *watch;
	struct loop_timer *timer;
	int in[2], out[2], kernel = open(path, O_RDONLY | O_CLOEXEC);
	REQUIRE(kernel >= 0);
	REQUIRE(pipe2(in, O_CLOEXEC | O_NONBLOCK) == 0 && pipe2(out, O_CLOEXEC | O_NONBLOCK) == 0);
	REQUIRE(loop_new(&r.loop, NULL) == 0);
	r.far_in = out[0];
	r.far_out = in[1];
	struct board_config config = {.cpus = cpus,
		.memory_bytes = 64 * MiB,
		.console_in_fd = in[0],
		.console_out_fd = out[1],
		.ended = on_ended,
		.opaque = &r};
	struct board_boot boot = {.kernel_fd = kernel, .cmdline = ""};
	REQUIRE(board_new(&b, board_find("riscv64"), &config, r.loop, &err) == 0);
	REQUIRE(b->ops->load(b, &boot, &err) == 0);
	REQUIRE(loop_fd_add(r.loop, r.far_in, EPOLLIN, on_output, &r, &watch, NULL) == 0);
	REQUIRE(loop_timer_new(r.loop, on_timeout, &r, &timer, NULL) == 0);
	loop_timer_arm(timer, clock_monotonic_ns() + 50 * NS_PER_SEC);
	REQUIRE(b->ops->start(b, &err) == 0);
	loop_run(r.loop, NULL);
	/* Pausing a machine in which some harts are stopped, and starting it again, is nothing. */
	b->ops->pause(b);
	serial_flush(b->serial, 1000);
	on_output(&r, r.far_in, 0);
	CHECK_EQ(r.end, BOARD_POWEROFF + 1);
	if (r.end != BOARD_POWEROFF + 1)
		printf("# last words: %s\n",
			r.text.len > 200 ? r.text.data + r.text.len - 200 : r.text.data);
	unsigned good = 0;
	char *save = NULL;
	for (char *line = strtok_r(r.text.data ? r.text.data : (char[]){""}, "\n", &save); line;
		line = strtok_r(NULL, "\n", &save)) {
		if (!strncmp(line, "ok - ", 5))
			good++;
		else if (!strncmp(line, "not ok", 6))
			TAP_FAIL_("%s", line);
		else if (line[0] == '#')
			printf("%s\n", line);
	}
	printf("# %u checks in the guest\n", good);
	CHECK(good >= least);
	strbuf_done(&r.text);
	loop_timer_free(timer);
	loop_fd_remove(watch);
	board_free(b);
	loop_free(r.loop);
	close(kernel);
	close(r.far_in);
	close(r.far_out);
}

/* The program's file, from the environment; without one there was no compiler, and this ends the
 * test. */
static const char *guest_file(const char *variable)
{
	const char *path = getenv(variable);
	if (path)
		return path;
	printf("1..0 # SKIP no compiler for riscv64\n");
	exit(0);
}

#endif
