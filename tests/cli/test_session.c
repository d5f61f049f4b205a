// SPDX-License-Identifier: Apache-2.0
// A session with a real agent and no machine: machine.c starts /proc/self/exe as the monitor, which
// is this program, and it puts the agent where a machine would be. test_session AGENT
#include "tap.h"
#include "cli/session.h"
#include "instance/machine_wire.h"
#include "os/child.h"
#include "os/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <sys/wait.h>
#include <unistd.h>

static char home[] = "/tmp/strata-session-XXXXXX";
static char agent_path[4096];
static struct instance *instance;
static struct machine *machine;
static struct agent_address address;
static int signal_fd;

/* The "hostname" of the specification is the agent's path. */
static int fake_monitor(void)
{
	json_t *json = NULL;
	struct machine_spec spec;
	if (machine_receive(MONITOR_CONTROL_FD, &json, 0) <= 0 ||
		machine_spec_from_json(json, &spec, NULL) < 0)
		return 2;
	if (!strcmp(spec.cmdline, "panic")) {
		machine_send(MONITOR_CONTROL_FD,
			json_pack("{s:s, s:s, s:s}", "event", "ended", "end", "panic", "text",
				"no working init found"),
			0);
		return 1;
	}
	machine_send(MONITOR_CONTROL_FD, json_pack("{s:s}", "event", "started"), 0);
	char *listen = xasprintf("unix:/proc/self/fd/%d/vsock.sock", spec.dir_fd);
	execl(spec.hostname, spec.hostname, "--no-init", "--listen", listen, NULL);
	return 127;
}

static int start_machine(const char *cmdline, struct error *err)
{
	struct machine_spec spec = {.arch = "riscv64",
		.hostname = agent_path,
		.cmdline = cmdline,
		.kernel_fd = -1,
		.console_fd = -1,
		.dir_fd = instance->dir_fd,
		.lock_fd = instance->lock_fd};
	struct agent_conn *c = NULL;
	address = (struct agent_address){instance->dir_fd, "vsock.sock", 0};
	unlinkat(instance->dir_fd, "vsock.sock", 0);
	int r = machine_start(&machine, &spec, err);
	if (!r)
		r = machine_wait_agent(machine, &address, clock_monotonic_ns() + 20 * NS_PER_SEC,
			-1, NULL, NULL, &c, err);
	agent_conn_free(c);
	return r;
}

static void stop_machine(void)
{
	machine_free(machine);
	machine = NULL;
}

/* In a child, whose descriptors 0 to 2 are the user's: returns the session's status. */
static int session_in_child(const char *script, bool tty)
{
	struct error err = ERROR_INIT;
	const char *argv[] = {"sh", "-c", script};
	struct agent_exec e = {.argv = {argv, 3}, .cwd = "/", .tty = tty, .rows = 10, .cols = 20};
	struct agent_wait w = {clock_monotonic_ns() + 20 * NS_PER_SEC, -1};
	struct agent_process p;
	uint32_t exit_status;
	if (start_machine("run", &err) < 0 ||
		agent_exec(&p, &address, &e, &w, &exit_status, &err) < 0) {
		fprintf(stderr, "%s\n", err.message);
		return 99;
	}
	struct session_options o = {machine, &p, signal_fd, tty, true};
	struct session_result result;
	int r = session_run(&o, &result, &err);
	if (r < 0)
		fprintf(stderr, "%s\n", err.message);
	agent_process_done(&p);
	stop_machine();
	return r < 0 ? 98 : result.status;
}

struct user {
	int in, out; /* our ends of its stdin and stdout */
	pid_t pid;
};

static void start_user(struct user *u, const char *script)
{
	int in[2], out[2];
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		return;
	fflush(stdout);
	u->pid = fork();
	if (u->pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close_range(in[0], out[1], CLOSE_RANGE_CLOEXEC);
		close(in[1]), close(out[0]), close(in[0]), close(out[1]);
		_exit(session_in_child(script, false));
	}
	close(in[0]), close(out[1]);
	u->in = in[1];
	u->out = out[0];
}

static int end_user(struct user *u, char *text, size_t cap)
{
	size_t n = 0;
	for (ssize_t got; n < cap - 1 && (got = read(u->out, text + n, cap - 1 - n)) > 0;)
		n += (size_t)got;
	text[n] = 0;
	close(u->out);
	return child_wait(u->pid);
}

static void pipes_and_status(void)
{
	struct user u;
	char text[200];
	start_user(&u, "read a; echo got $a; cat; exit 5");
	CHECK_EQ(write(u.in, "one\ntwo\n", 8), (ssize_t)8);
	close(u.in);
	CHECK_EQ(end_user(&u, text, sizeof(text)), 5);
	CHECK_STR(text, "got one\ntwo\n");
}

static void signals_are_passed_on(void)
{
	struct user u;
	char text[200];
	start_user(&u, "trap 'echo usr1; exit 3' USR1; echo ready; while :; do sleep 0.05; done");
	CHECK_EQ(read(u.out, text, 6), (ssize_t)6);
	kill(u.pid, SIGUSR1);
	CHECK_EQ(end_user(&u, text, sizeof(text)), 3);
	CHECK_STR(text, "usr1\n");
	close(u.in);

	start_user(&u, "echo ready; exec sleep 60");
	CHECK_EQ(read(u.out, text, 6), (ssize_t)6);
	kill(u.pid, SIGTERM);
	CHECK_EQ(end_user(&u, text, sizeof(text)), 128 + SIGTERM);
	close(u.in);
}

static void three_interrupts_end_a_deaf_guest(void)
{
	struct user u;
	char text[200];
	start_user(&u, "trap '' INT; echo ready; while :; do sleep 1; done");
	CHECK_EQ(read(u.out, text, 6), (ssize_t)6);
	for (int i = 0; i < 3; i++) {
		kill(u.pid, SIGINT);
		usleep(100000);
	}
	CHECK_EQ(end_user(&u, text, sizeof(text)), 128 + SIGINT);
	close(u.in);
}

static void a_closed_stdout_ends_the_writer(void)
{
	struct user u;
	char text[200];
	start_user(&u, "cat /dev/zero");
	CHECK(read(u.out, text, 6) > 0);
	close(u.out);
	CHECK_EQ(child_wait(u.pid), 128 + SIGPIPE);
	close(u.in);
}

static void a_panic_is_told(void)
{
	struct error err _error_ = ERROR_INIT;
	CHECK_EQ(start_machine("panic", &err), -ECONNABORTED);
	CHECK_STR(err.message, "the guest's kernel panicked: no working init found");
	stop_machine();
}

/* The monitor (here: the agent in its place) dies with whoever started it. */
static void nothing_survives_a_kill(void)
{
	struct user u;
	char text[200];
	start_user(&u, "echo $PPID; exec sleep 60");
	ssize_t n = read(u.out, text, sizeof(text) - 1);
	REQUIRE(n > 1);
	text[n] = 0;
	pid_t agent = atoi(text);
	CHECK(kill(agent, 0) == 0);
	kill(u.pid, SIGKILL);
	child_wait(u.pid);
	for (int i = 0; i < 100 && kill(agent, 0) == 0; i++)
		usleep(20000);
	CHECK(kill(agent, 0) < 0);
	close(u.in), close(u.out);
}

static void terminal_and_escape(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	REQUIRE(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios before, during, after;
	REQUIRE(slave >= 0 && tcgetattr(slave, &before) == 0);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(slave, 0);
		dup2(slave, 1);
		_exit(session_in_child("echo ready; read x; exec sleep 60", true));
	}
	char text[200] = "";
	size_t n = 0;
	while (n < sizeof(text) - 1 && !strstr(text, "ready")) {
		ssize_t got = read(master, text + n, sizeof(text) - 1 - n);
		REQUIRE(got > 0);
		n += (size_t)got;
	}
	tcgetattr(slave, &during);
	CHECK(!(during.c_lflag & (ICANON | ECHO)));
	CHECK_EQ(write(master, "\x1d\x1d\x1d", 3), (ssize_t)3);
	CHECK_EQ(child_wait(pid), 128 + SIGHUP);
	tcgetattr(slave, &after);
	CHECK_EQ(after.c_lflag, before.c_lflag);

	/* Killed without warning: the terminal comes back all the same. */
	pid = fork();
	if (pid == 0) {
		dup2(slave, 0);
		dup2(slave, 1);
		_exit(session_in_child("echo ready; exec sleep 60", true));
	}
	for (int i = 0; i < 500 && (tcgetattr(slave, &during), during.c_lflag & ICANON); i++)
		usleep(10000);
	CHECK(!(during.c_lflag & ICANON));
	kill(pid, SIGKILL);
	child_wait(pid);
	for (int i = 0; i < 200 && (tcgetattr(slave, &after), !(after.c_lflag & ICANON)); i++)
		usleep(10000);
	CHECK_EQ(after.c_lflag, before.c_lflag);
	close(master), close(slave);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "monitor"))
		return fake_monitor();
	if (argc < 2 || !realpath(argv[1], agent_path) || !mkdtemp(home))
		return 2;
	signal(SIGPIPE, SIG_IGN);
	sigset_t set;
	sigemptyset(&set);
	static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGWINCH};
	for (size_t i = 0; i < ARRAY_SIZE(caught); i++)
		sigaddset(&set, caught[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	struct instance_config config = {.remove = true};
	if (instance_create(home, NULL, &config, &instance, NULL) < 0)
		return 2;
	RUN(pipes_and_status);
	RUN(signals_are_passed_on);
	RUN(three_interrupts_end_a_deaf_guest);
	RUN(a_closed_stdout_ends_the_writer);
	RUN(a_panic_is_told);
	RUN(nothing_survives_a_kill);
	RUN(terminal_and_escape);
	instance_free(instance);
	dir_remove_tree(AT_FDCWD, home, NULL);
	return tap_done();
}
