// SPDX-License-Identifier: Apache-2.0
#include "container/rootfs.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "container/mount.h"
#include "container/userns.h"

void rootfs_done(struct rootfs *r)
{
	cleanup_close_fd(&r->root);
	cleanup_close_fd(&r->null);
	for (size_t i = 0; r->sources && i < r->spec->n_mounts; i++)
		if (r->sources[i] >= 0)
			close(r->sources[i]);
	free(r->sources);
	r->sources = NULL;
	r->root = r->null = -1;
}

/* Mounts made later on the host come into the container only when it was asked for. */
static int cut(const struct rootfs *r, int mount, struct error *err)
{
	if (r->spec->root_propagation & MS_SHARED)
		return 0;
	return mount_propagation(mount, MS_SLAVE, true, err);
}

int rootfs_open(struct rootfs *r, const char *path, struct error *err)
{
	const struct spec *s = r->spec;
	r->sources = xcalloc(s->n_mounts + 1, sizeof(*r->sources));
	for (size_t i = 0; i < s->n_mounts; i++)
		r->sources[i] = -1;
	r->root = mount_clone(AT_FDCWD, path, true, err);
	int rc = r->root < 0 ? r->root : cut(r, r->root, err);
	if (rc < 0)
		return error_wrap(err, rc, "root");
	for (size_t i = 0; i < s->n_mounts; i++) {
		const struct spec_mount *m = &s->mounts[i];
		if (!m->bind || m->remount)
			continue;
		r->sources[i] = mount_clone(AT_FDCWD, m->source, m->recursive, err);
		rc = r->sources[i] < 0 ? r->sources[i] : cut(r, r->sources[i], err);
		if (rc < 0)
			return error_wrap(err, rc, "mount %s", m->destination);
	}
	return 0;
}

bool rootfs_has_idmap(const struct rootfs *r)
{
	for (size_t i = 0; i < r->spec->n_mounts; i++)
		if (r->spec->mounts[i].idmap)
			return true;
	return false;
}

int rootfs_idmap(struct rootfs *r, int user_namespace_fd, struct error *err)
{
	for (size_t i = 0; i < r->spec->n_mounts; i++) {
		const struct spec_mount *m = &r->spec->mounts[i];
		if (!m->idmap)
			continue;
		if (r->sources[i] < 0)
			return error_set(err, EINVAL, "mount %s: only a bind mount can map IDs",
				m->destination);
		int made _close_ = m->uids.n ? userns_make(&m->uids, &m->gids, err) : -1;
		if (m->uids.n && made < 0)
			return error_wrap(err, made, "mount %s", m->destination);
		int fd = made >= 0 ? made : user_namespace_fd;
		if (fd < 0)
			return error_set(err, EINVAL,
				"mount %s: \"idmap\" needs mappings or a user namespace",
				m->destination);
		int rc = mount_idmap(r->sources[i], fd, m->idmap_recursive, err);
		if (rc < 0)
			return error_wrap(err, rc, "mount %s", m->destination);
	}
	return 0;
}

/* A directory with one bind mount per hierarchy, as cgroup v1 is usually seen; v2 is one mount.
 * What is bound is the container's own group, whether or not it has a cgroup namespace. */
static int put_cgroups(struct rootfs *r, const struct spec_mount *m, int target, struct error *err)
{
	const struct cgroup *cg = r->cgroup;
	uint64_t ro = m->attr_set & MOUNT_ATTR_RDONLY;
	int tree _close_ = -1;
	if (!cg->v2_only) {
		tree = mount_new("tmpfs", "cgroup", "mode=755,size=64k", 0, m->attr_set & ~ro, err);
		if (tree < 0)
			return tree;
	}
	int rc = cg->v2_only ? 0 : mount_put(tree, target, err);
	vec_for_each (d, &cg->dirs) {
		/* Not made where nothing is delegated to us. */
		if (rc < 0 || access(d->path, F_OK) < 0)
			continue;
		int one _close_ = mount_clone(AT_FDCWD, d->path, false, err);
		if (one < 0)
			return one;
		rc = mount_attributes(one, m->attr_set, m->attr_clear, false, err);
		if (rc == 0)
			rc = mount_propagation(one, MS_SLAVE, false, err);
		if (rc == 0 && cg->v2_only)
			rc = mount_put(one, target, err);
		if (rc < 0 || cg->v2_only)
			continue;
		const char *name = !*d->controllers			  ? "unified"
				   : !strncmp(d->controllers, "name=", 5) ? d->controllers + 5
									  : d->controllers;
		int at _close_ = mount_target(tree, name, MAKE_DIRECTORY, false, err);
		rc = at < 0 ? at : mount_put(one, at, err);
		/* "cpu" finds what is mounted as "cpu,cpuacct". */
		char *copy _free_ = xstrdup(name), *save = NULL;
		for (char *word = strtok_r(copy, ",", &save); word && strchr(name, ',');
			word = strtok_r(NULL, ",", &save))
			if (symlinkat(name, tree, word) < 0 && errno != EEXIST)
				return error_errno(err, errno, "%s", word);
	}
	if (rc == 0 && ro && tree >= 0)
		rc = mount_attributes(tree, ro, 0, false, err);
	return rc;
}

/* Where device nodes are made: it becomes read-only afterwards. */
static bool is_dev(const struct spec_mount *m)
{
	return !m->bind && !strcmp(m->destination, "/dev");
}

static int finish_dev(struct rootfs *r, struct error *err)
{
	uint64_t ro = 0;
	for (size_t i = 0; i < r->spec->n_mounts; i++)
		if (is_dev(&r->spec->mounts[i]))
			ro = (r->spec->mounts[i].attr_set | r->spec->mounts[i].recursive_set) &
			     MOUNT_ATTR_RDONLY;
	if (!ro)
		return 0;
	int dev _close_ = mount_target(r->root, "/dev", MAKE_NOTHING, false, err);
	return dev < 0 ? dev : mount_attributes(dev, ro, 0, false, err);
}

/* A file system of the container's own, in a form that may be changed until it is put in place. */
static int make_mount(struct rootfs *r, const struct spec_mount *m, int target, struct error *err)
{
	struct strbuf data _strbuf_ = STRBUF_INIT;
	strbuf_adds(&data, m->data);
	const char *label = r->spec->mount_label;
	if (label && *label && access("/sys/fs/selinux", F_OK) == 0 && strcmp(m->type, "proc") &&
		strcmp(m->type, "sysfs"))
		strbuf_addf(&data, "%scontext=\"%s\"", data.len ? "," : "", label);
	/* What is copied up and the mode must be written first. */
	bool tmpfs = !strcmp(m->type, "tmpfs");
	uint64_t attr = m->attr_set, late = tmpfs ? attr & MOUNT_ATTR_RDONLY : 0;
	int fd _close_ = mount_new(
		m->type, m->source, data.data ? data.data : "", m->sb_set, attr & ~late, err);
	if (fd < 0)
		return fd;
	int rc = 0;
	struct stat st;
	/* The mode of the directory under it, unless one was given. */
	if (tmpfs && !strstr(m->data, "mode=") && fstat(target, &st) == 0)
		rc = fchmodat(fd, ".", st.st_mode & 07777, 0) < 0 ? error_errno(err, errno, "mode")
								  : 0;
	if (rc == 0 && m->copy_up && tmpfs) {
		int from _close_ = openat(target, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = from < 0 ? error_errno(err, errno, "copy up") : mount_copy_tree(from, fd, err);
	}
	if (rc == 0 && !is_dev(m))
		rc = mount_attributes(fd, late, 0, false, err);
	return rc < 0 ? rc : TAKE_FD(fd);
}

static bool is_cgroup(const struct spec_mount *m)
{
	return !m->bind && !m->remount &&
	       (!strcmp(m->type, "cgroup") || !strcmp(m->type, "cgroup2"));
}

static int remount(struct rootfs *r, const struct spec_mount *m, struct error *err)
{
	int at _close_ = mount_target(r->root, m->destination, MAKE_NOTHING, true, err);
	int rc = at < 0 ? at : mount_attributes(at, m->attr_set, m->attr_clear, false, err);
	if (rc == 0)
		rc = mount_attributes(at, m->recursive_set, m->recursive_clear, true, err);
	return rc;
}

static int put_mount(struct rootfs *r, size_t i, struct error *err)
{
	const struct spec_mount *m = &r->spec->mounts[i];
	enum mount_make make = MAKE_DIRECTORY;
	struct stat st;
	if (m->bind && fstat(r->sources[i], &st) == 0 && !S_ISDIR(st.st_mode))
		make = MAKE_FILE;
	/* An image that leads /proc elsewhere by a link would also lead what is masked there. */
	if (m->remount)
		return remount(r, m, err);
	bool kernel =
		m->type && !m->bind && (!strcmp(m->type, "proc") || !strcmp(m->type, "sysfs"));
	int target _close_ = mount_target(r->root, m->destination, make, !kernel, err);
	if (target < 0)
		return target;
	if (is_cgroup(m))
		return put_cgroups(r, m, target, err);
	int mount _close_ = m->bind ? TAKE_FD(r->sources[i]) : make_mount(r, m, target, err);
	if (mount < 0)
		return mount;
	int rc = 0;
	if (m->bind)
		rc = mount_attributes(mount, m->attr_set, m->attr_clear, false, err);
	if (rc == 0)
		rc = mount_attributes(mount,
			m->recursive_set & ~(is_dev(m) ? (uint64_t)MOUNT_ATTR_RDONLY : 0),
			m->recursive_clear, true, err);
	if (rc == 0)
		rc = mount_put(mount, target, err);
	/* A shared mount can only be put where it is attached; the order is that of mount(8). */
	if (rc == 0 && m->recursive_propagation)
		rc = mount_propagation(mount, m->recursive_propagation, true, err);
	if (rc == 0 && m->propagation)
		rc = mount_propagation(mount, m->propagation, false, err);
	return rc;
}

static int put_device(struct rootfs *r, const struct spec_device *d, struct error *err)
{
	char parent[PATH_MAX], path[32];
	const char *name = strrchr(d->path, '/') + 1;
	if (!*name || strlen(d->path) >= sizeof(parent))
		return error_set(err, EINVAL, "device %s: no name", d->path);
	snprintf(parent, sizeof(parent), "%.*s", (int)(name - d->path), d->path);
	if (r->user_namespace) {
		int node _close_ = mount_clone(AT_FDCWD, d->path, false, err);
		int target _close_ =
			node < 0 ? -1 : mount_target(r->root, d->path, MAKE_FILE, true, err);
		int rc = node < 0 ? node : target < 0 ? target : mount_put(node, target, err);
		return rc < 0 ? error_wrap(err, rc, "device %s", d->path) : 0;
	}
	int dir _close_ = mount_target(r->root, parent, MAKE_DIRECTORY, true, err);
	if (dir < 0)
		return error_wrap(err, dir, "device %s", d->path);
	if (mknodat(dir, name, d->type | d->mode, makedev(d->major, d->minor)) < 0 &&
		errno != EEXIST)
		return error_errno(err, errno, "device %s", d->path);
	/* What is there, whoever put it there: never through a link. */
	int node _close_ = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	if (node < 0 || fstat(node, &st) < 0)
		return error_errno(err, errno, "device %s", d->path);
	if ((st.st_mode & S_IFMT) != d->type ||
		(d->type != S_IFIFO && st.st_rdev != makedev(d->major, d->minor)))
		return error_set(err, EEXIST, "device %s: something else is there", d->path);
	/* The directory's default ACL, and who we are in its file system, had a say. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", node);
	if (((st.st_mode & 07777) != d->mode && chmod(path, d->mode) < 0) ||
		((st.st_uid != d->uid || st.st_gid != d->gid) &&
			fchownat(node, "", d->uid, d->gid, AT_EMPTY_PATH) < 0))
		return error_errno(err, errno, "device %s", d->path);
	return 0;
}

/* Default devices and links: config-linux.md, "Default Devices"; runtime-linux.md, "Dev symbolic
 * links". */
static int put_dev(struct rootfs *r, struct error *err)
{
	static const struct spec_device nodes[] = {{"/dev/null", S_IFCHR, 0666, 1, 3, 0, 0},
		{"/dev/zero", S_IFCHR, 0666, 1, 5, 0, 0}, {"/dev/full", S_IFCHR, 0666, 1, 7, 0, 0},
		{"/dev/random", S_IFCHR, 0666, 1, 8, 0, 0},
		{"/dev/urandom", S_IFCHR, 0666, 1, 9, 0, 0},
		{"/dev/tty", S_IFCHR, 0666, 5, 0, 0, 0}};
	static const char *const links[][2] = {{"/proc/self/fd", "fd"},
		{"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"}, {"/proc/kcore", "core"}, {"pts/ptmx", "ptmx"}};
	bool bound = false;
	for (size_t i = 0; i < r->spec->n_mounts; i++)
		if (!strcmp(r->spec->mounts[i].destination, "/dev") && r->spec->mounts[i].bind)
			bound = true; /* the host's own: nothing is made there */
	int rc = 0;
	for (size_t i = 0; i < ARRAY_SIZE(nodes) && rc == 0 && !bound; i++)
		rc = put_device(r, &nodes[i], err);
	for (size_t i = 0; i < r->spec->n_devices && rc == 0; i++)
		rc = put_device(r, &r->spec->devices[i], err);
	if (rc < 0 || bound)
		return rc;
	int dev _close_ = mount_target(r->root, "/dev", MAKE_DIRECTORY, true, err);
	if (dev < 0)
		return dev;
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		if (symlinkat(links[i][0], dev, links[i][1]) < 0 && errno != EEXIST)
			return error_errno(err, errno, "/dev/%s", links[i][1]);
	return 0;
}

int rootfs_build(struct rootfs *r, int (*groups)(void *opaque, struct error *err), void *opaque,
	struct error *err)
{
	/* Our copies of the host's mounts: what we do is not for the host to see. The root itself
	 * must be private for pivot_root(2). */
	if (!(r->spec->root_propagation & MS_SHARED) &&
		mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return error_errno(err, errno, "make the mounts ours");
	if (mount(NULL, "/", NULL, MS_PRIVATE, NULL) < 0)
		return error_errno(err, errno, "make the root ours");
	if (r->spec->masked && *r->spec->masked) {
		r->null = mount_clone(AT_FDCWD, "/dev/null", false, err);
		int rc = r->null < 0 ? r->null
				     : mount_attributes(r->null, MOUNT_ATTR_RDONLY, 0, false, err);
		if (rc < 0)
			return rc;
	}
	/* On "/": no path of the host has to be reachable for the container's users. Absolute
	 * paths still lead below it, to the host's tree. */
	if (move_mount(r->root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return error_errno(err, errno, "attach the root");
	for (size_t i = 0; i < r->spec->n_mounts; i++) {
		int rc = is_cgroup(&r->spec->mounts[i]) ? groups(opaque, err) : 0;
		if (rc == 0)
			rc = put_mount(r, i, err);
		if (rc < 0)
			return error_wrap(err, rc, "mount %s", r->spec->mounts[i].destination);
	}
	int rc = put_dev(r, err);
	return rc < 0 ? rc : finish_dev(r, err);
}

int rootfs_enter(struct rootfs *r, bool no_pivot, struct error *err)
{
	if (fchdir(r->root) < 0)
		return error_errno(err, errno, "enter the root");
	if (no_pivot) {
		if (chroot(".") < 0)
			return error_errno(err, errno, "chroot");
		return 0;
	}
	/* The old root lands on top of the new one, and goes; first it is cut off from the host's,
	 * so that it goes here only. */
	int old _close_ = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (old < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return error_errno(err, errno, "pivot_root");
	if (fchdir(old) < 0 || mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL) < 0 ||
		umount2(".", MNT_DETACH) < 0)
		return error_errno(err, errno, "leave the host's root");
	if (chdir("/") < 0)
		return error_errno(err, errno, "enter the root");
	return 0;
}

int rootfs_console(int terminal, struct error *err)
{
	int root _close_ = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* The terminal itself: no path that could lead to another. */
	int node _close_ = mount_clone(terminal, "", false, err);
	if (node < 0)
		return node;
	int target _close_ = mount_target(root, "/dev/console", MAKE_FILE, false, err);
	return target < 0 ? target : mount_put(node, target, err);
}

/* One mount of each for all that is masked: the first is made, the others are copies of it. Over a
 * file the host's null device, read-only, so that nobody can change its mode there; over a
 * directory an empty one. */
struct masks {
	int file, directory;
	bool file_used;
};

static int mask(int target, struct masks *m, struct error *err)
{
	struct stat st;
	if (fstat(target, &st) < 0)
		return error_errno(err, errno, "stat");
	bool file = !S_ISDIR(st.st_mode), first = file ? !m->file_used : m->directory < 0;
	if (!file && first) {
		m->directory = mount_new("tmpfs", "tmpfs", "size=0k,nr_inodes=2", MS_RDONLY,
			MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				MOUNT_ATTR_NOEXEC,
			err);
		if (m->directory < 0)
			return m->directory;
	}
	int one = file ? m->file : m->directory;
	m->file_used |= file;
	if (first)
		return mount_put(one, target, err);
	int copy _close_ = mount_clone(one, "", false, err);
	return copy < 0 ? copy : mount_put(copy, target, err);
}

int rootfs_seal(struct rootfs *r, struct error *err)
{
	const struct spec *s = r->spec;
	int root _close_ = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), rc = 0;
	struct masks masks = {.file = r->null, .directory = -1};
	/* A working directory that is missing is made. What else is wrong with it, chdir() says. */
	int cwd = mount_target(root, s->process->cwd, MAKE_DIRECTORY, true, NULL);
	cleanup_close_fd(&cwd);
	for (const char **p = s->readonly; p && *p && rc == 0; p++) {
		int at _close_ = mount_target(root, *p, MAKE_NOTHING, true, NULL);
		if (at < 0 && (at == -ENOENT || at == -ENOTDIR))
			continue;
		int copy _close_ = at < 0 ? -1 : mount_clone(at, "", true, err);
		rc = at < 0 ? error_errno(err, -at, "open") : copy < 0 ? copy : 0;
		if (rc == 0)
			rc = mount_attributes(copy, MOUNT_ATTR_RDONLY, 0, true, err);
		if (rc == 0)
			rc = mount_put(copy, at, err);
		if (rc < 0)
			return error_wrap(err, rc, "read-only path %s", *p);
	}
	for (const char **p = s->masked; p && *p && rc == 0; p++) {
		int at _close_ = mount_target(root, *p, MAKE_NOTHING, true, NULL);
		if (at < 0 && (at == -ENOENT || at == -ENOTDIR))
			continue;
		rc = at < 0 ? error_errno(err, -at, "open") : mask(at, &masks, err);
		if (rc < 0) {
			cleanup_close_fd(&masks.directory);
			return error_wrap(err, rc, "masked path %s", *p);
		}
	}
	cleanup_close_fd(&masks.directory);
	if (s->root_readonly) {
		rc = mount_attributes(root, MOUNT_ATTR_RDONLY, 0, false, err);
		if (rc < 0)
			return error_wrap(err, rc, "read-only root");
	}
	if (s->root_propagation) {
		rc = mount_propagation(root, s->root_propagation & ~(uint64_t)MS_REC,
			(s->root_propagation & MS_REC) != 0, err);
		if (rc < 0)
			return error_wrap(err, rc, "root");
	}
	return rc;
}
