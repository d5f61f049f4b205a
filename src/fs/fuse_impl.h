// SPDX-License-Identifier: Apache-2.0
// What the two files of the server share: a request that is being served. fuse.c decodes it and
// keeps the session; fuse_serve.c has the operations on names, files and directories.
#ifndef STRATA_FS_FUSE_IMPL_H
#define STRATA_FS_FUSE_IMPL_H

#include "fs/fuse.h"

enum {
	FUSE_NAME_BYTES = FUSE_FS_NAME_MAX + 1,
	FUSE_TEXT_BYTES = FUSE_NAME_BYTES + FUSE_FS_SYMLINK_MAX +
			  1,	 /* most that any operation's names need */
	FUSE_BUFFERS_MAX = 1024, /* of one request, each way; also Linux's limit of preadv(2) */
};

struct fuse_buffers {
	const struct iovec *iov;
	unsigned count;
	uint64_t bytes;
};

/* The fixed part of an operation's arguments. */
union fuse_args {
	struct fuse_forget_in forget;
	struct fuse_batch_forget_in batch_forget;
	struct fuse_getattr_in getattr;
	struct fuse_setattr_in setattr;
	struct fuse_mknod_in mknod;
	struct fuse_mkdir_in mkdir;
	struct fuse_rename_in rename;
	struct fuse_rename2_in rename2;
	struct fuse_link_in link;
	struct fuse_open_in open;
	struct fuse_create_in create;
	struct fuse_release_in release;
	struct fuse_flush_in flush;
	struct fuse_read_in read;
	struct fuse_write_in write;
	struct fuse_fsync_in fsync;
	struct fuse_getxattr_in getxattr;
	uint8_t setxattr[FUSE_COMPAT_SETXATTR_IN_SIZE]; /* the start of fuse_setxattr_in */
	struct fuse_access_in access;
	struct fuse_init_in init;
	struct fuse_fallocate_in fallocate;
	struct fuse_lseek_in lseek;
	struct fuse_copy_file_range_in copy_file_range;
	struct fuse_syncfs_in syncfs;
};

struct fuse_call {
	struct fuse_fs *fs;
	struct fuse_in_header head;
	struct fuse_caller who;
	struct fuse_buffers request, reply;
	uint64_t rest; /* where the bytes after arguments and names start */
	uint64_t room; /* bytes of the reply after its header */
	union fuse_args in;
	const char *names[2]; /* point into text */
	char text[FUSE_TEXT_BYTES];
};

/* Returns the payload's bytes, already in reply after the header, or -errno. */
typedef ssize_t fuse_handler(struct fuse_call *c);

/* Copies at most len bytes from `offset` on; returns how many there were. */
size_t fuse_buffers_get(const struct fuse_buffers *b, uint64_t offset, void *out, size_t len);
size_t fuse_buffers_put(const struct fuse_buffers *b, uint64_t offset, const void *in, size_t len);
/* The part [offset, offset + len), which exists, as a list of its own. out has room for b->count.
 */
unsigned fuse_buffers_slice(
	const struct fuse_buffers *b, uint64_t offset, uint64_t len, struct iovec *out);

/* Put the payload after the reply's header (and `offset` bytes) and return its length; if: unless
 * rc is an error. The room for a reply was checked before the call, so that what was done is always
 * reported. */
ssize_t fuse_answer_at(struct fuse_call *c, uint64_t offset, const void *payload, size_t len);
ssize_t fuse_answer(struct fuse_call *c, const void *payload, size_t len);
ssize_t fuse_answer_if(struct fuse_call *c, int rc, const void *payload, size_t len);

fuse_handler fuse_serve_lookup, fuse_serve_getattr, fuse_serve_setattr, fuse_serve_readlink,
	fuse_serve_symlink, fuse_serve_mknod, fuse_serve_mkdir, fuse_serve_unlink, fuse_serve_rmdir,
	fuse_serve_rename, fuse_serve_rename2, fuse_serve_link, fuse_serve_access,
	fuse_serve_statfs, fuse_serve_syncfs, fuse_serve_getxattr, fuse_serve_listxattr,
	fuse_serve_setxattr, fuse_serve_removexattr, fuse_serve_open, fuse_serve_create,
	fuse_serve_read, fuse_serve_write, fuse_serve_flush, fuse_serve_release, fuse_serve_fsync,
	fuse_serve_fallocate, fuse_serve_lseek, fuse_serve_copy_file_range, fuse_serve_opendir,
	fuse_serve_readdir, fuse_serve_readdirplus, fuse_serve_releasedir, fuse_serve_fsyncdir;

#endif
