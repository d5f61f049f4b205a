// SPDX-License-Identifier: Apache-2.0
// Block device (virtio 1.2, 5.2). Each queue is served on its own loop, synchronously: all that is
// available is popped and done, then the driver is told once.
#include <inttypes.h>
#include <stdatomic.h>

#include "base/log.h"
#include "block/block.h"
#include "device/virtio/devices.h"

enum { SECTOR_SHIFT = 9, SECTOR = 1 << SECTOR_SHIFT };

#define BIT(n) (UINT64_C(1) << (n))
enum {
	F_SEG_MAX = 2,
	F_RO = 5,
	F_BLK_SIZE = 6,
	F_FLUSH = 9,
	F_TOPOLOGY = 10,
	F_CONFIG_WCE = 11,
	F_MQ = 12,
	F_DISCARD = 13,
	F_WRITE_ZEROES = 14,
};

enum request_type { /* 5.2.6 */
	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_GET_ID = 8,
	T_DISCARD = 11,
	T_WRITE_ZEROES = 13,
};
enum request_status { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

enum { /* struct virtio_blk_config */
	CONFIG_CAPACITY = 0,
	CONFIG_SEG_MAX = 12,
	CONFIG_BLK_SIZE = 20,
	CONFIG_PHYSICAL_EXP = 24,
	CONFIG_MIN_IO = 26,
	CONFIG_WRITEBACK = 32,
	CONFIG_NUM_QUEUES = 34,
	CONFIG_MAX_DISCARD = 36,
	CONFIG_MAX_DISCARD_SEG = 40,
	CONFIG_DISCARD_ALIGNMENT = 44,
	CONFIG_MAX_ZEROES = 48,
	CONFIG_MAX_ZEROES_SEG = 52,
	CONFIG_ZEROES_MAY_UNMAP = 56,
	CONFIG_BYTES = 60,
};

enum {
	HEADER_BYTES = 16,
	SEGMENT_BYTES = 16,
	SEGMENT_UNMAP = 1,
	SEGMENTS_MAX = 32,
	SEG_MAX = VIRTIO_QUEUE_MAX - 2, /* header and status */
	DISCARD_SECTORS_MAX = 1 << 22,
	ZEROES_SECTORS_MAX = (64 << 20) >> SECTOR_SHIFT, /* may have to be written */
	PHYSICAL_EXP = 3, /* 4 KiB: what host file systems are made of */
	ID_BYTES = 20,
	BATCH = 32, /* requests before the driver is told of the first */
};

struct blk_queue {
	struct iovec iov[VIRTIO_CHAIN_MAX]; /* the data part of the request in hand */
};

struct blk {
	struct virtio_device *device; /* not owned: owns us */
	struct block *disk;	      /* owned */
	uint64_t sectors;
	uint64_t features;     /* negotiated */
	atomic_bool writeback; /* the driver's choice, with F_CONFIG_WCE */
	atomic_bool error_logged;
	char id[ID_BYTES];
	unsigned queue_count;
	struct blk_queue *queues;
};

/* One request: what its chain says, checked. */
struct request {
	uint32_t type;
	uint64_t sector;
	struct virtio_chain chain;
};

/* --- requests --- */

/* Copies [skip, skip + bytes) of an iovec's bytes as an iovec; returns its length. */
static int slice(
	struct iovec *to, const struct iovec *from, unsigned n, uint64_t skip, uint64_t bytes)
{
	int count = 0;
	for (unsigned i = 0; i < n && bytes; i++) {
		if (skip >= from[i].iov_len) {
			skip -= from[i].iov_len;
			continue;
		}
		size_t len = (size_t)MIN(from[i].iov_len - skip, bytes);
		to[count++] = (struct iovec){(uint8_t *)from[i].iov_base + skip, len};
		bytes -= len;
		skip = 0;
	}
	return count;
}

static uint8_t status_of(struct blk *blk, const char *what, int r)
{
	if (r == 0)
		return S_OK;
	if (!atomic_exchange(&blk->error_logged, true))
		log_warn("disk %.*s: the guest's %s failed: %s%s", ID_BYTES, blk->id, what,
			strerror(-r), r == -ENOSPC ? " (the host's disk is full)" : "");
	return S_IOERR;
}

static bool sectors_fit(const struct blk *blk, uint64_t sector, uint64_t count)
{
	return range_fits(sector, count, blk->sectors);
}

/* When the driver counts on it that what was written is durable (5.2.6.2). */
static bool write_through(const struct blk *blk)
{
	return !(blk->features & BIT(F_FLUSH)) ||
	       ((blk->features & BIT(F_CONFIG_WCE)) && !atomic_load(&blk->writeback));
}

static uint8_t after_write(struct blk *blk, const char *what, int r)
{
	if (r == 0 && write_through(blk))
		r = blk->disk->ops->flush(blk->disk);
	return status_of(blk, what, r);
}

static uint8_t do_in(struct blk *blk, struct blk_queue *q, const struct request *rq)
{
	const struct virtio_chain *c = &rq->chain;
	uint64_t bytes = c->in_bytes - 1;
	if (bytes % SECTOR || !sectors_fit(blk, rq->sector, bytes >> SECTOR_SHIFT))
		return S_IOERR;
	int n = slice(q->iov, c->iov + c->out_count, c->in_count, 0, bytes);
	return status_of(blk, "read",
		blk->disk->ops->readv(blk->disk, q->iov, n, rq->sector << SECTOR_SHIFT));
}

static uint8_t do_out(struct blk *blk, struct blk_queue *q, const struct request *rq)
{
	const struct virtio_chain *c = &rq->chain;
	uint64_t bytes = c->out_bytes - HEADER_BYTES;
	if (blk->disk->readonly || bytes % SECTOR ||
		!sectors_fit(blk, rq->sector, bytes >> SECTOR_SHIFT))
		return S_IOERR;
	int n = slice(q->iov, c->iov, c->out_count, HEADER_BYTES, bytes);
	return after_write(blk, "write",
		blk->disk->ops->writev(blk->disk, q->iov, n, rq->sector << SECTOR_SHIFT));
}

static uint8_t do_get_id(struct blk *blk, const struct request *rq)
{
	const struct virtio_chain *c = &rq->chain;
	size_t n = (size_t)MIN(c->in_bytes - 1, sizeof(blk->id));
	iov_write(c->iov + c->out_count, c->in_count, 0, blk->id, n);
	return S_OK;
}

struct segment {
	uint64_t sector;
	uint32_t sectors, flags;
};

static uint8_t do_segment(struct blk *blk, const struct request *rq, const struct segment *seg)
{
	bool zeroes = rq->type == T_WRITE_ZEROES;
	uint32_t allowed = zeroes ? SEGMENT_UNMAP : 0;
	uint32_t max = zeroes ? ZEROES_SECTORS_MAX : DISCARD_SECTORS_MAX;
	struct block *disk = blk->disk;
	if (seg->flags & ~allowed)
		return S_UNSUPP;
	if (seg->sectors > max || !sectors_fit(blk, seg->sector, seg->sectors))
		return S_IOERR;
	uint64_t offset = seg->sector << SECTOR_SHIFT;
	uint64_t bytes = (uint64_t)seg->sectors << SECTOR_SHIFT;
	if (!zeroes)
		return after_write(blk, "discard", disk->ops->discard(disk, offset, bytes));
	return after_write(blk, "zeroing",
		disk->ops->write_zeroes(disk, offset, bytes, seg->flags & SEGMENT_UNMAP));
}

static uint8_t do_segments(struct blk *blk, const struct request *rq)
{
	uint64_t bytes = rq->chain.out_bytes - HEADER_BYTES;
	if (!(blk->features & BIT(rq->type == T_DISCARD ? F_DISCARD : F_WRITE_ZEROES)))
		return S_UNSUPP;
	if (blk->disk->readonly || !bytes || bytes % SEGMENT_BYTES ||
		bytes > SEGMENTS_MAX * SEGMENT_BYTES)
		return S_IOERR;
	/* A copy: the guest may change its own while we look at it. */
	uint8_t raw[SEGMENTS_MAX * SEGMENT_BYTES];
	iov_read(rq->chain.iov, rq->chain.out_count, HEADER_BYTES, raw, (size_t)bytes);
	for (const uint8_t *p = raw; p < raw + bytes; p += SEGMENT_BYTES) {
		struct segment seg = {load_le64(p), load_le32(p + 8), load_le32(p + 12)};
		uint8_t status = do_segment(blk, rq, &seg);
		if (status != S_OK)
			return status;
	}
	return S_OK;
}

static uint8_t do_request(struct blk *blk, struct blk_queue *q, const struct request *rq)
{
	switch (rq->type) {
	case T_IN:
		return do_in(blk, q, rq);
	case T_OUT:
		return do_out(blk, q, rq);
	case T_FLUSH:
		return status_of(blk, "flush", blk->disk->ops->flush(blk->disk));
	case T_GET_ID:
		return do_get_id(blk, rq);
	case T_DISCARD:
	case T_WRITE_ZEROES:
		return do_segments(blk, rq);
	default:
		return S_UNSUPP;
	}
}

/* Takes a chain apart. False: it is no request, and the device has failed. */
static bool parse(struct blk *blk, struct request *rq)
{
	uint8_t header[HEADER_BYTES];
	if (rq->chain.out_bytes < HEADER_BYTES || !rq->chain.in_bytes) {
		virtio_fail(blk->device, "a request of %" PRIu64 " + %" PRIu64 " bytes",
			rq->chain.out_bytes, rq->chain.in_bytes);
		return false;
	}
	iov_read(rq->chain.iov, rq->chain.out_count, 0, header, sizeof(header));
	rq->type = load_le32(header);
	rq->sector = load_le64(header + 8);
	return true;
}

static void blk_notify(void *dev, unsigned index)
{
	struct blk *blk = dev;
	struct virtio_queue *vq = virtio_queue_get(blk->device, index);
	struct request rq;
	unsigned served = 0;
	while (served < BATCH && virtio_queue_pop(vq, &rq.chain) == 1) {
		struct virtio_chain *c = &rq.chain;
		if (!parse(blk, &rq)) {
			virtio_queue_drop(vq, c);
			return;
		}
		uint8_t status = do_request(blk, &blk->queues[index], &rq);
		iov_write(c->iov + c->out_count, c->in_count, c->in_bytes - 1, &status, 1);
		virtio_queue_push(vq, c, (uint32_t)c->in_bytes);
		served++;
	}
	virtio_queue_signal(vq);
	if (served == BATCH)
		virtio_queue_again(vq);
}

/* --- the device --- */

static void blk_config_read(void *dev, uint8_t *config)
{
	struct blk *blk = dev;
	store_le64(config + CONFIG_CAPACITY, blk->sectors);
	store_le32(config + CONFIG_SEG_MAX, SEG_MAX);
	store_le32(config + CONFIG_BLK_SIZE, SECTOR);
	config[CONFIG_PHYSICAL_EXP] = PHYSICAL_EXP;
	store_le16(config + CONFIG_MIN_IO, 1 << PHYSICAL_EXP);
	config[CONFIG_WRITEBACK] = atomic_load(&blk->writeback);
	store_le16(config + CONFIG_NUM_QUEUES, (uint16_t)blk->queue_count);
	store_le32(config + CONFIG_MAX_DISCARD, DISCARD_SECTORS_MAX);
	store_le32(config + CONFIG_MAX_DISCARD_SEG, SEGMENTS_MAX);
	store_le32(config + CONFIG_DISCARD_ALIGNMENT, 1 << PHYSICAL_EXP);
	store_le32(config + CONFIG_MAX_ZEROES, ZEROES_SECTORS_MAX);
	store_le32(config + CONFIG_MAX_ZEROES_SEG, SEGMENTS_MAX);
	config[CONFIG_ZEROES_MAY_UNMAP] = 1;
}

/* Only the writeback byte is writable. */
static void blk_config_write(void *dev, unsigned offset, const uint8_t *bytes, unsigned len)
{
	atomic_store(&((struct blk *)dev)->writeback, bytes[0] & 1);
}

static int blk_start(void *dev, uint64_t features)
{
	((struct blk *)dev)->features = features;
	return 0;
}

static void blk_reset(void *dev)
{
	struct blk *blk = dev;
	atomic_store(&blk->writeback, true);
	atomic_store(&blk->error_logged, false);
}

static void blk_queue_reset(void *dev, unsigned q)
{
	/* Requests end before notify returns: nothing to drop. */
}

static void blk_state(void *dev, struct state *s)
{
	struct blk *blk = dev;
	uint64_t sectors = blk->sectors;
	bool writeback = atomic_load(&blk->writeback);
	state_u64(s, "sectors", &sectors);
	state_bool(s, "writeback", &writeback);
	if (sectors != blk->sectors)
		state_fail(s, "the disk had %" PRIu64 " sectors and now has %" PRIu64, sectors,
			blk->sectors);
	atomic_store(&blk->writeback, writeback);
}

static void blk_free(void *dev)
{
	struct blk *blk = dev;
	block_free(blk->disk);
	free(blk->queues);
	free(blk);
}

static const struct virtio_class blk_class = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.features = BIT(F_SEG_MAX) | BIT(F_RO) | BIT(F_BLK_SIZE) | BIT(F_FLUSH) | BIT(F_TOPOLOGY) |
		    BIT(F_CONFIG_WCE) | BIT(F_MQ) | BIT(F_DISCARD) | BIT(F_WRITE_ZEROES),
	.config_bytes = CONFIG_BYTES,
	.config_writable_from = CONFIG_WRITEBACK,
	.config_writable_to = CONFIG_WRITEBACK + 1,
	.config_read = blk_config_read,
	.config_write = blk_config_write,
	.start = blk_start,
	.reset = blk_reset,
	.notify = blk_notify,
	.queue_reset = blk_queue_reset,
	.state = blk_state,
	.free = blk_free,
};

int virtio_blk_new(struct virtio_device **out, struct memory *memory, struct loop *loop,
	struct block *disk, const char *serial, unsigned queues, struct error *err)
{
	uint64_t features = blk_class.features;
	features &= ~(disk->readonly ? BIT(F_DISCARD) | BIT(F_WRITE_ZEROES) : BIT(F_RO));
	if (queues < 2)
		features &= ~BIT(F_MQ);
	struct blk *blk = xcalloc(1, sizeof(*blk));
	int r = virtio_device_new(
		&blk->device, &blk_class, blk, features, queues, memory, loop, err);
	if (r < 0) {
		free(blk);
		return r;
	}
	blk->disk = disk;
	blk->sectors = disk->bytes >> SECTOR_SHIFT;
	blk->queue_count = queues;
	blk->queues = xcalloc(queues, sizeof(*blk->queues));
	atomic_init(&blk->writeback, true);
	if (serial)
		memcpy(blk->id, serial, strnlen(serial, sizeof(blk->id)));
	*out = blk->device;
	return 0;
}
