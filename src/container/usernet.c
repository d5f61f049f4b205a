// SPDX-License-Identifier: Apache-2.0
#include "container/usernet.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "container/channel.h"
#include "net/slirp.h"

#define DEVICE "tap0"

enum { TAP = 'T' };

/* One request of rtnetlink(7), as it is built. */
struct request {
	struct nlmsghdr head;
	char rest[256];
};

static void *extend(struct request *q, size_t bytes)
{
	void *at = (char *)q + NLMSG_ALIGN(q->head.nlmsg_len);
	memset(at, 0, NLMSG_ALIGN(bytes));
	q->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(q->head.nlmsg_len) + bytes);
	return at;
}

static void *begin(struct request *q, uint16_t type, uint16_t flags, size_t bytes)
{
	q->head = (struct nlmsghdr){.nlmsg_len = NLMSG_HDRLEN,
		.nlmsg_type = type,
		.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags)};
	return extend(q, bytes);
}

static struct rtattr *add(struct request *q, uint16_t type, const void *value, size_t bytes)
{
	struct rtattr *a = extend(q, RTA_LENGTH(bytes));
	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(bytes);
	if (bytes)
		memcpy(RTA_DATA(a), value, bytes);
	return a;
}

static void end_nest(const struct request *q, struct rtattr *a)
{
	a->rta_len = (uint16_t)((const char *)q + q->head.nlmsg_len - (const char *)a);
}

/* 0 or -errno, as the kernel answers. */
static int ask(int fd, struct request *q)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char more[512];
	} answer;
	if (send(fd, q, q->head.nlmsg_len, 0) < 0)
		return -errno;
	ssize_t n;
	while ((n = recv(fd, &answer, sizeof(answer), 0)) < 0 && errno == EINTR)
		;
	if (n < 0)
		return -errno;
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) ||
		answer.head.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return answer.error.error;
}

/* up false: how it is to be before it comes up. */
static int set_link(int fd, int index, bool up)
{
	struct request q;
	struct ifinfomsg *m = begin(&q, RTM_NEWLINK, 0, sizeof(*m));
	m->ifi_index = index;
	if (up) {
		m->ifi_flags = m->ifi_change = IFF_UP;
		return ask(fd, &q);
	}
	const uint32_t mtu = SLIRP_MTU_MAX;
	add(&q, IFLA_MTU, &mtu, sizeof(mtu));
	return ask(fd, &q);
}

/* No address of the kernel's own making, which would have to be looked for on the wire first. */
static int set_link_ipv6(int fd, int index)
{
	struct request q;
	struct ifinfomsg *m = begin(&q, RTM_NEWLINK, 0, sizeof(*m));
	m->ifi_index = index;
	const uint8_t none = IN6_ADDR_GEN_MODE_NONE;
	struct rtattr *families = add(&q, IFLA_AF_SPEC, NULL, 0);
	struct rtattr *ipv6 = add(&q, AF_INET6, NULL, 0);
	add(&q, IFLA_INET6_ADDR_GEN_MODE, &none, sizeof(none));
	end_nest(&q, ipv6);
	end_nest(&q, families);
	return ask(fd, &q);
}

static int add_address(int fd, int index, int family, const char *text, uint8_t bits)
{
	struct request q;
	struct in6_addr address;
	size_t bytes = family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);
	struct ifaddrmsg *m = begin(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(*m));
	*m = (struct ifaddrmsg){.ifa_family = (uint8_t)family,
		.ifa_prefixlen = bits,
		.ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0, /* there is nobody else */
		.ifa_index = (uint32_t)index};
	inet_pton(family, text, &address);
	add(&q, IFA_LOCAL, &address, bytes);
	add(&q, IFA_ADDRESS, &address, bytes);
	return ask(fd, &q);
}

static int add_default_route(int fd, int index, int family, const char *gateway)
{
	struct request q;
	struct in6_addr address;
	size_t bytes = family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);
	struct rtmsg *m = begin(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(*m));
	*m = (struct rtmsg){.rtm_family = (uint8_t)family,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_BOOT,
		.rtm_scope = RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST};
	inet_pton(family, gateway, &address);
	add(&q, RTA_GATEWAY, &address, bytes);
	add(&q, RTA_OIF, &index, sizeof(index));
	return ask(fd, &q);
}

/* False on a kernel without IPv6. Router advertisements would add what is there already. */
static bool has_ipv6(int proc)
{
	int fd _close_ =
		openat(proc, "sys/net/ipv6/conf/" DEVICE "/accept_ra", O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, "0", 1) == 1;
}

static int configure(int proc, struct error *err)
{
	int fd _close_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return error_errno(err, errno, "netlink");
	int index = (int)if_nametoindex(DEVICE);
	bool ipv6 = has_ipv6(proc);
	int r = set_link(fd, index, false);
	if (r == 0 && ipv6)
		r = set_link_ipv6(fd, index);
	if (r == 0)
		r = set_link(fd, index, true);
	if (r == 0)
		r = add_address(fd, index, AF_INET, "10.0.2.15", 24);
	if (r == 0)
		r = add_default_route(fd, index, AF_INET, "10.0.2.2");
	if (r == 0 && ipv6)
		r = add_address(fd, index, AF_INET6, "fe80::15", 64);
	if (r == 0 && ipv6)
		r = add_address(fd, index, AF_INET6, "fd00::15", 64);
	if (r == 0 && ipv6)
		r = add_default_route(fd, index, AF_INET6, "fd00::2");
	return r < 0 ? error_errno(err, -r, "configure the network device") : 0;
}

static int open_device(struct error *err)
{
	struct ifreq request = {.ifr_name = DEVICE, .ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd _close_ = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		int code = errno;
		error_errno(err, code, "/dev/net/tun");
		if (code == ENOENT || code == ENODEV)
			error_remedy(err, "load the kernel's module tun (modprobe tun)");
		else if (code == EACCES)
			error_remedy(err, "let all users open it, as most hosts do (chmod 666 "
					  "/dev/net/tun)");
		return -code;
	}
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		return error_errno(err, errno, "make the network device " DEVICE);
	return TAKE_FD(fd);
}

int usernet_make(int proc, int channel, struct error *err)
{
	const char what = TAP;
	int fd _close_ = open_device(err);
	int r = fd < 0 ? fd : configure(proc, err);
	if (r == 0)
		r = channel_send(channel, &what, 1, &fd, 1, err);
	return r < 0 ? error_wrap(err, r, "network") : 0;
}

int usernet_receive(int channel, struct error *err)
{
	int fds[CHANNEL_FDS_MAX], n = 0;
	int r = channel_expect_fds(channel, TAP, fds, &n, err);
	return r < 0 ? r : n ? fds[0] : error_set(err, EPROTO, "no network device");
}
