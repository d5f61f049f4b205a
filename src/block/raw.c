// SPDX-License-Identifier: Apache-2.0
// Raw images: a regular file or a block device, byte for byte.
#include "block/block.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, ZEROES_BYTES = 64 << 10, IOV_BATCH = 1024 /* IOV_MAX */ };

struct raw {
	struct block block;
	int fd; /* owned */
	/* What the file system under us was found not to have. */
	atomic_bool no_punch, no_zero_range;
};

static struct raw *raw_of(struct block *b)
{
	return container_of(b, struct raw, block);
}

typedef ssize_t vector_fn(int fd, const struct iovec *iov, int n, off_t offset);

/* Transfers all of iov: the kernel may do less at a time, and takes at most IOV_BATCH pieces. */
static int transfer(vector_fn *fn, int fd, const struct iovec *iov, int n, uint64_t offset)
{
	size_t skip = 0; /* bytes of iov[0] that are done */
	while (n > 0) {
		struct iovec head = {(uint8_t *)iov->iov_base + skip, iov->iov_len - skip};
		ssize_t done = skip ? fn(fd, &head, 1, (off_t)offset)
				    : fn(fd, iov, MIN(n, IOV_BATCH), (off_t)offset);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		if (done == 0 && head.iov_len)
			return -EIO; /* the file became shorter than it was */
		offset += (uint64_t)done;
		skip += (size_t)done;
		while (n > 0 && skip >= iov->iov_len) {
			skip -= iov->iov_len;
			iov++;
			n--;
		}
	}
	return 0;
}

static int raw_readv(struct block *b, const struct iovec *iov, int n, uint64_t offset)
{
	return transfer(preadv, raw_of(b)->fd, iov, n, offset);
}

static int raw_writev(struct block *b, const struct iovec *iov, int n, uint64_t offset)
{
	return transfer(pwritev, raw_of(b)->fd, iov, n, offset);
}

static int raw_flush(struct block *b)
{
	int r;
	do
		r = fdatasync(raw_of(b)->fd);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/* 0, -EOPNOTSUPP when this file cannot do it (remembered in *missing), or -errno. */
static int try_fallocate(
	struct raw *raw, atomic_bool *missing, int mode, uint64_t offset, uint64_t bytes)
{
	if (atomic_load_explicit(missing, memory_order_relaxed))
		return -EOPNOTSUPP;
	int r;
	do
		r = fallocate(raw->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS && errno != ENODEV && errno != EINVAL)
		return -errno;
	if (errno != EINVAL) /* EINVAL: a device's granularity; the next range may do */
		atomic_store(missing, true);
	return -EOPNOTSUPP;
}

static int raw_discard(struct block *b, uint64_t offset, uint64_t bytes)
{
	struct raw *raw = raw_of(b);
	if (!bytes)
		return 0;
	int r = try_fallocate(raw, &raw->no_punch, FALLOC_FL_PUNCH_HOLE, offset, bytes);
	return r == -EOPNOTSUPP ? 0 : r; /* discarding is a hint */
}

static int write_zero_bytes(struct raw *raw, uint64_t offset, uint64_t bytes)
{
	static const uint8_t zeroes[ZEROES_BYTES];
	while (bytes) {
		size_t n = (size_t)MIN(bytes, sizeof(zeroes));
		struct iovec iov = {(void *)(uintptr_t)zeroes, n};
		int r = transfer(pwritev, raw->fd, &iov, 1, offset);
		if (r < 0)
			return r;
		offset += n;
		bytes -= n;
	}
	return 0;
}

static int raw_write_zeroes(struct block *b, uint64_t offset, uint64_t bytes, bool may_unmap)
{
	struct raw *raw = raw_of(b);
	if (!bytes)
		return 0;
	int r = -EOPNOTSUPP;
	if (may_unmap)
		r = try_fallocate(raw, &raw->no_punch, FALLOC_FL_PUNCH_HOLE, offset, bytes);
	if (r == -EOPNOTSUPP)
		r = try_fallocate(raw, &raw->no_zero_range, FALLOC_FL_ZERO_RANGE, offset, bytes);
	return r == -EOPNOTSUPP ? write_zero_bytes(raw, offset, bytes) : r;
}

static void raw_free(struct block *b)
{
	struct raw *raw = raw_of(b);
	close(raw->fd);
	free(raw);
}

static const struct block_ops raw_ops = {
	.name = "raw",
	.readv = raw_readv,
	.writev = raw_writev,
	.flush = raw_flush,
	.discard = raw_discard,
	.write_zeroes = raw_write_zeroes,
	.free = raw_free,
};

static int raw_size(int fd, const char *name, uint64_t *bytes, struct error *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "disk %s", name);
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, bytes) < 0)
			return error_errno(err, errno, "disk %s: its size", name);
	} else if (S_ISREG(st.st_mode)) {
		*bytes = (uint64_t)st.st_size;
	} else {
		int code = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		error_set(err, code, "disk %s is neither a file nor a block device", name);
		error_remedy(err, "to share a directory with the guest, use --share");
		return -code;
	}
	if (!*bytes) {
		error_set(err, EINVAL, "disk %s is empty", name);
		error_remedy(err, "give it a size: truncate -s 10G %s", name);
		return -EINVAL;
	}
	if (*bytes % SECTOR) {
		error_set(err, EINVAL, "disk %s has %" PRIu64 " bytes, not a multiple of %d", name,
			*bytes, SECTOR);
		error_remedy(err, "round it up: truncate -s %%%d %s", SECTOR, name);
		return -EINVAL;
	}
	return 0;
}

int block_raw_new(struct block **out, int fd, bool readonly, const char *name, struct error *err)
{
	uint64_t bytes = 0;
	int r = raw_size(fd, name, &bytes, err);
	if (r < 0)
		return r;
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return error_errno(err, errno, "disk %s", name);
	if (!readonly && (flags & O_ACCMODE) != O_RDWR)
		return error_set(err, EROFS, "disk %s is open for reading only", name);
	struct raw *raw = xcalloc(1, sizeof(*raw));
	raw->block = (struct block){&raw_ops, bytes, readonly};
	raw->fd = fd;
	*out = &raw->block;
	return 0;
}
