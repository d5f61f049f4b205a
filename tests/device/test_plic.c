// SPDX-License-Identifier: Apache-2.0
#include "device/irq/plic.h"
#include "tap.h"

#define BASE UINT64_C(0x0c000000)

static struct bus *bus;
static struct plic *plic;
static bool raised[2];

static void output(void *opaque, unsigned n, bool level)
{
	raised[n] = level;
}

static uint32_t rd(uint64_t offset)
{
	uint64_t v = 0;
	CHECK(bus_read(bus, GPA(BASE + offset), 4, &v));
	return (uint32_t)v;
}
static void wr(uint64_t offset, uint32_t v)
{
	CHECK(bus_write(bus, GPA(BASE + offset), 4, v));
}
static void priority(unsigned n, uint32_t v)
{
	wr(4 * n, v);
}
static void enable(unsigned context, unsigned n)
{
	uint64_t at = 0x2000 + 0x80 * context + n / 32 * 4;
	wr(at, rd(at) | UINT32_C(1) << (n % 32));
}
static void threshold(unsigned context, uint32_t v)
{
	wr(0x200000 + 0x1000 * context, v);
}
static uint32_t claim(unsigned context)
{
	return rd(0x200004 + 0x1000 * context);
}
static void complete(unsigned context, uint32_t n)
{
	wr(0x200004 + 0x1000 * context, n);
}
static bool pending(unsigned n)
{
	return rd(0x1000 + n / 32 * 4) >> (n % 32) & 1;
}
static void line(unsigned n, bool level)
{
	struct irq_line l = plic_line(plic, n);
	irq_line_set(&l, level);
}

static void setup(void)
{
	static const struct irq_line outputs[2] = {{output, NULL, 0}, {output, NULL, 1}};
	raised[0] = raised[1] = false;
	if (bus_new(&bus, NULL) || plic_new(&plic, bus, GPA(BASE), outputs, 2, NULL))
		exit(1);
}
static void teardown(void)
{
	plic_free(plic);
	bus_free(bus);
}

static void a_level_interrupt_from_raise_to_completion(void)
{
	setup();
	priority(10, 1);
	enable(0, 10);
	line(10, true);
	CHECK(raised[0] && !raised[1] && pending(10));
	CHECK_EQ(claim(0), 10u);
	CHECK(!raised[0] && !pending(10));
	CHECK_EQ(claim(0), 0u);
	complete(0, 10);
	CHECK(raised[0]); /* the wire is still high */
	CHECK_EQ(claim(0), 10u);
	line(10, false);
	complete(0, 10);
	CHECK(!raised[0] && !pending(10));
	teardown();
}

static void a_request_stays_when_the_wire_falls(void)
{
	setup();
	priority(3, 1);
	enable(0, 3);
	line(3, true);
	line(3, false);
	CHECK(pending(3) && raised[0]);
	CHECK_EQ(claim(0), 3u);
	complete(0, 3);
	CHECK(!pending(3) && !raised[0]);
	teardown();
}

static void priorities_and_ties(void)
{
	setup();
	for (unsigned n = 5; n <= 100; n += 95)
		enable(0, n);
	enable(0, 7);
	priority(5, 2);
	priority(7, 2);
	priority(100, 3);
	line(7, true);
	line(5, true);
	line(100, true);
	CHECK_EQ(claim(0), 100u);
	CHECK_EQ(claim(0), 5u); /* the lowest number of equals */
	CHECK_EQ(claim(0), 7u);
	CHECK_EQ(claim(0), 0u);
	teardown();
}

static void priority_zero_never_interrupts(void)
{
	setup();
	enable(0, 4);
	line(4, true);
	CHECK(pending(4) && !raised[0]);
	CHECK_EQ(claim(0), 0u);
	priority(4, 1);
	CHECK(raised[0]);
	teardown();
}

static void threshold_masks_the_notification_but_not_the_claim(void)
{
	setup();
	priority(9, 3);
	enable(0, 9);
	threshold(0, 3);
	line(9, true);
	CHECK(!raised[0]);
	threshold(0, 2);
	CHECK(raised[0]);
	threshold(0, 7);
	CHECK(!raised[0]);
	CHECK_EQ(claim(0), 9u);
	teardown();
}

static void contexts_share_a_source_but_one_claims_it(void)
{
	setup();
	priority(20, 1);
	enable(0, 20);
	enable(1, 20);
	line(20, true);
	CHECK(raised[0] && raised[1]);
	CHECK_EQ(claim(1), 20u);
	CHECK(!raised[0] && !raised[1]);
	CHECK_EQ(claim(0), 0u);
	complete(1, 20);
	CHECK(raised[0] && raised[1]);
	teardown();
}

static void wrong_completions_are_ignored(void)
{
	setup();
	priority(20, 1);
	enable(0, 20);
	line(20, true);
	CHECK_EQ(claim(0), 20u);
	complete(1, 20); /* not enabled there */
	complete(0, 0);
	complete(0, 128);
	complete(0, UINT32_MAX);
	CHECK(!raised[0]);
	complete(0, 20);
	CHECK(raised[0]);
	teardown();
}

static void registers_have_limits(void)
{
	setup();
	priority(1, UINT32_MAX);
	CHECK_EQ(rd(4), (uint32_t)PLIC_PRIORITY_MAX);
	wr(0, 5);
	CHECK_EQ(rd(0), 0u); /* source 0 does not exist */
	wr(0x2000, UINT32_MAX);
	CHECK_EQ(rd(0x2000), UINT32_MAX & ~1u);
	wr(0x1000, UINT32_MAX);
	CHECK_EQ(rd(0x1000), 0u); /* pending bits are read-only */
	CHECK_EQ(rd(4 * 128), 0u);
	CHECK_EQ(rd(0x2000 + 2 * 0x80), 0u); /* no such context */
	CHECK_EQ(rd(0x202000), 0u);
	CHECK_EQ(rd(PLIC_BYTES - 4), 0u);
	CHECK(plic_line(plic, 0).set == NULL);
	CHECK(plic_line(plic, PLIC_SOURCES + 1).set == NULL);
	teardown();
}

static void state_round_trip(void)
{
	setup();
	priority(20, 4);
	enable(1, 20);
	priority(33, 2);
	enable(1, 33);
	line(20, true);
	line(33, true);
	CHECK_EQ(claim(1), 20u);
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	struct state *s = state_new_save(&sb);
	plic_state(plic, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	teardown();

	setup();
	s = state_new_restore(sb.data, sb.len);
	plic_state(plic, s);
	CHECK_EQ(state_finish(s, NULL), 0);
	state_free(s);
	CHECK_EQ(claim(1), 33u);
	CHECK_EQ(claim(1), 0u);
	complete(1, 20);
	CHECK(raised[1]); /* the wire was high when it was saved */
	CHECK_EQ(claim(1), 20u);
	teardown();
}

int main(void)
{
	RUN(a_level_interrupt_from_raise_to_completion);
	RUN(a_request_stays_when_the_wire_falls);
	RUN(priorities_and_ties);
	RUN(priority_zero_never_interrupts);
	RUN(threshold_masks_the_notification_but_not_the_claim);
	RUN(contexts_share_a_source_but_one_claims_it);
	RUN(wrong_completions_are_ignored);
	RUN(registers_have_limits);
	RUN(state_round_trip);
	return tap_done();
}
