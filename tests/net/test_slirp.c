// SPDX-License-Identifier: Apache-2.0
// The helper's life and its sandbox, spoken to in raw frames: needs no privileges.
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/frame.h"
#include "net/slirp.h"
#include "net/slirp_sandbox.h"
#include "os/sandbox.h"
#include "tap.h"

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 1, 2, 3};

/* True when pid, our child, ends within the time; reaps it. */
static bool ends(pid_t pid, int ms)
{
	for (; ms > 0; ms -= 5) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return true;
		usleep(5000);
	}
	return false;
}

/* The next frame of that type, within 3 s; its length, or -1. */
static ssize_t next_frame(int fd, uint16_t type, uint8_t *buf, size_t size)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, 3000) <= 0)
			return -1;
		ssize_t n = recv(fd, buf, size, 0);
		if (n <= 0)
			return -1;
		if (n >= FRAME_ETH_BYTES && load_be16(buf + 12) == type)
			return n;
	}
}

static void answers_arp(void)
{
	struct error err _error_ = ERROR_INIT;
	pid_t pid;
	int fd;
	if (slirp_helper_start(&(struct slirp_config){0}, &pid, &fd, &err)) {
		CHECK_STR(err.message, "");
		return;
	}
	uint8_t f[64] = {0}, got[FRAME_MAX];
	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	store_be16(f + 12, FRAME_TYPE_ARP);
	memcpy(f + 14, "\0\1\10\0\6\4\0\1", 8);
	memcpy(f + 22, guest_mac, 6);
	inet_pton(AF_INET, "10.0.2.15", f + 28);
	inet_pton(AF_INET, "10.0.2.2", f + 38);
	CHECK_EQ(send(fd, f, 42, 0), 42);
	CHECK(next_frame(fd, FRAME_TYPE_ARP, got, sizeof(got)) >= 42);
	CHECK(!memcmp(got, guest_mac, 6));
	CHECK(!memcmp(got + 28, f + 38, 4)); /* the sender is 10.0.2.2 */
	close(fd);
	CHECK(ends(pid, 3000));
}

static const uint8_t *dhcp_option(const uint8_t *options, size_t len, uint8_t code)
{
	for (size_t i = 0; i + 1 < len && options[i] != 255; i += 2u + options[i + 1])
		if (options[i] == code && i + 2u + options[i + 1] <= len)
			return options + i + 1;
	return NULL;
}

static void gives_addresses_by_dhcp(void)
{
	pid_t pid;
	int fd;
	struct slirp_config c = {.hostname = "web"};
	REQUIRE(slirp_helper_start(&c, &pid, &fd, NULL) == 0);
	enum { DHCP = 14 + 20 + 8, LEN = DHCP + 300 };
	uint8_t f[LEN] = {0}, got[FRAME_MAX];
	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	store_be16(f + 12, FRAME_TYPE_IPV4);
	f[14] = 0x45;
	store_be16(f + 16, LEN - 14);
	f[22] = 64;
	f[23] = 17;
	memset(f + 30, 0xff, 4);
	uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, f + 14, 20));
	memcpy(f + 24, &sum, 2);
	store_be16(f + 34, 68);
	store_be16(f + 36, 67);
	store_be16(f + 38, LEN - 34);
	memcpy(f + DHCP, "\1\1\6\0", 4);
	memcpy(f + DHCP + 28, guest_mac, 6);
	memcpy(f + DHCP + 236, "\x63\x82\x53\x63\x35\1\1\xff", 8); /* discover */
	CHECK_EQ(send(fd, f, LEN, 0), LEN);
	ssize_t n = next_frame(fd, FRAME_TYPE_IPV4, got, sizeof(got));
	REQUIRE(n > DHCP + 240);
	char addr[INET_ADDRSTRLEN];
	CHECK_STR(inet_ntop(AF_INET, got + DHCP + 16, addr, sizeof(addr)), "10.0.2.15");
	static const struct {
		uint8_t code;
		const char *want;
	} options[] = {{1, "255.255.255.0"}, {3, "10.0.2.2"}, {6, "10.0.2.3"}};
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const uint8_t *o =
			dhcp_option(got + DHCP + 240, (size_t)n - DHCP - 240, options[i].code);
		CHECK_STR(o ? inet_ntop(AF_INET, o + 1, addr, sizeof(addr)) : "none",
			options[i].want);
	}
	const uint8_t *name = dhcp_option(got + DHCP + 240, (size_t)n - DHCP - 240, 12);
	CHECK(name && name[0] == 3 && !memcmp(name + 1, "web", 3));
	close(fd);
	CHECK(ends(pid, 3000));
}

static void noise_does_not_end_it(void)
{
	pid_t pid;
	int fd;
	REQUIRE(slirp_helper_start(&(struct slirp_config){0}, &pid, &fd, NULL) == 0);
	static uint8_t f[FRAME_MAX + 40];
	unsigned seed = 1;
	static const uint16_t types[] = {FRAME_TYPE_IPV4, FRAME_TYPE_IPV6, FRAME_TYPE_ARP, 0x88f8};
	for (unsigned i = 0; i < 20000; i++) {
		size_t len = 1 + (size_t)rand_r(&seed) % (i % 64 ? 200 : sizeof(f));
		for (size_t j = 0; j < MIN(len, 80); j++)
			f[j] = (uint8_t)rand_r(&seed);
		store_be16(f + 12, types[i % 4]);
		f[14] = types[i % 4] == FRAME_TYPE_IPV6 ? 0x60 : 0x45;
		if (i % 3)
			store_be16(f + (f[14] == 0x45 ? 16 : 18), (uint16_t)(len - MIN(len, 54)));
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		if (send(fd, f, len, MSG_NOSIGNAL) < 0 && errno == EAGAIN && poll(&p, 1, 3000) <= 0)
			break;
		uint8_t drain[FRAME_MAX];
		while (recv(fd, drain, sizeof(drain), 0) > 0)
			;
	}
	CHECK(!ends(pid, 50));
	close(fd);
	CHECK(ends(pid, 3000));
}

/* A TCP port of the loopback that nobody uses: bound by the returned socket. */
static int bind_any(int type, uint16_t *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int s = socket(AF_INET, type, 0);
	if (bind(s, (struct sockaddr *)&a, len) || getsockname(s, (struct sockaddr *)&a, &len))
		return -1;
	if (type == SOCK_STREAM)
		listen(s, 1);
	*port = ntohs(a.sin_port);
	return s;
}

static void says_which_port_is_in_use(void)
{
	for (int udp = 0; udp < 2; udp++) {
		struct slirp_publish p = {.udp = udp, .guest_port = 80};
		int s = bind_any(udp ? SOCK_DGRAM : SOCK_STREAM, &p.host_port);
		REQUIRE(s >= 0);
		struct error err _error_ = ERROR_INIT;
		struct slirp_config c = {.publish = &p, .publish_count = 1};
		pid_t pid;
		int fd = -7;
		CHECK_EQ(slirp_helper_start(&c, &pid, &fd, &err), -EADDRINUSE);
		CHECK_EQ(fd, -7);
		char number[8];
		snprintf(number, sizeof(number), "%u", p.host_port);
		CHECK_CONTAINS(err.message, number);
		CHECK_CONTAINS(err.message, "already in use");
		CHECK_CONTAINS(err.remedy, "--publish");
		CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
		close(s);
	}
}

static void says_that_low_ports_are_privileged(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "r");
	int start = 1024;
	if (f && fscanf(f, "%d", &start) != 1)
		start = 1024;
	if (f)
		fclose(f);
	if (start < 1024)
		SKIP("this host lets everybody open low ports");
	int report[2];
	REQUIRE(pipe(report) == 0);
	pid_t child = fork();
	if (child == 0) { /* an ordinary user, as far as ports go */
		struct slirp_publish p = {.host_port = 81, .guest_port = 80};
		struct slirp_config c = {.publish = &p, .publish_count = 1};
		struct error err = ERROR_INIT;
		pid_t pid;
		int fd, r = sandbox_drop_privileges(&err);
		if (!r)
			r = slirp_helper_start(&c, &pid, &fd, &err);
		dprintf(report[1], "%d %s %s", r, err.message, err.remedy);
		_exit(0);
	}
	close(report[1]);
	char text[512] = "";
	CHECK(read(report[0], text, sizeof(text) - 1) > 0);
	CHECK_CONTAINS(text, "-13 network: an ordinary user may not open TCP port 81");
	CHECK_CONTAINS(text, "--publish 8081:80");
	close(report[0]);
	waitpid(child, NULL, 0);
}

static void bad_configurations(void)
{
	struct slirp_publish twice[2] = {
		{.host_port = 9, .guest_port = 1}, {.host_port = 9, .guest_port = 2}};
	const struct {
		struct slirp_config config;
		const char *want;
	} cases[] = {
		{{.mtu = 100}, "MTU of 100"},
		{{.mtu = 70000}, "MTU of 70000"},
		{{.hostname = "012345678901234567890123456789012"}, "longer than 32"},
		{{.publish = twice, .publish_count = 2}, "port 9 is published twice"},
		{{.helper = "/nonexistent/strata-slirp"},
			"/nonexistent/strata-slirp: No such file"},
		{{.helper = "/bin/true"}, "ended while it started"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err _error_ = ERROR_INIT;
		pid_t pid;
		int fd;
		CHECK(slirp_helper_start(&cases[i].config, &pid, &fd, &err) < 0);
		CHECK_CONTAINS(err.message, cases[i].want);
	}
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
}

/* The test hook of the sandbox: what a process in it can still do, one bit each. */
enum {
	CAN_OPEN = 1,
	CAN_EXEC = 2,
	CAN_FORK = 4,
	CAN_UNIX = 8,
	CAN_BIND = 16,
	CAN_LISTEN = 32,
	CAN_PTRACE = 64,
	CAN_CODE = 128
};

static int probe_sandbox(void)
{
	char *const none[] = {NULL};
	struct sockaddr_in a = {.sin_family = AF_INET};
	int inet = socket(AF_INET, SOCK_STREAM, 0), can = 0;
	if (syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY) >= 0 || errno != EPERM)
		can |= CAN_OPEN;
	if (syscall(SYS_execve, "/nonexistent", none, none) >= 0 || errno != EPERM)
		can |= CAN_EXEC;
	long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		syscall(SYS_exit_group, 0);
	if (pid > 0 || errno != EPERM)
		can |= CAN_FORK;
	if (socket(AF_UNIX, SOCK_STREAM, 0) >= 0)
		can |= CAN_UNIX;
	if (!bind(inet, (struct sockaddr *)&a, sizeof(a)))
		can |= CAN_BIND;
	if (!listen(inet, 1))
		can |= CAN_LISTEN;
	if (syscall(SYS_ptrace, 0, 0, 0, 0) >= 0)
		can |= CAN_PTRACE;
	if (syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0) != -1)
		can |= CAN_CODE;
	return inet < 0 ? 256 : can; /* 256: it cannot even do its work */
}

static void sandbox_denies_what_it_should(void)
{
	for (int inside = 0; inside < 2; inside++) {
		int report[2];
		REQUIRE(pipe(report) == 0);
		pid_t child = fork();
		if (child == 0) {
			int can = -1;
			if (!inside || !slirp_sandbox_enter(NULL))
				can = probe_sandbox();
			ssize_t w = write(report[1], &can, sizeof(can));
			syscall(SYS_exit_group, w != sizeof(can));
		}
		int can = -2;
		close(report[1]);
		CHECK_EQ(read(report[0], &can, sizeof(can)), sizeof(can));
		if (inside)
			CHECK_EQ(can, 0);
		else /* the probes themselves work */
			CHECK((can & ~CAN_PTRACE) == (0xff & ~CAN_PTRACE));
		close(report[0]);
		waitpid(child, NULL, 0);
	}
}

static void helper_is_in_the_sandbox(void)
{
	pid_t pid;
	int fd;
	REQUIRE(slirp_helper_start(&(struct slirp_config){0}, &pid, &fd, NULL) == 0);
	char path[64], status[4096] = "";
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	int s = open(path, O_RDONLY);
	CHECK(read(s, status, sizeof(status) - 1) > 0);
	close(s);
	CHECK_CONTAINS(status, "NoNewPrivs:\t1\n");
	CHECK_CONTAINS(status, "Seccomp:\t2\n");
	CHECK_CONTAINS(status, "CapEff:\t0000000000000000\n");
	CHECK_CONTAINS(status, "CapPrm:\t0000000000000000\n");
	kill(pid, SIGKILL);
	CHECK(ends(pid, 3000));
	uint8_t byte;
	CHECK_EQ(recv(fd, &byte, 1, 0), 0); /* which the device takes for a link that is down */
	close(fd);
}

/* kill -9 of the one who started it: nothing stays. The frame socket is kept open by somebody else,
 * so that it is not the end of the socket that ends the helper. */
static void ends_with_its_parent(void)
{
	struct {
		pid_t pid;
		int fd;
	} said;
	int report[2];
	REQUIRE(pipe(report) == 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid_t monitor = fork();
	if (monitor == 0) {
		if (!slirp_helper_start(&(struct slirp_config){0}, &said.pid, &said.fd, NULL)) {
			ssize_t w = write(report[1], &said, sizeof(said));
			(void)w;
		}
		pause();
		_exit(0);
	}
	close(report[1]);
	REQUIRE(read(report[0], &said, sizeof(said)) == sizeof(said));
	int pidfd = (int)syscall(SYS_pidfd_open, monitor, 0);
	int kept = (int)syscall(SYS_pidfd_getfd, pidfd, said.fd, 0);
	if (kept < 0)
		printf("# pidfd_getfd: %s; the socket ends too\n", strerror(errno));
	kill(monitor, SIGKILL);
	CHECK(ends(monitor, 3000));
	CHECK(ends(said.pid, 3000));
	close(kept);
	close(pidfd);
	close(report[0]);
}

int main(void)
{
	RUN(answers_arp);
	RUN(gives_addresses_by_dhcp);
	RUN(noise_does_not_end_it);
	RUN(says_which_port_is_in_use);
	RUN(says_that_low_ports_are_privileged);
	RUN(bad_configurations);
	RUN(sandbox_denies_what_it_should);
	RUN(helper_is_in_the_sandbox);
	RUN(ends_with_its_parent);
	return tap_done();
}
