// SPDX-License-Identifier: Apache-2.0
// Decoding: one table row per operation says how long its arguments are, how many names follow and
// how much room the answer needs, so that all of it is checked in one place before a handler runs.
#include "fs/fuse.h"

#include <fcntl.h>
#include <limits.h>

enum {
	NAME_BYTES = FUSE_FS_NAME_MAX + 1,
	TEXT_BYTES =
		NAME_BYTES + FUSE_FS_SYMLINK_MAX + 1, /* most that any operation's names need */
	DIRBUF_BYTES = 16 << 10,
	FORGET_BATCH = 64,
	BUFFERS_MAX = 1024, /* of one request, each way; also Linux's limit of preadv(2) */
};

struct buffers {
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

struct call {
	struct fuse_fs *fs;
	struct fuse_in_header head;
	struct fuse_caller who;
	struct buffers request, reply;
	uint64_t rest; /* where the bytes after arguments and names start */
	uint64_t room; /* bytes of the reply after its header */
	union fuse_args in;
	const char *names[2]; /* point into text */
	char text[TEXT_BYTES];
};

/* Returns the payload's bytes, already in reply after the header, or -errno. */
typedef ssize_t handler(struct call *c);

/* --- buffers --- */

static size_t copy_out_of(const struct buffers *b, uint64_t offset, void *out, size_t len)
{
	size_t done = 0;
	for (unsigned i = 0; i < b->count && done < len; i++) {
		if (offset >= b->iov[i].iov_len) {
			offset -= b->iov[i].iov_len;
			continue;
		}
		size_t n = MIN(len - done, b->iov[i].iov_len - (size_t)offset);
		memcpy((char *)out + done, (const char *)b->iov[i].iov_base + offset, n);
		done += n;
		offset = 0;
	}
	return done;
}

static size_t copy_into(const struct buffers *b, uint64_t offset, const void *in, size_t len)
{
	size_t done = 0;
	for (unsigned i = 0; i < b->count && done < len; i++) {
		if (offset >= b->iov[i].iov_len) {
			offset -= b->iov[i].iov_len;
			continue;
		}
		size_t n = MIN(len - done, b->iov[i].iov_len - (size_t)offset);
		memcpy((char *)b->iov[i].iov_base + offset, (const char *)in + done, n);
		done += n;
		offset = 0;
	}
	return done;
}

/* The part [offset, offset + len), which exists, as a list of its own. out has room for b->count.
 */
static unsigned slice(const struct buffers *b, uint64_t offset, uint64_t len, struct iovec *out)
{
	unsigned n = 0;
	for (unsigned i = 0; i < b->count && len; i++) {
		if (offset >= b->iov[i].iov_len) {
			offset -= b->iov[i].iov_len;
			continue;
		}
		uint64_t part = MIN(len, b->iov[i].iov_len - offset);
		out[n++] = (struct iovec){(char *)b->iov[i].iov_base + offset, (size_t)part};
		len -= part;
		offset = 0;
	}
	return n;
}

static uint64_t buffers_bytes(const struct iovec *iov, unsigned count)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < count; i++)
		n += iov[i].iov_len; /* of real memory: no overflow */
	return n;
}

static ssize_t answer_at(struct call *c, uint64_t offset, const void *payload, size_t len)
{
	copy_into(&c->reply, sizeof(struct fuse_out_header) + offset, payload, len);
	return (ssize_t)(offset + len);
}

static ssize_t answer(struct call *c, const void *payload, size_t len)
{
	return answer_at(c, 0, payload, len);
}

/* The room for a reply was checked before the call, so that what was done is always reported. */
static ssize_t answer_if(struct call *c, int rc, const void *payload, size_t len)
{
	return rc < 0 ? rc : answer(c, payload, len);
}

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

/* --- the session --- */

/* Features that need nothing of a back end. */
#define COMMON_FEATURES                                                                            \
	(FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES |               \
		FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO)

/* A bit that the protocol does not use: features are not 0 after INIT. */
#define IN_SESSION (UINT64_C(1) << 31)

static void end_session(struct fuse_fs *fs)
{
	if (atomic_exchange(&fs->features, 0) && fs->ops->reset)
		fs->ops->reset(fs);
}

static ssize_t serve_init(struct call *c)
{
	const struct fuse_init_in *in = &c->in.init;
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION};
	if (in->major > FUSE_KERNEL_VERSION) /* it asks again with our version */
		return answer(c, &out, sizeof(out));
	if (in->major < FUSE_KERNEL_VERSION || in->minor < 31)
		return -EPROTO;
	uint64_t offered = in->flags;
	if (in->flags & FUSE_INIT_EXT)
		offered |= (uint64_t)in->flags2 << 32;
	uint64_t features = offered & (COMMON_FEATURES | c->fs->wanted);
	if (c->fs->read_only)
		features &= ~(uint64_t)FUSE_WRITEBACK_CACHE;
	/* No reply may carry FUSE_INIT_EXT unasked: flags2 would be taken as padding. */
	features |= offered & FUSE_INIT_EXT;
	/* A second INIT (the client crashed and mounts anew) starts from nothing. */
	end_session(c->fs);
	out.max_readahead = MIN(in->max_readahead, (uint32_t)FUSE_FS_IO_MAX);
	out.flags = (uint32_t)features;
	out.flags2 = (uint32_t)(features >> 32);
	out.max_background = 64;
	out.congestion_threshold = 48;
	out.max_write = features & FUSE_MAX_PAGES ? FUSE_FS_IO_MAX : 32 * 4096;
	out.time_gran = 1;
	out.max_pages = FUSE_FS_IO_MAX / 4096;
	atomic_store(&c->fs->features, features | IN_SESSION);
	return answer(c, &out, sizeof(out));
}

static ssize_t serve_destroy(struct call *c)
{
	end_session(c->fs);
	return 0;
}

static ssize_t serve_forget(struct call *c)
{
	if (c->fs->ops->forget)
		c->fs->ops->forget(c->fs, c->head.nodeid, c->in.forget.nlookup);
	return 0;
}

static ssize_t serve_batch_forget(struct call *c)
{
	struct fuse_forget_one one[FORGET_BATCH];
	uint64_t left = c->in.batch_forget.count, at = c->rest;
	if (left > (c->head.len - c->rest) / sizeof(one[0]))
		return -EINVAL;
	while (left && c->fs->ops->forget) {
		size_t n = (size_t)MIN(left, (uint64_t)FORGET_BATCH);
		copy_out_of(&c->request, at, one, n * sizeof(one[0]));
		for (size_t i = 0; i < n; i++)
			c->fs->ops->forget(c->fs, one[i].nodeid, one[i].nlookup);
		at += n * sizeof(one[0]);
		left -= n;
	}
	return 0;
}

/* Requests are served to their end at once: there is never one left to interrupt. */
static ssize_t serve_interrupt(struct call *c)
{
	(void)c;
	return 0;
}

/* --- names and attributes --- */

static ssize_t serve_lookup(struct call *c)
{
	struct fuse_entry_out out = {0};
	if (!c->fs->ops->lookup)
		return -ENOSYS;
	int rc = c->fs->ops->lookup(c->fs, c->head.nodeid, c->names[0], &out);
	return answer_if(c, rc, &out, sizeof(out));
}

static ssize_t serve_getattr(struct call *c)
{
	struct fuse_attr_out out = {0};
	bool by_handle = c->in.getattr.getattr_flags & FUSE_GETATTR_FH;
	if (!c->fs->ops->getattr)
		return -ENOSYS;
	int rc = c->fs->ops->getattr(
		c->fs, c->head.nodeid, by_handle ? &c->in.getattr.fh : NULL, &out);
	return answer_if(c, rc, &out, sizeof(out));
}

static ssize_t serve_setattr(struct call *c)
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
	return answer_if(c, rc, &out, sizeof(out));
}

static ssize_t serve_readlink(struct call *c)
{
	char target[FUSE_FS_SYMLINK_MAX + 1];
	if (!c->fs->ops->readlink)
		return -ENOSYS;
	ssize_t n = c->fs->ops->readlink(
		c->fs, c->head.nodeid, target, (size_t)MIN(c->room, (uint64_t)sizeof(target)));
	return n < 0 ? n : answer(c, target, (size_t)n);
}

static ssize_t serve_symlink(struct call *c)
{
	struct fuse_entry_out out = {0};
	if (!c->fs->ops->symlink)
		return -ENOSYS;
	int rc =
		c->fs->ops->symlink(c->fs, &c->who, c->head.nodeid, c->names[0], c->names[1], &out);
	return answer_if(c, rc, &out, sizeof(out));
}

static ssize_t serve_mknod(struct call *c)
{
	struct fuse_entry_out out = {0};
	if (!c->fs->ops->mknod)
		return -ENOSYS;
	int rc = c->fs->ops->mknod(c->fs, &c->who, c->head.nodeid, c->names[0], c->in.mknod.mode,
		c->in.mknod.rdev, &out);
	return answer_if(c, rc, &out, sizeof(out));
}

static ssize_t serve_mkdir(struct call *c)
{
	struct fuse_entry_out out = {0};
	if (!c->fs->ops->mkdir)
		return -ENOSYS;
	int rc = c->fs->ops->mkdir(
		c->fs, &c->who, c->head.nodeid, c->names[0], c->in.mkdir.mode, &out);
	return answer_if(c, rc, &out, sizeof(out));
}

static ssize_t serve_unlink(struct call *c)
{
	return c->fs->ops->unlink ? c->fs->ops->unlink(c->fs, c->head.nodeid, c->names[0])
				  : -ENOSYS;
}

static ssize_t serve_rmdir(struct call *c)
{
	return c->fs->ops->rmdir ? c->fs->ops->rmdir(c->fs, c->head.nodeid, c->names[0]) : -ENOSYS;
}

static ssize_t rename_to(struct call *c, uint64_t to, uint32_t flags)
{
	if (!c->fs->ops->rename)
		return -ENOSYS;
	return c->fs->ops->rename(c->fs, c->head.nodeid, c->names[0], to, c->names[1], flags);
}

static ssize_t serve_rename(struct call *c)
{
	return rename_to(c, c->in.rename.newdir, 0);
}

static ssize_t serve_rename2(struct call *c)
{
	return rename_to(c, c->in.rename2.newdir, c->in.rename2.flags);
}

static ssize_t serve_link(struct call *c)
{
	struct fuse_entry_out out = {0};
	if (!c->fs->ops->link)
		return -ENOSYS;
	int rc = c->fs->ops->link(c->fs, c->in.link.oldnodeid, c->head.nodeid, c->names[0], &out);
	return answer_if(c, rc, &out, sizeof(out));
}

static ssize_t serve_access(struct call *c)
{
	return c->fs->ops->access ? c->fs->ops->access(c->fs, c->head.nodeid, c->in.access.mask)
				  : -ENOSYS;
}

static ssize_t serve_statfs(struct call *c)
{
	struct fuse_statfs_out out = {0};
	if (!c->fs->ops->statfs)
		return -ENOSYS;
	int rc = c->fs->ops->statfs(c->fs, c->head.nodeid, &out.st);
	return answer_if(c, rc, &out, sizeof(out));
}

static ssize_t serve_syncfs(struct call *c)
{
	return c->fs->ops->syncfs ? c->fs->ops->syncfs(c->fs) : -ENOSYS;
}

/* --- extended attributes --- */

/* A value or a list: `size` is what the client has room for, 0 asks for the length. */
static ssize_t get_or_list(struct call *c, const char *name)
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
		return answer(c, value, (size_t)n);
	struct fuse_getxattr_out out = {.size = (uint32_t)n};
	return answer(c, &out, sizeof(out));
}

static ssize_t serve_getxattr(struct call *c)
{
	return c->fs->ops->getxattr ? get_or_list(c, c->names[0]) : -ENOSYS;
}

static ssize_t serve_listxattr(struct call *c)
{
	return c->fs->ops->listxattr ? get_or_list(c, NULL) : -ENOSYS;
}

static ssize_t serve_setxattr(struct call *c)
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
	copy_out_of(&c->request, c->rest, value, in.size);
	return c->fs->ops->setxattr(c->fs, c->head.nodeid, c->names[0], value, in.size, in.flags);
}

static ssize_t serve_removexattr(struct call *c)
{
	return c->fs->ops->removexattr ? c->fs->ops->removexattr(c->fs, c->head.nodeid, c->names[0])
				       : -ENOSYS;
}

/* --- files --- */

static ssize_t serve_open(struct call *c)
{
	struct fuse_open_out out = {0};
	if (!c->fs->ops->open)
		return -ENOSYS;
	uint32_t flags = c->in.open.flags;
	if (c->fs->read_only && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
		return -EROFS;
	int rc = c->fs->ops->open(c->fs, c->head.nodeid, &c->in.open, &out);
	return answer_if(c, rc, &out, sizeof(out));
}

static ssize_t serve_create(struct call *c)
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
	return answer_if(c, rc, &out, sizeof(out));
}

static ssize_t serve_read(struct call *c)
{
	struct iovec iov[BUFFERS_MAX];
	struct fuse_read_in in = c->in.read;
	if (!c->fs->ops->read)
		return -ENOSYS;
	if (in.size > c->room || !offsets_ok(in.offset, in.size))
		return -EINVAL;
	in.size = MIN(in.size, (uint32_t)FUSE_FS_IO_MAX);
	unsigned n = slice(&c->reply, sizeof(struct fuse_out_header), in.size, iov);
	return c->fs->ops->read(c->fs, c->head.nodeid, &in, iov, n);
}

static ssize_t serve_write(struct call *c)
{
	struct iovec iov[BUFFERS_MAX];
	const struct fuse_write_in *in = &c->in.write;
	if (!c->fs->ops->write)
		return -ENOSYS;
	if (in->size > FUSE_FS_IO_MAX || !range_fits(c->rest, in->size, c->head.len))
		return -EINVAL;
	if (!offsets_ok(in->offset, in->size))
		return -EFBIG;
	unsigned n = slice(&c->request, c->rest, in->size, iov);
	ssize_t done = c->fs->ops->write(c->fs, c->head.nodeid, in, iov, n);
	if (done < 0)
		return done;
	struct fuse_write_out out = {.size = (uint32_t)done};
	return answer(c, &out, sizeof(out));
}

static ssize_t serve_flush(struct call *c)
{
	return c->fs->ops->flush ? c->fs->ops->flush(c->fs, c->head.nodeid, c->in.flush.fh)
				 : -ENOSYS;
}

static ssize_t serve_release(struct call *c)
{
	return c->fs->ops->release ? c->fs->ops->release(c->fs, c->head.nodeid, c->in.release.fh)
				   : -ENOSYS;
}

static ssize_t serve_fsync(struct call *c)
{
	bool data_only = c->in.fsync.fsync_flags & FUSE_FSYNC_FDATASYNC;
	return c->fs->ops->fsync
		       ? c->fs->ops->fsync(c->fs, c->head.nodeid, c->in.fsync.fh, data_only)
		       : -ENOSYS;
}

static ssize_t serve_fallocate(struct call *c)
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

static ssize_t serve_lseek(struct call *c)
{
	struct fuse_lseek_out out = {0};
	if (!c->fs->ops->lseek)
		return -ENOSYS;
	if (c->in.lseek.offset > INT64_MAX)
		return -EINVAL;
	int rc = c->fs->ops->lseek(c->fs, c->head.nodeid, &c->in.lseek, &out.offset);
	return answer_if(c, rc, &out, sizeof(out));
}

static ssize_t serve_copy_file_range(struct call *c)
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
	return answer(c, &out, sizeof(out));
}

/* --- directories --- */

static ssize_t serve_opendir(struct call *c)
{
	struct fuse_open_out out = {0};
	if (!c->fs->ops->opendir)
		return -ENOSYS;
	int rc = c->fs->ops->opendir(c->fs, c->head.nodeid, &out);
	return answer_if(c, rc, &out, sizeof(out));
}

static ssize_t read_directory(struct call *c, bool plus)
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
	return answer_if(c, rc, bytes, db.len);
}

static ssize_t serve_readdir(struct call *c)
{
	return read_directory(c, false);
}

static ssize_t serve_readdirplus(struct call *c)
{
	return read_directory(c, true);
}

static ssize_t serve_releasedir(struct call *c)
{
	return c->fs->ops->releasedir
		       ? c->fs->ops->releasedir(c->fs, c->head.nodeid, c->in.release.fh)
		       : -ENOSYS;
}

static ssize_t serve_fsyncdir(struct call *c)
{
	bool data_only = c->in.fsync.fsync_flags & FUSE_FSYNC_FDATASYNC;
	return c->fs->ops->fsyncdir
		       ? c->fs->ops->fsyncdir(c->fs, c->head.nodeid, c->in.fsync.fh, data_only)
		       : -ENOSYS;
}

/* --- dispatch --- */

enum {
	CHANGES = 1,	 /* refused on a read-only file system */
	SILENT = 2,	 /* never answered */
	ANY_TIME = 4,	 /* also before INIT */
	NAME_TARGET = 8, /* the second string is a symlink's target */
	NAME_XATTR = 16, /* the string is an attribute's name */
	ALONE = 32,	 /* no other request runs meanwhile */
};

static const struct operation {
	handler *fn;
	uint8_t in_bytes; /* fixed arguments */
	uint8_t names;	  /* strings after them */
	uint8_t flags;
	uint16_t out_bytes; /* room that the answer needs at least */
} operations[] = {
	[FUSE_LOOKUP] = {serve_lookup, 0, 1, 0, sizeof(struct fuse_entry_out)},
	[FUSE_FORGET] = {serve_forget, sizeof(struct fuse_forget_in), 0, SILENT | ANY_TIME, 0},
	[FUSE_GETATTR] = {serve_getattr, sizeof(struct fuse_getattr_in), 0, 0,
		sizeof(struct fuse_attr_out)},
	[FUSE_SETATTR] = {serve_setattr, sizeof(struct fuse_setattr_in), 0, CHANGES,
		sizeof(struct fuse_attr_out)},
	[FUSE_READLINK] = {serve_readlink, 0, 0, 0, 1},
	[FUSE_SYMLINK] = {serve_symlink, 0, 2, CHANGES | NAME_TARGET,
		sizeof(struct fuse_entry_out)},
	[FUSE_MKNOD] = {serve_mknod, sizeof(struct fuse_mknod_in), 1, CHANGES,
		sizeof(struct fuse_entry_out)},
	[FUSE_MKDIR] = {serve_mkdir, sizeof(struct fuse_mkdir_in), 1, CHANGES,
		sizeof(struct fuse_entry_out)},
	[FUSE_UNLINK] = {serve_unlink, 0, 1, CHANGES, 0},
	[FUSE_RMDIR] = {serve_rmdir, 0, 1, CHANGES, 0},
	[FUSE_RENAME] = {serve_rename, sizeof(struct fuse_rename_in), 2, CHANGES, 0},
	[FUSE_LINK] = {serve_link, sizeof(struct fuse_link_in), 1, CHANGES,
		sizeof(struct fuse_entry_out)},
	[FUSE_OPEN] = {serve_open, sizeof(struct fuse_open_in), 0, 0, sizeof(struct fuse_open_out)},
	[FUSE_READ] = {serve_read, sizeof(struct fuse_read_in), 0, 0, 0},
	[FUSE_WRITE] = {serve_write, sizeof(struct fuse_write_in), 0, CHANGES,
		sizeof(struct fuse_write_out)},
	[FUSE_STATFS] = {serve_statfs, 0, 0, 0, sizeof(struct fuse_statfs_out)},
	[FUSE_RELEASE] = {serve_release, sizeof(struct fuse_release_in), 0, 0, 0},
	[FUSE_FSYNC] = {serve_fsync, sizeof(struct fuse_fsync_in), 0, 0, 0},
	[FUSE_SETXATTR] = {serve_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE, 1, CHANGES | NAME_XATTR,
		0},
	[FUSE_GETXATTR] = {serve_getxattr, sizeof(struct fuse_getxattr_in), 1, NAME_XATTR, 0},
	[FUSE_LISTXATTR] = {serve_listxattr, sizeof(struct fuse_getxattr_in), 0, 0, 0},
	[FUSE_REMOVEXATTR] = {serve_removexattr, 0, 1, CHANGES | NAME_XATTR, 0},
	[FUSE_FLUSH] = {serve_flush, sizeof(struct fuse_flush_in), 0, 0, 0},
	[FUSE_INIT] = {serve_init, 16, 0, ANY_TIME | ALONE, sizeof(struct fuse_init_out)},
	[FUSE_OPENDIR] = {serve_opendir, sizeof(struct fuse_open_in), 0, 0,
		sizeof(struct fuse_open_out)},
	[FUSE_READDIR] = {serve_readdir, sizeof(struct fuse_read_in), 0, 0, 0},
	[FUSE_RELEASEDIR] = {serve_releasedir, sizeof(struct fuse_release_in), 0, 0, 0},
	[FUSE_FSYNCDIR] = {serve_fsyncdir, sizeof(struct fuse_fsync_in), 0, 0, 0},
	[FUSE_ACCESS] = {serve_access, sizeof(struct fuse_access_in), 0, 0, 0},
	[FUSE_CREATE] = {serve_create, sizeof(struct fuse_create_in), 1, CHANGES,
		sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out)},
	[FUSE_INTERRUPT] = {serve_interrupt, sizeof(struct fuse_interrupt_in), 0, SILENT | ANY_TIME,
		0},
	[FUSE_DESTROY] = {serve_destroy, 0, 0, ANY_TIME | ALONE, 0},
	[FUSE_BATCH_FORGET] = {serve_batch_forget, sizeof(struct fuse_batch_forget_in), 0,
		SILENT | ANY_TIME, 0},
	[FUSE_FALLOCATE] = {serve_fallocate, sizeof(struct fuse_fallocate_in), 0, CHANGES, 0},
	[FUSE_READDIRPLUS] = {serve_readdirplus, sizeof(struct fuse_read_in), 0, 0, 0},
	[FUSE_RENAME2] = {serve_rename2, sizeof(struct fuse_rename2_in), 2, CHANGES, 0},
	[FUSE_LSEEK] = {serve_lseek, sizeof(struct fuse_lseek_in), 0, 0,
		sizeof(struct fuse_lseek_out)},
	[FUSE_COPY_FILE_RANGE] = {serve_copy_file_range, sizeof(struct fuse_copy_file_range_in), 0,
		CHANGES, sizeof(struct fuse_write_out)},
	[FUSE_SYNCFS] = {serve_syncfs, sizeof(struct fuse_syncfs_in), 0, 0, 0},
};

/* One component that stays where it is. */
static bool name_ok(const char *s, size_t len)
{
	if (len == 0 || memchr(s, '/', len))
		return false;
	return !(s[0] == '.' && (len == 1 || (len == 2 && s[1] == '.')));
}

/* Reads op->names strings that start at `at`. */
static int decode_names(struct call *c, const struct operation *op, uint64_t at)
{
	size_t have = copy_out_of(
		&c->request, at, c->text, (size_t)MIN((uint64_t)sizeof(c->text), c->head.len - at));
	size_t used = 0;
	for (unsigned i = 0; i < op->names; i++) {
		const char *s = c->text + used, *end = memchr(s, '\0', have - used);
		if (!end)
			return used + FUSE_FS_NAME_MAX < have ? -ENAMETOOLONG : -EINVAL;
		size_t len = (size_t)(end - s);
		bool target = (op->flags & NAME_TARGET) && i == 1;
		if (len > (target ? FUSE_FS_SYMLINK_MAX : FUSE_FS_NAME_MAX))
			return -ENAMETOOLONG;
		if (target || (op->flags & NAME_XATTR) ? len == 0 : !name_ok(s, len))
			return -EINVAL;
		c->names[i] = s;
		used += len + 1;
	}
	c->rest = at + used;
	return 0;
}

static ssize_t dispatch(struct call *c)
{
	static const struct operation none;
	const struct operation *op =
		c->head.opcode < ARRAY_SIZE(operations) ? &operations[c->head.opcode] : &none;
	if (!op->fn)
		return -ENOSYS;
	if ((op->flags & CHANGES) && c->fs->read_only)
		return -EROFS;
	uint64_t at = sizeof(c->head), body = c->head.len - at;
	if (body < op->in_bytes || c->room < op->out_bytes)
		return -EINVAL;
	/* INIT has grown: take what this client has of it. */
	size_t take = op->fn == serve_init ? (size_t)MIN(body, sizeof(c->in.init)) : op->in_bytes;
	copy_out_of(&c->request, at, &c->in, take);
	c->rest = at + take;
	if (op->names) {
		int rc = decode_names(c, op, c->rest);
		if (rc < 0)
			return rc;
	}
	if (op->flags & ALONE)
		pthread_rwlock_wrlock(&c->fs->session);
	else
		pthread_rwlock_rdlock(&c->fs->session);
	ssize_t n = (op->flags & ANY_TIME) || atomic_load(&c->fs->features) ? op->fn(c) : -EIO;
	pthread_rwlock_unlock(&c->fs->session);
	return n;
}

static bool is_silent(uint32_t opcode)
{
	return opcode < ARRAY_SIZE(operations) && (operations[opcode].flags & SILENT);
}

ssize_t fuse_fs_serve(struct fuse_fs *fs, const struct iovec *request, unsigned request_count,
	const struct iovec *reply, unsigned reply_count)
{
	struct call c; /* 5 KiB: fields are set, not zeroed */
	struct fuse_out_header out = {0};
	c.fs = fs;
	c.request = (struct buffers){request, request_count, buffers_bytes(request, request_count)};
	c.reply = (struct buffers){reply, reply_count, buffers_bytes(reply, reply_count)};
	if (request_count > BUFFERS_MAX || reply_count > BUFFERS_MAX ||
		copy_out_of(&c.request, 0, &c.head, sizeof(c.head)) < sizeof(c.head))
		return -EBADMSG;
	if (c.head.len < sizeof(c.head) || c.head.len > c.request.bytes)
		return -EBADMSG;
	bool silent = is_silent(c.head.opcode);
	if (!silent && c.reply.bytes < sizeof(out))
		return -EBADMSG;
	c.who = (struct fuse_caller){c.head.uid, c.head.gid, c.head.pid};
	c.room = silent ? 0 : c.reply.bytes - sizeof(out);
	memset(&c.in, 0, sizeof(c.in));
	ssize_t n = dispatch(&c);
	if (silent)
		return 0;
	out.unique = c.head.unique;
	out.error = n < 0 ? (int32_t)n : 0;
	out.len = (uint32_t)(sizeof(out) + (n > 0 ? (size_t)n : 0));
	copy_into(&c.reply, 0, &out, sizeof(out));
	return (ssize_t)out.len;
}

void fuse_fs_init(
	struct fuse_fs *fs, const struct fuse_fs_ops *ops, bool read_only, uint64_t wanted)
{
	fs->ops = ops;
	fs->read_only = read_only;
	fs->wanted = wanted;
	atomic_init(&fs->features, 0);
	pthread_rwlock_init(&fs->session, NULL);
}

void fuse_fs_done(struct fuse_fs *fs)
{
	pthread_rwlock_destroy(&fs->session);
}

void fuse_fs_reset(struct fuse_fs *fs)
{
	pthread_rwlock_wrlock(&fs->session);
	end_session(fs);
	pthread_rwlock_unlock(&fs->session);
}

void fuse_fs_state(struct fuse_fs *fs, struct state *s)
{
	pthread_rwlock_wrlock(&fs->session);
	if (state_begin(s, "fuse", 1)) {
		uint64_t features = atomic_load(&fs->features);
		state_u64(s, "features", &features);
		atomic_store(&fs->features, features);
		if (fs->ops->state)
			fs->ops->state(fs, s);
	}
	state_end(s);
	pthread_rwlock_unlock(&fs->session);
}

void fuse_fs_free(struct fuse_fs *fs)
{
	if (fs)
		fs->ops->free(fs);
}
