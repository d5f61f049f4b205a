// SPDX-License-Identifier: Apache-2.0
#include "os/term.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct term_raw {
	int fd;	   /* the terminal, not owned */
	int alive; /* pipe whose other end the guard reads: its end is ours */
	pid_t guard;
	struct termios saved, raw;
};

bool term_size(int fd, uint32_t *rows, uint32_t *cols)
{
	struct winsize size;
	if (ioctl(fd, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
		return false;
	*rows = size.ws_row;
	*cols = size.ws_col;
	return true;
}

/* A byte in the pipe says that the terminal is restored already; its end without one does not. */
static _Noreturn void guard(int terminal, int pipe_fd, const struct termios *saved)
{
	sigset_t all;
	sigfillset(&all); /* SIGTTOU too: it would stop us in tcsetattr() */
	sigprocmask(SIG_SETMASK, &all, NULL);
	/* Nothing of the parent's may be kept open: a pipe's reader waits for its end. */
	if (dup2(terminal, 0) < 0 || dup2(pipe_fd, 1) < 0)
		_exit(1);
	close_range(2, ~0u, 0);
	char c;
	ssize_t n;
	do
		n = read(1, &c, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		tcsetattr(0, TCSAFLUSH, saved);
	_exit(0);
}

int term_raw_begin(struct term_raw **out, int fd, struct error *err)
{
	int p[2];
	struct term_raw *t = xcalloc(1, sizeof(*t));
	t->fd = fd;
	t->alive = -1;
	if (tcgetattr(fd, &t->saved) < 0 || pipe2(p, O_CLOEXEC) < 0) {
		free(t);
		return error_errno(err, errno, "terminal");
	}
	t->alive = p[1];
	t->guard = fork();
	if (t->guard == 0) {
		close(p[1]);
		guard(fd, p[0], &t->saved);
	}
	close(p[0]);
	t->raw = t->saved;
	cfmakeraw(&t->raw);
	if (t->guard < 0 || tcsetattr(fd, TCSADRAIN, &t->raw) < 0) {
		int r = error_errno(err, errno, "terminal: raw mode");
		term_raw_end(t);
		return r;
	}
	*out = t;
	return 0;
}

void term_raw_suspend(struct term_raw *t)
{
	if (t)
		tcsetattr(t->fd, TCSADRAIN, &t->saved);
}

void term_raw_resume(struct term_raw *t)
{
	if (t)
		tcsetattr(t->fd, TCSADRAIN, &t->raw);
}

void term_raw_end(struct term_raw *t)
{
	if (!t)
		return;
	tcsetattr(t->fd, TCSADRAIN, &t->saved);
	ssize_t n = write(t->alive, "", 1);
	(void)n; /* a guard that is gone already has nothing to do */
	close(t->alive);
	while (t->guard > 0 && waitpid(t->guard, NULL, 0) < 0 && errno == EINTR)
		;
	free(t);
}
