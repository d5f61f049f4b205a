// SPDX-License-Identifier: Apache-2.0
// File system device (virtio 1.2, 5.11): FUSE requests of the guest's kernel, served to their end
// on the thread of their queue. Queue 0 is for requests that must not wait behind others (FORGET),
// the rest are equal. No DAX window: reads and writes go straight from the file to the guest's
// pages.
#include "device/virtio/devices.h"

#include "fs/fuse.h"

enum { /* struct virtio_fs_config */
	CONFIG_TAG = 0,
	TAG_BYTES = 36,
	CONFIG_QUEUES = 36,
	CONFIG_BYTES = 40,
};

enum {
	HIPRIO_QUEUES = 1,
	BATCH = 32, /* requests before others on the loop have their turn */
};

struct fs {
	struct virtio_device *device; /* not owned: owns us */
	struct fuse_fs *fuse;	      /* owned */
	uint8_t tag[TAG_BYTES];	      /* filled up with NULs */
	unsigned request_queues;
};

static void fs_config_read(void *dev, uint8_t *config)
{
	const struct fs *fs = dev;
	memcpy(config + CONFIG_TAG, fs->tag, sizeof(fs->tag));
	store_le32(config + CONFIG_QUEUES, fs->request_queues);
}

/* false: what the driver sent is no request, and the device has failed. */
static bool serve_one(struct fs *fs, struct virtio_queue *vq, unsigned q)
{
	struct virtio_chain chain;
	if (virtio_queue_pop(vq, &chain) != 1)
		return false;
	ssize_t n = fuse_fs_serve(
		fs->fuse, chain.iov, chain.out_count, chain.iov + chain.out_count, chain.in_count);
	if (n < 0) {
		virtio_fail(fs->device,
			"queue %u: a request of %llu bytes with %llu for the answer is not FUSE", q,
			(unsigned long long)chain.out_bytes, (unsigned long long)chain.in_bytes);
		virtio_queue_drop(vq, &chain);
		return false;
	}
	virtio_queue_push(vq, &chain, (uint32_t)n);
	return true;
}

static void fs_notify(void *dev, unsigned q)
{
	struct fs *fs = dev;
	struct virtio_queue *vq = virtio_queue_get(fs->device, q);
	unsigned served = 0;
	while (served < BATCH && serve_one(fs, vq, q)) {
		/* A reader waits for each: it is not kept until the batch is done. */
		virtio_queue_signal(vq);
		served++;
	}
	if (served == BATCH)
		virtio_queue_again(vq);
}

static int fs_start(void *dev, uint64_t features)
{
	(void)dev;
	(void)features;
	return 0;
}

/* The guest's kernel is gone with all that it knew. */
static void fs_reset(void *dev)
{
	struct fs *fs = dev;
	fuse_fs_reset(fs->fuse);
}

static void fs_queue_reset(void *dev, unsigned q)
{
	(void)dev;
	(void)q;
}

static void fs_state(void *dev, struct state *s)
{
	struct fs *fs = dev;
	uint8_t tag[sizeof(fs->tag)];
	memcpy(tag, fs->tag, sizeof(tag));
	state_bytes(s, "tag", tag, sizeof(tag));
	if (memcmp(tag, fs->tag, sizeof(tag)))
		state_fail(s, "file system: the saved one has another tag");
	fuse_fs_state(fs->fuse, s);
}

static void fs_free(void *dev)
{
	struct fs *fs = dev;
	fuse_fs_free(fs->fuse);
	free(fs);
}

static const struct virtio_class fs_class = {
	.name = "fs",
	.id = VIRTIO_ID_FS,
	.config_bytes = CONFIG_BYTES,
	.config_read = fs_config_read,
	.start = fs_start,
	.reset = fs_reset,
	.notify = fs_notify,
	.queue_reset = fs_queue_reset,
	.state = fs_state,
	.free = fs_free,
};

int virtio_fs_new(struct virtio_device **out, struct memory *memory, struct loop *loop,
	const char *tag, struct fuse_fs *fuse, unsigned queues, struct error *err)
{
	size_t len = strlen(tag);
	struct fs *fs;
	if (len == 0 || len > sizeof(fs->tag))
		return error_set(
			err, EINVAL, "mount tag '%.64s': 1 to %zu bytes", tag, sizeof(fs->tag));
	if (queues == 0)
		return error_set(err, EINVAL, "mount tag '%s': no request queue", tag);
	fs = xcalloc(1, sizeof(*fs));
	fs->fuse = fuse;
	fs->request_queues = queues;
	memcpy(fs->tag, tag, len);
	int r = virtio_device_new(
		&fs->device, &fs_class, fs, 0, HIPRIO_QUEUES + queues, memory, loop, err);
	if (r < 0) {
		free(fs);
		return r;
	}
	*out = fs->device;
	return 0;
}
