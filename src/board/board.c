// SPDX-License-Identifier: Apache-2.0
#include "board/board.h"

#include "board/riscv64/machine.h"

static const struct board_ops *const boards[] = {
	&riscv_board_ops,
};

const struct board_ops *board_find(const char *arch)
{
	for (size_t i = 0; i < ARRAY_SIZE(boards); i++) {
		if (!strcmp(boards[i]->arch, arch))
			return boards[i];
	}
	return NULL;
}

int board_new(struct board **out, const struct board_ops *ops, const struct board_config *config,
	struct loop *loop, struct error *err)
{
	if (!config->cpus || config->cpus > ops->cpus_max)
		return error_set(err, EINVAL, "a %s machine has 1 to %u CPUs, not %u", ops->arch,
			ops->cpus_max, config->cpus);
	if (config->memory_bytes < ops->memory_min_bytes ||
		config->memory_bytes > ops->memory_max_bytes)
		return error_set(err, EINVAL,
			"a %s machine has %llu MiB to %llu GiB of memory, not %llu MiB", ops->arch,
			(unsigned long long)(ops->memory_min_bytes / MiB),
			(unsigned long long)(ops->memory_max_bytes / GiB),
			(unsigned long long)(config->memory_bytes / MiB));
	if (config->memory_bytes % GUEST_PAGE_BYTES)
		return error_set(err, EINVAL, "memory of %llu bytes is no multiple of 4 KiB",
			(unsigned long long)config->memory_bytes);
	return ops->new (out, config, loop, err);
}

int board_add_virtio(struct board *b, struct virtio_device *d, struct error *err)
{
	return b->ops->add_virtio(b, d, err);
}
