// SPDX-License-Identifier: Apache-2.0
// Files, sockets, events, times: whatever has a structure that the kernel fills.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void stats(void)
{
	struct stat st;
	struct statx sx;
	struct statfs fs;
	int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0640);
	const struct timespec when[2] = {{1000000000, 123}, {1100000000, 456789}};
	pwrite(fd, "hello", 5, 100000);
	futimens(fd, when);
	fchmod(fd, 0640);
	link("file", "second");
	symlink("file", "soft");
	fstat(fd, &st);
	printf("fstat: %o %ld %ld %ld.%ld %ld.%ld %ld\n", st.st_mode, (long)st.st_size,
		(long)st.st_nlink, st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec,
		st.st_mtim.tv_nsec, (long)st.st_blksize);
	lstat("soft", &st);
	printf("lstat: %o %ld\n", st.st_mode, (long)st.st_size);
	printf("missing: %d %s\n", stat("none", &st), strerror(errno));
	statx(AT_FDCWD, "second", 0, STATX_ALL, &sx);
	printf("statx: %o %llu %u\n", sx.stx_mode, (unsigned long long)sx.stx_size, sx.stx_nlink);
	statfs(".", &fs);
	printf("statfs: %ld %ld\n", (long)fs.f_bsize, (long)fs.f_namelen);
	DIR *d = opendir(".");
	int n = 0;
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_type == DT_REG || e->d_type == DT_LNK;
	closedir(d);
	printf("entries: %d\n", n);
	int fl = fcntl(fd, F_GETFL);
	printf("flags: %x\n", fl & 0x7fff);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 20};
	printf("lock: %d\n", fcntl(fd, F_SETLK, &lock));
	printf("directory: %d %s\n", open(".", O_WRONLY), strerror(errno));
	printf("nofollow: %d %s\n", open("soft", O_RDONLY | O_NOFOLLOW), strerror(errno));
	rename("second", "third");
	unlink("soft");
	unlink("third");
	unlink("file");
	close(fd);
}

static void events(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), ev[3];
	struct epoll_event e, got[8];
	uint64_t one = 1, v;
	for (int n = 0; n < 3; n++) {
		ev[n] = eventfd(0, EFD_NONBLOCK);
		e = (struct epoll_event){EPOLLIN, {.u64 = 0x1122334455667700 + (uint64_t)n}};
		epoll_ctl(ep, EPOLL_CTL_ADD, ev[n], &e);
	}
	write(ev[1], &one, 8);
	int r = epoll_wait(ep, got, 8, 1000);
	printf("epoll: %d %llx %x\n", r, (unsigned long long)got[0].data.u64, got[0].events);
	read(ev[1], &v, 8);
	printf("again: %d\n", epoll_wait(ep, got, 8, 10));
	int t = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec spec = {{0, 0}, {0, 5000000}};
	timerfd_settime(t, 0, &spec, NULL);
	read(t, &v, 8);
	printf("timer: %llu\n", (unsigned long long)v);
	int in = inotify_init1(0);
	inotify_add_watch(in, ".", IN_CREATE);
	close(open("made", O_CREAT | O_WRONLY, 0600));
	char buf[256];
	ssize_t n = read(in, buf, sizeof(buf));
	printf("inotify: %zd %s\n", n, ((struct inotify_event *)buf)->name);
	unlink("made");
	struct timespec a, b;
	clock_gettime(CLOCK_MONOTONIC, &a);
	usleep(2000);
	clock_gettime(CLOCK_MONOTONIC, &b);
	long us = (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000;
	printf("time: %d\n", us >= 2000 && us < 2000000);
	uint64_t ticks, later;
	__asm__ volatile("rdtime %0" : "=r"(ticks));
	usleep(2000);
	__asm__ volatile("rdtime %0" : "=r"(later));
	printf("rdtime: %d\n", later > ticks);
}

static void sockets(void)
{
	int s[2], fd;
	socketpair(AF_UNIX, SOCK_STREAM, 0, s);
	char data[8] = "payload", control[CMSG_SPACE(sizeof(int))] = {0}, got[8];
	struct iovec v = {data, 8};
	struct msghdr m = {.msg_iov = &v,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	*c = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(c), &s[1], sizeof(int));
	sendmsg(s[0], &m, 0);
	v.iov_base = got;
	ssize_t n = recvmsg(s[1], &m, 0);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	printf("descriptor passed: %zd %s %d\n", n, got, fcntl(fd, F_GETFD) >= 0);
	struct sockaddr_un un = {AF_UNIX, "socket"};
	int l = socket(AF_UNIX, SOCK_STREAM, 0), k = socket(AF_UNIX, SOCK_STREAM, 0);
	printf("bind: %d\n", bind(l, (struct sockaddr *)&un, sizeof(un)));
	listen(l, 1);
	printf("connect: %d\n", connect(k, (struct sockaddr *)&un, sizeof(un)));
	unlink("socket");
	int type;
	socklen_t len = sizeof(type);
	getsockopt(k, SOL_SOCKET, SO_TYPE, &type, &len);
	int ready = 0;
	write(s[0], "abc", 3);
	ioctl(s[1], FIONREAD, &ready);
	struct pollfd p = {s[1], POLLIN, 0};
	printf("type %d, ready %d, poll %d %x\n", type, ready, poll(&p, 1, 0), p.revents);
}

static void limits(void)
{
	struct rlimit r, n;
	getrlimit(RLIMIT_STACK, &r);
	n = (struct rlimit){1 << 20, r.rlim_max};
	setrlimit(RLIMIT_STACK, &n);
	getrlimit(RLIMIT_STACK, &r);
	printf("stack limit: %ld\n", (long)r.rlim_cur);
	n = (struct rlimit){64, 64};
	setrlimit(RLIMIT_NOFILE, &n);
	getrlimit(RLIMIT_NOFILE, &r);
	printf("files: %ld\n", (long)r.rlim_cur);
	int id = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600);
	struct semid_ds ds;
	semctl(id, 0, IPC_STAT, &ds);
	semctl(id, 1, SETVAL, 7);
	printf("semaphores: %lu %d %d\n", ds.sem_nsems, ds.sem_perm.mode & 0777,
		semctl(id, 1, GETVAL));
	semctl(id, 0, IPC_RMID);
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	if (chdir(getenv("DIR")))
		return 1;
	stats();
	events();
	sockets();
	limits();
	return 0;
}
