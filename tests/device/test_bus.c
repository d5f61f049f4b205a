// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>

#include "device/bus.h"
#include "tap.h"

struct probe {
	/* Atomic: handlers run on several threads at once. */
	_Atomic uint64_t last_offset, last_value;
	_Atomic unsigned reads, writes, last_bytes;
};

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned bytes)
{
	struct probe *p = opaque;
	p->reads++;
	p->last_offset = offset;
	p->last_bytes = bytes;
	return UINT64_C(0x1122334455667788);
}

static void probe_write(void *opaque, uint64_t offset, unsigned bytes, uint64_t value)
{
	struct probe *p = opaque;
	p->writes++;
	p->last_offset = offset;
	p->last_bytes = bytes;
	p->last_value = value;
}

static const struct bus_ops any = {probe_read, probe_write, 1, 8};
static const struct bus_ops words = {probe_read, probe_write, 4, 4};

static void finds_the_range(void)
{
	struct bus *b;
	struct probe p[3] = {0};
	uint64_t v;
	REQUIRE(bus_new(&b, NULL) == 0);
	CHECK(!bus_read(b, GPA(0x1000), 4, &v));
	CHECK_EQ(bus_add(b, GPA(0x3000), 0x1000, &any, &p[2], "c", NULL), 0);
	CHECK_EQ(bus_add(b, GPA(0x1000), 0x1000, &any, &p[0], "a", NULL), 0);
	CHECK_EQ(bus_add(b, GPA(0x2000), 0x800, &any, &p[1], "b", NULL), 0);
	CHECK(bus_read(b, GPA(0x1fff), 1, &v) && p[0].last_offset == 0xfff && v == 0x88);
	CHECK(bus_write(b, GPA(0x2000), 2, 0xabcdef) && p[1].last_value == 0xcdef);
	CHECK(!bus_read(b, GPA(0x2800), 1, &v));
	CHECK(!bus_write(b, GPA(0xfff), 1, 0));
	CHECK(bus_read(b, GPA(0x3008), 8, &v) && v == UINT64_C(0x1122334455667788));
	CHECK_EQ(p[2].reads, 1u);
	bus_free(b);
}

static void refuses_overlap_and_wrap(void)
{
	struct bus *b;
	struct error err _error_ = ERROR_INIT;
	struct probe p;
	REQUIRE(bus_new(&b, NULL) == 0);
	CHECK_EQ(bus_add(b, GPA(0x1000), 0x1000, &any, &p, "first", NULL), 0);
	CHECK_EQ(bus_add(b, GPA(0x1fff), 1, &any, &p, "second", &err), -EEXIST);
	CHECK_CONTAINS(err.message, "second at 0x1fff overlaps first");
	CHECK_EQ(bus_add(b, GPA(0), 0x1001, &any, &p, "x", NULL), -EEXIST);
	CHECK_EQ(bus_add(b, GPA(0), 0x10000, &any, &p, "x", NULL), -EEXIST);
	CHECK_EQ(bus_add(b, GPA(5), 0, &any, &p, "x", NULL), -EINVAL);
	CHECK_EQ(bus_add(b, GPA(UINT64_MAX), 2, &any, &p, "x", NULL), -EINVAL);
	CHECK_EQ(bus_add(b, GPA(UINT64_MAX), 1, &any, &p, "x", NULL), 0);
	CHECK_EQ(bus_add(b, GPA(0), 0x1000, &any, &p, "x", NULL), 0);
	bus_free(b);
}

static void sizes_outside_the_device_read_ones(void)
{
	struct bus *b;
	struct probe p = {0};
	uint64_t v;
	REQUIRE(bus_new(&b, NULL) == 0);
	CHECK_EQ(bus_add(b, GPA(0x1000), 0x10, &words, &p, "w", NULL), 0);
	CHECK(bus_read(b, GPA(0x1000), 1, &v) && v == 0xff);
	CHECK(bus_read(b, GPA(0x1000), 8, &v) && v == UINT64_MAX);
	CHECK(bus_read(b, GPA(0x100e), 4, &v) && v == UINT32_MAX); /* leaves the range */
	CHECK(bus_read(b, GPA(0x1000), 3, &v) && v == 0xffffff);
	CHECK(bus_write(b, GPA(0x1000), 2, 1));
	CHECK_EQ(p.reads + p.writes, 0u);
	bus_free(b);
}

struct race {
	struct bus *bus;
	atomic_bool stop;
	_Atomic uint64_t found;
};

static void *reader(void *opaque)
{
	struct race *r = opaque;
	uint64_t v;
	while (!r->stop) {
		if (bus_read(r->bus, GPA(0x1000), 4, &v))
			r->found++;
		bus_read(r->bus, GPA(0x2000), 4, &v);
	}
	return NULL;
}

/* A removed device is freed at once: a handler that still ran would be seen by the sanitizers. */
static void devices_come_and_go_while_others_read(void)
{
	struct race r = {0};
	struct probe fixed = {0};
	pthread_t threads[2];
	REQUIRE(bus_new(&r.bus, NULL) == 0);
	CHECK_EQ(bus_add(r.bus, GPA(0x2000), 0x100, &words, &fixed, "fixed", NULL), 0);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, reader, &r);
	for (int i = 0; i < 300 || !r.found; i++) {
		struct probe *p = xcalloc(1, sizeof(*p));
		CHECK_EQ(bus_add(r.bus, GPA(0x1000), 0x100, &words, p, "moving", NULL), 0);
		sched_yield();
		bus_remove(r.bus, GPA(0x1000));
		free(p);
	}
	r.stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	uint64_t v;
	CHECK(!bus_read(r.bus, GPA(0x1000), 4, &v));
	bus_free(r.bus);
}

int main(void)
{
	RUN(finds_the_range);
	RUN(refuses_overlap_and_wrap);
	RUN(sizes_outside_the_device_read_ones);
	RUN(devices_come_and_go_while_others_read);
	return tap_done();
}
