// SPDX-License-Identifier: Apache-2.0
// System calls on files whose structures, paths or descriptors need a look.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "user/syscalls.h"

/* --- stat --- */
_Static_assert(sizeof(struct user_stat) == 128, "as the kernel's");

static int64_t put_stat(uint64_t to, const struct stat *st)
{
	struct user_stat g = {.dev = st->st_dev,
		.ino = st->st_ino,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev = st->st_rdev,
		.size = st->st_size,
		.blksize = (int32_t)st->st_blksize,
		.blocks = st->st_blocks,
		.atime = st->st_atim.tv_sec,
		.atime_ns = st->st_atim.tv_nsec,
		.mtime = st->st_mtim.tv_sec,
		.mtime_ns = st->st_mtim.tv_nsec,
		.ctime = st->st_ctim.tv_sec,
		.ctime_ns = st->st_ctim.tv_nsec};
	return user_write(to, &g, sizeof(g));
}

int64_t user_sys_fstat(struct user_thread *t, const uint64_t a[6])
{
	struct stat st;
	int64_t r = USER_CALL(SYS_fstat, a[0], (uintptr_t)&st);
	return r < 0 ? r : put_stat(a[1], &st);
}

/* Under the root, mostly with one walk. USER_NO_RESULT: the host is to be asked. */
static int64_t stat_in_root(struct user_thread *t, const uint64_t a[6], struct user_path *path)
{
	struct stat st;
	bool follow = !(a[3] & AT_SYMLINK_NOFOLLOW);
	if (!t->process->root || a[3] & ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT))
		return USER_NO_RESULT;
	int64_t r = user_read_string(a[1], path->text, PATH_MAX);
	if (r < 0)
		return r;
	r = user_path_stat(t, (int)a[0], path->text, &st);
	if (r == 0 && follow && S_ISLNK(st.st_mode))
		return USER_NO_RESULT;
	return r < 0 ? r : put_stat(a[2], &st);
}

int64_t user_sys_fstatat(struct user_thread *t, const uint64_t a[6])
{
	struct stat st;
	struct user_path path;
	int64_t r = stat_in_root(t, a, &path);
	if (r == -ENOENT) {
		path.dirfd = AT_FDCWD;
		path.addr = (uintptr_t)path.text;
	} else if (r != USER_NO_RESULT) {
		return r;
	} else {
		r = user_path(t, (int)a[0], a[1],
			a[3] & AT_SYMLINK_NOFOLLOW ? USER_PATH_NOFOLLOW : 0, &path);
		if (r < 0)
			return r;
	}
	r = USER_HOST(
		t, SYS_newfstatat, (uint64_t)(int64_t)path.dirfd, path.addr, (uintptr_t)&st, a[3]);
	return r < 0 ? r : put_stat(a[2], &st);
}

/* --- open --- */
/* Opened already, or dirfd and path as the host shall have them (USER_NO_RESULT). */
static int64_t before_open(struct user_thread *t, int dirfd, uint64_t addr, uint64_t flags,
	bool short_way, struct user_path *path)
{
	int n = user_read_string(addr, path->text, PATH_MAX);
	if (n < 0)
		return n;
	int64_t r = user_proc_open(t, path->text, (int)flags);
	if (r != USER_NO_RESULT)
		return r;
	/* What is there already can be opened in one walk. */
	if (short_way && !(flags & O_CREAT) && (flags & O_TMPFILE) != O_TMPFILE) {
		r = user_path_open(t, dirfd, path->text, flags);
		if (r == -ENOENT) {
			path->dirfd = AT_FDCWD;
			path->addr = (uintptr_t)path->text;
			return USER_NO_RESULT;
		}
		if (r != USER_NO_RESULT)
			return r;
	}
	bool nofollow = (flags & O_NOFOLLOW) || (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
	r = user_path(t, dirfd, addr, nofollow ? USER_PATH_NOFOLLOW : 0, path);
	return r < 0 ? r : USER_NO_RESULT;
}

int64_t user_sys_openat(struct user_thread *t, const uint64_t a[6])
{
	struct user_path path;
	int64_t r = before_open(t, (int)a[0], a[1], (uint32_t)a[2], true, &path);
	if (r != USER_NO_RESULT)
		return r;
	return USER_HOST(t, SYS_openat, (uint64_t)(int64_t)path.dirfd, path.addr, a[2], a[3]);
}

int64_t user_sys_openat2(struct user_thread *t, const uint64_t a[6])
{
	struct user_path path;
	struct open_how how;
	if (a[3] < sizeof(how))
		return -EINVAL;
	if (user_read(a[2], &how, sizeof(how)) < 0)
		return -EFAULT;
	if (how.resolve) /* its rules are about the tree below the descriptor, as it is */
		return user_host(t, SYS_openat2, a);
	/* What the host would refuse it shall see. */
	bool short_way = a[3] == sizeof(how) && !how.mode;
	int64_t r = before_open(t, (int)a[0], a[1], how.flags, short_way, &path);
	if (r != USER_NO_RESULT)
		return r;
	return USER_HOST(t, SYS_openat2, (uint64_t)(int64_t)path.dirfd, path.addr, a[2], a[3]);
}

/* --- descriptors: those of the root and of this program are ours --- */
static int64_t move_away(int *ours)
{
	int fd = fcntl(*ours, F_DUPFD_CLOEXEC, *ours + 1);
	if (fd < 0)
		fd = fcntl(*ours, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	*ours = fd; /* the old one is the guest's to replace */
	return 0;
}

int64_t user_sys_close(struct user_thread *t, const uint64_t a[6])
{
	struct user_process *p = t->process;
	int fd = (int)a[0];
	if (fd >= 0 && (fd == p->root_fd || fd == p->self_fd))
		return -EBADF;
	return user_host(t, SYS_close, a);
}

int64_t user_sys_dup3(struct user_thread *t, const uint64_t a[6])
{
	struct user_process *p = t->process;
	int *const ours[] = {&p->root_fd, &p->self_fd};
	for (size_t n = 0; n < ARRAY_SIZE(ours); n++) {
		int64_t r = *ours[n] >= 0 && (int)a[1] == *ours[n] ? move_away(ours[n]) : 0;
		if (r < 0)
			return r;
	}
	return user_host(t, SYS_dup3, a);
}

int64_t user_sys_close_range(struct user_thread *t, const uint64_t a[6])
{
	const struct user_process *p = t->process;
	uint32_t first = (uint32_t)a[0], last = (uint32_t)a[1];
	int kept[2] = {MIN(p->root_fd, p->self_fd), MAX(p->root_fd, p->self_fd)};
	int64_t r = 0;
	if (first > last)
		return -EINVAL;
	for (unsigned n = 0; n < 2 && r == 0; n++) {
		uint32_t fd = (uint32_t)kept[n];
		if (kept[n] < 0 || fd < first || fd > last)
			continue;
		if (fd > first)
			r = USER_CALL(SYS_close_range, first, fd - 1, a[2]);
		if (fd == last)
			return r;
		first = fd + 1;
	}
	return r < 0 ? r : USER_CALL(SYS_close_range, first, last, a[2]);
}

/* --- names --- */
int64_t user_sys_readlinkat(struct user_thread *t, const uint64_t a[6])
{
	struct user_path path;
	char name[64], target[PATH_MAX];
	int n = user_read_string(a[1], name, sizeof(name));
	bool in_proc = n > 0 && !strncmp(name, "/proc/", 6);
	if (in_proc) {
		int64_t r = user_proc_readlink(t, name, a[2], a[3]);
		if (r != USER_NO_RESULT)
			return r;
	}
	int64_t r = user_path(t, (int)a[0], a[1], USER_PATH_NOFOLLOW, &path);
	if (r < 0)
		return r;
	uint64_t dirfd = (uint64_t)(int64_t)path.dirfd;
	if (!in_proc || !t->process->root || (int64_t)a[3] <= 0)
		return USER_HOST(t, SYS_readlinkat, dirfd, path.addr, a[2], a[3]);
	r = USER_CALL(SYS_readlinkat, dirfd, path.addr, (uintptr_t)target, sizeof(target) - 1);
	if (r < 0)
		return r;
	target[r] = 0;
	const char *guest = user_path_to_guest(t->process, target);
	size_t len = MIN(strlen(guest), a[3]);
	int w = user_write(a[2], guest, len);
	return w < 0 ? w : (int64_t)len;
}

int64_t user_sys_symlinkat(struct user_thread *t, const uint64_t a[6])
{
	struct user_path path;
	int64_t r = user_path(t, (int)a[1], a[2], USER_PATH_NOFOLLOW, &path);
	if (r < 0)
		return r;
	return USER_HOST(t, SYS_symlinkat, a[0], (uint64_t)(int64_t)path.dirfd, path.addr);
}

int64_t user_sys_getcwd(struct user_thread *t, const uint64_t a[6])
{
	char dir[PATH_MAX];
	if (!t->process->root)
		return user_host(t, SYS_getcwd, a);
	int64_t r = USER_CALL(SYS_getcwd, (uintptr_t)dir, sizeof(dir));
	if (r < 0)
		return r;
	const char *guest = user_path_to_guest(t->process, dir);
	size_t len = strlen(guest) + 1;
	if (len > a[1])
		return -ERANGE;
	r = user_write(a[0], guest, len);
	return r < 0 ? r : (int64_t)len;
}

/* The guest's root changes: from now on its paths are the host's, seen from there. */
static int64_t change_root(struct user_thread *t, long nr, const uint64_t a[6])
{
	struct user_process *p = t->process;
	struct user_path first, second;
	int64_t r = user_path(t, AT_FDCWD, a[0], 0, &first);
	if (r == 0 && nr == SYS_pivot_root)
		r = user_path(t, AT_FDCWD, a[1], 0, &second);
	if (r < 0)
		return r;
	user_keep_self(p);
	r = USER_HOST(t, nr, first.addr, nr == SYS_pivot_root ? second.addr : 0);
	if (r == 0 && p->root) {
		free(TAKE_PTR(p->root));
		close(TAKE_FD(p->root_fd));
	}
	return r;
}

int64_t user_sys_chroot(struct user_thread *t, const uint64_t a[6])
{
	return change_root(t, SYS_chroot, a);
}

int64_t user_sys_pivot_root(struct user_thread *t, const uint64_t a[6])
{
	return change_root(t, SYS_pivot_root, a);
}

int64_t user_sys_setns(struct user_thread *t, const uint64_t a[6])
{
	struct user_process *p = t->process;
	user_keep_self(p);
	return user_host(t, SYS_setns, a);
}

/* --- sockets with names --- */
static int64_t with_address(struct user_thread *t, long nr, const uint64_t a[6])
{
	struct sockaddr_un un = {0};
	struct user_path path;
	size_t bytes = MIN(a[2], sizeof(un));
	if (!t->process->root || a[2] <= offsetof(struct sockaddr_un, sun_path) ||
		user_read(a[1], &un, bytes) < 0 || un.sun_family != AF_UNIX ||
		un.sun_path[0] != '/')
		return user_host(t, nr, a);
	char name[sizeof(un.sun_path) + 1];
	memcpy(name, un.sun_path, sizeof(un.sun_path));
	name[sizeof(un.sun_path)] = 0;
	int r = user_path_text(t->process, AT_FDCWD, name, 0, &path);
	if (r < 0)
		return r;
	size_t len = strlen(path.text);
	if (len >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path.text, len + 1);
	return USER_HOST(
		t, nr, a[0], (uintptr_t)&un, offsetof(struct sockaddr_un, sun_path) + len + 1);
}

int64_t user_sys_bind(struct user_thread *t, const uint64_t a[6])
{
	return with_address(t, SYS_bind, a);
}

int64_t user_sys_connect(struct user_thread *t, const uint64_t a[6])
{
	return with_address(t, SYS_connect, a);
}

/* A path of the host becomes what the guest knows it by. */
static int64_t get_address(struct user_thread *t, long nr, const uint64_t a[6])
{
	struct sockaddr_un un;
	uint32_t room, bytes = sizeof(un);
	const size_t start = offsetof(struct sockaddr_un, sun_path);
	if (!t->process->root)
		return user_host(t, nr, a);
	if (user_read(a[2], &room, sizeof(room)) < 0)
		return -EFAULT;
	int64_t r = USER_HOST(t, nr, a[0], (uintptr_t)&un, (uintptr_t)&bytes);
	if (r < 0 || bytes > sizeof(un) || bytes <= start || un.sun_family != AF_UNIX ||
		un.sun_path[0] != '/')
		return r < 0 ? r : user_host(t, nr, a);
	char name[sizeof(un.sun_path) + 1] = "";
	memcpy(name, un.sun_path, bytes - start);
	const char *guest = user_path_to_guest(t->process, name);
	bytes = (uint32_t)(start + strlen(guest) + 1);
	memcpy(un.sun_path, guest, bytes - start);
	if ((int32_t)room < 0)
		return -EINVAL;
	if (user_write(a[1], &un, MIN(room, bytes)) < 0 ||
		user_write(a[2], &bytes, sizeof(bytes)) < 0)
		return -EFAULT;
	return 0;
}

int64_t user_sys_getsockname(struct user_thread *t, const uint64_t a[6])
{
	return get_address(t, SYS_getsockname, a);
}

int64_t user_sys_getpeername(struct user_thread *t, const uint64_t a[6])
{
	return get_address(t, SYS_getpeername, a);
}

/* --- epoll: the event is packed on x86-64 alone --- */
struct guest_event {
	uint32_t events, pad;
	uint64_t data;
};
enum { EVENTS_MAX = 512 };

int64_t user_sys_epoll_ctl(struct user_thread *t, const uint64_t a[6])
{
	struct guest_event g;
	struct epoll_event e = {0};
	if (a[1] != EPOLL_CTL_DEL) {
		if (user_read(a[3], &g, sizeof(g)) < 0)
			return -EFAULT;
		e.events = g.events;
		e.data.u64 = g.data;
	}
	return USER_CALL(SYS_epoll_ctl, a[0], a[1], a[2], (uintptr_t)&e);
}

static int64_t epoll_wait_with(struct user_thread *t, long nr, const uint64_t a[6])
{
	struct epoll_event host[EVENTS_MAX];
	struct guest_event guest[EVENTS_MAX] = {0};
	int most = (int)a[2];
	if (most <= 0)
		return -EINVAL;
	most = MIN(most, EVENTS_MAX);
	int64_t r = USER_HOST(t, nr, a[0], (uintptr_t)host, (uint64_t)most, a[3], a[4], a[5]);
	for (int64_t n = 0; n < r; n++)
		guest[n] = (struct guest_event){host[n].events, 0, host[n].data.u64};
	if (r > 0 && user_write(a[1], guest, (size_t)r * sizeof(*guest)) < 0)
		return -EFAULT;
	return r;
}

int64_t user_sys_epoll_pwait(struct user_thread *t, const uint64_t a[6])
{
	return epoll_wait_with(t, SYS_epoll_pwait, a);
}

int64_t user_sys_epoll_pwait2(struct user_thread *t, const uint64_t a[6])
{
	return epoll_wait_with(t, SYS_epoll_pwait2, a);
}
