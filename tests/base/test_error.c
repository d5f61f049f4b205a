// SPDX-License-Identifier: Apache-2.0
#include "tap.h"

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "base/vec.h"

static int open_disk(struct error *err)
{
	return error_set(err, ENODATA, "header: %s", "short read");
}

static void callers_wrap_outward(void)
{
	struct error err _error_ = ERROR_INIT;
	CHECK_EQ(open_disk(&err), -ENODATA);
	CHECK_EQ(error_wrap(&err, -ENODATA, "disk %s", "root.img"), -ENODATA);
	error_remedy(&err, "run %s", "fsck");
	CHECK_STR(err.message, "disk root.img: header: short read");
	CHECK_STR(err.remedy, "run fsck");
	error_remedy(&err, "second");
	CHECK_STR(err.remedy, "run fsck");
}

static void null_error_keeps_the_code(void)
{
	CHECK_EQ(open_disk(NULL), -ENODATA);
	CHECK_EQ(error_wrap(NULL, -ENOENT, "x"), -ENOENT);
	error_done(NULL);
}

static void set_replaces(void)
{
	struct error err _error_ = ERROR_INIT;
	error_set(&err, EINVAL, "first");
	error_remedy(&err, "old remedy");
	error_errno(&err, ENOENT, "second");
	CHECK_STR(err.message, "second: No such file or directory");
	CHECK(err.remedy == NULL);
}

static void strbuf_grows_and_is_terminated(void)
{
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	for (int i = 0; i < 1000; i++)
		strbuf_addf(&sb, "%d,", i);
	CHECK_EQ(sb.len, 3890u);
	CHECK_EQ(sb.data[sb.len], 0);
	CHECK_EQ(memcmp(sb.data, "0,1,2,", 6), 0);
	char *s _free_ = strbuf_take(&sb);
	CHECK(s && !sb.data);
	char *empty _free_ = strbuf_take(&sb);
	CHECK_STR(empty, "");
}

static void arena_is_zeroed_and_aligned(void)
{
	struct arena a = ARENA_INIT;
	for (int round = 0; round < 3; round++) {
		for (size_t n = 1; n < 100000; n = n * 3 + 1) {
			unsigned char *p = arena_alloc(&a, n);
			CHECK_EQ((uintptr_t)p % 16, 0u);
			CHECK_EQ(p[0] | p[n - 1], 0);
			memset(p, 0xaa, n);
		}
		arena_reset(&a);
	}
	arena_done(&a);
}

static void ranges_do_not_overflow(void)
{
	CHECK(range_fits(0, 0, 0));
	CHECK(range_fits(4, 4, 8));
	CHECK(!range_fits(5, 4, 8));
	CHECK(!range_fits(UINT64_MAX, 2, 8));
	CHECK(!range_fits(2, UINT64_MAX, 8));
	CHECK_EQ(align_up(4097, 4096), 8192u);
}

int main(void)
{
	RUN(callers_wrap_outward);
	RUN(null_error_keeps_the_code);
	RUN(set_replaces);
	RUN(strbuf_grows_and_is_terminated);
	RUN(arena_is_zeroed_and_aligned);
	RUN(ranges_do_not_overflow);
	return tap_done();
}
