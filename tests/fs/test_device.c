// SPDX-License-Identifier: Apache-2.0
// The device around the file server, driven through its rings.
#include "device/virtio/devices.h"
#include "fs/fuse.h"
#include "fs/layers.h"

#include "fs/tars.h"
#include "virtio/driver.h"

static bool start(struct guest *g, uint64_t features)
{
	struct fuse_fs *fs;
	int fd = LAYER({'f', "file", "content"});
	guest_init(g);
	return layers_fs_new(&fs, &fd, 1, NULL) == 0 &&
	       virtio_fs_new(&g->device, g->memory, g->loop, "image", fs, 2, NULL) == 0 &&
	       guest_start(g, features);
}

/* Header and arguments in one buffer each, the reply's header and payload too: as Linux does. */
static int64_t request(struct guest *g, unsigned q, uint64_t at, uint32_t op, uint64_t node,
	const void *args, uint32_t len, uint32_t room)
{
	struct fuse_in_header h = {
		.len = (uint32_t)sizeof(h) + len, .opcode = op, .unique = 7, .nodeid = node};
	memcpy(guest_ptr(g, at), &h, sizeof(h));
	if (len)
		memcpy(guest_ptr(g, at + 64), args, len);
	memset(guest_ptr(g, at + 1024), 0xee, 16);
	struct buf b[4] = {{at, sizeof(h)}, {at + 64, len}, {at + 1024, 16}, {at + 2048, room}};
	if (!len)
		b[1] = b[2], b[2] = b[3];
	unsigned out = len ? 2 : 1;
	return drv_transact(&g->q[q], b, out, out + (room ? 2 : 1));
}

static void mounts_and_reads(void)
{
	for (size_t r = 0; r < ARRAY_SIZE(RINGS); r++) {
		struct guest g;
		REQUIRE(start(&g, RINGS[r].features));
		uint64_t at = guest_alloc(&g, 16384);
		uint8_t config[40];
		virtio_device_config_read(g.device, 0, config, sizeof(config));
		CHECK(!memcmp(config, "image\0\0", 7) && load_le32(config + 36) == 2);
		struct fuse_init_in init = {.major = 7, .minor = 38, .flags = FUSE_MAX_PAGES};
		CHECK_EQ(request(&g, 1, at, FUSE_INIT, 0, &init, sizeof(init),
				 sizeof(struct fuse_init_out)),
			(int64_t)(16 + sizeof(struct fuse_init_out)));
		CHECK_EQ(request(&g, 2, at, FUSE_LOOKUP, 1, "file", 5,
				 sizeof(struct fuse_entry_out)),
			(int64_t)(16 + sizeof(struct fuse_entry_out)));
		struct fuse_entry_out e;
		memcpy(&e, guest_ptr(&g, at + 2048), sizeof(e));
		struct fuse_read_in in = {.size = 4096};
		CHECK_EQ(request(&g, 1, at, FUSE_READ, e.nodeid, &in, sizeof(in), 4096),
			(int64_t)16 + 7);
		CHECK(!memcmp(guest_ptr(&g, at + 2048), "content", 7));
		/* FORGET on the high-priority queue: no room for a reply, none comes */
		struct fuse_in_header h = {
			.len = sizeof(h) + 8, .opcode = FUSE_FORGET, .nodeid = e.nodeid};
		memcpy(guest_ptr(&g, at), &h, sizeof(h));
		memset(guest_ptr(&g, at + sizeof(h)), 1, 8);
		CHECK_EQ(drv_transact(&g.q[0], (struct buf[]){{at, sizeof(h) + 8}}, 1, 1), 0);
		/* an unknown operation is answered, nonsense is not */
		CHECK_EQ(request(&g, 1, at, 4095, 1, NULL, 0, 16), 16);
		CHECK_EQ((int32_t)load_le32((uint8_t *)guest_ptr(&g, at + 1024) + 4), -ENOSYS);
		CHECK(virtio_running(g.device));
		drv_transact(&g.q[1], (struct buf[]){{at, 12}, {at + 1024, 16}}, 1, 2);
		CHECK(!virtio_running(g.device));
		/* a reset mends it, and forgets the mount */
		CHECK(guest_start(&g, RINGS[r].features));
		CHECK_EQ(request(&g, 1, at, FUSE_LOOKUP, 1, "file", 5, sizeof(e)), 16);
		CHECK_EQ((int32_t)load_le32((uint8_t *)guest_ptr(&g, at + 1024) + 4), -EIO);
		guest_done(&g);
	}
}

static void bad_arguments(void)
{
	struct guest g;
	struct error err _error_ = ERROR_INIT;
	struct fuse_fs *fs;
	int fd = LAYER({'f', "file", "content"});
	guest_init(&g);
	REQUIRE(layers_fs_new(&fs, &fd, 1, NULL) == 0);
	struct virtio_device *d;
	CHECK_EQ(virtio_fs_new(&d, g.memory, g.loop, "", fs, 1, &err), -EINVAL);
	CHECK_EQ(virtio_fs_new(&d, g.memory, g.loop, "1234567890123456789012345678901234567", fs, 1,
			 &err),
		-EINVAL);
	CHECK_EQ(virtio_fs_new(&d, g.memory, g.loop, "tag", fs, 0, &err), -EINVAL);
	fuse_fs_free(fs);
	guest_done(&g);
}

int main(void)
{
	RUN(mounts_and_reads);
	RUN(bad_arguments);
	return tap_done();
}
