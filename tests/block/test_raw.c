// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "tap.h"

static int temp_file(uint64_t bytes)
{
	char path[] = "/tmp/strata-raw-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);
	unlink(path);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		abort();
	return fd;
}

static struct block *open_raw(uint64_t bytes)
{
	struct block *b = NULL;
	if (block_raw_new(&b, temp_file(bytes), false, "t.img", NULL))
		abort();
	return b;
}

static void round_trip(void)
{
	struct block *b = open_raw(1 << 20);
	CHECK_EQ(b->bytes, UINT64_C(1) << 20);
	uint8_t out[3000], in[3000];
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 31);
	struct iovec w[] = {{out, 1}, {out + 1, 999}, {out + 1000, 0}, {out + 1000, 2000}};
	struct iovec r[] = {{in, 2500}, {in + 2500, 500}};
	CHECK_EQ(b->ops->writev(b, w, 4, 4097), 0);
	CHECK_EQ(b->ops->readv(b, r, 2, 4097), 0);
	CHECK(!memcmp(in, out, sizeof(in)));
	CHECK_EQ(b->ops->flush(b), 0);
	block_free(b);
}

static void more_pieces_than_the_kernel_takes(void)
{
	struct block *b = open_raw(1 << 20);
	static struct iovec iov[3000];
	static uint8_t bytes[3000], got[3000];
	for (unsigned i = 0; i < 3000; i++) {
		bytes[i] = (uint8_t)(i * 7 + i / 256);
		iov[i] = (struct iovec){&bytes[i], 1};
	}
	CHECK_EQ(b->ops->writev(b, iov, 3000, 512), 0);
	struct iovec all = {got, 3000};
	CHECK_EQ(b->ops->readv(b, &all, 1, 512), 0);
	CHECK(!memcmp(got, bytes, 3000));
	block_free(b);
}

static void zeroes_and_discard(void)
{
	for (unsigned unmap = 0; unmap < 2; unmap++) {
		struct block *b = open_raw(1 << 20);
		static uint8_t ones[200000], got[200000];
		memset(ones, 0xff, sizeof(ones));
		struct iovec v = {ones, sizeof(ones)}, g = {got, sizeof(got)};
		CHECK_EQ(b->ops->writev(b, &v, 1, 0), 0);
		CHECK_EQ(b->ops->write_zeroes(b, 512, 150000 - 512, unmap), 0);
		CHECK_EQ(b->ops->readv(b, &g, 1, 0), 0);
		unsigned wrong = 0;
		for (unsigned i = 0; i < sizeof(got); i++)
			wrong += got[i] != (i >= 512 && i < 150000 ? 0 : 0xff);
		CHECK_EQ(wrong, 0u);
		CHECK_EQ(b->ops->discard(b, 0, 1 << 20), 0);
		CHECK_EQ(b->ops->discard(b, 0, 0), 0);
		CHECK_EQ(b->bytes, UINT64_C(1) << 20);
		block_free(b);
	}
}

/* A memfd has holes but cannot zero a range: zeroes are written. */
static void zeroes_are_written_where_they_must(void)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	struct block *b = NULL;
	REQUIRE(ftruncate(fd, 1 << 20) == 0);
	REQUIRE(!block_raw_new(&b, fd, false, "memfd", NULL));
	static uint8_t ones[100000], got[100000];
	memset(ones, 0xff, sizeof(ones));
	struct iovec v = {ones, sizeof(ones)}, g = {got, sizeof(got)};
	for (unsigned round = 0; round < 2; round++) {
		CHECK_EQ(b->ops->writev(b, &v, 1, 0), 0);
		CHECK_EQ(b->ops->write_zeroes(b, 1024, 90000, false), 0);
		CHECK_EQ(b->ops->readv(b, &g, 1, 0), 0);
		CHECK_EQ(got[1023], 0xff);
		CHECK_EQ(got[1024], 0);
		CHECK_EQ(got[1024 + 89999], 0);
		CHECK_EQ(got[1024 + 90000], 0xff);
	}
	block_free(b);
}

static void a_file_that_shrinks_is_an_error(void)
{
	int fd = temp_file(8192);
	struct block *b = NULL;
	REQUIRE(!block_raw_new(&b, fd, false, "t.img", NULL));
	REQUIRE(ftruncate(fd, 4096) == 0);
	uint8_t buf[8192];
	struct iovec v = {buf, sizeof(buf)};
	CHECK_EQ(b->ops->readv(b, &v, 1, 0), -EIO);
	block_free(b);
}

static void no_space_is_an_error(void)
{
	int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	struct block *b = NULL;
	struct error err _error_ = ERROR_INIT;
	CHECK_EQ(block_raw_new(&b, fd, false, "/dev/full", &err), -EINVAL);
	CHECK_STR(err.message, "disk /dev/full is neither a file nor a block device");
	close(fd);
}

static void refused(void)
{
	struct block *b = NULL;
	struct error err _error_ = ERROR_INIT;
	int fd = temp_file(0);
	CHECK(block_raw_new(&b, fd, false, "a.img", &err) < 0);
	CHECK_STR(err.message, "disk a.img is empty");
	CHECK(err.remedy != NULL);
	error_done(&err);
	REQUIRE(ftruncate(fd, 1000) == 0);
	CHECK(block_raw_new(&b, fd, false, "a.img", &err) < 0);
	CHECK_STR(err.message, "disk a.img has 1000 bytes, not a multiple of 512");
	CHECK_STR(err.remedy, "round it up: truncate -s %512 a.img");
	error_done(&err);
	REQUIRE(ftruncate(fd, 1024) == 0);
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int readonly = open(path, O_RDONLY | O_CLOEXEC);
	REQUIRE(readonly >= 0);
	CHECK_EQ(block_raw_new(&b, readonly, false, "a.img", &err), -EROFS);
	CHECK(b == NULL);
	CHECK_EQ(block_raw_new(&b, readonly, true, "a.img", NULL), 0);
	block_free(b);
	close(fd);
	error_done(&err);
	int dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_EQ(block_raw_new(&b, dir, true, "/tmp", &err), -EISDIR);
	CHECK_CONTAINS(err.remedy, "--share");
	close(dir);
}

int main(void)
{
	RUN(round_trip);
	RUN(more_pieces_than_the_kernel_takes);
	RUN(zeroes_and_discard);
	RUN(zeroes_are_written_where_they_must);
	RUN(a_file_that_shrinks_is_an_error);
	RUN(no_space_is_an_error);
	RUN(refused);
	return tap_done();
}
