// SPDX-License-Identifier: Apache-2.0
// The operations on names, files and directories: each checks what the table cannot, calls the back
// end and answers.
#include "fs/fuse_impl.h"

#include <fcntl.h>
#include <limits.h>

enum { DIRBUF_BYTES = 16 << 10 };

static bool offsets_ok(uint64_t offset, uint64_t len)
{
	return range_fits(offset, len, INT64_MAX);
}

/* --- dirbuf --- */

static size_t dirent_bytes(const struct fuse_dirbuf *db, size_t name_len)
{
	size_t fixed = db->plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
	return FUSE_DIRENT_ALIGN(fixed + name_len);
}

bool fuse_dirbuf_fits(const struct fuse_dirbuf *db, size_t name_len)
{
	return dirent_bytes(db, name_len) <= db->cap - db->len;
}

void fuse_dirbuf_add(struct fuse_dirbuf *db, const char *name, size_t name_len, uint64_t ino,
	uint32_t dt_type, uint64_t next_offset, const struct fuse_entry_out *entry)
{
	size_t bytes = dirent_bytes(db, name_len);
	uint8_t *p = db->bytes + db->len;
	struct fuse_dirent d = {
		.ino = ino, .off = next_offset, .namelen = (uint32_t)name_len, .type = dt_type};
	memset(p, 0, bytes);
	if (db->plus) {
		if (entry)
			memcpy(p, entry, sizeof(*entry));
		p += sizeof(struct fuse_entry_out);
	}
	memcpy(p, &d, FUSE_NAME_OFFSET);
	memcpy(p + FUSE_NAME_OFFSET, name, name_len);
	db->len += bytes;
}

/* --- names and attributes --- */

ssize_t fuse_serve_lookup(struct fuse_call *c)
{
	struct fuse_entry_out out = {0};
	if (!c->fs->ops->lookup)
		return -ENOSYS;
	int rc = c->fs->ops->lookup(c->fs, c->head.nodeid, c->names[0], &out);
	return fuse_answer_if(c, rc, &out, sizeof(out));
}

ssize_t fuse_serve_getattr(struct fuse_call *c)
{
	struct fuse_attr_out out = {0};
	bool by_handle = c->in.getattr.getattr_flags & FUSE_GETATTR_FH;
	if (!c->fs->ops->getattr)
		return -ENOSYS;
	int rc = c->fs->ops->getattr(
		c->fs, c->head.nodeid, by_handle ? &c->in.getattr.fh : NULL, &out);
	return fuse_answer_if(c, rc, &out, sizeof(out));
}

ssize_t fuse_serve_setattr(struct fuse_call *c)
{
	struct fuse_attr_out out = {0};
	const struct fuse_setattr_in *in = &c->in.setattr;
	if (!c->fs->ops->setattr)
		return -ENOSYS;
	if ((in->valid & FATTR_SIZE) && in->size > INT64_MAX)
		return -EFBIG;
	if (in->atimensec >= NS_PER_SEC || in->mtimensec >= NS_PER_SEC)
		return -EINVAL;
	int rc = c->fs->ops->setattr(c->fs, c->head.nodeid, in, &out);
	return fuse_answer_if(c, rc, &out, sizeof(out));
}

ssize_t fuse_serve_readlink(struct fuse_call *c)
{
	char target[FUSE_FS_SYMLINK_MAX + 1];
	if (!c->fs->ops->readlink)
		return -ENOSYS;
	ssize_t n = c->fs->ops->readlink(
		c->fs, c->head.nodeid, target, (size_t)MIN(c->room, (uint64_t)sizeof(target)));
	return n < 0 ? n : fuse_answer(c, target, (size_t)n);
}

ssize_t fuse_serve_symlink(struct fuse_call *c)
{
	struct fuse_entry_out out = {0};
	if (!c->fs->ops->symlink)
		return -ENOSYS;
	int rc =
		c->fs->ops->symlink(c->fs, &c->who, c->head.nodeid, c->names[0], c->names[1], &out);
	return fuse_answer_if(c, rc, &out, sizeof(out));
}

ssize_t fuse_serve_mknod(struct fuse_call *c)
{
	struct fuse_entry_out out = {0};
	if (!c->fs->ops->mknod)
		return -ENOSYS;
	int rc = c->fs->ops->mknod(c->fs, &c->who, c->head.nodeid, c->names[0], c->in.mknod.mode,
		c->in.mknod.rdev, &out);
	return fuse_answer_if(c, rc, &out, sizeof(out));
}

ssize_t fuse_serve_mkdir(struct fuse_call *c)
{
	struct fuse_entry_out out = {0};
	if (!c->fs->ops->mkdir)
		return -ENOSYS;
	int rc = c->fs->ops->mkdir(
		c->fs, &c->who, c->head.nodeid, c->names[0], c->in.mkdir.mode, &out);
	return fuse_answer_if(c, rc, &out, sizeof(out));
}

ssize_t fuse_serve_unlink(struct fuse_call *c)
{
	return c->fs->ops->unlink ? c->fs->ops->unlink(c->fs, c->head.nodeid, c->names[0])
				  : -ENOSYS;
}

ssize_t fuse_serve_rmdir(struct fuse_call *c)
{
	return c->fs->ops->rmdir ? c->fs->ops->rmdir(c->fs, c->head.nodeid, c->names[0]) : -ENOSYS;
}

static ssize_t rename_to(struct fuse_call *c, uint64_t to, uint32_t flags)
{
	if (!c->fs->ops->rename)
		return -ENOSYS;
	return c->fs->ops->rename(c->fs, c->head.nodeid, c->names[0], to, c->names[1], flags);
}

ssize_t fuse_serve_rename(struct fuse_call *c)
{
	return rename_to(c, c->in.rename.newdir, 0);
}

ssize_t fuse_serve_rename2(struct fuse_call *c)
{
	return rename_to(c, c->in.rename2.newdir, c->in.rename2.flags);
}

ssize_t fuse_serve_link(struct fuse_call *c)
{
	struct fuse_entry_out out = {0};
	if (!c->fs->ops->link)
		return -ENOSYS;
	int rc = c->fs->ops->link(c->fs, c->in.link.oldnodeid, c->head.nodeid, c->names[0], &out);
	return fuse_answer_if(c, rc, &out, sizeof(out));
}

ssize_t fuse_serve_access(struct fuse_call *c)
{
	return c->fs->ops->access ? c->fs->ops->access(c->fs, c->head.nodeid, c->in.access.mask)
				  : -ENOSYS;
}

ssize_t fuse_serve_statfs(struct fuse_call *c)
{
	struct fuse_statfs_out out = {0};
	if (!c->fs->ops->statfs)
		return -ENOSYS;
	int rc = c->fs->ops->statfs(c->fs, c->head.nodeid, &out.st);
	return fuse_answer_if(c, rc, &out, sizeof(out));
}

ssize_t fuse_serve_syncfs(struct fuse_call *c)
{
	return c->fs->ops->syncfs ? c->fs->ops->syncfs(c->fs) : -ENOSYS;
}

/* --- extended attributes --- */

/* A value or a list: `size` is what the client has room for, 0 asks for the length. */
static ssize_t get_or_list(struct fuse_call *c, const char *name)
{
	uint32_t size = c->in.getxattr.size;
	if (size > c->room || (!size && c->room < sizeof(struct fuse_getxattr_out)))
		return -EINVAL;
	size = MIN(size, (uint32_t)FUSE_FS_XATTR_MAX);
	_free_ char *value = size ? xmalloc(size) : NULL;
	ssize_t n = name ? c->fs->ops->getxattr(c->fs, c->head.nodeid, name, value, size)
			 : c->fs->ops->listxattr(c->fs, c->head.nodeid, value, size);
	if (n < 0)
		return n;
	if (size)
		return fuse_answer(c, value, (size_t)n);
	struct fuse_getxattr_out out = {.size = (uint32_t)n};
	return fuse_answer(c, &out, sizeof(out));
}

ssize_t fuse_serve_getxattr(struct fuse_call *c)
{
	return c->fs->ops->getxattr ? get_or_list(c, c->names[0]) : -ENOSYS;
}

ssize_t fuse_serve_listxattr(struct fuse_call *c)
{
	return c->fs->ops->listxattr ? get_or_list(c, NULL) : -ENOSYS;
}

ssize_t fuse_serve_setxattr(struct fuse_call *c)
{
	struct fuse_setxattr_in in = {0};
	memcpy(&in, c->in.setxattr, sizeof(c->in.setxattr));
	if (!c->fs->ops->setxattr)
		return -ENOSYS;
	if (in.size > FUSE_FS_XATTR_MAX)
		return -E2BIG;
	if (!range_fits(c->rest, in.size, c->head.len))
		return -EINVAL;
	_free_ void *value = xmalloc(MAX(in.size, 1u));
	fuse_buffers_get(&c->request, c->rest, value, in.size);
	return c->fs->ops->setxattr(c->fs, c->head.nodeid, c->names[0], value, in.size, in.flags);
}

ssize_t fuse_serve_removexattr(struct fuse_call *c)
{
	return c->fs->ops->removexattr ? c->fs->ops->removexattr(c->fs, c->head.nodeid, c->names[0])
				       : -ENOSYS;
}

/* --- files --- */

ssize_t fuse_serve_open(struct fuse_call *c)
{
	struct fuse_open_out out = {0};
	if (!c->fs->ops->open)
		return -ENOSYS;
	uint32_t flags = c->in.open.flags;
	if (c->fs->read_only && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
		return -EROFS;
	int rc = c->fs->ops->open(c->fs, c->head.nodeid, &c->in.open, &out);
	return fuse_answer_if(c, rc, &out, sizeof(out));
}

ssize_t fuse_serve_create(struct fuse_call *c)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = {0};
	_Static_assert(sizeof(out) == sizeof(out.entry) + sizeof(out.open), "no padding");
	if (!c->fs->ops->create)
		return -ENOSYS;
	int rc = c->fs->ops->create(
		c->fs, &c->who, c->head.nodeid, c->names[0], &c->in.create, &out.entry, &out.open);
	return fuse_answer_if(c, rc, &out, sizeof(out));
}

ssize_t fuse_serve_read(struct fuse_call *c)
{
	struct iovec iov[FUSE_BUFFERS_MAX];
	struct fuse_read_in in = c->in.read;
	if (!c->fs->ops->read)
		return -ENOSYS;
	if (in.size > c->room || !offsets_ok(in.offset, in.size))
		return -EINVAL;
	in.size = MIN(in.size, (uint32_t)FUSE_FS_IO_MAX);
	unsigned n = fuse_buffers_slice(&c->reply, sizeof(struct fuse_out_header), in.size, iov);
	return c->fs->ops->read(c->fs, c->head.nodeid, &in, iov, n);
}

ssize_t fuse_serve_write(struct fuse_call *c)
{
	struct iovec iov[FUSE_BUFFERS_MAX];
	const struct fuse_write_in *in = &c->in.write;
	if (!c->fs->ops->write)
		return -ENOSYS;
	if (in->size > FUSE_FS_IO_MAX || !range_fits(c->rest, in->size, c->head.len))
		return -EINVAL;
	if (!offsets_ok(in->offset, in->size))
		return -EFBIG;
	unsigned n = fuse_buffers_slice(&c->request, c->rest, in->size, iov);
	ssize_t done = c->fs->ops->write(c->fs, c->head.nodeid, in, iov, n);
	if (done < 0)
		return done;
	struct fuse_write_out out = {.size = (uint32_t)done};
	return fuse_answer(c, &out, sizeof(out));
}

ssize_t fuse_serve_flush(struct fuse_call *c)
{
	return c->fs->ops->flush ? c->fs->ops->flush(c->fs, c->head.nodeid, c->in.flush.fh)
				 : -ENOSYS;
}

ssize_t fuse_serve_release(struct fuse_call *c)
{
	return c->fs->ops->release ? c->fs->ops->release(c->fs, c->head.nodeid, c->in.release.fh)
				   : -ENOSYS;
}

ssize_t fuse_serve_fsync(struct fuse_call *c)
{
	bool data_only = c->in.fsync.fsync_flags & FUSE_FSYNC_FDATASYNC;
	return c->fs->ops->fsync
		       ? c->fs->ops->fsync(c->fs, c->head.nodeid, c->in.fsync.fh, data_only)
		       : -ENOSYS;
}

ssize_t fuse_serve_fallocate(struct fuse_call *c)
{
	const struct fuse_fallocate_in *in = &c->in.fallocate;
	if (!c->fs->ops->fallocate)
		return -ENOSYS;
	if (!in->length || in->offset > INT64_MAX)
		return -EINVAL;
	if (!offsets_ok(in->offset, in->length))
		return -EFBIG;
	return c->fs->ops->fallocate(c->fs, c->head.nodeid, in);
}

ssize_t fuse_serve_lseek(struct fuse_call *c)
{
	struct fuse_lseek_out out = {0};
	if (!c->fs->ops->lseek)
		return -ENOSYS;
	if (c->in.lseek.offset > INT64_MAX)
		return -EINVAL;
	int rc = c->fs->ops->lseek(c->fs, c->head.nodeid, &c->in.lseek, &out.offset);
	return fuse_answer_if(c, rc, &out, sizeof(out));
}

ssize_t fuse_serve_copy_file_range(struct fuse_call *c)
{
	const struct fuse_copy_file_range_in *in = &c->in.copy_file_range;
	if (!c->fs->ops->copy_file_range)
		return -ENOSYS;
	if (!offsets_ok(in->off_in, in->len) || !offsets_ok(in->off_out, in->len))
		return -EINVAL;
	ssize_t n = c->fs->ops->copy_file_range(c->fs, c->head.nodeid, in);
	if (n < 0)
		return n;
	struct fuse_write_out out = {.size = (uint32_t)n};
	return fuse_answer(c, &out, sizeof(out));
}

/* --- directories --- */

ssize_t fuse_serve_opendir(struct fuse_call *c)
{
	struct fuse_open_out out = {0};
	if (!c->fs->ops->opendir)
		return -ENOSYS;
	int rc = c->fs->ops->opendir(c->fs, c->head.nodeid, &out);
	return fuse_answer_if(c, rc, &out, sizeof(out));
}

static ssize_t read_directory(struct fuse_call *c, bool plus)
{
	_Alignas(8) uint8_t bytes[DIRBUF_BYTES];
	const struct fuse_read_in *in = &c->in.read;
	struct fuse_dirbuf db = {.bytes = bytes, .plus = plus};
	if (!c->fs->ops->readdir)
		return -ENOSYS;
	if (in->size > c->room || in->offset > INT64_MAX)
		return -EINVAL;
	db.cap = MIN(in->size, (uint32_t)sizeof(bytes));
	int rc = c->fs->ops->readdir(c->fs, c->head.nodeid, in->fh, in->offset, &db);
	return fuse_answer_if(c, rc, bytes, db.len);
}

ssize_t fuse_serve_readdir(struct fuse_call *c)
{
	return read_directory(c, false);
}

ssize_t fuse_serve_readdirplus(struct fuse_call *c)
{
	return read_directory(c, true);
}

ssize_t fuse_serve_releasedir(struct fuse_call *c)
{
	return c->fs->ops->releasedir
		       ? c->fs->ops->releasedir(c->fs, c->head.nodeid, c->in.release.fh)
		       : -ENOSYS;
}

ssize_t fuse_serve_fsyncdir(struct fuse_call *c)
{
	bool data_only = c->in.fsync.fsync_flags & FUSE_FSYNC_FDATASYNC;
	return c->fs->ops->fsyncdir
		       ? c->fs->ops->fsyncdir(c->fs, c->head.nodeid, c->in.fsync.fh, data_only)
		       : -ENOSYS;
}
