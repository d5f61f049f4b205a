// SPDX-License-Identifier: Apache-2.0
#include "oci/foreground.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

int foreground_begin(struct foreground *f, bool terminal, struct error *err)
{
	sigset_t all;
	int pair[2];
	sigfillset(&all);
	/* Our own faults, and what a background process that writes to its terminal gets. */
	static const int not [] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTTOU, SIGTTIN};
	for (size_t i = 0; i < ARRAY_SIZE(not ); i++)
		sigdelset(&all, not [i]);
	sigprocmask(SIG_BLOCK, &all, NULL);
	f->signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (f->signals < 0)
		return error_errno(err, errno, "signals");
	if (!terminal)
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, errno, "console socket");
	f->ours = pair[0];
	f->theirs = pair[1];
	return 0;
}

void foreground_done(struct foreground *f)
{
	cleanup_close_fd(&f->ours);
	cleanup_close_fd(&f->theirs);
	cleanup_close_fd(&f->signals);
	cleanup_close_fd(&f->terminal);
	*f = FOREGROUND_INIT;
}

static int receive_terminal(struct foreground *f, struct error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char name[64];
	struct iovec iov = {name, sizeof(name)};
	struct msghdr m = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(f->ours, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return error_set(err, EIO, "the container sent no terminal");
	memcpy(&f->terminal, CMSG_DATA(c), sizeof(int));
	return 0;
}

static void copy_size(const struct foreground *f)
{
	struct winsize size;
	if (f->terminal >= 0 && ioctl(0, TIOCGWINSZ, &size) == 0)
		ioctl(f->terminal, TIOCSWINSZ, &size);
}

/* One direction. What has been read waits here until it can be written: neither direction may keep
 * the other one waiting, for the program may do so, too. */
struct flow {
	int from, to; /* from: -1 at its end */
	size_t begin, end;
	char bytes[16384];
};

static bool flow_waits(const struct flow *f)
{
	return f->begin < f->end;
}

static void flow_read(struct flow *f)
{
	ssize_t n = read(f->from, f->bytes, sizeof(f->bytes));
	f->begin = 0;
	f->end = n > 0 ? (size_t)n : 0;
	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		f->from = -1;
}

static void flow_write(struct flow *f)
{
	ssize_t n = write(f->to, f->bytes + f->begin, f->end - f->begin);
	f->begin += n > 0 ? (size_t)n : 0;
	if (n >= 0 || errno == EINTR || errno == EAGAIN)
		return;
	f->begin = f->end = 0; /* nobody reads it any more */
	f->from = -1;
}

/* True when pid has ended. */
static bool take_signals(const struct foreground *f, pid_t pid, int *status)
{
	struct signalfd_siginfo s;
	int raw;
	bool ended = false;
	while (read(f->signals, &s, sizeof(s)) == sizeof(s)) {
		if (s.ssi_signo == SIGCHLD) {
			for (pid_t one; (one = waitpid(-1, &raw, WNOHANG)) > 0;) {
				if (one != pid)
					continue;
				*status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
				ended = true;
			}
		} else if (s.ssi_signo == SIGWINCH) {
			copy_size(f);
		} else if (!ended) {
			kill(pid, (int)s.ssi_signo);
		}
	}
	return ended;
}

static int relay(struct foreground *f, pid_t pid, int *status)
{
	struct flow *flows _free_ = xcalloc(2, sizeof(*flows)), *in = &flows[0], *out = &flows[1];
	bool ended = false;
	in->from = f->terminal >= 0 ? 0 : -1;
	out->from = in->to = f->terminal;
	out->to = 1;
	if (f->terminal >= 0)
		fcntl(f->terminal, F_SETFL, fcntl(f->terminal, F_GETFL) | O_NONBLOCK);
	/* It may have ended before we looked. */
	kill(getpid(), SIGCHLD);
	while (!ended) {
		struct pollfd p[] = {{f->signals, POLLIN, 0},
			{flow_waits(in) ? -1 : in->from, POLLIN, 0},
			{flow_waits(in) ? in->to : -1, POLLOUT, 0},
			{flow_waits(out) ? -1 : out->from, POLLIN, 0},
			{flow_waits(out) ? out->to : -1, POLLOUT, 0}};
		if (poll(p, ARRAY_SIZE(p), -1) < 0 && errno != EINTR)
			return -errno;
		for (size_t i = 0; i < 2; i++) {
			if (p[1 + 2 * i].revents)
				flow_read(&flows[i]);
			if (p[2 + 2 * i].revents)
				flow_write(&flows[i]);
		}
		if (p[0].revents)
			ended = take_signals(f, pid, status);
	}
	/* What it wrote last. */
	for (;;) {
		while (flow_waits(out)) {
			struct pollfd p = {out->to, POLLOUT, 0};
			poll(&p, 1, -1);
			flow_write(out);
		}
		if (out->from < 0)
			return 0;
		flow_read(out);
		if (!flow_waits(out))
			return 0;
	}
}

int foreground_wait(struct foreground *f, pid_t pid, int *status, struct error *err)
{
	struct termios old, raw;
	bool changed = false;
	if (f->ours >= 0) {
		int r = receive_terminal(f, err);
		if (r < 0)
			return r;
		copy_size(f);
		if (tcgetattr(0, &old) == 0) {
			raw = old;
			cfmakeraw(&raw);
			changed = tcsetattr(0, TCSANOW, &raw) == 0;
		}
	}
	int r = relay(f, pid, status);
	if (changed)
		tcsetattr(0, TCSANOW, &old);
	return r < 0 ? error_errno(err, -r, "wait for the container") : 0;
}
