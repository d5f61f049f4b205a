// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#include "agent.h"
#include "base/log.h"

/* Errors only; the kernel's log reaches the console, which the host keeps. */
static void log_to_kernel(void *opaque, enum log_level level, const char *message)
{
	int fd _close_ = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		dprintf(fd, "<%d>strata-agent: %s\n", level == LOG_ERROR ? 3 : 4, message);
}

static void log_to_stderr(void *opaque, enum log_level level, const char *message)
{
	fprintf(stderr, "strata-agent: %s\n", message);
}

static void on_connection(void *opaque, int fd, uint32_t events)
{
	struct agent *a = opaque;
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	int conn = accept4(fd, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (conn < 0)
		return;
	const struct sockaddr_vm *vm = (const void *)&peer;
	/* Processes of the guest reach this port over loopback: they are not the host. */
	bool host = peer.ss_family != AF_VSOCK || vm->svm_cid == VMADDR_CID_HOST;
	struct error err _error_ = ERROR_INIT;
	if (!host || a->conn_count >= CONNS_MAX)
		close(conn);
	else if (conn_new(a, conn, &err) < 0)
		log_error("connection: %s", err.message);
}

static void on_signal(void *opaque, int fd, uint32_t events)
{
	struct agent *a = opaque;
	struct signalfd_siginfo si;
	while (read(fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGTERM && !a->is_init)
			loop_stop(a->loop);
	}
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		command_reaped(a, pid, status);
	if (a->ending)
		shutdown_child_ended(a);
}

static int listen_vsock(struct error *err)
{
	int fd _close_ = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_errno(err, errno, "vsock (module vmw_vsock_virtio_transport?)");
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = AGENT_VSOCK_PORT};
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
		return error_errno(err, errno, "vsock port %d", AGENT_VSOCK_PORT);
	return TAKE_FD(fd);
}

static int listen_unix(const char *path, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, ENAMETOOLONG, "%s: too long for a socket", path);
	strcpy(address.sun_path, path);
	int fd _close_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(fd, 16) < 0)
		return error_errno(err, errno, "%s", path);
	return TAKE_FD(fd);
}

static int serve(struct agent *a, const char *unix_path, struct error *err)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	int signal_fd _close_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0)
		return error_errno(err, errno, "signalfd");
	int r = loop_new(&a->loop, err);
	if (!r)
		r = loop_fd_add(a->loop, signal_fd, EPOLLIN, on_signal, a, &a->signals, err);
	if (r < 0)
		return r;
	a->listen_fd = unix_path ? listen_unix(unix_path, err) : listen_vsock(err);
	if (a->listen_fd < 0)
		return a->listen_fd;
	r = loop_fd_add(a->loop, a->listen_fd, EPOLLIN, on_connection, a, &a->listen, err);
	if (!r)
		r = loop_run(a->loop, err);
	while (a->conns)
		conn_free(a->conns);
	close(a->listen_fd);
	loop_timer_free(a->end_timer);
	loop_free(a->loop);
	arena_done(&a->setup_arena);
	return r;
}

int main(int argc, char **argv)
{
	struct agent a = {.is_init = true};
	const char *unix_path = NULL;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--no-init"))
			a.is_init = false;
		else if (!strcmp(argv[i], "--listen") && i + 1 < argc &&
			 !strncmp(argv[i + 1], "unix:", 5))
			unix_path = argv[++i] + 5;
		else if (getpid() != 1) /* the kernel hands init words that it does not know */
			return fprintf(stderr,
				       "usage: strata-agent [--listen unix:PATH] [--no-init]\n"),
			       2;
	}
	log_set_sink(a.is_init ? log_to_kernel : log_to_stderr, NULL, LOG_WARN);
	if (a.is_init && getpid() != 1) {
		log_set_sink(log_to_stderr, NULL, LOG_WARN);
		log_error("this is a guest's init; --no-init runs it for a test");
		return 2;
	}
	if (a.is_init && !unix_path)
		boot_prepare();
	struct error err _error_ = ERROR_INIT;
	if (serve(&a, unix_path, &err) < 0) {
		log_error("%s", err.message);
		if (!a.is_init)
			return 1;
		struct agent_shutdown now = {0};
		shutdown_begin(&a, &now);
	}
	return 0;
}
