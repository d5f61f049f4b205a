// SPDX-License-Identifier: Apache-2.0
// A FUSE file server (protocol 7.31 to 7.38, <linux/fuse.h>) without a transport: a request and the
// room for its reply are lists of buffers, wherever they came from (a virtqueue, /dev/fuse, a
// test).
//
// A file system is a `struct fuse_fs` embedded in the back end's own object. fuse.c decodes and
// bounds every request, so that a back end sees only complete arguments, clean names (one
// component, not "." or "..", at most 255 bytes) and offsets within INT64_MAX; node numbers,
// handles, flags and modes are the client's and the back end checks them.
//
// Byte order is the client's, which must be the host's (little-endian everywhere we run).
// Locks (fcntl, flock) are the client's own: they are not seen by the host.
//
// Threads: fuse_fs_serve() is for any thread, several at once; back ends lock for themselves.
#ifndef STRATA_FS_FUSE_H
#define STRATA_FS_FUSE_H

#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "base/error.h"
#include "wire/state.h"

enum {
	FUSE_FS_NAME_MAX = 255,
	FUSE_FS_IO_MAX = 1 << 20,		     /* bytes of data in one request */
	FUSE_FS_XATTR_MAX = 64 << 10,		     /* bytes of one value or list, as in Linux */
	FUSE_FS_SYMLINK_MAX = 4095,		     /* bytes */
	FUSE_FS_REQUEST_MAX = FUSE_FS_IO_MAX + 4096, /* bytes of the largest request */
};

struct fuse_fs;

/* Who asks, as the client's kernel says. */
struct fuse_caller {
	uint32_t uid, gid, pid;
};

/* Collects directory entries; see fuse_dirbuf_add(). */
struct fuse_dirbuf {
	uint8_t *bytes;
	size_t len, cap;
	bool plus; /* READDIRPLUS: each entry carries a fuse_entry_out */
};

/* Whether an entry with a name of this length still fits. Ask before a lookup is counted. */
bool fuse_dirbuf_fits(const struct fuse_dirbuf *db, size_t name_len);
/* Adds an entry that fits. next_offset resumes after it. entry: for plus; NULL: not looked up. */
void fuse_dirbuf_add(struct fuse_dirbuf *db, const char *name, size_t name_len, uint64_t ino,
	uint32_t dt_type, uint64_t next_offset, const struct fuse_entry_out *entry);

/* Functions return 0 or a count of bytes, or -errno for the client; NULL ones answer ENOSYS.
 * Outputs are zeroed before the call. A successful lookup (also by create, mkdir, … and a
 * READDIRPLUS entry) adds 1 to the node's lookup count. */
struct fuse_fs_ops {
	const char *name;

	void (*free)(struct fuse_fs *fs);
	/* The client is gone (unmount, device reset): all nodes forgotten, all handles closed. No
	 * other request runs meanwhile: fuse.c holds the session's lock. */
	void (*reset)(struct fuse_fs *fs);
	void (*state)(struct fuse_fs *fs, struct state *s);

	int (*lookup)(
		struct fuse_fs *fs, uint64_t parent, const char *name, struct fuse_entry_out *out);
	void (*forget)(struct fuse_fs *fs, uint64_t node, uint64_t count);
	/* fh: NULL, or the handle to ask. */
	int (*getattr)(
		struct fuse_fs *fs, uint64_t node, const uint64_t *fh, struct fuse_attr_out *out);
	int (*setattr)(struct fuse_fs *fs, uint64_t node, const struct fuse_setattr_in *in,
		struct fuse_attr_out *out);
	ssize_t (*readlink)(struct fuse_fs *fs, uint64_t node, char *buf, size_t size);
	int (*symlink)(struct fuse_fs *fs, const struct fuse_caller *who, uint64_t parent,
		const char *name, const char *target, struct fuse_entry_out *out);
	int (*mknod)(struct fuse_fs *fs, const struct fuse_caller *who, uint64_t parent,
		const char *name, uint32_t mode, uint32_t rdev, struct fuse_entry_out *out);
	int (*mkdir)(struct fuse_fs *fs, const struct fuse_caller *who, uint64_t parent,
		const char *name, uint32_t mode, struct fuse_entry_out *out);
	int (*unlink)(struct fuse_fs *fs, uint64_t parent, const char *name);
	int (*rmdir)(struct fuse_fs *fs, uint64_t parent, const char *name);
	int (*rename)(struct fuse_fs *fs, uint64_t from, const char *name, uint64_t to,
		const char *to_name, uint32_t flags);
	int (*link)(struct fuse_fs *fs, uint64_t node, uint64_t parent, const char *name,
		struct fuse_entry_out *out);
	int (*access)(struct fuse_fs *fs, uint64_t node, uint32_t mask);
	int (*statfs)(struct fuse_fs *fs, uint64_t node, struct fuse_kstatfs *out);
	int (*syncfs)(struct fuse_fs *fs);

	/* name is at most 255 bytes and not empty; size 0 asks for the length. */
	ssize_t (*getxattr)(
		struct fuse_fs *fs, uint64_t node, const char *name, void *buf, size_t size);
	ssize_t (*listxattr)(struct fuse_fs *fs, uint64_t node, char *buf, size_t size);
	int (*setxattr)(struct fuse_fs *fs, uint64_t node, const char *name, const void *value,
		size_t size, uint32_t flags);
	int (*removexattr)(struct fuse_fs *fs, uint64_t node, const char *name);

	int (*open)(struct fuse_fs *fs, uint64_t node, const struct fuse_open_in *in,
		struct fuse_open_out *out);
	int (*create)(struct fuse_fs *fs, const struct fuse_caller *who, uint64_t parent,
		const char *name, const struct fuse_create_in *in, struct fuse_entry_out *entry,
		struct fuse_open_out *out);
	/* iov holds exactly in->size bytes (at most FUSE_FS_IO_MAX); less is read at the end only.
	 */
	ssize_t (*read)(struct fuse_fs *fs, uint64_t node, const struct fuse_read_in *in,
		const struct iovec *iov, unsigned iov_count);
	ssize_t (*write)(struct fuse_fs *fs, uint64_t node, const struct fuse_write_in *in,
		const struct iovec *iov, unsigned iov_count);
	int (*flush)(struct fuse_fs *fs, uint64_t node, uint64_t fh);
	int (*release)(struct fuse_fs *fs, uint64_t node, uint64_t fh);
	int (*fsync)(struct fuse_fs *fs, uint64_t node, uint64_t fh, bool data_only);
	int (*fallocate)(struct fuse_fs *fs, uint64_t node, const struct fuse_fallocate_in *in);
	int (*lseek)(struct fuse_fs *fs, uint64_t node, const struct fuse_lseek_in *in,
		uint64_t *offset);
	ssize_t (*copy_file_range)(
		struct fuse_fs *fs, uint64_t node, const struct fuse_copy_file_range_in *in);

	int (*opendir)(struct fuse_fs *fs, uint64_t node, struct fuse_open_out *out);
	int (*readdir)(struct fuse_fs *fs, uint64_t node, uint64_t fh, uint64_t offset,
		struct fuse_dirbuf *db);
	int (*releasedir)(struct fuse_fs *fs, uint64_t node, uint64_t fh);
	int (*fsyncdir)(struct fuse_fs *fs, uint64_t node, uint64_t fh, bool data_only);
};

struct fuse_fs {
	const struct fuse_fs_ops *ops;
	bool read_only;	 /* everything that would change it answers EROFS */
	uint64_t wanted; /* FUSE_* features to use when the client has them, with the usual */
	_Atomic uint64_t features; /* FUSE_* that INIT agreed on; 0 before INIT */
	pthread_rwlock_t session;  /* read by every request; written when the session changes */
};

/* For back ends: the part that fuse.c uses. ops->free calls fuse_fs_done(). */
void fuse_fs_init(
	struct fuse_fs *fs, const struct fuse_fs_ops *ops, bool read_only, uint64_t wanted);
void fuse_fs_done(struct fuse_fs *fs);

/* Serves one request: `request` holds what the client sent, `reply` where the answer goes. The
 * buffers may be shared with the client, who may change them meanwhile: nothing is read twice.
 * Returns the bytes of the reply, 0 when none is due (FORGET), or -EBADMSG when this is no request
 * that could be answered (no whole header, wrong length, no room for a reply's header). */
ssize_t fuse_fs_serve(struct fuse_fs *fs, const struct iovec *request, unsigned request_count,
	const struct iovec *reply, unsigned reply_count);

void fuse_fs_reset(struct fuse_fs *fs); /* as if never mounted. [any thread] */
/* The negotiation, and what the back end keeps of nodes and handles. Waits for requests. */
void fuse_fs_state(struct fuse_fs *fs, struct state *s);
void fuse_fs_free(struct fuse_fs *fs); /* accepts NULL */

#endif
