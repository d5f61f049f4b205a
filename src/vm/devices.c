// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <unistd.h>

#include "block/block.h"
#include "device/virtio/devices.h"
#include "fs/layers.h"
#include "fs/passthrough.h"
#include "net/slirp.h"
#include "vm/internal.h"

enum {
	BLOCK_QUEUES_MAX = 4,
	GUEST_CID = 3, /* the first that is free to use; each machine is its own network */
};

/* Puts the device into a slot; it is gone when that fails. */
static int add(struct vm *vm, struct virtio_device *d, struct error *err)
{
	int r = board_add_virtio(vm->board, d, err);
	if (r < 0)
		virtio_device_free(d);
	return r;
}

static int add_rng(struct vm *vm, struct error *err)
{
	struct virtio_device *d;
	int r = virtio_rng_new(&d, vm->board->memory, vm->loop, err);
	return r < 0 ? r : add(vm, d, err);
}

static int add_disk(struct vm *vm, const struct vm_disk *c, struct loop *loop, unsigned queues,
	struct error *err)
{
	struct block *disk;
	struct virtio_device *d;
	int fd = -1, r = vm_own_fd(&fd, c->fd, err);
	if (r < 0)
		return r;
	r = block_raw_new(&disk, fd, c->readonly, c->path, err);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = virtio_blk_new(&d, vm->board->memory, loop, disk, c->serial, queues, err);
	if (r < 0) {
		block_free(disk);
		return r;
	}
	return add(vm, d, err);
}

/* One thread serves all disks: what takes time there is the host's disk. */
static int add_disks(struct vm *vm, const struct vm_config *config, struct error *err)
{
	struct loop *loop;
	if (!config->disk_count)
		return 0;
	int r = vm_io_new(vm, "block", &loop, err);
	for (unsigned i = 0; r == 0 && i < config->disk_count; i++) {
		r = add_disk(vm, &config->disks[i], loop, MIN(config->cpus, BLOCK_QUEUES_MAX), err);
		if (r < 0)
			return error_wrap(err, r, "disk %s", config->disks[i].path);
	}
	return r;
}

static void close_all(const int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

static int make_layers(const struct vm_share *c, struct fuse_fs **out, struct error *err)
{
	int fds[VM_LAYERS_MAX];
	unsigned n = 0;
	int r = 0;
	if (!c->layer_count || c->layer_count > VM_LAYERS_MAX)
		return error_set(
			err, EINVAL, "1 to %u layers, not %u", VM_LAYERS_MAX, c->layer_count);
	while (r == 0 && n < c->layer_count) {
		r = vm_own_fd(&fds[n], c->layer_fds[n], err);
		n += r == 0;
	}
	if (r == 0)
		r = layers_fs_new(out, fds, n, err);
	if (r < 0)
		close_all(fds, n);
	return r;
}

static int make_passthrough(
	struct vm *vm, const struct vm_share *c, struct fuse_fs **out, struct error *err)
{
	const struct passthrough_config pc = {.read_only = c->readonly};
	struct sandbox_dir *dir = &vm->dirs[vm->dir_count];
	int fd = -1, r = vm_own_fd(&dir->fd, c->dir_fd, err);
	if (r < 0)
		return r;
	dir->readonly = c->readonly;
	vm->dir_count++;
	r = vm_own_fd(&fd, c->dir_fd, err);
	if (r == 0)
		r = passthrough_fs_new(out, fd, &pc, err);
	if (r < 0 && fd >= 0)
		close(fd);
	return r;
}

/* A file system works on its own thread: a slow directory holds up nothing else. */
static int add_share(struct vm *vm, const struct vm_share *c, struct error *err)
{
	struct fuse_fs *fs;
	struct virtio_device *d;
	struct loop *loop;
	int r = vm_io_new(vm, "fs", &loop, err);
	if (r == 0)
		r = c->dir_fd >= 0 ? make_passthrough(vm, c, &fs, err) : make_layers(c, &fs, err);
	if (r < 0)
		return r;
	r = virtio_fs_new(&d, vm->board->memory, loop, c->tag, fs, 1, err);
	if (r < 0) {
		fuse_fs_free(fs);
		return r;
	}
	return add(vm, d, err);
}

static int add_shares(struct vm *vm, const struct vm_config *config, struct error *err)
{
	for (unsigned i = 0; i < config->share_count; i++) {
		int r = add_share(vm, &config->shares[i], err);
		if (r < 0)
			return error_wrap(err, r, "share %s", config->shares[i].tag);
	}
	return 0;
}

static int add_net(struct vm *vm, const struct vm_config *config, struct error *err)
{
	struct virtio_device *d;
	if (config->net_fd < 0)
		return 0;
	int fd = -1, r = vm_own_fd(&fd, config->net_fd, err);
	if (r < 0)
		return r;
	r = virtio_net_new(&d, vm->board->memory, vm->loop, fd, config->mac, SLIRP_MTU_MAX, err);
	if (r < 0) {
		close(fd);
		return error_wrap(err, r, "network device");
	}
	return add(vm, d, err);
}

static int add_vsock(struct vm *vm, const struct vm_config *config, struct error *err)
{
	struct virtio_device *d;
	if (config->vsock_listen_fd < 0)
		return 0;
	vm->connects = config->vsock_path != NULL;
	int fd = -1, r = vm_own_fd(&fd, config->vsock_listen_fd, err);
	if (r < 0)
		return r;
	r = virtio_vsock_new(
		&d, vm->board->memory, vm->loop, GUEST_CID, fd, config->vsock_path, err);
	if (r < 0) {
		close(fd);
		return error_wrap(err, r, "vsock");
	}
	return add(vm, d, err);
}

int vm_devices_add(struct vm *vm, const struct vm_config *config, struct error *err)
{
	if (config->disk_count > VM_DISKS_MAX || config->share_count > VM_SHARES_MAX)
		return error_set(
			err, EINVAL, "at most %u disks and %u shares", VM_DISKS_MAX, VM_SHARES_MAX);
	int r = add_disks(vm, config, err);
	if (r == 0)
		r = add_shares(vm, config, err);
	if (r == 0)
		r = add_net(vm, config, err);
	if (r == 0)
		r = add_vsock(vm, config, err);
	if (r == 0)
		r = add_rng(vm, err);
	return r;
}
