// SPDX-License-Identifier: Apache-2.0
#include "net/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { NOBODY = 65534 };

static char tun_path[512] = "/dev/net/tun";

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return ok;
}

/* An ordinary user may not open /dev/net/tun on every host: while we are root, make one he may. */
static const char *become_user(void)
{
	const char *dir = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	if (geteuid() == 0) {
		snprintf(tun_path, sizeof(tun_path), "%s/tun.%d", dir, (int)getpid());
		mode_t old = umask(0);
		if (mknod(tun_path, S_IFCHR | 0666, makedev(10, 200)))
			return "no device node can be made in the test's directory";
		umask(old);
		if (getenv("TMPDIR"))
			chmod(dir, 0711);
		if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
			return "no other user can be become";
		prctl(PR_SET_DUMPABLE, 1); /* or /proc/self is still root's */
	}
	char map[64];
	unsigned uid = geteuid(), gid = getegid();
	if (unshare(CLONE_NEWUSER))
		return "an ordinary user may not make user namespaces here";
	snprintf(map, sizeof(map), "0 %u 1", uid);
	if (!write_file("/proc/self/setgroups", "deny") || !write_file("/proc/self/uid_map", map))
		return "the user namespace cannot be set up";
	snprintf(map, sizeof(map), "0 %u 1", gid);
	if (!write_file("/proc/self/gid_map", map))
		return "the user namespace cannot be set up";
	return NULL;
}

static bool bring_up(const char *name)
{
	struct ifreq r = {0};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	bool ok = !ioctl(s, SIOCGIFFLAGS, &r);
	r.ifr_flags |= IFF_UP;
	ok = ok && !ioctl(s, SIOCSIFFLAGS, &r);
	close(s);
	return ok;
}

const char *netns_enter_host(bool as_user)
{
	if (!as_user && geteuid() != 0)
		return "not root";
	const char *why = as_user ? become_user() : NULL;
	if (why)
		return why;
	if (unshare(CLONE_NEWNET) || !bring_up("lo"))
		return "no network namespace can be made";
	return NULL;
}

static void set_addr(struct sockaddr *a, const char *text)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	inet_pton(AF_INET, text, &in.sin_addr);
	memcpy(a, &in, sizeof(in));
}

static const char *configure(struct netns_guest *g)
{
	struct ifreq r = {.ifr_name = "eth0", .ifr_flags = IFF_TAP | IFF_NO_PI};
	g->tap_fd = open(tun_path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (g->tap_fd < 0)
		return "/dev/net/tun cannot be opened";
	if (ioctl(g->tap_fd, TUNSETIFF, &r))
		return "no tap device can be made";
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
	set_addr(&route.rt_dst, "0.0.0.0");
	set_addr(&route.rt_genmask, "0.0.0.0");
	set_addr(&route.rt_gateway, "10.0.2.2");
	r.ifr_mtu = NETNS_MTU;
	bool ok = !ioctl(s, SIOCSIFMTU, &r);
	set_addr(&r.ifr_addr, "10.0.2.15");
	ok = ok && !ioctl(s, SIOCSIFADDR, &r);
	set_addr(&r.ifr_netmask, "255.255.255.0");
	ok = ok && !ioctl(s, SIOCSIFNETMASK, &r) && bring_up("eth0") && bring_up("lo") &&
	     !ioctl(s, SIOCADDRT, &route);
	close(s);
	return ok ? NULL : "the tap device cannot be configured";
}

struct setup {
	struct netns_guest *guest;
	const char *why;
};

static void *set_up(void *arg)
{
	struct setup *s = arg;
	if (unshare(CLONE_NEWNET))
		s->why = "no network namespace can be made";
	else
		s->why = configure(s->guest);
	s->guest->ns_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return NULL;
}

static void *carry(void *arg)
{
	struct netns_guest *g = arg;
	static uint8_t buf[70000];
	for (;;) {
		bool deaf = atomic_load(&g->deaf);
		struct pollfd p[] = {{.fd = g->stop_pipe[0], .events = POLLIN},
			{.fd = g->tap_fd, .events = POLLIN},
			{.fd = g->frame_fd, .events = deaf ? 0 : POLLIN}};
		poll(p, 3, deaf ? 10 : 1000);
		if (p[0].revents)
			return NULL;
		ssize_t n;
		for (int i = 0; i < 64 && (n = read(g->tap_fd, buf, sizeof(buf))) > 0; i++) {
			struct pollfd out = {.fd = g->frame_fd, .events = POLLOUT};
			while (send(g->frame_fd, buf, (size_t)n, MSG_NOSIGNAL) < 0 &&
				errno == EAGAIN)
				poll(&out, 1, 100);
		}
		for (int i = 0; i < 64 && !deaf; i++) {
			n = recv(g->frame_fd, buf, sizeof(buf), 0);
			if (n == 0)
				return NULL; /* the helper has ended */
			if (n < 0 || write(g->tap_fd, buf, (size_t)n) < 0)
				break;
		}
	}
}

const char *netns_guest_start(struct netns_guest *g, int frame_fd)
{
	pthread_t t;
	struct setup s = {.guest = g};
	memset(g, 0, sizeof(*g));
	g->frame_fd = frame_fd;
	g->tap_fd = -1;
	if (pipe2(g->stop_pipe, O_CLOEXEC) || pthread_create(&t, NULL, set_up, &s))
		return "out of resources";
	pthread_join(t, NULL);
	if (s.why)
		return s.why;
	pthread_create(&t, NULL, carry, g);
	g->thread = t;
	return NULL;
}

void netns_guest_stop(struct netns_guest *g)
{
	if (g->thread) {
		close(g->stop_pipe[1]);
		pthread_join(g->thread, NULL);
		close(g->stop_pipe[0]);
	}
	close(g->tap_fd);
	close(g->ns_fd);
}

struct call {
	struct netns_guest *guest;
	void (*fn)(void *);
	void *arg;
};

static void *call_in_guest(void *arg)
{
	struct call *c = arg;
	if (setns(c->guest->ns_fd, CLONE_NEWNET)) {
		perror("setns");
		abort();
	}
	c->fn(c->arg);
	return NULL;
}

void netns_in_guest(struct netns_guest *g, void (*fn)(void *), void *arg)
{
	struct call c = {g, fn, arg};
	pthread_t t;
	if (pthread_create(&t, NULL, call_in_guest, &c))
		abort();
	pthread_join(t, NULL);
}
