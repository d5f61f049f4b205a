// SPDX-License-Identifier: Apache-2.0
// Serving the index. Nothing ever changes, so the client may keep everything as long as it likes
// and needs no OPEN (ENOSYS to the first one says so); node number = inode's index + 1.
#include "fs/layers_index.h"

#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CACHE_SECONDS = 365 * 24 * 3600, BLOCK_BYTES = 4096 };

struct layers_fs {
	struct fuse_fs fs;
	struct layers_index index;
	int *fds; /* one a layer, owned */
	unsigned count;
};

static struct layers_fs *layers_of(struct fuse_fs *fs)
{
	return container_of(fs, struct layers_fs, fs);
}

static const struct layers_inode *inode_of(struct fuse_fs *fs, uint64_t node)
{
	const struct layers_index *x = &layers_of(fs)->index;
	if (node == 0 || node > x->inode_count || x->inodes[node - 1].nlink == 0)
		return NULL;
	return &x->inodes[node - 1];
}

static const struct layers_inode *dir_of(struct fuse_fs *fs, uint64_t node, int *rc)
{
	const struct layers_inode *n = inode_of(fs, node);
	*rc = !n ? -ESTALE : !S_ISDIR(n->mode) ? -ENOTDIR : 0;
	return *rc ? NULL : n;
}

static void fill_attr(uint64_t node, const struct layers_inode *n, struct fuse_attr *a)
{
	*a = (struct fuse_attr){
		.ino = node,
		.size = n->size,
		.blocks = align_up(n->size, 512) / 512,
		.atime = (uint64_t)n->mtime_sec,
		.mtime = (uint64_t)n->mtime_sec,
		.ctime = (uint64_t)n->mtime_sec,
		.atimensec = n->mtime_nsec,
		.mtimensec = n->mtime_nsec,
		.ctimensec = n->mtime_nsec,
		.mode = n->mode,
		.nlink = n->nlink,
		.uid = n->uid,
		.gid = n->gid,
		.rdev = n->rdev,
		.blksize = BLOCK_BYTES,
	};
}

static void fill_entry(struct fuse_fs *fs, uint32_t inode, struct fuse_entry_out *out)
{
	out->nodeid = (uint64_t)inode + 1;
	out->entry_valid = out->attr_valid = CACHE_SECONDS;
	fill_attr(out->nodeid, &layers_of(fs)->index.inodes[inode], &out->attr);
}

static int layers_lookup(
	struct fuse_fs *fs, uint64_t parent, const char *name, struct fuse_entry_out *out)
{
	const struct layers_index *x = &layers_of(fs)->index;
	int rc;
	if (!dir_of(fs, parent, &rc))
		return rc;
	uint32_t id = layers_index_find(x, (uint32_t)(parent - 1), name, strlen(name));
	if (id == LAYERS_NONE)
		out->entry_valid = CACHE_SECONDS; /* node 0: known not to exist */
	else
		fill_entry(fs, x->dentries[id].inode, out);
	return 0;
}

static int layers_getattr(
	struct fuse_fs *fs, uint64_t node, const uint64_t *fh, struct fuse_attr_out *out)
{
	const struct layers_inode *n = inode_of(fs, node);
	(void)fh;
	if (!n)
		return -ESTALE;
	out->attr_valid = CACHE_SECONDS;
	fill_attr(node, n, &out->attr);
	return 0;
}

static ssize_t layers_readlink(struct fuse_fs *fs, uint64_t node, char *buf, size_t size)
{
	const struct layers_inode *n = inode_of(fs, node);
	if (!n)
		return -ESTALE;
	if (!S_ISLNK(n->mode))
		return -EINVAL;
	size_t len = MIN(size, (size_t)n->size);
	memcpy(buf, layers_of(fs)->index.text + n->data, len);
	return (ssize_t)len;
}

static int layers_access(struct fuse_fs *fs, uint64_t node, uint32_t mask)
{
	if (!inode_of(fs, node))
		return -ESTALE;
	return mask & W_OK ? -EROFS : 0;
}

static int layers_statfs(struct fuse_fs *fs, uint64_t node, struct fuse_kstatfs *out)
{
	const struct layers_index *x = &layers_of(fs)->index;
	(void)node;
	*out = (struct fuse_kstatfs){
		.blocks = align_up(x->live_bytes, BLOCK_BYTES) / BLOCK_BYTES,
		.files = x->live_inodes,
		.bsize = BLOCK_BYTES,
		.frsize = BLOCK_BYTES,
		.namelen = FUSE_FS_NAME_MAX,
	};
	return 0;
}

static int layers_syncfs(struct fuse_fs *fs)
{
	(void)fs;
	return 0;
}

static ssize_t layers_getxattr(
	struct fuse_fs *fs, uint64_t node, const char *name, void *buf, size_t size)
{
	const struct layers_inode *n = inode_of(fs, node);
	struct layers_xattr a;
	if (!n)
		return -ESTALE;
	for (uint32_t at = 0; layers_index_xattr(&layers_of(fs)->index, n, &at, &a);) {
		if (strcmp(a.name, name))
			continue;
		if (size && a.value_len > size)
			return -ERANGE;
		if (size)
			memcpy(buf, a.value, a.value_len);
		return (ssize_t)a.value_len;
	}
	return -ENODATA;
}

static ssize_t layers_listxattr(struct fuse_fs *fs, uint64_t node, char *buf, size_t size)
{
	const struct layers_inode *n = inode_of(fs, node);
	struct layers_xattr a;
	size_t total = 0;
	if (!n)
		return -ESTALE;
	for (uint32_t at = 0; layers_index_xattr(&layers_of(fs)->index, n, &at, &a);) {
		size_t len = strlen(a.name) + 1;
		if (size && total + len > size)
			return -ERANGE;
		if (size)
			memcpy(buf + total, a.name, len);
		total += len;
	}
	return (ssize_t)total;
}

static ssize_t layers_read(struct fuse_fs *fs, uint64_t node, const struct fuse_read_in *in,
	const struct iovec *iov, unsigned iov_count)
{
	const struct layers_inode *n = inode_of(fs, node);
	struct iovec part[IOV_MAX];
	if (!n)
		return -ESTALE;
	if (!S_ISREG(n->mode))
		return S_ISDIR(n->mode) ? -EISDIR : -EINVAL;
	if (in->offset >= n->size)
		return 0;
	uint64_t want = MIN(n->size - in->offset, (uint64_t)in->size), done = 0;
	int fd = layers_of(fs)->fds[n->layer];
	while (done < want) {
		uint64_t skip = done, room = want - done;
		unsigned parts = 0;
		for (unsigned i = 0; i < iov_count && room; i++) {
			uint64_t len = iov[i].iov_len, from = MIN(skip, len);
			skip -= from;
			len = MIN(len - from, room);
			room -= len;
			if (len)
				part[parts++] =
					(struct iovec){(char *)iov[i].iov_base + from, (size_t)len};
		}
		ssize_t got = preadv(fd, part, (int)parts, (off_t)(n->data + in->offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) /* the layer became shorter than its header said */
			return got < 0 ? -errno : -EIO;
		done += (uint64_t)got;
	}
	return (ssize_t)done;
}

static int layers_lseek(
	struct fuse_fs *fs, uint64_t node, const struct fuse_lseek_in *in, uint64_t *offset)
{
	const struct layers_inode *n = inode_of(fs, node);
	if (!n)
		return -ESTALE;
	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE)
		return -EINVAL;
	if (in->offset >= n->size)
		return -ENXIO;
	*offset = in->whence == SEEK_DATA ? in->offset : n->size;
	return 0;
}

/* Offsets: 0 ".", 1 "..", then 2 + the dentry to go on with. */
static int layers_readdir(
	struct fuse_fs *fs, uint64_t node, uint64_t fh, uint64_t offset, struct fuse_dirbuf *db)
{
	const struct layers_index *x = &layers_of(fs)->index;
	int rc;
	const struct layers_inode *dir = dir_of(fs, node, &rc);
	(void)fh;
	if (!dir)
		return rc;
	if (offset == 0 && fuse_dirbuf_fits(db, 1))
		fuse_dirbuf_add(db, ".", 1, node, DT_DIR, ++offset, NULL);
	uint32_t i = dir->first;
	if (offset >= 2) {
		uint64_t at = offset - 2;
		if (at == LAYERS_NONE)
			return 0;
		if (at >= x->dentry_count || x->dentries[at].parent != node - 1 ||
			!x->dentries[at].live)
			return -EINVAL;
		i = (uint32_t)at;
	} else if (offset == 1) {
		if (!fuse_dirbuf_fits(db, 2))
			return 0;
		fuse_dirbuf_add(
			db, "..", 2, (uint64_t)dir->parent + 1, DT_DIR, (uint64_t)i + 2, NULL);
	} else {
		return 0;
	}
	for (; i != LAYERS_NONE; i = x->dentries[i].next) {
		const struct layers_dentry *d = &x->dentries[i];
		struct fuse_entry_out entry = {0};
		if (!fuse_dirbuf_fits(db, d->name_len))
			break;
		fill_entry(fs, d->inode, &entry);
		fuse_dirbuf_add(db, x->text + d->name, d->name_len, entry.attr.ino,
			IFTODT(entry.attr.mode), (uint64_t)d->next + 2, &entry);
	}
	return 0;
}

/* The tree is not saved: it is rebuilt from the same layers, and numbers mean the same. */
static void layers_state(struct fuse_fs *fs, struct state *s)
{
	if (state_begin(s, "layers", 1)) {
		uint64_t digest = layers_of(fs)->index.digest;
		state_u64(s, "digest", &digest);
		if (digest != layers_of(fs)->index.digest)
			state_fail(s, "the image's layers are not those of the saved machine");
	}
	state_end(s);
}

static void layers_free(struct fuse_fs *fs)
{
	struct layers_fs *l = layers_of(fs);
	for (unsigned i = 0; i < l->count; i++)
		cleanup_close_fd(&l->fds[i]);
	free(l->fds);
	layers_index_done(&l->index);
	fuse_fs_done(fs);
	free(l);
}

#define LAYERS_FEATURES                                                                            \
	(FUSE_CACHE_SYMLINKS | FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT |                    \
		FUSE_EXPLICIT_INVAL_DATA)

/* No open and opendir: ENOSYS once, and the client sends no more of them. */
static const struct fuse_fs_ops layers_ops = {
	.name = "layers",
	.free = layers_free,
	.state = layers_state,
	.lookup = layers_lookup,
	.getattr = layers_getattr,
	.readlink = layers_readlink,
	.access = layers_access,
	.statfs = layers_statfs,
	.syncfs = layers_syncfs,
	.getxattr = layers_getxattr,
	.listxattr = layers_listxattr,
	.read = layers_read,
	.lseek = layers_lseek,
	.readdir = layers_readdir,
};

int layers_fs_new(struct fuse_fs **out, const int *fds, unsigned count, struct error *err)
{
	struct layers_fs *l = xcalloc(1, sizeof(*l));
	fuse_fs_init(&l->fs, &layers_ops, true, LAYERS_FEATURES);
	int rc = layers_index_build(&l->index, fds, count, err);
	if (rc < 0) {
		layers_free(&l->fs); /* count is 0: the descriptors stay the caller's */
		return rc;
	}
	l->fds = xcalloc(MAX(count, 1u), sizeof(*l->fds));
	memcpy(l->fds, fds, count * sizeof(*fds));
	l->count = count;
	*out = &l->fs;
	return 0;
}

void layers_fs_stats(const struct fuse_fs *fs, struct layers_stats *out)
{
	const struct layers_index *x = &container_of(fs, const struct layers_fs, fs)->index;
	*out = (struct layers_stats){
		.names = x->live_names,
		.inodes = x->live_inodes,
		.data_bytes = x->live_bytes,
		.index_bytes = (uint64_t)x->dentry_cap * sizeof(x->dentries[0]) +
			       (uint64_t)x->inode_cap * sizeof(x->inodes[0]) + x->text_cap +
			       (uint64_t)x->slot_count * sizeof(x->slots[0]),
	};
}
