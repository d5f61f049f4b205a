// SPDX-License-Identifier: Apache-2.0
// Names and attributes. Data, directories and extended attributes are in passthrough_io.c.
#include "fs/passthrough_impl.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <unistd.h>

enum { NOBODY = 65534 };

/* --- helpers --- */

void node_use_done(struct node_use *u)
{
	if (u->node)
		node_put(&u->p->nodes, u->node);
}

int passthrough_use(struct passthrough *p, uint64_t id, struct node_use *u)
{
	u->p = p;
	u->node = NULL;
	u->fd = -1;
	int rc = node_get(&p->nodes, id, &u->node);
	if (rc < 0)
		return rc;
	u->fd = node_fd(&p->nodes, u->node);
	return u->fd < 0 ? u->fd : 0;
}

static void fd_name(int fd, char name[16])
{
	snprintf(name, 16, "%d", fd);
}

int passthrough_reopen(struct passthrough *p, const struct node_use *u, int flags)
{
	char name[16];
	struct stat st;
	/* The descriptor holds the file: what it is cannot change before the open. */
	if (fstat(u->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return S_ISLNK(st.st_mode) ? -ELOOP : -EPERM;
	fd_name(u->fd, name);
	int fd = openat(p->proc_fd, name, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

static uint64_t valid_seconds(const struct passthrough *p)
{
	return p->config.exclusive ? EXCLUSIVE_SECONDS : SHARED_SECONDS;
}

static uint64_t guest_ino(const struct passthrough *p, const struct statx *st)
{
	uint64_t dev = (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor;
	/* Other file systems are mounted below: their numbers must not meet the first one's. */
	return dev == p->root_dev ? st->stx_ino
				  : st->stx_ino ^ (dev + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static uint32_t guest_uid(const struct passthrough *p, uint32_t uid)
{
	return p->keep_ids ? uid : uid == p->uid ? p->config.uid : NOBODY;
}

static uint32_t guest_gid(const struct passthrough *p, uint32_t gid)
{
	return p->keep_ids ? gid : gid == p->gid ? p->config.gid : NOBODY;
}

void passthrough_fill_attr(struct passthrough *p, const struct statx *st, struct fuse_attr *a)
{
	*a = (struct fuse_attr){
		.ino = guest_ino(p, st),
		.size = st->stx_size,
		.blocks = st->stx_blocks,
		.atime = (uint64_t)st->stx_atime.tv_sec,
		.mtime = (uint64_t)st->stx_mtime.tv_sec,
		.ctime = (uint64_t)st->stx_ctime.tv_sec,
		.atimensec = st->stx_atime.tv_nsec,
		.mtimensec = st->stx_mtime.tv_nsec,
		.ctimensec = st->stx_ctime.tv_nsec,
		.mode = st->stx_mode,
		.nlink = st->stx_nlink,
		.uid = guest_uid(p, st->stx_uid),
		.gid = guest_gid(p, st->stx_gid),
		.rdev = (st->stx_rdev_minor & 0xff) | st->stx_rdev_major << 8 |
			(st->stx_rdev_minor & ~0xffu) << 12,
		.blksize = st->stx_blksize,
	};
}

int passthrough_entry(struct passthrough *p, const struct node_use *parent, const char *name,
	const struct statx *st, struct fuse_entry_out *out)
{
	int rc = node_found(&p->nodes, parent->node, name, st, &out->nodeid);
	if (rc < 0)
		return rc;
	out->entry_valid = out->attr_valid = valid_seconds(p);
	passthrough_fill_attr(p, st, &out->attr);
	return 0;
}

int passthrough_lookup(struct passthrough *p, const struct node_use *parent, const char *name,
	struct fuse_entry_out *out)
{
	struct statx st;
	if (statx(parent->fd, name, AT_SYMLINK_NOFOLLOW, NODE_STATX, &st) == 0)
		return passthrough_entry(p, parent, name, &st, out);
	if (errno != ENOENT || !p->config.exclusive)
		return -errno;
	out->entry_valid = valid_seconds(p); /* node 0: known not to exist */
	return 0;
}

static uint32_t allowed_mode(const struct passthrough *p, uint32_t mode, bool dir)
{
	mode &= 07777;
	return dir || p->config.allow_setuid ? mode : mode & ~(uint32_t)(S_ISUID | S_ISGID);
}

bool passthrough_setgid(const struct node_use *dir)
{
	struct stat st;
	return fstat(dir->fd, &st) == 0 && (st.st_mode & S_ISGID);
}

static int chmod_fd(struct passthrough *p, int path_fd, uint32_t mode)
{
	char name[16];
	fd_name(path_fd, name);
	return fchmodat(p->proc_fd, name, mode, 0) < 0 ? -errno : 0;
}

int passthrough_adopt(struct passthrough *p, int fd, const struct fuse_caller *who, uint32_t mode,
	bool setgid_parent, struct statx *st)
{
	if (statx(fd, "", AT_EMPTY_PATH, NODE_STATX, st) < 0)
		return -errno;
	bool dir = S_ISDIR(st->stx_mode), link = S_ISLNK(st->stx_mode), changed = false;
	mode = allowed_mode(p, mode, dir);
	if (p->keep_ids) {
		uint32_t gid = setgid_parent ? st->stx_gid : who->gid;
		if (setgid_parent && dir)
			mode |= S_ISGID;
		if (st->stx_uid != who->uid || st->stx_gid != gid) {
			if (fchownat(fd, "", who->uid, gid, AT_EMPTY_PATH) < 0)
				return -errno;
			changed = true;
		}
	} else if (setgid_parent && dir) {
		mode |= st->stx_mode & S_ISGID;
	}
	/* Our umask had its say; the guest has applied its own. */
	if (!link && (changed || (st->stx_mode & 07777) != mode)) {
		int rc = chmod_fd(p, fd, mode);
		if (rc < 0)
			return rc;
		changed = true;
	}
	return changed && statx(fd, "", AT_EMPTY_PATH, NODE_STATX, st) < 0 ? -errno : 0;
}

void passthrough_kill_suid(int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	mode_t mode = st.st_mode & 07777, kill = mode & S_ISUID;
	if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		kill |= S_ISGID;
	if (kill)
		fchmod(fd, mode & ~kill);
}

/* --- attributes --- */

static int op_lookup(
	struct fuse_fs *fs, uint64_t parent, const char *name, struct fuse_entry_out *out)
{
	struct node_use dir _node_use_ = {0};
	int rc = passthrough_use(passthrough_of(fs), parent, &dir);
	return rc < 0 ? rc : passthrough_lookup(dir.p, &dir, name, out);
}

static void op_forget(struct fuse_fs *fs, uint64_t node, uint64_t count)
{
	node_forget(&passthrough_of(fs)->nodes, node, count);
}

static int op_getattr(
	struct fuse_fs *fs, uint64_t node, const uint64_t *fh, struct fuse_attr_out *out)
{
	struct passthrough *p = passthrough_of(fs);
	struct handle *h = NULL;
	struct statx st;
	int rc;
	if (fh && handle_get(&p->nodes, *fh, node, false, &h) == 0) {
		rc = statx(h->fd, "", AT_EMPTY_PATH, NODE_STATX, &st) < 0 ? -errno : 0;
		handle_put(&p->nodes, h);
	} else {
		struct node *n;
		rc = node_get(&p->nodes, node, &n);
		if (rc < 0)
			return rc;
		rc = node_stat(&p->nodes, n, &st);
		node_put(&p->nodes, n);
	}
	if (rc < 0)
		return rc;
	out->attr_valid = valid_seconds(p);
	passthrough_fill_attr(p, &st, &out->attr);
	return 0;
}

/* When ids are mapped nothing is recorded: "changing" an owner to what it is shown as succeeds, so
 * that tar and cp -a by the guest's root work. */
static int change_owner(
	struct passthrough *p, const struct node_use *u, const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;
	struct stat st;
	if (p->keep_ids)
		return fchownat(u->fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
	if (fstat(u->fd, &st) < 0)
		return -errno;
	bool same = (uid == (uid_t)-1 || uid == guest_uid(p, st.st_uid)) &&
		    (gid == (gid_t)-1 || gid == guest_gid(p, st.st_gid));
	return same ? 0 : -EPERM;
}

static int change_size(
	struct passthrough *p, const struct node_use *u, const struct fuse_setattr_in *in)
{
	struct handle *h = NULL;
	int fd, rc;
	if ((in->valid & FATTR_FH) && handle_get(&p->nodes, in->fh, u->node->id, false, &h) == 0 &&
		!h->writable) {
		handle_put(&p->nodes, h);
		h = NULL;
	}
	fd = h ? h->fd : passthrough_reopen(p, u, O_WRONLY);
	if (fd < 0)
		return fd;
	rc = ftruncate(fd, (off_t)in->size) < 0 ? -errno : 0;
	if (rc == 0 && (in->valid & FATTR_KILL_SUIDGID))
		passthrough_kill_suid(fd);
	if (h)
		handle_put(&p->nodes, h);
	else
		close(fd);
	return rc;
}

static int change_times(const struct node_use *u, const struct fuse_setattr_in *in)
{
	struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
	if (in->valid & FATTR_ATIME_NOW)
		t[0].tv_nsec = UTIME_NOW;
	else if (in->valid & FATTR_ATIME)
		t[0] = (struct timespec){(time_t)in->atime, in->atimensec};
	if (in->valid & FATTR_MTIME_NOW)
		t[1].tv_nsec = UTIME_NOW;
	else if (in->valid & FATTR_MTIME)
		t[1] = (struct timespec){(time_t)in->mtime, in->mtimensec};
	return utimensat(u->fd, "", t, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int op_setattr(struct fuse_fs *fs, uint64_t node, const struct fuse_setattr_in *in,
	struct fuse_attr_out *out)
{
	struct node_use u _node_use_ = {0};
	struct statx st;
	int rc = passthrough_use(passthrough_of(fs), node, &u);
	if (rc == 0 && (in->valid & (FATTR_UID | FATTR_GID)))
		rc = change_owner(u.p, &u, in);
	if (rc == 0 && (in->valid & FATTR_SIZE))
		rc = change_size(u.p, &u, in);
	if (rc == 0 && (in->valid & FATTR_MODE)) /* after the owner: a chown takes set-id bits */
		rc = S_ISLNK(u.node->type)
			     ? -EOPNOTSUPP
			     : chmod_fd(u.p, u.fd,
				       allowed_mode(u.p, in->mode, S_ISDIR(u.node->type)));
	if (rc == 0 && (in->valid & (FATTR_ATIME | FATTR_MTIME)))
		rc = change_times(&u, in);
	if (rc < 0)
		return rc;
	if (statx(u.fd, "", AT_EMPTY_PATH, NODE_STATX, &st) < 0)
		return -errno;
	out->attr_valid = valid_seconds(u.p);
	passthrough_fill_attr(u.p, &st, &out->attr);
	return 0;
}

static ssize_t op_readlink(struct fuse_fs *fs, uint64_t node, char *buf, size_t size)
{
	struct node_use u _node_use_ = {0};
	int rc = passthrough_use(passthrough_of(fs), node, &u);
	if (rc < 0)
		return rc;
	ssize_t n = readlinkat(u.fd, "", buf, size);
	return n >= 0 ? n : errno == ENOENT ? -EINVAL : -errno;
}

static int op_access(struct fuse_fs *fs, uint64_t node, uint32_t mask)
{
	struct node_use u _node_use_ = {0};
	int rc = passthrough_use(passthrough_of(fs), node, &u);
	if (rc < 0)
		return rc;
	if (mask & ~(uint32_t)(R_OK | W_OK | X_OK))
		return -EINVAL;
	if ((mask & W_OK) && fs->read_only)
		return -EROFS;
	return faccessat(u.fd, "", (int)mask, AT_EMPTY_PATH | AT_EACCESS) < 0 ? -errno : 0;
}

static int op_statfs(struct fuse_fs *fs, uint64_t node, struct fuse_kstatfs *out)
{
	struct node_use u _node_use_ = {0};
	struct statfs st;
	int rc = passthrough_use(passthrough_of(fs), node, &u);
	if (rc < 0)
		return rc;
	if (fstatfs(u.fd, &st) < 0)
		return -errno;
	*out = (struct fuse_kstatfs){
		.blocks = st.f_blocks,
		.bfree = st.f_bfree,
		.bavail = st.f_bavail,
		.files = st.f_files,
		.ffree = st.f_ffree,
		.bsize = (uint32_t)st.f_bsize,
		.frsize = (uint32_t)st.f_frsize,
		.namelen = FUSE_FS_NAME_MAX,
	};
	return 0;
}

static int op_syncfs(struct fuse_fs *fs)
{
	struct passthrough *p = passthrough_of(fs);
	struct node_use u _node_use_ = {0};
	int rc = passthrough_use(p, FUSE_ROOT_ID, &u);
	if (rc < 0 || fs->read_only)
		return rc;
	int fd = passthrough_reopen(p, &u, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	rc = syncfs(fd) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

/* --- names --- */

/* What was just made as name in dir: opened, taken for ours, given its owner and mode. When
 * that fails it is removed again. */
static int finish_new(const struct node_use *dir, const struct fuse_caller *who, const char *name,
	uint32_t type, uint32_t mode, struct fuse_entry_out *out)
{
	struct statx st;
	int fd _close_ = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	struct stat is;
	if (fstat(fd, &is) < 0)
		return -errno;
	if ((is.st_mode & S_IFMT) != type || is.st_uid != dir->p->uid)
		return -ESTALE; /* somebody on the host was quicker */
	int rc = passthrough_adopt(dir->p, fd, who, mode, passthrough_setgid(dir), &st);
	if (rc == 0)
		rc = passthrough_entry(dir->p, dir, name, &st, out);
	if (rc < 0)
		unlinkat(dir->fd, name, type == S_IFDIR ? AT_REMOVEDIR : 0);
	return rc;
}

static int op_symlink(struct fuse_fs *fs, const struct fuse_caller *who, uint64_t parent,
	const char *name, const char *target, struct fuse_entry_out *out)
{
	struct node_use dir _node_use_ = {0};
	int rc = passthrough_use(passthrough_of(fs), parent, &dir);
	if (rc < 0)
		return rc;
	if (symlinkat(target, dir.fd, name) < 0)
		return -errno;
	return finish_new(&dir, who, name, S_IFLNK, 0777, out);
}

static int op_mknod(struct fuse_fs *fs, const struct fuse_caller *who, uint64_t parent,
	const char *name, uint32_t mode, uint32_t rdev, struct fuse_entry_out *out)
{
	struct node_use dir _node_use_ = {0};
	(void)rdev;
	if ((mode & S_IFMT) != S_IFREG && (mode & S_IFMT) != 0)
		return -EPERM;
	int rc = passthrough_use(passthrough_of(fs), parent, &dir);
	if (rc < 0)
		return rc;
	int fd _close_ = openat(dir.fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		allowed_mode(dir.p, mode, false));
	if (fd < 0)
		return -errno;
	return finish_new(&dir, who, name, S_IFREG, mode, out);
}

static int op_mkdir(struct fuse_fs *fs, const struct fuse_caller *who, uint64_t parent,
	const char *name, uint32_t mode, struct fuse_entry_out *out)
{
	struct node_use dir _node_use_ = {0};
	int rc = passthrough_use(passthrough_of(fs), parent, &dir);
	if (rc < 0)
		return rc;
	if (mkdirat(dir.fd, name, mode & 07777) < 0)
		return -errno;
	return finish_new(&dir, who, name, S_IFDIR, mode, out);
}

static int remove_name(struct fuse_fs *fs, uint64_t parent, const char *name, int flags)
{
	struct node_use dir _node_use_ = {0};
	struct node *n;
	int rc = passthrough_use(passthrough_of(fs), parent, &dir);
	if (rc < 0)
		return rc;
	node_pin(&dir.p->nodes, dir.node, dir.fd, name, &n);
	if (unlinkat(dir.fd, name, flags) < 0) {
		rc = -errno;
		node_unpin(&dir.p->nodes, n);
	}
	node_put(&dir.p->nodes, n);
	return rc;
}

static int op_unlink(struct fuse_fs *fs, uint64_t parent, const char *name)
{
	return remove_name(fs, parent, name, 0);
}

static int op_rmdir(struct fuse_fs *fs, uint64_t parent, const char *name)
{
	return remove_name(fs, parent, name, AT_REMOVEDIR);
}

static int op_rename(struct fuse_fs *fs, uint64_t from, const char *name, uint64_t to,
	const char *to_name, uint32_t flags)
{
	struct passthrough *p = passthrough_of(fs);
	struct node_use a _node_use_ = {0}, b _node_use_ = {0};
	struct node *over = NULL;
	int rc = passthrough_use(p, from, &a);
	if (rc == 0)
		rc = passthrough_use(p, to, &b);
	if (rc < 0)
		return rc;
	if (flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (!(flags & RENAME_EXCHANGE))
		node_pin(&p->nodes, b.node, b.fd, to_name, &over);
	if (renameat2(a.fd, name, b.fd, to_name, flags) < 0) {
		rc = -errno;
		node_unpin(&p->nodes, over);
	} else {
		node_moved(&p->nodes, b.node, b.fd, to_name);
		/* Also after a plain one: renaming a file to its own other name does nothing. */
		node_moved(&p->nodes, a.node, a.fd, name);
	}
	node_put(&p->nodes, over);
	return rc;
}

static int op_link(struct fuse_fs *fs, uint64_t node, uint64_t parent, const char *name,
	struct fuse_entry_out *out)
{
	struct passthrough *p = passthrough_of(fs);
	struct node_use dir _node_use_ = {0}, u _node_use_ = {0};
	char proc_name[16];
	struct statx st;
	int rc = passthrough_use(p, parent, &dir);
	if (rc == 0)
		rc = passthrough_use(p, node, &u);
	if (rc < 0)
		return rc;
	if (S_ISDIR(u.node->type))
		return -EPERM;
	fd_name(u.fd, proc_name);
	if (linkat(p->proc_fd, proc_name, dir.fd, name, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	if (statx(u.fd, "", AT_EMPTY_PATH, NODE_STATX, &st) < 0)
		return -errno;
	return passthrough_entry(p, &dir, name, &st, out);
}

/* --- life --- */

static void op_reset(struct fuse_fs *fs)
{
	nodes_reset(&passthrough_of(fs)->nodes);
}

static void op_free(struct fuse_fs *fs)
{
	struct passthrough *p = passthrough_of(fs);
	int root_fd = p->nodes.root ? p->nodes.root->fd : -1;
	nodes_done(&p->nodes);
	cleanup_close_fd(&root_fd);
	cleanup_close_fd(&p->proc_fd);
	fuse_fs_done(fs);
	free(p);
}

static const struct fuse_fs_ops passthrough_ops = {
	.name = "passthrough",
	.free = op_free,
	.reset = op_reset,
	.state = passthrough_state,
	.lookup = op_lookup,
	.forget = op_forget,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.symlink = op_symlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.link = op_link,
	.access = op_access,
	.statfs = op_statfs,
	.syncfs = op_syncfs,
	.getxattr = passthrough_getxattr,
	.listxattr = passthrough_listxattr,
	.setxattr = passthrough_setxattr,
	.removexattr = passthrough_removexattr,
	.open = passthrough_open,
	.create = passthrough_create,
	.read = passthrough_read,
	.write = passthrough_write,
	.release = passthrough_release,
	.fsync = passthrough_fsync,
	.fallocate = passthrough_fallocate,
	.lseek = passthrough_lseek,
	.copy_file_range = passthrough_copy_file_range,
	.opendir = passthrough_opendir,
	.readdir = passthrough_readdir,
	.releasedir = passthrough_releasedir,
	.fsyncdir = passthrough_fsyncdir,
};

/* A quarter of what the process may open: several shares and the rest of a monitor fit beside. */
static unsigned default_fds(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return 256;
	return (unsigned)MIN(MAX(r.rlim_cur / 4, (rlim_t)64), (rlim_t)8192);
}

int passthrough_fs_new(struct fuse_fs **out, int dir_fd, const struct passthrough_config *config,
	struct error *err)
{
	struct passthrough *p = xcalloc(1, sizeof(*p));
	uint64_t wanted = FUSE_ATOMIC_O_TRUNC | FUSE_HANDLE_KILLPRIV_V2;
	wanted |= config->exclusive ? FUSE_WRITEBACK_CACHE | FUSE_CACHE_SYMLINKS
				    : FUSE_AUTO_INVAL_DATA;
	fuse_fs_init(&p->fs, &passthrough_ops, config->read_only, wanted);
	p->config = *config;
	p->uid = (uint32_t)geteuid();
	p->gid = (uint32_t)getegid();
	p->keep_ids = config->ids == PASSTHROUGH_IDS_KEEP ||
		      (config->ids == PASSTHROUGH_IDS_AUTO && p->uid == 0);
	p->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (p->proc_fd < 0) {
		int rc = error_errno(err, errno, "/proc/self/fd");
		error_remedy(err, "mount /proc: shared directories need it");
		op_free(&p->fs);
		return rc;
	}
	unsigned fds = config->fds_max ? config->fds_max : default_fds();
	int rc = nodes_init(&p->nodes, dir_fd, MAX(fds, 16u), err);
	if (rc < 0) {
		op_free(&p->fs); /* the root node was not made: dir_fd stays the caller's */
		return rc;
	}
	p->root_dev = p->nodes.root->key.dev;
	*out = &p->fs;
	return 0;
}
