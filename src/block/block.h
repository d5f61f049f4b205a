// SPDX-License-Identifier: Apache-2.0
// A disk: bytes at offsets, whatever format holds them. Synchronous; called from several I/O
// threads at once (a format that needs a lock takes its own).
#ifndef STRATA_BLOCK_BLOCK_H
#define STRATA_BLOCK_BLOCK_H

#include <sys/uio.h>

#include "base/error.h"

struct block;

struct block_ops {
	const char *name; /* "raw" */
	/* The range is inside the disk. Whole transfer or -errno. */
	int (*readv)(struct block *b, const struct iovec *iov, int n, uint64_t offset);
	int (*writev)(struct block *b, const struct iovec *iov, int n, uint64_t offset);
	int (*flush)(struct block *b); /* durable when it returns */
	int (*discard)(
		struct block *b, uint64_t offset, uint64_t bytes); /* contents may become zero */
	int (*write_zeroes)(struct block *b, uint64_t offset, uint64_t bytes, bool may_unmap);
	void (*free)(struct block *b);
};

struct block {
	const struct block_ops *ops;
	uint64_t bytes; /* multiple of 512 */
	bool readonly;
};

/* raw.c: a file or block device. fd is owned on success; name is for messages. */
int block_raw_new(struct block **out, int fd, bool readonly, const char *name, struct error *err);
static inline void block_free(struct block *b)
{
	if (b)
		b->ops->free(b);
}

#endif
