// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <unistd.h>

#include "block/block.h"
#include "device/virtio/devices.h"
#include "vm/internal.h"

enum {
	BLOCK_QUEUES_MAX = 4,
	NET_MTU = 1500,
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
			return error_wrap(err, "disk %s", config->disks[i].path);
	}
	return r;
}

static int add_net(struct vm *vm, const struct vm_config *config, struct error *err)
{
	struct virtio_device *d;
	if (config->net_fd < 0)
		return 0;
	int fd = -1, r = vm_own_fd(&fd, config->net_fd, err);
	if (r < 0)
		return r;
	r = virtio_net_new(&d, vm->board->memory, vm->loop, fd, config->mac, NET_MTU, err);
	if (r < 0) {
		close(fd);
		return error_wrap(err, "network device");
	}
	return add(vm, d, err);
}

int vm_devices_add(struct vm *vm, const struct vm_config *config, struct error *err)
{
	int r = add_disks(vm, config, err);
	if (r == 0)
		r = add_net(vm, config, err);
	if (r == 0)
		r = add_rng(vm, err);
	return r;
}
