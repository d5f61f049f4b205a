// SPDX-License-Identifier: Apache-2.0
#include "virtio_fuzz.h"
#include "block/block.h"
#include "device/virtio/devices.h"

enum { DISK_BYTES = 64 << 10 };

struct disk {
	struct block block;
	uint8_t bytes[DISK_BYTES];
	int fail;
};

static int check(struct block *b, uint64_t offset, uint64_t bytes)
{
	if (!range_fits(offset, bytes, DISK_BYTES))
		abort(); /* the device promises it */
	return ((struct disk *)b)->fail;
}

static int move(struct block *b, const struct iovec *iov, int n, uint64_t offset, bool write)
{
	struct disk *d = (struct disk *)b;
	for (int i = 0; i < n; offset += iov[i++].iov_len) {
		int r = check(b, offset, iov[i].iov_len);
		if (r < 0)
			return r;
		if (write)
			memcpy(d->bytes + offset, iov[i].iov_base, iov[i].iov_len);
		else
			memcpy(iov[i].iov_base, d->bytes + offset, iov[i].iov_len);
	}
	return 0;
}
static int disk_readv(struct block *b, const struct iovec *iov, int n, uint64_t offset)
{
	return move(b, iov, n, offset, false);
}
static int disk_writev(struct block *b, const struct iovec *iov, int n, uint64_t offset)
{
	return move(b, iov, n, offset, true);
}
static int disk_flush(struct block *b)
{
	return ((struct disk *)b)->fail;
}
static int disk_discard(struct block *b, uint64_t offset, uint64_t bytes)
{
	return check(b, offset, bytes);
}
static int disk_zero(struct block *b, uint64_t offset, uint64_t bytes, bool unmap)
{
	return check(b, offset, bytes);
}
static void disk_free(struct block *b)
{
	free(b);
}
static const struct block_ops ops = {
	"fuzz", disk_readv, disk_writev, disk_flush, disk_discard, disk_zero, disk_free};

static void host(struct vf *v, uint8_t arg)
{
	((struct disk *)v->opaque)->fail = arg & 1 ? -EIO : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vf v;
	vf_init(&v, data, size);
	struct disk *disk = xcalloc(1, sizeof(*disk));
	disk->block = (struct block){&ops, DISK_BYTES, vf_u8(&v) & 1};
	v.host = host;
	v.opaque = disk;
	if (virtio_blk_new(&v.device, v.memory, v.loop, &disk->block, "fuzz", 2, NULL))
		abort();
	vf_run(&v);
	vf_done(&v);
	return 0;
}
