// SPDX-License-Identifier: Apache-2.0
// User-mode networking end to end, with the host's own TCP/IP as the guest (netns.h).
// Arguments: "user" runs it all as an ordinary user.
#include <arpa/inet.h>
#include <dirent.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/netns.h"
#include "net/slirp.h"
#include "tap.h"

enum { MANY = 2000, WORKERS = 8, CHUNK = 65536 };

static struct netns_guest guest;
static pid_t helper;
static int frame_fd = -1;

static bool start(const struct slirp_config *config)
{
	struct error err _error_ = ERROR_INIT;
	if (slirp_helper_start(config, &helper, &frame_fd, &err)) {
		CHECK_STR(err.message, "");
		return false;
	}
	CHECK_STR(netns_guest_start(&guest, frame_fd) ?: "started", "started");
	return !tap_failed;
}

static void stop(void)
{
	netns_guest_stop(&guest);
	close(frame_fd);
	CHECK_EQ(waitpid(helper, NULL, 0), helper);
}

/* The byte at an offset of every transfer. */
static uint8_t byte_at(uint64_t off)
{
	return (uint8_t)(off ^ off >> 8 ^ off >> 16 ^ off >> 24);
}

static bool send_pattern(int s, uint64_t bytes)
{
	static _Thread_local uint8_t buf[CHUNK];
	for (uint64_t off = 0; off < bytes;) {
		size_t n = (size_t)MIN(bytes - off, sizeof(buf));
		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(off + i);
		for (size_t done = 0; done < n;) {
			ssize_t w = send(s, buf + done, n - done, MSG_NOSIGNAL);
			if (w <= 0)
				return false;
			done += (size_t)w;
		}
		off += n;
	}
	return true;
}

/* True when exactly `bytes` of the pattern and then the end came. */
static bool receive_pattern(int s, uint64_t bytes)
{
	static _Thread_local uint8_t buf[CHUNK];
	uint64_t off = 0;
	ssize_t n;
	while ((n = recv(s, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != byte_at(off + (uint64_t)i))
				return false;
		off += (uint64_t)n;
	}
	return n == 0 && off == bytes;
}

static struct sockaddr_in address(const char *addr, uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	inet_pton(AF_INET, addr, &a.sin_addr);
	return a;
}

static int connected(int type, const char *addr, uint16_t port)
{
	struct sockaddr_in a = address(addr, port);
	int s = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	struct timeval limit = {.tv_sec = 20};
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (!connect(s, (struct sockaddr *)&a, sizeof(a)))
		return s;
	close(s);
	return -1;
}

/* --- a server: one thread, accepts `count` connections --- */

enum serve { SERVE_PATTERN, SERVE_SINK, SERVE_ECHO };

struct server {
	int fd;
	enum serve what;
	uint64_t bytes;
	int count;
	int good;
	pthread_t thread;
};

static void *serve_tcp(void *arg)
{
	struct server *v = arg;
	for (int i = 0; i < v->count; i++) {
		int s = accept(v->fd, NULL, NULL);
		if (s < 0)
			break;
		char word[64];
		ssize_t n;
		switch (v->what) {
		case SERVE_PATTERN:
			v->good += send_pattern(s, v->bytes);
			break;
		case SERVE_SINK:
			v->good += receive_pattern(s, v->bytes);
			break;
		case SERVE_ECHO:
			n = recv(s, word, sizeof(word), 0);
			v->good += n > 0 && send(s, word, (size_t)n, MSG_NOSIGNAL) == n;
			break;
		}
		close(s);
	}
	return NULL;
}

static void *serve_udp(void *arg)
{
	struct server *v = arg;
	for (int i = 0; i < v->count; i++) {
		static uint8_t buf[65536];
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(v->fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
		if (n < 0)
			break;
		v->good += sendto(v->fd, buf, (size_t)n, 0, (struct sockaddr *)&from, len) == n;
	}
	return NULL;
}

static bool listening(struct server *v, int type, const char *addr, uint16_t port)
{
	struct sockaddr_in a = address(addr, port);
	int on = 1;
	struct timeval limit = {.tv_sec = 30};
	v->fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	setsockopt(v->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(v->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return !bind(v->fd, (struct sockaddr *)&a, sizeof(a)) &&
	       (type == SOCK_DGRAM || !listen(v->fd, 1024)) &&
	       !pthread_create(&v->thread, NULL, type == SOCK_DGRAM ? serve_udp : serve_tcp, v);
}

static void served(struct server *v)
{
	shutdown(v->fd, SHUT_RDWR); /* what still waits in accept */
	pthread_join(v->thread, NULL);
	close(v->fd);
}

/* --- what the guest does --- */

struct job {
	const char *addr;
	uint16_t port;
	uint64_t bytes;
	struct server *server;
	int good;
	int error;
};

static void guest_download(void *arg)
{
	struct job *j = arg;
	int s = connected(SOCK_STREAM, j->addr, j->port);
	j->error = errno;
	j->good = s >= 0 && receive_pattern(s, j->bytes);
	if (s >= 0)
		close(s);
}

static void guest_upload(void *arg)
{
	struct job *j = arg;
	int s = connected(SOCK_STREAM, j->addr, j->port);
	j->good = s >= 0 && send_pattern(s, j->bytes) && !shutdown(s, SHUT_WR);
	char byte;
	j->good = j->good && recv(s, &byte, 1, 0) == 0;
	if (s >= 0)
		close(s);
}

static void guest_serve(void *arg)
{
	struct job *j = arg;
	j->good = listening(j->server, SOCK_STREAM, "0.0.0.0", j->port);
}

static void guest_serve_udp(void *arg)
{
	struct job *j = arg;
	j->good = listening(j->server, SOCK_DGRAM, "0.0.0.0", j->port);
}

static bool ping(int s, size_t bytes)
{
	uint8_t out[9000], in[9001];
	for (size_t i = 0; i < bytes; i++)
		out[i] = byte_at(i * 3);
	return send(s, out, bytes, MSG_NOSIGNAL) == (ssize_t)bytes &&
	       recv(s, in, sizeof(in), 0) == (ssize_t)bytes && !memcmp(in, out, bytes);
}

static void guest_udp(void *arg)
{
	struct job *j = arg;
	static const size_t sizes[] = {1, 2, 33, 512, 1472, 1473, 9000};
	int s = connected(SOCK_DGRAM, j->addr, j->port);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		j->good += ping(s, sizes[i]);
	close(s);
}

static void guest_tcp_ping(void *arg)
{
	struct job *j = arg;
	int s = connected(SOCK_STREAM, j->addr, j->port);
	j->good = s >= 0 && ping(s, 40);
	if (s >= 0)
		close(s);
}

static void guest_many(void *arg)
{
	struct job *j = arg;
	for (uint64_t i = 0; i < j->bytes; i++) {
		int s = connected(SOCK_STREAM, j->addr, j->port);
		j->good += s >= 0 && ping(s, 20);
		if (s >= 0)
			close(s);
	}
}

/* --- tests --- */

static void download_is_byte_exact(void)
{
	struct server v = {.what = SERVE_PATTERN, .bytes = 100 * MiB, .count = 1};
	struct job j = {"10.0.2.2", 8000, v.bytes};
	REQUIRE(start(&(struct slirp_config){0}));
	CHECK(listening(&v, SOCK_STREAM, "127.0.0.1", 8000));
	uint64_t begin = clock_monotonic_ns();
	netns_in_guest(&guest, guest_download, &j);
	printf("# %.0f MiB/s to the guest\n", 100e9 / (double)(clock_monotonic_ns() - begin));
	CHECK_EQ(j.good, 1);
	served(&v);
	stop();
}

static void upload_is_byte_exact(void)
{
	struct server v = {.what = SERVE_SINK, .bytes = 50 * MiB, .count = 1};
	struct job j = {"10.0.2.2", 8000, v.bytes};
	REQUIRE(start(&(struct slirp_config){0}));
	CHECK(listening(&v, SOCK_STREAM, "127.0.0.1", 8000));
	uint64_t begin = clock_monotonic_ns();
	netns_in_guest(&guest, guest_upload, &j);
	printf("# %.0f MiB/s from the guest\n", 50e9 / (double)(clock_monotonic_ns() - begin));
	CHECK_EQ(j.good, 1);
	served(&v);
	CHECK_EQ(v.good, 1);
	stop();
}

static void *pause_guest(void *arg)
{
	(void)arg;
	for (int i = 0; i < 4; i++) {
		usleep(20000);
		atomic_store(&guest.deaf, true);
		usleep(400000);
		atomic_store(&guest.deaf, false);
	}
	return NULL;
}

/* Frames wait in the helper and are not lost: TCP's own recovery would take seconds. */
static void a_guest_that_stops_reading(void)
{
	enum { STREAMS = 4 };
	struct server v = {.what = SERVE_PATTERN, .bytes = 30 * MiB, .count = 1};
	struct job j = {"10.0.2.2", 8000, v.bytes};
	pthread_t t;
	REQUIRE(start(&(struct slirp_config){0}));
	CHECK(listening(&v, SOCK_STREAM, "127.0.0.1", 8000));
	pthread_create(&t, NULL, pause_guest, NULL);
	uint64_t begin = clock_monotonic_ns();
	netns_in_guest(&guest, guest_download, &j);
	double seconds = (double)(clock_monotonic_ns() - begin) / 1e9;
	CHECK_EQ(j.good, 1);
	CHECK(seconds < 5);
	pthread_join(t, NULL);
	served(&v);
	stop();
}

static void published_port_is_byte_exact(void)
{
	struct slirp_publish p[] = {{.host_port = 8080, .guest_port = 80},
		{.host_port = 8081, .guest_port = 81, .host_addr.s_addr = htonl(INADDR_LOOPBACK)},
		{.udp = true, .host_port = 8080, .guest_port = 82}};
	struct slirp_config c = {.publish = p, .publish_count = ARRAY_SIZE(p)};
	struct server out = {.what = SERVE_PATTERN, .bytes = 20 * MiB, .count = 1};
	struct server in = {.what = SERVE_SINK, .bytes = 20 * MiB, .count = 1};
	struct server udp = {.count = 7};
	REQUIRE(start(&c));
	netns_in_guest(&guest, guest_serve, &(struct job){.port = 80, .server = &out});
	netns_in_guest(&guest, guest_serve, &(struct job){.port = 81, .server = &in});
	netns_in_guest(&guest, guest_serve_udp, &(struct job){.port = 82, .server = &udp});
	struct job get = {"127.0.0.1", 8080, out.bytes}, put = {"127.0.0.1", 8081, in.bytes},
		   ask = {"127.0.0.1", 8080};
	guest_download(&get);
	guest_upload(&put);
	guest_udp(&ask);
	CHECK_EQ(get.good, 1);
	CHECK_EQ(put.good, 1);
	CHECK_EQ(ask.good, 7);
	served(&out);
	served(&in);
	served(&udp);
	CHECK_EQ(in.good, 1);
	stop();
}

static void udp_comes_back(void)
{
	struct server v = {.count = 7};
	struct job j = {"10.0.2.2", 8000};
	REQUIRE(start(&(struct slirp_config){0}));
	CHECK(listening(&v, SOCK_DGRAM, "127.0.0.1", 8000));
	netns_in_guest(&guest, guest_udp, &j);
	CHECK_EQ(j.good, 7);
	served(&v);
	stop();
}

/* The connected UDP socket takes answers from 10.0.2.3 only, so the alias works both ways. */
static void name_server_alias(void)
{
	struct server udp = {.count = 7}, tcp = {.what = SERVE_ECHO, .count = 1};
	struct job ju = {"10.0.2.3", 53}, jt = {"10.0.2.3", 53};
	struct slirp_config c = {.dns.s_addr = htonl(0x7f000035)}; /* as systemd-resolved's */
	REQUIRE(start(&c));
	CHECK(listening(&udp, SOCK_DGRAM, "127.0.0.53", 53));
	CHECK(listening(&tcp, SOCK_STREAM, "127.0.0.53", 53));
	netns_in_guest(&guest, guest_udp, &ju);
	netns_in_guest(&guest, guest_tcp_ping, &jt);
	CHECK_EQ(ju.good, 7);
	CHECK_EQ(jt.good, 1);
	served(&udp);
	served(&tcp);
	stop();
}

static int open_fds(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *d = opendir(path);
	int n = 0;
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return d ? n : -1;
}

static void *run_many(void *arg)
{
	netns_in_guest(&guest, guest_many, arg);
	return NULL;
}

static void thousands_of_connections(void)
{
	struct slirp_publish p = {.host_port = 8080, .guest_port = 80};
	struct slirp_config c = {.publish = &p, .publish_count = 1};
	struct server host = {.what = SERVE_ECHO, .count = MANY},
		      in = {.what = SERVE_ECHO, .count = MANY};
	struct job j[WORKERS];
	pthread_t t[WORKERS];
	int good = 0;
	REQUIRE(start(&c));
	CHECK(listening(&host, SOCK_STREAM, "127.0.0.1", 8000));
	int before = open_fds(helper);
	for (int i = 0; i < WORKERS; i++) {
		j[i] = (struct job){"10.0.2.2", 8000, MANY / WORKERS};
		pthread_create(&t[i], NULL, run_many, &j[i]);
	}
	for (int i = 0; i < WORKERS; i++) {
		pthread_join(t[i], NULL);
		good += j[i].good;
	}
	CHECK_EQ(good, MANY);
	netns_in_guest(&guest, guest_serve, &(struct job){.port = 80, .server = &in});
	struct job out = {"127.0.0.1", 8080, MANY};
	guest_many(&out);
	CHECK_EQ(out.good, MANY);
	served(&host);
	served(&in);
	/* The helper closes its sockets again, when TCP has waited long enough (10 s). */
	for (int i = 0; i < 300 && open_fds(helper) > before + 8; i++)
		usleep(50000);
	CHECK(open_fds(helper) <= before + 8);
	stop();
}

static void guest_knock(void *arg)
{
	struct job *j = arg;
	struct timeval limit = {.tv_sec = 1};
	int s = connected(SOCK_DGRAM, j->addr, j->port);
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	j->good = ping(s, 10);
	close(s);
}

static void host_loopback_can_be_closed(void)
{
	struct slirp_config configs[] = {{0}, {.no_host_loopback = true}, {.restricted = true}};
	for (size_t i = 0; i < ARRAY_SIZE(configs); i++) {
		struct server v = {.count = 1};
		struct job j = {"10.0.2.2", 8000};
		REQUIRE(start(&configs[i]));
		CHECK(listening(&v, SOCK_DGRAM, "127.0.0.1", 8000));
		netns_in_guest(&guest, guest_knock, &j);
		CHECK_EQ(j.good, i == 0);
		served(&v);
		CHECK_EQ(v.good, i == 0);
		stop();
	}
}

static void guest_ipv6(void *arg)
{
	struct job *j = arg;
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(j->port)};
	inet_pton(AF_INET6, j->addr, &a.sin6_addr);
	/* Until the router advertisement has come and the address is found to be nobody else's. */
	for (int i = 0; i < 100; i++) {
		int s = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (s >= 0 && !connect(s, (struct sockaddr *)&a, sizeof(a))) {
			j->good = receive_pattern(s, j->bytes);
			close(s);
			return;
		}
		j->error = errno;
		close(s);
		usleep(100000);
	}
}

static void ipv6_download(void)
{
	struct server v = {.what = SERVE_PATTERN, .bytes = 5 * MiB, .count = 1};
	struct job j = {"fd00::2", 8000, v.bytes};
	struct sockaddr_in6 a = {.sin6_family = AF_INET6,
		.sin6_port = htons(8000),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	v.fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (v.fd < 0 || bind(v.fd, (struct sockaddr *)&a, sizeof(a)))
		SKIP("this host has no IPv6");
	listen(v.fd, 1);
	REQUIRE(start(&(struct slirp_config){0}));
	pthread_create(&v.thread, NULL, serve_tcp, &v);
	netns_in_guest(&guest, guest_ipv6, &j);
	if (!j.good)
		printf("# %s\n", strerror(j.error));
	CHECK_EQ(j.good, 1);
	served(&v);
	stop();
}

int main(int argc, char **argv)
{
	bool as_user = argc > 1 && !strcmp(argv[1], "user");
	signal(SIGPIPE, SIG_IGN);
	const char *why = netns_enter_host(as_user);
	if (!why && access(getenv("STRATA_LIBEXEC") ?: "", X_OK))
		why = "that user may not read the build directory";
	if (!why) { /* a tap device can be had? */
		int pair[2];
		struct netns_guest probe;
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair))
			return 1;
		why = netns_guest_start(&probe, pair[0]);
		netns_guest_stop(&probe);
		close(pair[0]);
		close(pair[1]);
	}
	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return 0;
	}
	RUN(download_is_byte_exact);
	RUN(upload_is_byte_exact);
	RUN(a_guest_that_stops_reading);
	RUN(published_port_is_byte_exact);
	RUN(udp_comes_back);
	RUN(name_server_alias);
	RUN(thousands_of_connections);
	RUN(host_loopback_can_be_closed);
	RUN(ipv6_download);
	return tap_done();
}
