// SPDX-License-Identifier: Apache-2.0
#include "tap.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "os/loop.h"

static struct loop *l;
static int calls;

static void count(void *opaque)
{
	calls += *(int *)opaque;
}
static void stop(void *opaque)
{
	loop_stop(opaque);
}
static void *poster(void *opaque)
{
	static int one = 1;
	for (int i = 0; i < 1000; i++)
		loop_post(opaque, count, &one);
	loop_post(opaque, stop, opaque);
	return NULL;
}

static void posts_arrive_in_order_and_all(void)
{
	REQUIRE(loop_new(&l, NULL) == 0);
	calls = 0;
	pthread_t t;
	pthread_create(&t, NULL, poster, l);
	CHECK_EQ(loop_run(l, NULL), 0);
	pthread_join(t, NULL);
	CHECK_EQ(calls, 1000);
	loop_free(l);
}

static struct loop_timer *timer;
static void on_timer(void *opaque)
{
	loop_stop(opaque);
}

static void timers_fire_at_their_deadline(void)
{
	REQUIRE(loop_new(&l, NULL) == 0);
	REQUIRE(loop_timer_new(l, on_timer, l, &timer, NULL) == 0);
	uint64_t deadline = clock_monotonic_ns() + 20000000;
	loop_timer_arm(timer, deadline);
	CHECK_EQ(loop_run(l, NULL), 0);
	CHECK(clock_monotonic_ns() >= deadline);
	loop_timer_arm(timer, clock_monotonic_ns() + 1000000);
	loop_timer_disarm(timer);
	CHECK_EQ(loop_once(l, 20, NULL), 0);
	loop_timer_free(timer);
	loop_free(l);
}

static struct loop_fd *watches[2];
static void remove_both(void *opaque, int fd, uint32_t events)
{
	(void)opaque, (void)fd, (void)events;
	calls++;
	loop_fd_remove(watches[0]);
	loop_fd_remove(watches[1]);
}

static void a_callback_may_remove_sources_that_are_ready(void)
{
	int a[2], b[2];
	REQUIRE(pipe(a) == 0 && pipe(b) == 0);
	REQUIRE(loop_new(&l, NULL) == 0);
	loop_fd_add(l, a[0], EPOLLIN, remove_both, NULL, &watches[0], NULL);
	loop_fd_add(l, b[0], EPOLLIN, remove_both, NULL, &watches[1], NULL);
	CHECK_EQ(write(a[1], "x", 1) + write(b[1], "x", 1), 2);
	calls = 0;
	CHECK_EQ(loop_once(l, 0, NULL), 0);
	CHECK_EQ(loop_once(l, 0, NULL), 0);
	CHECK_EQ(calls, 1);
	loop_free(l);
	for (int i = 0; i < 2; i++)
		close(a[i]), close(b[i]);
}

int main(void)
{
	RUN(posts_arrive_in_order_and_all);
	RUN(timers_fire_at_their_deadline);
	RUN(a_callback_may_remove_sources_that_are_ready);
	return tap_done();
}
