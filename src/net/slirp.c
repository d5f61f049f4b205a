// SPDX-License-Identifier: Apache-2.0
// The monitor's side: starts strata-slirp (slirp_main.c) and waits until it is ready.
#include "net/slirp.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "base/vec.h"
#include "net/slirp_status.h"
#include "os/helper.h"

enum { START_TIMEOUT_MS = 10000 };

struct arguments {
	VEC(char *) list; /* NULL-terminated, each owned */
};

static void add_argument(struct arguments *a, const char *name, const char *value)
{
	vec_push(&a->list, value ? xasprintf("--%s=%s", name, value) : xasprintf("--%s", name));
}

static void build_arguments(struct arguments *a, const struct slirp_config *c, bool tap)
{
	char number[16], addr[INET_ADDRSTRLEN], port[SLIRP_PUBLISH_TEXT_MAX];
	vec_push(&a->list, xstrdup("strata-slirp"));
	snprintf(number, sizeof(number), "%d", (int)getpid());
	if (tap)
		add_argument(a, "tap", NULL);
	else
		add_argument(a, "parent", number);
	snprintf(number, sizeof(number), "%u", c->mtu ? c->mtu : SLIRP_MTU_MAX);
	add_argument(a, "mtu", number);
	if (c->hostname)
		add_argument(a, "hostname", c->hostname);
	if (c->dns.s_addr)
		add_argument(a, "dns", inet_ntop(AF_INET, &c->dns, addr, sizeof(addr)));
	if (c->no_host_loopback)
		add_argument(a, "no-host-loopback", NULL);
	if (c->restricted)
		add_argument(a, "restricted", NULL);
	for (unsigned i = 0; i < c->publish_count; i++) {
		slirp_publish_format(&c->publish[i], port);
		add_argument(a, "publish", port);
	}
	vec_push(&a->list, NULL);
}

static int check_config(const struct slirp_config *c, struct error *err)
{
	if (c->mtu && (c->mtu < SLIRP_MTU_MIN || c->mtu > SLIRP_MTU_MAX))
		return error_set(err, EINVAL, "an MTU of %u is not within %d to %d", c->mtu,
			SLIRP_MTU_MIN, SLIRP_MTU_MAX);
	if (c->hostname && strlen(c->hostname) > SLIRP_HOSTNAME_MAX)
		return error_set(err, EINVAL, "the guest's name is longer than %d bytes",
			SLIRP_HOSTNAME_MAX);
	if (c->publish_count > SLIRP_PUBLISH_MAX)
		return error_set(err, EINVAL, "more than %d published ports", SLIRP_PUBLISH_MAX);
	for (unsigned i = 0; i < c->publish_count; i++) {
		const struct slirp_publish *a = &c->publish[i];
		for (unsigned j = 0; j < i; j++) {
			const struct slirp_publish *b = &c->publish[j];
			if (a->udp == b->udp && a->host_port == b->host_port &&
				a->host_addr.s_addr == b->host_addr.s_addr)
				return error_set(err, EINVAL, "host port %u is published twice",
					a->host_port);
		}
	}
	return 0;
}

/* What the helper wrote until it closed its end: "ready", or an error (slirp_status.h). */
static int read_status(int fd, struct error *err)
{
	char text[SLIRP_STATUS_MAX];
	size_t len = 0;
	uint64_t deadline = clock_monotonic_ns() + START_TIMEOUT_MS * UINT64_C(1000000);
	while (len < sizeof(text) - 1) {
		uint64_t now = clock_monotonic_ns();
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int r = now < deadline ? poll(&p, 1, (int)((deadline - now) / 1000000) + 1) : 0;
		if (r == 0)
			return error_set(err, ETIMEDOUT, "strata-slirp does not start");
		ssize_t n = r < 0 ? -1 : read(fd, text + len, sizeof(text) - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "strata-slirp: read its status");
		if (n == 0)
			break;
		len += (size_t)n;
	}
	text[len] = 0;
	return slirp_status_parse(text, err);
}

/* frames: the helper's end; life: -1 without a tap device. */
static int start(const struct slirp_config *c, int frames, int life, pid_t *pid, int *status_fd,
	struct error *err)
{
	_free_ char *found = NULL;
	int status[2];
	int r = check_config(c, err);
	if (!r && !c->helper)
		r = helper_find("strata-slirp", &found, err);
	if (r)
		return r;
	if (pipe2(status, O_CLOEXEC) < 0)
		return error_errno(err, errno, "pipe");
	_close_ int status_in = status[0];
	_close_ int status_out = status[1];

	struct arguments a = {0};
	build_arguments(&a, c, life >= 0);
	int fds[] = {frames, status_out, life}; /* SLIRP_FRAME_FD, SLIRP_STATUS_FD, SLIRP_LIFE_FD */
	r = helper_start(c->helper ? c->helper : found, (const char *const *)a.list.items, fds,
		life >= 0 ? 3 : 2, pid, err);
	vec_for_each (s, &a.list)
		free(*s);
	vec_done(&a.list);
	if (r == 0)
		*status_fd = TAKE_FD(status_in);
	return r;
}

static int wait_ready(pid_t pid, int *status, struct error *err)
{
	int r = read_status(*status, err);
	close(TAKE_FD(*status));
	if (r) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return r;
}

static int start_with_socket(
	const struct slirp_config *c, pid_t *pid, int *frame_fd, struct error *err)
{
	int frames[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, frames) < 0)
		return error_errno(err, errno, "socketpair");
	_close_ int ours = frames[0];
	_close_ int theirs = frames[1];
	/* The kernel cuts it down to net.core.wmem_max: as much as there is to have. */
	int bytes = 4 << 20;
	setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	setsockopt(theirs, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	pid_t child = 0;
	int status = -1;
	int r = start(c, theirs, -1, &child, &status, err);
	close(TAKE_FD(theirs));
	if (r == 0)
		r = wait_ready(child, &status, err);
	if (r)
		return r;
	*pid = child;
	*frame_fd = TAKE_FD(ours);
	return 0;
}

int slirp_helper_start(
	const struct slirp_config *config, pid_t *pid, int *frame_fd, struct error *err)
{
	int r = start_with_socket(config, pid, frame_fd, err);
	return r ? error_wrap(err, r, "network") : 0;
}

int slirp_helper_start_tap(const struct slirp_config *config, int tap, int life, pid_t *pid,
	int *status, struct error *err)
{
	int r = start(config, tap, life, pid, status, err);
	return r ? error_wrap(err, r, "network") : 0;
}

int slirp_helper_wait(pid_t pid, int *status, struct error *err)
{
	int r = wait_ready(pid, status, err);
	return r ? error_wrap(err, r, "network") : 0;
}
