// SPDX-License-Identifier: Apache-2.0
#include "oci/foreground.h"

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

/* False at the end of `from`. */
static bool copy(int from, int to)
{
	char buffer[16384];
	ssize_t n = read(from, buffer, sizeof(buffer));
	for (ssize_t done = 0; n > 0 && done < n;) {
		ssize_t w = write(to, buffer + done, (size_t)(n - done));
		if (w < 0 && errno != EINTR && errno != EAGAIN)
			return false;
		done += w > 0 ? w : 0;
	}
	return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
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
	struct pollfd p[3] = {{f->signals, POLLIN, 0}, {f->terminal >= 0 ? 0 : -1, POLLIN, 0},
		{f->terminal, POLLIN, 0}};
	bool ended = false;
	/* It may have ended before we looked. */
	kill(getpid(), SIGCHLD);
	while (!ended) {
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[2].revents && !copy(f->terminal, 1))
			p[2].fd = -1;
		if (p[1].revents && !copy(0, f->terminal))
			p[1].fd = -1;
		if (p[0].revents)
			ended = take_signals(f, pid, status);
	}
	/* What it wrote last. */
	while (p[2].fd >= 0) {
		p[2].revents = 0;
		if (poll(&p[2], 1, 0) <= 0 || !copy(f->terminal, 1))
			break;
	}
	return 0;
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
