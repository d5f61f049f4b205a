// SPDX-License-Identifier: Apache-2.0
#include "tap.h"

#include "mem/memory.h"
#include "mem/tlb.h"

static struct memory *two_regions(void)
{
	struct memory *m;
	if (memory_new(&m, NULL) < 0)
		return NULL;
	if (memory_add_ram(m, GPA(0x1000), 0x2000, NULL) < 0 ||
		memory_add_ram(m, GPA(0x80000000), 4 * MiB, NULL) < 0) {
		memory_free(m);
		return NULL;
	}
	return m;
}

static void ranges_stay_inside_one_region(void)
{
	struct memory *m = two_regions();
	REQUIRE(m);
	CHECK(memory_read_ptr(m, GPA(0x1000), 0x2000) != NULL);
	CHECK(memory_read_ptr(m, GPA(0x1000), 0x2001) == NULL);
	CHECK(memory_read_ptr(m, GPA(0xfff), 1) == NULL);
	CHECK(memory_read_ptr(m, GPA(0x2fff), 1) != NULL);
	CHECK(memory_read_ptr(m, GPA(0x3000), 0) == NULL);
	CHECK(memory_read_ptr(m, GPA(0x2000), UINT64_MAX) == NULL);
	CHECK(memory_read_ptr(m, GPA(UINT64_MAX), 1) == NULL);
	uint64_t v = 0;
	CHECK_EQ(memory_write(m, GPA(0x80000ffc), &(uint64_t){0x1122334455667788}, 8), 0);
	CHECK_EQ(memory_read(m, GPA(0x80000ffc), &v, 8), 0);
	CHECK_EQ(v, UINT64_C(0x1122334455667788));
	CHECK_EQ(memory_write(m, GPA(0x80000000 + 4 * MiB - 4), &v, 8), -EFAULT);
	memory_free(m);
}

static void layout_errors_are_refused(void)
{
	struct memory *m = two_regions();
	REQUIRE(m);
	struct error err _error_ = ERROR_INIT;
	CHECK_EQ(memory_add_ram(m, GPA(0x2000), 0x1000, &err), -EEXIST);
	CHECK_EQ(memory_add_ram(m, GPA(0x10000), 0x1001, &err), -EINVAL);
	CHECK_EQ(memory_add_ram(m, GPA(UINT64_MAX - 0xfff), 0x2000, &err), -EINVAL);
	CHECK(memory_add_ram(m, GPA(UINT64_C(1) << 40), UINT64_C(1) << 60, &err) < 0);
	CHECK_CONTAINS(err.remedy, "--memory");
	memory_free(m);
}

static unsigned written_pages;
static uint64_t last_page;
static uint8_t seen;
static void on_code_written(void *opaque, gpa_t page)
{
	struct memory *m = opaque;
	written_pages++;
	last_page = page.v;
	if (m)
		memory_read(m, page, &seen, sizeof(seen));
}

/* Code may be made from a page until its bytes are written: so the report comes after. */
static void a_write_is_reported_when_it_is_done(void)
{
	struct memory *m = two_regions();
	REQUIRE(m);
	memory_on_code_written(m, on_code_written, m);
	const struct memory_region *r = memory_find(m, GPA(0x80000000));
	atomic_fetch_or(&r->page_flags[2], MEMORY_PAGE_CODE);
	uint8_t bytes[2] = {42, 43};
	written_pages = 0;
	CHECK_EQ(memory_write(m, GPA(0x80002000), bytes, sizeof(bytes)), 0);
	CHECK_EQ(written_pages, 1u);
	CHECK_EQ(seen, 42u);
	CHECK_EQ(r->page_flags[2], MEMORY_PAGE_DIRTY);
	memory_free(m);
}

static void device_writes_to_code_are_reported_once(void)
{
	struct memory *m = two_regions();
	REQUIRE(m);
	memory_on_code_written(m, on_code_written, NULL);
	const struct memory_region *r = memory_find(m, GPA(0x80000000));
	atomic_fetch_or(&r->page_flags[1], MEMORY_PAGE_CODE | MEMORY_PAGE_DIRTY);
	written_pages = 0;
	memory_write_ptr(m, GPA(0x80000000), 0x1000);
	CHECK_EQ(written_pages, 0u);
	memory_read_ptr(m, GPA(0x80001000), 1);
	CHECK_EQ(written_pages, 0u);
	memory_write_ptr(m, GPA(0x80000fff), 2);
	CHECK_EQ(written_pages, 1u);
	CHECK_EQ(last_page, 0x80001000u);
	CHECK_EQ(r->page_flags[1], MEMORY_PAGE_DIRTY);
	memory_write_ptr(m, GPA(0x80000fff), 2);
	CHECK_EQ(written_pages, 1u);
	memory_free(m);
}

int main(void)
{
	RUN(ranges_stay_inside_one_region);
	RUN(layout_errors_are_refused);
	RUN(device_writes_to_code_are_reported_once);
	RUN(a_write_is_reported_when_it_is_done);
	return tap_done();
}
