// SPDX-License-Identifier: Apache-2.0
// What the files of the passthrough file system share. Private to passthrough*.c.
#ifndef STRATA_FS_PASSTHROUGH_IMPL_H
#define STRATA_FS_PASSTHROUGH_IMPL_H

#include "fs/passthrough_nodes.h"

enum {
	SHARED_SECONDS = 1, /* how long the guest may trust what it saw */
	EXCLUSIVE_SECONDS = 3600,
};

struct passthrough {
	struct fuse_fs fs;
	struct nodes nodes;
	struct passthrough_config config;
	bool keep_ids;
	uint32_t uid, gid; /* whom the host takes us for */
	int proc_fd;	   /* /proc/self/fd: opens again what an O_PATH descriptor holds */
	uint64_t root_dev;
};

/* A node that a request uses: put when it leaves its scope. */
struct node_use {
	struct passthrough *p;
	struct node *node;
	int fd; /* O_PATH */
};
void node_use_done(struct node_use *u);
#define _node_use_ __attribute__((cleanup(node_use_done)))

static inline struct passthrough *passthrough_of(struct fuse_fs *fs)
{
	return container_of(fs, struct passthrough, fs);
}

int passthrough_use(struct passthrough *p, uint64_t id, struct node_use *u);
/* Opens what u holds anew, through /proc: no name is walked. Returns a descriptor or -errno. Never
 * anything but a regular file or a directory: EPERM. */
int passthrough_reopen(struct passthrough *p, const struct node_use *u, int flags);
void passthrough_fill_attr(struct passthrough *p, const struct statx *st, struct fuse_attr *a);
/* The reply to a lookup of what st describes, counted. */
int passthrough_entry(struct passthrough *p, const struct node_use *parent, const char *name,
	const struct statx *st, struct fuse_entry_out *out);
int passthrough_lookup(struct passthrough *p, const struct node_use *parent, const char *name,
	struct fuse_entry_out *out);
/* Gives a file or directory that was just made (fd: not O_PATH, or O_PATH for a symlink) the owner
 * and mode that were asked for. */
int passthrough_adopt(struct passthrough *p, int fd, const struct fuse_caller *who, uint32_t mode,
	bool setgid_parent, struct statx *st);
bool passthrough_setgid(const struct node_use *dir);
/* As the kernel does for a writer without privilege: no set-id bits on what was changed. */
void passthrough_kill_suid(int fd);

void passthrough_state(struct fuse_fs *fs, struct state *s);

/* passthrough_io.c */
int passthrough_open(struct fuse_fs *fs, uint64_t node, const struct fuse_open_in *in,
	struct fuse_open_out *out);
int passthrough_create(struct fuse_fs *fs, const struct fuse_caller *who, uint64_t parent,
	const char *name, const struct fuse_create_in *in, struct fuse_entry_out *entry,
	struct fuse_open_out *out);
ssize_t passthrough_read(struct fuse_fs *fs, uint64_t node, const struct fuse_read_in *in,
	const struct iovec *iov, unsigned iov_count);
ssize_t passthrough_write(struct fuse_fs *fs, uint64_t node, const struct fuse_write_in *in,
	const struct iovec *iov, unsigned iov_count);
int passthrough_release(struct fuse_fs *fs, uint64_t node, uint64_t fh);
int passthrough_fsync(struct fuse_fs *fs, uint64_t node, uint64_t fh, bool data_only);
int passthrough_fallocate(struct fuse_fs *fs, uint64_t node, const struct fuse_fallocate_in *in);
int passthrough_lseek(
	struct fuse_fs *fs, uint64_t node, const struct fuse_lseek_in *in, uint64_t *offset);
ssize_t passthrough_copy_file_range(
	struct fuse_fs *fs, uint64_t node, const struct fuse_copy_file_range_in *in);
int passthrough_opendir(struct fuse_fs *fs, uint64_t node, struct fuse_open_out *out);
int passthrough_readdir(
	struct fuse_fs *fs, uint64_t node, uint64_t fh, uint64_t offset, struct fuse_dirbuf *db);
int passthrough_releasedir(struct fuse_fs *fs, uint64_t node, uint64_t fh);
int passthrough_fsyncdir(struct fuse_fs *fs, uint64_t node, uint64_t fh, bool data_only);
ssize_t passthrough_getxattr(
	struct fuse_fs *fs, uint64_t node, const char *name, void *buf, size_t size);
ssize_t passthrough_listxattr(struct fuse_fs *fs, uint64_t node, char *buf, size_t size);
int passthrough_setxattr(struct fuse_fs *fs, uint64_t node, const char *name, const void *value,
	size_t size, uint32_t flags);
int passthrough_removexattr(struct fuse_fs *fs, uint64_t node, const char *name);

#endif
