// SPDX-License-Identifier: Apache-2.0
// Open files and directories, and extended attributes.
#include "fs/passthrough_impl.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
	COPY_BYTES_MAX = 64 << 20, /* in one request: the client goes on with the rest */
	GETDENTS_BYTES = 16 << 10,
	GETDENTS_LEAST = 512, /* one entry always fits */
};

/* The layout that getdents64(2) fills in. */
struct linux_dirent64 {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/* --- files --- */

/* Only these mean the same on every architecture. O_APPEND is done by write, O_DIRECT would ask
 * for an alignment that the guest's buffers do not promise. */
static int host_flags(const struct passthrough *p, uint32_t flags)
{
	int keep = (int)flags & (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC);
	if (p->fs.read_only)
		return O_RDONLY;
	/* A guest that writes back late reads the rest of a page before it writes into it. */
	bool writeback = atomic_load(&p->fs.features) & FUSE_WRITEBACK_CACHE;
	if (writeback && (keep & O_ACCMODE) == O_WRONLY)
		keep = (keep & ~O_ACCMODE) | O_RDWR;
	return keep;
}

static uint32_t open_flags(const struct passthrough *p)
{
	return p->config.exclusive ? FOPEN_KEEP_CACHE : 0;
}

static int open_used(
	const struct node_use *u, uint32_t flags, bool kill_suid, struct fuse_open_out *out)
{
	int want = host_flags(u->p, flags);
	int fd = passthrough_reopen(u->p, u, want);
	if (fd == -EACCES && (want & O_ACCMODE) == O_RDWR && (flags & O_ACCMODE) == O_WRONLY)
		fd = passthrough_reopen(u->p, u, (want & ~O_ACCMODE) | O_WRONLY);
	if (fd < 0)
		return fd;
	if (kill_suid && (want & O_TRUNC))
		passthrough_kill_suid(fd);
	int rc = handle_new(
		&u->p->nodes, u->node, fd, false, (want & O_ACCMODE) != O_RDONLY, &out->fh);
	if (rc < 0)
		close(fd);
	out->open_flags = open_flags(u->p);
	return rc;
}

int passthrough_open(
	struct fuse_fs *fs, uint64_t node, const struct fuse_open_in *in, struct fuse_open_out *out)
{
	struct node_use u _node_use_ = {0};
	int rc = passthrough_use(passthrough_of(fs), node, &u);
	if (rc < 0)
		return rc;
	if (S_ISDIR(u.node->type))
		return -EISDIR;
	return open_used(&u, in->flags, in->open_flags & FUSE_OPEN_KILL_SUIDGID, out);
}

/* Its name is taken: open what is there, as open(2) without O_EXCL does. */
static int create_existing(const struct node_use *dir, const char *name,
	const struct fuse_create_in *in, struct fuse_entry_out *entry, struct fuse_open_out *out)
{
	struct node_use u _node_use_ = {0};
	int rc = passthrough_lookup(dir->p, dir, name, entry);
	if (rc < 0)
		return rc;
	if (!entry->nodeid)
		return -ENOENT;
	rc = passthrough_use(dir->p, entry->nodeid, &u);
	if (rc == 0)
		rc = S_ISREG(u.node->type) ? open_used(&u, in->flags,
						     in->open_flags & FUSE_OPEN_KILL_SUIDGID, out)
					   : -EEXIST;
	if (rc < 0)
		node_forget(&dir->p->nodes, entry->nodeid, 1);
	return rc;
}

int passthrough_create(struct fuse_fs *fs, const struct fuse_caller *who, uint64_t parent,
	const char *name, const struct fuse_create_in *in, struct fuse_entry_out *entry,
	struct fuse_open_out *out)
{
	struct passthrough *p = passthrough_of(fs);
	struct node_use dir _node_use_ = {0};
	struct node *n = NULL;
	struct statx st;
	int rc = passthrough_use(p, parent, &dir);
	if (rc < 0)
		return rc;
	int flags = host_flags(p, in->flags);
	int fd = openat(
		dir.fd, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, in->mode & 0777);
	if (fd < 0 && errno == EEXIST && !(in->flags & O_EXCL))
		return create_existing(&dir, name, in, entry, out);
	if (fd < 0)
		return -errno;
	rc = passthrough_adopt(p, fd, who, in->mode, passthrough_setgid(&dir), &st);
	if (rc == 0)
		rc = passthrough_entry(p, &dir, name, &st, entry);
	if (rc == 0) {
		rc = node_get(&p->nodes, entry->nodeid, &n);
		if (rc == 0)
			rc = handle_new(
				&p->nodes, n, fd, false, (flags & O_ACCMODE) != O_RDONLY, &out->fh);
		if (rc < 0)
			node_forget(&p->nodes, entry->nodeid, 1);
		node_put(&p->nodes, n);
	}
	if (rc < 0) {
		unlinkat(dir.fd, name, 0);
		close(fd);
	}
	out->open_flags = open_flags(p);
	return rc;
}

/* Calls fn for the rest until all is done or nothing more comes. */
ssize_t passthrough_read(struct fuse_fs *fs, uint64_t node, const struct fuse_read_in *in,
	const struct iovec *iov, unsigned iov_count)
{
	struct nodes *t = &passthrough_of(fs)->nodes;
	struct handle *h;
	ssize_t n;
	int rc = handle_get(t, in->fh, node, false, &h);
	if (rc < 0)
		return rc;
	do /* a regular file's read is short only at its end */
		n = iov_count ? preadv(h->fd, iov, (int)iov_count, (off_t)in->offset) : 0;
	while (n < 0 && errno == EINTR);
	n = n < 0 ? -errno : n;
	handle_put(t, h);
	return n;
}

ssize_t passthrough_write(struct fuse_fs *fs, uint64_t node, const struct fuse_write_in *in,
	const struct iovec *iov, unsigned iov_count)
{
	struct passthrough *p = passthrough_of(fs);
	struct handle *h;
	ssize_t n;
	int rc = handle_get(&p->nodes, in->fh, node, false, &h);
	if (rc < 0)
		return rc;
	/* The guest appends where it believes the end to be; the host may know better. Not for late
	 * writes from its cache, whose handle is any that can write. */
	bool append = (in->flags & O_APPEND) && !(in->write_flags & FUSE_WRITE_CACHE) &&
		      !p->config.exclusive;
	do
		n = iov_count ? pwritev2(h->fd, iov, (int)iov_count, (off_t)in->offset,
					append ? RWF_APPEND : 0)
			      : 0;
	while (n < 0 && errno == EINTR);
	n = n < 0 ? -errno : n;
	if (n > 0 && (in->write_flags & FUSE_WRITE_KILL_SUIDGID))
		passthrough_kill_suid(h->fd);
	handle_put(&p->nodes, h);
	return n;
}

int passthrough_release(struct fuse_fs *fs, uint64_t node, uint64_t fh)
{
	return handle_close(&passthrough_of(fs)->nodes, fh, node, false);
}

static int sync_handle(struct fuse_fs *fs, uint64_t node, uint64_t fh, bool dir, bool data_only)
{
	struct nodes *t = &passthrough_of(fs)->nodes;
	struct handle *h;
	int rc = handle_get(t, fh, node, dir, &h);
	if (rc < 0)
		return rc;
	rc = (data_only ? fdatasync(h->fd) : fsync(h->fd)) < 0 ? -errno : 0;
	handle_put(t, h);
	return rc;
}

int passthrough_fsync(struct fuse_fs *fs, uint64_t node, uint64_t fh, bool data_only)
{
	return sync_handle(fs, node, fh, false, data_only);
}

int passthrough_fsyncdir(struct fuse_fs *fs, uint64_t node, uint64_t fh, bool data_only)
{
	return sync_handle(fs, node, fh, true, data_only);
}

int passthrough_fallocate(struct fuse_fs *fs, uint64_t node, const struct fuse_fallocate_in *in)
{
	struct nodes *t = &passthrough_of(fs)->nodes;
	struct handle *h;
	if (in->mode &
		~(uint32_t)(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	int rc = handle_get(t, in->fh, node, false, &h);
	if (rc < 0)
		return rc;
	do
		rc = fallocate(h->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) < 0
			     ? -errno
			     : 0;
	while (rc == -EINTR);
	handle_put(t, h);
	return rc;
}

int passthrough_lseek(
	struct fuse_fs *fs, uint64_t node, const struct fuse_lseek_in *in, uint64_t *offset)
{
	struct nodes *t = &passthrough_of(fs)->nodes;
	struct handle *h;
	/* All else the client does alone. The file's own position is not used by anybody. */
	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE)
		return -EINVAL;
	int rc = handle_get(t, in->fh, node, false, &h);
	if (rc < 0)
		return rc;
	off_t at = lseek(h->fd, (off_t)in->offset, (int)in->whence);
	rc = at < 0 ? -errno : 0;
	*offset = at < 0 ? 0 : (uint64_t)at;
	handle_put(t, h);
	return rc;
}

ssize_t passthrough_copy_file_range(
	struct fuse_fs *fs, uint64_t node, const struct fuse_copy_file_range_in *in)
{
	struct nodes *t = &passthrough_of(fs)->nodes;
	struct handle *from = NULL, *to = NULL;
	off_t off_in = (off_t)in->off_in, off_out = (off_t)in->off_out;
	ssize_t n = handle_get(t, in->fh_in, node, false, &from);
	if (n == 0)
		n = handle_get(t, in->fh_out, in->nodeid_out, false, &to);
	if (n == 0 && in->flags)
		n = -EINVAL;
	if (n == 0) {
		size_t len = (size_t)MIN(in->len, (uint64_t)COPY_BYTES_MAX);
		n = copy_file_range(from->fd, &off_in, to->fd, &off_out, len, 0);
		n = n < 0 ? -errno : n;
	}
	handle_put(t, from);
	handle_put(t, to);
	return n;
}

/* --- directories --- */

int passthrough_opendir(struct fuse_fs *fs, uint64_t node, struct fuse_open_out *out)
{
	struct node_use u _node_use_ = {0};
	int rc = passthrough_use(passthrough_of(fs), node, &u);
	if (rc < 0)
		return rc;
	int fd = passthrough_reopen(u.p, &u, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	rc = handle_new(&u.p->nodes, u.node, fd, true, false, &out->fh);
	if (rc < 0)
		close(fd);
	if (u.p->config.exclusive)
		out->open_flags = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE;
	return rc;
}

int passthrough_releasedir(struct fuse_fs *fs, uint64_t node, uint64_t fh)
{
	return handle_close(&passthrough_of(fs)->nodes, fh, node, true);
}

/* false: it does not fit. */
static bool add_dirent(
	const struct node_use *dir, const struct linux_dirent64 *d, struct fuse_dirbuf *db)
{
	struct fuse_entry_out entry = {0};
	struct passthrough *p = dir->p;
	size_t len = strlen(d->name);
	uint64_t ino = d->ino;
	bool dots = d->name[0] == '.' && (!d->name[1] || (d->name[1] == '.' && !d->name[2]));
	if (len == 0 || len > FUSE_FS_NAME_MAX)
		return true; /* no name that the client could use */
	if (!fuse_dirbuf_fits(db, len))
		return false;
	if (dots && dir->node == p->nodes.root)
		ino = p->nodes.root->key.ino; /* what is above is none of the client's business */
	if (db->plus && !dots && passthrough_lookup(p, dir, d->name, &entry) == 0 && entry.nodeid)
		ino = entry.attr.ino;
	fuse_dirbuf_add(
		db, d->name, len, ino, d->type, (uint64_t)d->off, entry.nodeid ? &entry : NULL);
	return true;
}

/* Offsets are the host's own cookies. With h->dir_lock. */
static int fill_dirbuf(
	const struct node_use *dir, struct handle *h, uint64_t offset, struct fuse_dirbuf *db)
{
	_Alignas(8) char bytes[GETDENTS_BYTES];
	/* About as much as fits the reply: the rest would have to be read again. */
	size_t ask = db->plus ? db->cap / 4 : db->cap;
	ask = MIN(MAX(ask, (size_t)GETDENTS_LEAST), sizeof(bytes));
	if (h->dir_offset != offset && lseek(h->fd, (off_t)offset, SEEK_SET) < 0)
		return -errno;
	h->dir_offset = offset;
	for (;;) {
		ssize_t n = syscall(SYS_getdents64, h->fd, bytes, ask);
		if (n < 0)
			return db->len ? 0 : -errno;
		if (n == 0)
			return 0;
		for (ssize_t at = 0; at < n;) {
			const struct linux_dirent64 *d = (void *)(bytes + at);
			if (!add_dirent(dir, d, db)) {
				/* The next call starts here: the descriptor is past it. */
				if (lseek(h->fd, (off_t)h->dir_offset, SEEK_SET) < 0)
					h->dir_offset = UINT64_MAX;
				return db->len ? 0 : -EINVAL;
			}
			h->dir_offset = (uint64_t)d->off;
			at += d->reclen;
		}
	}
}

int passthrough_readdir(
	struct fuse_fs *fs, uint64_t node, uint64_t fh, uint64_t offset, struct fuse_dirbuf *db)
{
	struct passthrough *p = passthrough_of(fs);
	struct node_use u _node_use_ = {0};
	struct handle *h;
	int rc = passthrough_use(p, node, &u);
	if (rc == 0)
		rc = handle_get(&p->nodes, fh, node, true, &h);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&h->dir_lock);
	rc = fill_dirbuf(&u, h, offset, db);
	pthread_mutex_unlock(&h->dir_lock);
	handle_put(&p->nodes, h);
	return rc;
}

/* --- extended attributes --- */

/* Only user.*: security.*, trusted.* and system.* would act on the host. */
static bool xattr_allowed(const char *name)
{
	return !strncmp(name, "user.", 5) && name[5];
}

/* A descriptor for the f*xattr calls. Symlinks and special files have no user attributes. */
static int open_for_xattr(const struct node_use *u)
{
	if (!S_ISREG(u->node->type) && !S_ISDIR(u->node->type))
		return -EPERM;
	int fd = passthrough_reopen(u->p, u, O_RDONLY);
	if (fd == -EACCES && S_ISREG(u->node->type))
		fd = passthrough_reopen(u->p, u, O_WRONLY);
	return fd;
}

ssize_t passthrough_getxattr(
	struct fuse_fs *fs, uint64_t node, const char *name, void *buf, size_t size)
{
	struct node_use u _node_use_ = {0};
	if (!xattr_allowed(name))
		return -EOPNOTSUPP;
	int rc = passthrough_use(passthrough_of(fs), node, &u);
	if (rc < 0)
		return rc;
	int fd _close_ = open_for_xattr(&u);
	if (fd < 0)
		return fd == -EPERM ? -ENODATA : fd;
	ssize_t n = fgetxattr(fd, name, buf, size);
	return n < 0 ? -errno : n;
}

ssize_t passthrough_listxattr(struct fuse_fs *fs, uint64_t node, char *buf, size_t size)
{
	struct node_use u _node_use_ = {0};
	int rc = passthrough_use(passthrough_of(fs), node, &u);
	if (rc < 0)
		return rc;
	int fd _close_ = open_for_xattr(&u);
	if (fd < 0)
		return fd == -EPERM ? 0 : fd;
	_free_ char *all = xmalloc(XATTR_LIST_MAX);
	ssize_t n = flistxattr(fd, all, XATTR_LIST_MAX);
	if (n < 0)
		return -errno;
	size_t total = 0;
	for (ssize_t at = 0; at < n;) {
		size_t len = strnlen(all + at, (size_t)(n - at)) + 1;
		if (xattr_allowed(all + at)) {
			if (size && total + len > size)
				return -ERANGE;
			if (size)
				memcpy(buf + total, all + at, len);
			total += len;
		}
		at += (ssize_t)len;
	}
	return (ssize_t)total;
}

int passthrough_setxattr(struct fuse_fs *fs, uint64_t node, const char *name, const void *value,
	size_t size, uint32_t flags)
{
	struct node_use u _node_use_ = {0};
	if (!xattr_allowed(name))
		return -EOPNOTSUPP;
	int rc = passthrough_use(passthrough_of(fs), node, &u);
	if (rc < 0)
		return rc;
	int fd _close_ = open_for_xattr(&u);
	if (fd < 0)
		return fd;
	return fsetxattr(fd, name, value, size, (int)flags) < 0 ? -errno : 0;
}

int passthrough_removexattr(struct fuse_fs *fs, uint64_t node, const char *name)
{
	struct node_use u _node_use_ = {0};
	if (!xattr_allowed(name))
		return -EOPNOTSUPP;
	int rc = passthrough_use(passthrough_of(fs), node, &u);
	if (rc < 0)
		return rc;
	int fd _close_ = open_for_xattr(&u);
	if (fd < 0)
		return fd == -EPERM ? -ENODATA : fd;
	return fremovexattr(fd, name) < 0 ? -errno : 0;
}
