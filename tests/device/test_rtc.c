// SPDX-License-Identifier: Apache-2.0
#include <time.h>

#include "device/rtc_goldfish.h"
#include "tap.h"

#define BASE UINT64_C(0x101000)

static struct bus *bus;
static struct loop *loop;
static struct rtc_goldfish *rtc;
static bool irq;

static void on_irq(void *opaque, unsigned n, bool level)
{
	irq = level;
}
static uint32_t rd(unsigned reg)
{
	uint64_t v = 0;
	CHECK(bus_read(bus, GPA(BASE + reg), 4, &v));
	return (uint32_t)v;
}
static void wr(unsigned reg, uint64_t v)
{
	CHECK(bus_write(bus, GPA(BASE + reg), 4, v & UINT32_MAX));
}
static uint64_t now(void)
{
	uint64_t low = rd(0);
	return low | (uint64_t)rd(4) << 32;
}
static void set_alarm(uint64_t t)
{
	wr(0xc, t >> 32);
	wr(0x8, t);
}

static void setup(void)
{
	irq = false;
	if (bus_new(&bus, NULL) || loop_new(&loop, NULL) ||
		rtc_goldfish_new(
			&rtc, bus, GPA(BASE), (struct irq_line){on_irq, NULL, 0}, loop, NULL))
		exit(1);
}
static void teardown(void)
{
	rtc_goldfish_free(rtc);
	loop_free(loop);
	bus_free(bus);
}

static void shows_and_sets_the_time(void)
{
	setup();
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	uint64_t host = (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec, t = now();
	CHECK(t >= host && t - host < NS_PER_SEC);
	const uint64_t set = UINT64_C(1000000000) * NS_PER_SEC;
	wr(4, set >> 32);
	wr(0, set);
	t = now();
	CHECK(t >= set && t - set < NS_PER_SEC);
	teardown();
}

static void alarm_fires(void)
{
	setup();
	wr(0x10, 1);
	set_alarm(now() + 20 * 1000000);
	CHECK_EQ(rd(0x18), 1u);
	for (int i = 0; i < 50 && !irq; i++)
		loop_once(loop, 20, NULL);
	CHECK(irq);
	CHECK_EQ(rd(0x18), 0u);
	wr(0x1c, 1);
	CHECK(!irq);
	set_alarm(now() - 5); /* in the past: at once */
	CHECK(irq);
	wr(0x10, 0);
	CHECK(!irq);
	wr(0x1c, 1);
	wr(0x10, 1);
	set_alarm(UINT64_MAX); /* no overflow, no interrupt */
	loop_once(loop, 0, NULL);
	CHECK(!irq);
	wr(0x14, 1);
	CHECK_EQ(rd(0x18), 0u);
	teardown();
}

static void state_round_trip(void)
{
	setup();
	wr(4, 0);
	wr(0, 12345);
	wr(0x10, 1);
	set_alarm(NS_PER_SEC * 3600);
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&sb);
	rtc_goldfish_state(rtc, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	teardown();
	setup();
	s = state_new_restore(sb.data, sb.len);
	rtc_goldfish_state(rtc, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	CHECK(now() < NS_PER_SEC * 60);
	CHECK_EQ(rd(0x18), 1u);
	teardown();
}

int main(void)
{
	RUN(shows_and_sets_the_time);
	RUN(alarm_fires);
	RUN(state_round_trip);
	return tap_done();
}
