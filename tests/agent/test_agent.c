// SPDX-License-Identifier: Apache-2.0
// The real agent, without a machine: test_agent PROGRAM [ARG...] starts it on a Unix socket
// (through an emulator, perhaps) and talks to it as a host does.
#include "tap.h"
#include "base/strbuf.h"
#include "instance/agent_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char **agent_argv;
static int agent_argc;
static char socket_path[100];
static struct agent_address address = {.dir_fd = AT_FDCWD, .name = socket_path};

static struct agent_wait soon(void)
{
	return (struct agent_wait){clock_monotonic_ns() + 20 * NS_PER_SEC, -1};
}

static pid_t start_agent(void)
{
	char *listen = xasprintf("unix:%s", socket_path);
	char *argv[16];
	int n = 0;
	for (int i = 0; i < agent_argc && n < 10; i++)
		argv[n++] = agent_argv[i];
	argv[n++] = (char *)(uintptr_t) "--no-init";
	argv[n++] = (char *)(uintptr_t) "--listen";
	argv[n++] = listen;
	argv[n] = NULL;
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execvp(argv[0], argv);
		_exit(127);
	}
	free(listen);
	return pid;
}

static struct agent_conn *connect_agent(void)
{
	struct agent_conn *c = NULL;
	struct agent_wait w = soon();
	struct error err _error_ = ERROR_INIT;
	if (agent_connect_patiently(&c, &address, &w, &err) < 0)
		TAP_FAIL_("connect: %s", err.message);
	return c;
}

struct run {
	int status; /* exit status, 128 + signal, or the negative of an error */
	struct strbuf out, err;
	char *message;
};

static void run_done(struct run *r)
{
	strbuf_done(&r->out);
	strbuf_done(&r->err);
	free(r->message);
}
#define _run_ CLEANUP(run_done)

/* Reads what there is; closes the descriptor at the end. */
static void drain(int *fd, struct strbuf *into)
{
	char buf[65536];
	ssize_t n = read(*fd, buf, sizeof(buf));
	if (n > 0)
		strbuf_add(into, buf, (size_t)n);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		close(*fd);
		*fd = -1;
	}
}

static void feed(int *fd, const char *input, size_t len, size_t *fed)
{
	ssize_t n = *fed < len ? send(*fd, input + *fed, len - *fed, MSG_NOSIGNAL) : 0;
	if (n > 0)
		*fed += (size_t)n;
	if (*fed == len || (n < 0 && errno != EAGAIN)) {
		close(*fd);
		*fd = -1;
	}
}

/* Pumps a process to its end. hold_stdin: leave its input open. */
static void pump(
	struct agent_process *p, const char *input, size_t len, bool hold_stdin, struct run *r)
{
	size_t fed = 0;
	bool exited = false;
	uint64_t end = clock_monotonic_ns() + 20 * NS_PER_SEC;
	while ((!exited || p->streams[1] >= 0 || p->streams[2] >= 0) &&
		clock_monotonic_ns() < end) {
		struct pollfd f[4] = {{p->streams[1], POLLIN, 0}, {p->streams[2], POLLIN, 0},
			{hold_stdin ? -1 : p->streams[0], POLLOUT, 0},
			{exited ? -1 : agent_conn_fd(p->control), POLLIN, 0}};
		poll(f, 4, 1000);
		if (f[0].revents)
			drain(&p->streams[1], &r->out);
		if (f[1].revents)
			drain(&p->streams[2], &r->err);
		if (f[2].revents)
			feed(&p->streams[0], input, len, &fed);
		struct agent_message m;
		struct error err _error_ = ERROR_INIT;
		int got = f[3].revents ? agent_poll(p->control, &m, &err) : 0;
		if (got < 0) {
			TAP_FAIL_("control: %s", err.message);
			return;
		}
		if (got && m.type == AGENT_EXIT) {
			exited = true;
			r->status = m.exit.signal ? 128 + (int)m.exit.signal : (int)m.exit.status;
		}
	}
	CHECK(exited);
	CHECK(p->streams[1] < 0 && p->streams[2] < 0);
}

static int start(struct agent_process *p, const struct agent_exec *request, struct run *r)
{
	struct agent_wait w = soon();
	struct error err _error_ = ERROR_INIT;
	uint32_t exit_status = 0;
	int status = agent_exec(p, &address, request, &w, &exit_status, &err);
	if (status < 0) {
		r->status = exit_status ? (int)exit_status : status;
		r->message = xstrdup(err.message);
	}
	return status;
}

static struct run run_request(const struct agent_exec *request, const char *input, size_t len)
{
	struct run r = {.status = -1};
	struct agent_process p;
	if (start(&p, request, &r) == 0) {
		pump(&p, input, len, false, &r);
		agent_process_done(&p);
	}
	return r;
}

#define ARGV(...)                                                                                  \
	{                                                                                          \
		(const char *[]){__VA_ARGS__},                                                     \
			sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)                     \
	}

static struct run run_shell(const char *script)
{
	struct agent_exec e = {.argv = ARGV("sh", "-c", script), .cwd = "/"};
	return run_request(&e, NULL, 0);
}

static void streams_and_status(void)
{
	struct run r _run_ = run_shell("echo out; echo err >&2; exit 7");
	CHECK_EQ(r.status, 7);
	CHECK_STR(r.out.data, "out\n");
	CHECK_STR(r.err.data, "err\n");
}

static void a_large_stream_is_exact(void)
{
	size_t len = 8000000, wrong = 0;
	char *input _free_ = xmalloc(len);
	for (size_t i = 0; i < len; i++)
		input[i] = (char)(i * 31 + i / 4096);
	struct agent_exec e = {.argv = ARGV("cat")};
	struct run r _run_ = run_request(&e, input, len);
	CHECK_EQ(r.status, 0);
	REQUIRE(r.out.len == len);
	for (size_t i = 0; i < len; i++)
		wrong += r.out.data[i] != input[i];
	CHECK_EQ(wrong, (size_t)0);
}

static void environment_and_directory(void)
{
	struct agent_exec e = {.argv = ARGV("sh", "-c", "pwd; echo \"$A-$HOME-$PATH\""),
		.env = ARGV("A=x y", "A=z w", "HOME=/h"),
		.cwd = "/usr"};
	struct run r _run_ = run_request(&e, NULL, 0);
	CHECK_STR(r.out.data,
		"/usr\nz w-/h-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
	e.cwd = "/no/such/place";
	struct run bad _run_ = run_request(&e, NULL, 0);
	CHECK_EQ(bad.status, 126);
	CHECK_CONTAINS(bad.message, "/no/such/place");
}

static void commands_that_cannot_start(void)
{
	struct agent_exec e = {.argv = ARGV("no-such-program-here")};
	struct run r _run_ = run_request(&e, NULL, 0);
	CHECK_EQ(r.status, 127);
	CHECK_CONTAINS(r.message, "no-such-program-here: no such program");
	e = (struct agent_exec){.argv = ARGV("/etc/passwd")};
	struct run denied _run_ = run_request(&e, NULL, 0);
	CHECK_EQ(denied.status, 126);
	CHECK_CONTAINS(denied.message, "Permission denied");
	e = (struct agent_exec){.argv = ARGV("true"), .user = "nobody-of-that-name"};
	struct run user _run_ = run_request(&e, NULL, 0);
	CHECK_EQ(user.status, 126);
	CHECK_CONTAINS(user.message, "no user \"nobody-of-that-name\"");
}

static void runs_as_a_user(void)
{
	if (geteuid() != 0)
		SKIP("needs root to become somebody else");
	struct agent_exec e = {.argv = ARGV("sh", "-c", "id -u; id -g; echo $USER; cat /dev/null"),
		.user = "nobody:12345",
		.cwd = "/"};
	struct run r _run_ = run_request(&e, NULL, 0);
	CHECK_STR(r.out.data, "65534\n12345\nnobody\n");
	CHECK_STR(r.message ? r.message : "", "");
	CHECK_EQ(r.status, 0);
}

static void signals_reach_the_whole_group(void)
{
	struct agent_exec e = {.argv = ARGV("sh", "-c", "sleep 60; sleep 60"), .cwd = "/"};
	struct agent_process p;
	struct run r _run_ = {.status = -1};
	REQUIRE(start(&p, &e, &r) == 0);
	agent_send(p.control, &(struct agent_message){AGENT_SIGNAL, .signal = {SIGTERM}}, NULL);
	pump(&p, NULL, 0, true, &r);
	CHECK_EQ(r.status, 128 + SIGTERM);
	agent_process_done(&p);
}

static void unread_stdout_blocks_nothing_else(void)
{
	struct agent_exec e = {
		.argv = ARGV("sh", "-c", "echo on stderr >&2; exec cat /dev/zero"), .cwd = "/"};
	struct agent_process p;
	struct run r _run_ = {.status = -1};
	REQUIRE(start(&p, &e, &r) == 0);
	usleep(200000); /* stdout is full by now */
	char buf[100] = "";
	struct pollfd f = {p.streams[2], POLLIN, 0};
	REQUIRE(poll(&f, 1, 5000) == 1);
	CHECK_EQ(read(p.streams[2], buf, sizeof(buf) - 1), (ssize_t)10);
	struct agent_conn *other = connect_agent();
	REQUIRE(other);
	struct agent_wait w = soon();
	struct agent_message answer;
	CHECK_EQ(agent_call(other, &(struct agent_message){AGENT_PING, .ping = {77}}, AGENT_PONG,
			 &answer, &w, NULL),
		0);
	CHECK_EQ(answer.ping.cookie, (uint64_t)77);
	agent_conn_free(other);
	agent_send(p.control, &(struct agent_message){AGENT_SIGNAL, .signal = {SIGKILL}}, NULL);
	pump(&p, NULL, 0, true, &r);
	CHECK_EQ(r.status, 128 + SIGKILL);
	agent_process_done(&p);
}

static void a_reader_that_leaves_ends_the_writer(void)
{
	struct agent_exec e = {.argv = ARGV("cat", "/dev/zero"), .cwd = "/"};
	struct agent_process p;
	struct run r _run_ = {.status = -1};
	REQUIRE(start(&p, &e, &r) == 0);
	close(p.streams[1]);
	p.streams[1] = -1;
	pump(&p, NULL, 0, true, &r);
	CHECK_EQ(r.status, 128 + SIGPIPE);
	agent_process_done(&p);
}

static void what_stays_behind_does_not_hold_the_streams(void)
{
	uint64_t begin = clock_monotonic_ns();
	struct run r _run_ = run_shell("sleep 15 & echo done");
	CHECK_EQ(r.status, 0);
	CHECK_STR(r.out.data, "done\n");
	CHECK(clock_monotonic_ns() - begin < 10 * NS_PER_SEC);
}

static void losing_the_host_ends_the_command(void)
{
	char path[120];
	snprintf(path, sizeof(path), "%s.trap", socket_path);
	char *script _free_ = xasprintf(
		"exec 2>/dev/null; trap 'echo hup > %s; exit' HUP; while :; do sleep 0.1; done",
		path);
	struct agent_exec e = {.argv = ARGV("sh", "-c", script), .cwd = "/"};
	struct agent_process p;
	struct run r _run_ = {.status = -1};
	REQUIRE(start(&p, &e, &r) == 0);
	usleep(300000); /* until the trap is set */
	agent_process_done(&p);
	for (int i = 0; i < 100 && access(path, F_OK) < 0; i++)
		usleep(50000);
	CHECK(access(path, F_OK) == 0);
	unlink(path);
}

static void terminal(void)
{
	struct agent_exec e = {.argv = ARGV("sh", "-c",
				       "test -t 0 -a -t 2; echo $?; stty size; read x; stty size"),
		.cwd = "/",
		.tty = true,
		.rows = 33,
		.cols = 91};
	struct agent_process p;
	struct run r _run_ = {.status = -1};
	if (start(&p, &e, &r) < 0 && agent_argc > 1)
		SKIP("the emulator has no TIOCGPTPEER");
	REQUIRE(!r.message);
	for (int i = 0; i < 200 && !(r.out.data && strstr(r.out.data, "91")); i++) {
		usleep(20000);
		drain(&p.streams[1], &r.out);
	}
	agent_send(p.control, &(struct agent_message){AGENT_RESIZE, .resize = {44, 55}}, NULL);
	usleep(100000);
	CHECK_EQ(send(p.streams[0], "\n", 1, 0), (ssize_t)1);
	pump(&p, NULL, 0, true, &r);
	CHECK_EQ(r.status, 0);
	CHECK_STR(r.out.data, "0\r\n33 91\r\n\r\n44 55\r\n");
	agent_process_done(&p);
}

static void several_at_once(void)
{
	enum { N = 12 };
	struct agent_process p[N];
	struct run r[N] = {0};
	int started = 0;
	for (; started < N; started++) {
		char script[64];
		snprintf(script, sizeof(script), "read x; echo $x; exit %d", started);
		struct agent_exec e = {.argv = ARGV("sh", "-c", script), .cwd = "/"};
		if (start(&p[started], &e, &r[started]) < 0)
			break;
	}
	CHECK_EQ(started, (int)N);
	for (int i = started - 1; i >= 0; i--) {
		pump(&p[i], "word\n", 5, false, &r[i]);
		CHECK_EQ(r[i].status, i);
		CHECK_STR(r[i].out.data, "word\n");
		agent_process_done(&p[i]);
		run_done(&r[i]);
	}
}

static int raw_connection(void)
{
	struct agent_conn *c = connect_agent();
	int fd = c ? dup(agent_conn_fd(c)) : -1;
	agent_conn_free(c);
	return fd;
}

static void nonsense_is_refused(void)
{
	static const char *const junk[] = {"GET / HTTP/1.0\r\n\r\n", "\x02\0\0\0\xff\xff",
		"\x08\0\0\0\x01\0\x01\0\xff\xff\xff\xff", "\x02\0\0\0\x07\0"};
	static const size_t lens[] = {18, 6, 12, 6};
	for (size_t i = 0; i < ARRAY_SIZE(junk); i++) {
		int fd = raw_connection();
		REQUIRE(fd >= 0);
		CHECK_EQ(send(fd, junk[i], lens[i], MSG_NOSIGNAL), (ssize_t)lens[i]);
		shutdown(fd, SHUT_WR);
		fcntl(fd, F_SETFL, 0);
		char buf[1000];
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
	struct run r _run_ = run_shell("echo alive");
	CHECK_STR(r.out.data, "alive\n");
}

static void refuses_wrong_requests(void)
{
	struct agent_conn *c = connect_agent();
	REQUIRE(c);
	struct agent_wait w = soon();
	struct agent_message answer;
	struct error err _error_ = ERROR_INIT;
	struct agent_message m = {AGENT_SETUP, .setup = {.lower = ARGV("virtiofs:root0")}};
	CHECK_EQ(agent_call(c, &m, AGENT_DONE, &answer, &w, &err), -EPERM);
	m = (struct agent_message){AGENT_ATTACH, .attach = {1234, 0}};
	CHECK_EQ(agent_call(c, &m, AGENT_DONE, &answer, &w, &err), -ENOENT);
	agent_conn_free(c);

	int fd = raw_connection();
	close(fd);
	c = connect_agent();
	REQUIRE(c);
	m = (struct agent_message){AGENT_INFO};
	CHECK_EQ(agent_call(c, &m, AGENT_INFO_REPLY, &answer, &w, &err), 0);
	CHECK(answer.info.memory_bytes > 1000000);
	CHECK_CONTAINS(answer.info.software, "strata-agent");
	m = (struct agent_message){AGENT_STARTED, .started = {1}};
	CHECK_EQ(agent_call(c, &m, AGENT_DONE, &answer, &w, &err), -EPROTO);
	agent_conn_free(c);
}

static void an_unknown_version_is_refused(void)
{
	struct agent_conn *c = connect_agent();
	REQUIRE(c);
	/* A second HELLO is no request; a first one of another version is told so. */
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct {
		unsigned short family;
		char path[108];
	} un = {AF_UNIX, ""};
	strcpy(un.path, socket_path);
	REQUIRE(connect(fd, (void *)&un, sizeof(un)) == 0);
	uint8_t buf[512];
	ssize_t n = agent_encode(
		&(struct agent_message){AGENT_HELLO, .hello = {99, "x"}}, buf, sizeof(buf), NULL);
	CHECK_EQ(send(fd, buf, (size_t)n, 0), n);
	n = recv(fd, buf, sizeof(buf), MSG_WAITALL); /* up to its end: the agent hangs up */
	struct arena arena = ARENA_INIT;
	struct agent_message m;
	REQUIRE(n > 0 && agent_decode(buf, (size_t)n, &arena, &m, NULL) == 0);
	CHECK_EQ(m.type, AGENT_ERROR);
	CHECK_CONTAINS(m.error.message, "version 99");
	arena_done(&arena);
	close(fd);
	agent_conn_free(c);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	if (argc > 2 && access(argv[1], X_OK) < 0) {
		printf("1..0 # SKIP no emulator for the guest's architecture\n");
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	agent_argv = argv + 1;
	agent_argc = argc - 1;
	const char *tmp = getenv("TMPDIR");
	snprintf(
		socket_path, sizeof(socket_path), "%s/agent-%d.sock", tmp ? tmp : "/tmp", getpid());
	pid_t pid = start_agent();
	agent_conn_free(connect_agent()); /* waits until it listens */
	RUN(streams_and_status);
	RUN(a_large_stream_is_exact);
	RUN(environment_and_directory);
	RUN(commands_that_cannot_start);
	RUN(runs_as_a_user);
	RUN(signals_reach_the_whole_group);
	RUN(unread_stdout_blocks_nothing_else);
	RUN(a_reader_that_leaves_ends_the_writer);
	RUN(what_stays_behind_does_not_hold_the_streams);
	RUN(losing_the_host_ends_the_command);
	RUN(terminal);
	RUN(several_at_once);
	RUN(nonsense_is_refused);
	RUN(refuses_wrong_requests);
	RUN(an_unknown_version_is_refused);
	kill(pid, SIGTERM);
	int status = -1;
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		printf("# the agent ended with status 0x%x\n", status), tap_failed_tests++;
	unlink(socket_path);
	return tap_done();
}
