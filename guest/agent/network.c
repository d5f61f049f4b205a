// SPDX-License-Identifier: Apache-2.0
// Static IPv4 on the first Ethernet interface, by the old ioctls: they are in every kernel.
#include <arpa/inet.h>
#include <dirent.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"

static int read_number(const char *path)
{
	int n = -1;
	FILE *f = fopen(path, "re");
	if (!f)
		return -1;
	if (fscanf(f, "%d", &n) != 1)
		n = -1;
	fclose(f);
	return n;
}

static int find_interface(char name[IFNAMSIZ], struct error *err)
{
	enum { ETHERNET = 1 }; /* ARPHRD_ETHER */
	int best = 0;
	DIR *dir = opendir("/sys/class/net");
	for (struct dirent *e; dir && (e = readdir(dir));) {
		char path[300];
		snprintf(path, sizeof(path), "/sys/class/net/%s/type", e->d_name);
		if (read_number(path) != ETHERNET || strlen(e->d_name) >= IFNAMSIZ)
			continue;
		snprintf(path, sizeof(path), "/sys/class/net/%s/ifindex", e->d_name);
		int index = read_number(path);
		if (index > 0 && (!best || index < best)) {
			best = index;
			strcpy(name, e->d_name);
		}
	}
	if (dir)
		closedir(dir);
	return best ? 0 : error_set(err, ENODEV, "network: the machine has no Ethernet interface");
}

static int interface_up(int fd, const char *name)
{
	struct ifreq r = {0};
	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFFLAGS, &r) < 0)
		return -errno;
	r.ifr_flags |= IFF_UP | IFF_RUNNING;
	return ioctl(fd, SIOCSIFFLAGS, &r) < 0 ? -errno : 0;
}

static struct sockaddr to_sockaddr(struct in_addr a)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = a};
	struct sockaddr out;
	memcpy(&out, &in, sizeof(out));
	return out;
}

static int set_address(int fd, const char *name, unsigned long request, struct in_addr a)
{
	struct ifreq r = {0};
	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	r.ifr_addr = to_sockaddr(a);
	return ioctl(fd, request, &r) < 0 ? -errno : 0;
}

static int add_default_route(int fd, const char *name, struct in_addr gateway)
{
	char device[IFNAMSIZ];
	strcpy(device, name);
	struct in_addr any = {0};
	struct rtentry route = {.rt_dst = to_sockaddr(any),
		.rt_genmask = to_sockaddr(any),
		.rt_gateway = to_sockaddr(gateway),
		.rt_flags = RTF_UP | RTF_GATEWAY,
		.rt_dev = device};
	return ioctl(fd, SIOCADDRT, &route) < 0 && errno != EEXIST ? -errno : 0;
}

int setup_network(const struct agent_network *n, struct error *err)
{
	struct in_addr address, gateway = {0};
	if (inet_pton(AF_INET, n->address, &address) != 1)
		return error_set(err, EINVAL, "network: \"%s\" is no address", n->address);
	if (n->gateway && inet_pton(AF_INET, n->gateway, &gateway) != 1)
		return error_set(err, EINVAL, "network: \"%s\" is no address", n->gateway);
	if (n->prefix > 32)
		return error_set(err, EINVAL, "network: prefix %u", (unsigned)n->prefix);
	struct in_addr mask = {htonl(n->prefix ? ~UINT32_C(0) << (32 - n->prefix) : 0)};
	char name[IFNAMSIZ] = "";
	int fd _close_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_errno(err, errno, "network");
	int r = interface_up(fd, "lo");
	if (r < 0)
		return error_errno(err, -r, "network: lo");
	r = find_interface(name, err);
	if (r < 0)
		return r;
	r = set_address(fd, name, SIOCSIFADDR, address);
	if (!r)
		r = set_address(fd, name, SIOCSIFNETMASK, mask);
	if (!r)
		r = interface_up(fd, name);
	if (!r && n->gateway)
		r = add_default_route(fd, name, gateway);
	return r < 0 ? error_errno(err, -r, "network: %s", name) : 0;
}
