// SPDX-License-Identifier: Apache-2.0
// Decoding and the session: one table row per operation says how long its arguments are, how many
// names follow and how much room the answer needs, so that all of it is checked in one place before
// a handler runs.
#include "fs/fuse_impl.h"

enum { FORGET_BATCH = 64 };

/* --- buffers --- */

size_t fuse_buffers_get(const struct fuse_buffers *b, uint64_t offset, void *out, size_t len)
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

size_t fuse_buffers_put(const struct fuse_buffers *b, uint64_t offset, const void *in, size_t len)
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

unsigned fuse_buffers_slice(
	const struct fuse_buffers *b, uint64_t offset, uint64_t len, struct iovec *out)
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

ssize_t fuse_answer_at(struct fuse_call *c, uint64_t offset, const void *payload, size_t len)
{
	fuse_buffers_put(&c->reply, sizeof(struct fuse_out_header) + offset, payload, len);
	return (ssize_t)(offset + len);
}

ssize_t fuse_answer(struct fuse_call *c, const void *payload, size_t len)
{
	return fuse_answer_at(c, 0, payload, len);
}

ssize_t fuse_answer_if(struct fuse_call *c, int rc, const void *payload, size_t len)
{
	return rc < 0 ? rc : fuse_answer(c, payload, len);
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

static ssize_t serve_init(struct fuse_call *c)
{
	const struct fuse_init_in *in = &c->in.init;
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION};
	if (in->major > FUSE_KERNEL_VERSION) /* it asks again with our version */
		return fuse_answer(c, &out, sizeof(out));
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
	return fuse_answer(c, &out, sizeof(out));
}

static ssize_t serve_destroy(struct fuse_call *c)
{
	end_session(c->fs);
	return 0;
}

static ssize_t serve_forget(struct fuse_call *c)
{
	if (c->fs->ops->forget)
		c->fs->ops->forget(c->fs, c->head.nodeid, c->in.forget.nlookup);
	return 0;
}

static ssize_t serve_batch_forget(struct fuse_call *c)
{
	struct fuse_forget_one one[FORGET_BATCH];
	uint64_t left = c->in.batch_forget.count, at = c->rest;
	if (left > (c->head.len - c->rest) / sizeof(one[0]))
		return -EINVAL;
	while (left && c->fs->ops->forget) {
		size_t n = (size_t)MIN(left, (uint64_t)FORGET_BATCH);
		fuse_buffers_get(&c->request, at, one, n * sizeof(one[0]));
		for (size_t i = 0; i < n; i++)
			c->fs->ops->forget(c->fs, one[i].nodeid, one[i].nlookup);
		at += n * sizeof(one[0]);
		left -= n;
	}
	return 0;
}

/* Requests are served to their end at once: there is never one left to interrupt. */
static ssize_t serve_interrupt(struct fuse_call *c)
{
	(void)c;
	return 0;
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
	fuse_handler *fn;
	uint8_t in_bytes; /* fixed arguments */
	uint8_t names;	  /* strings after them */
	uint8_t flags;
	uint16_t out_bytes; /* room that the answer needs at least */
} operations[] = {
	[FUSE_LOOKUP] = {fuse_serve_lookup, 0, 1, 0, sizeof(struct fuse_entry_out)},
	[FUSE_FORGET] = {serve_forget, sizeof(struct fuse_forget_in), 0, SILENT | ANY_TIME, 0},
	[FUSE_GETATTR] = {fuse_serve_getattr, sizeof(struct fuse_getattr_in), 0, 0,
		sizeof(struct fuse_attr_out)},
	[FUSE_SETATTR] = {fuse_serve_setattr, sizeof(struct fuse_setattr_in), 0, CHANGES,
		sizeof(struct fuse_attr_out)},
	[FUSE_READLINK] = {fuse_serve_readlink, 0, 0, 0, 1},
	[FUSE_SYMLINK] = {fuse_serve_symlink, 0, 2, CHANGES | NAME_TARGET,
		sizeof(struct fuse_entry_out)},
	[FUSE_MKNOD] = {fuse_serve_mknod, sizeof(struct fuse_mknod_in), 1, CHANGES,
		sizeof(struct fuse_entry_out)},
	[FUSE_MKDIR] = {fuse_serve_mkdir, sizeof(struct fuse_mkdir_in), 1, CHANGES,
		sizeof(struct fuse_entry_out)},
	[FUSE_UNLINK] = {fuse_serve_unlink, 0, 1, CHANGES, 0},
	[FUSE_RMDIR] = {fuse_serve_rmdir, 0, 1, CHANGES, 0},
	[FUSE_RENAME] = {fuse_serve_rename, sizeof(struct fuse_rename_in), 2, CHANGES, 0},
	[FUSE_LINK] = {fuse_serve_link, sizeof(struct fuse_link_in), 1, CHANGES,
		sizeof(struct fuse_entry_out)},
	[FUSE_OPEN] = {fuse_serve_open, sizeof(struct fuse_open_in), 0, 0,
		sizeof(struct fuse_open_out)},
	[FUSE_READ] = {fuse_serve_read, sizeof(struct fuse_read_in), 0, 0, 0},
	[FUSE_WRITE] = {fuse_serve_write, sizeof(struct fuse_write_in), 0, CHANGES,
		sizeof(struct fuse_write_out)},
	[FUSE_STATFS] = {fuse_serve_statfs, 0, 0, 0, sizeof(struct fuse_statfs_out)},
	[FUSE_RELEASE] = {fuse_serve_release, sizeof(struct fuse_release_in), 0, 0, 0},
	[FUSE_FSYNC] = {fuse_serve_fsync, sizeof(struct fuse_fsync_in), 0, 0, 0},
	[FUSE_SETXATTR] = {fuse_serve_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE, 1,
		CHANGES | NAME_XATTR, 0},
	[FUSE_GETXATTR] = {fuse_serve_getxattr, sizeof(struct fuse_getxattr_in), 1, NAME_XATTR, 0},
	[FUSE_LISTXATTR] = {fuse_serve_listxattr, sizeof(struct fuse_getxattr_in), 0, 0, 0},
	[FUSE_REMOVEXATTR] = {fuse_serve_removexattr, 0, 1, CHANGES | NAME_XATTR, 0},
	[FUSE_FLUSH] = {fuse_serve_flush, sizeof(struct fuse_flush_in), 0, 0, 0},
	[FUSE_INIT] = {serve_init, 16, 0, ANY_TIME | ALONE, sizeof(struct fuse_init_out)},
	[FUSE_OPENDIR] = {fuse_serve_opendir, sizeof(struct fuse_open_in), 0, 0,
		sizeof(struct fuse_open_out)},
	[FUSE_READDIR] = {fuse_serve_readdir, sizeof(struct fuse_read_in), 0, 0, 0},
	[FUSE_RELEASEDIR] = {fuse_serve_releasedir, sizeof(struct fuse_release_in), 0, 0, 0},
	[FUSE_FSYNCDIR] = {fuse_serve_fsyncdir, sizeof(struct fuse_fsync_in), 0, 0, 0},
	[FUSE_ACCESS] = {fuse_serve_access, sizeof(struct fuse_access_in), 0, 0, 0},
	[FUSE_CREATE] = {fuse_serve_create, sizeof(struct fuse_create_in), 1, CHANGES,
		sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out)},
	[FUSE_INTERRUPT] = {serve_interrupt, sizeof(struct fuse_interrupt_in), 0, SILENT | ANY_TIME,
		0},
	[FUSE_DESTROY] = {serve_destroy, 0, 0, ANY_TIME | ALONE, 0},
	[FUSE_BATCH_FORGET] = {serve_batch_forget, sizeof(struct fuse_batch_forget_in), 0,
		SILENT | ANY_TIME, 0},
	[FUSE_FALLOCATE] = {fuse_serve_fallocate, sizeof(struct fuse_fallocate_in), 0, CHANGES, 0},
	[FUSE_READDIRPLUS] = {fuse_serve_readdirplus, sizeof(struct fuse_read_in), 0, 0, 0},
	[FUSE_RENAME2] = {fuse_serve_rename2, sizeof(struct fuse_rename2_in), 2, CHANGES, 0},
	[FUSE_LSEEK] = {fuse_serve_lseek, sizeof(struct fuse_lseek_in), 0, 0,
		sizeof(struct fuse_lseek_out)},
	[FUSE_COPY_FILE_RANGE] = {fuse_serve_copy_file_range,
		sizeof(struct fuse_copy_file_range_in), 0, CHANGES, sizeof(struct fuse_write_out)},
	[FUSE_SYNCFS] = {fuse_serve_syncfs, sizeof(struct fuse_syncfs_in), 0, 0, 0},
};

/* One component that stays where it is. */
static bool name_ok(const char *s, size_t len)
{
	if (len == 0 || memchr(s, '/', len))
		return false;
	return !(s[0] == '.' && (len == 1 || (len == 2 && s[1] == '.')));
}

/* Reads op->names strings that start at `at`. */
static int decode_names(struct fuse_call *c, const struct operation *op, uint64_t at)
{
	size_t have = fuse_buffers_get(
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

static ssize_t dispatch(struct fuse_call *c)
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
	fuse_buffers_get(&c->request, at, &c->in, take);
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
	struct fuse_call c; /* 5 KiB: fields are set, not zeroed */
	struct fuse_out_header out = {0};
	c.fs = fs;
	c.request = (struct fuse_buffers){
		request, request_count, buffers_bytes(request, request_count)};
	c.reply = (struct fuse_buffers){reply, reply_count, buffers_bytes(reply, reply_count)};
	if (request_count > FUSE_BUFFERS_MAX || reply_count > FUSE_BUFFERS_MAX ||
		fuse_buffers_get(&c.request, 0, &c.head, sizeof(c.head)) < sizeof(c.head))
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
	fuse_buffers_put(&c.reply, 0, &out, sizeof(out));
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
