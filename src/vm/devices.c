// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "block/block.h"
#include "device/virtio/devices.h"
#include "vm/internal.h"

/* More queues than this make nothing faster: all of a disk's are served by one thread. */
enum { BLOCK_QUEUES_MAX = 4 };

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

int vm_devices_add(struct vm *vm, const struct vm_config *config, struct error *err)
{
	return add_rng(vm, err);
}
