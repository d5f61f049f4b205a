// SPDX-License-Identifier: Apache-2.0
#include "os/child.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_MAX = 1024 * 1024 };

char *child_find_program(const char *name)
{
	static const char sbin[] = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
	const char *env = getenv("PATH");
	char *all _free_ = xasprintf("%s:%s", env ? env : "", sbin);
	char *rest = all;
	for (char *dir; (dir = strsep(&rest, ":"));) {
		if (*dir != '/')
			continue; /* a relative one would depend on where we stand */
		char *path = xasprintf("%s/%s", dir, name);
		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

static _Noreturn void fail(int report)
{
	int code = errno;
	ssize_t n = write(report, &code, sizeof(code));
	_exit(n == sizeof(code) ? 127 : 126);
}

/* Moves the descriptors out of the way first: a source may be another's target. */
static void place_fds(const struct child_spec *s, int report)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	size_t n = 3 + s->n_fds;
	int *high = xcalloc(n, sizeof(*high));
	for (size_t i = 0; i < n; i++) {
		int fd = i < 3 ? s->stdio[i] : s->fds[i - 3];
		high[i] = fcntl(fd < 0 && i < 3 ? null : fd, F_DUPFD_CLOEXEC, (int)n + 1);
		if (high[i] < 0)
			fail(report);
	}
	for (size_t i = 0; i < n; i++) {
		if (dup2(high[i], (int)i) < 0)
			fail(report);
	}
	free(high);
}

static _Noreturn void run_child(const struct child_spec *s, pid_t parent, int report)
{
	sigset_t none;
	sigemptyset(&none);
	for (int sig = 1; sig < _NSIG; sig++)
		signal(sig, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (s->die_with_parent) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1); /* it died before the request */
	}
	int moved = fcntl(report, F_DUPFD_CLOEXEC, 4 + (int)s->n_fds);
	if (moved < 0)
		fail(report);
	place_fds(s, moved);
	/* Everything above is marked to close on exec, whatever its creator thought of. */
	close_range(3 + (unsigned)s->n_fds, ~0u, CLOSE_RANGE_CLOEXEC);
	execv(s->argv[0], (char *const *)(uintptr_t)s->argv);
	fail(moved);
}

pid_t child_spawn(const struct child_spec *s, struct error *err)
{
	int report[2];
	pid_t parent = getpid();
	if (pipe2(report, O_CLOEXEC) < 0)
		return error_errno(err, errno, "pipe");
	pid_t pid = fork();
	if (pid == 0)
		run_child(s, parent, report[1]);
	int code = errno;
	close(report[1]);
	ssize_t n = 0;
	if (pid > 0) {
		while ((n = read(report[0], &code, sizeof(code))) < 0 && errno == EINTR)
			;
	}
	close(report[0]);
	if (pid < 0)
		return error_errno(err, code, "%s: new process", s->argv[0]);
	if (n == 0)
		return pid;
	waitpid(pid, NULL, 0);
	return error_errno(err, n == sizeof(code) ? code : EIO, "%s", s->argv[0]);
}

int child_wait(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return 255;
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static const char *last_line(struct strbuf *sb)
{
	while (sb->len && sb->data[sb->len - 1] == '\n')
		sb->data[--sb->len] = 0;
	char *nl = sb->data ? strrchr(sb->data, '\n') : NULL;
	return nl ? nl + 1 : sb->data ? sb->data : "";
}

int child_run(const char *const *argv, struct strbuf *output, struct error *err)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0)
		return error_errno(err, errno, "pipe");
	struct child_spec s = {.argv = argv, .stdio = {-1, p[1], p[1]}, .die_with_parent = true};
	pid_t pid = child_spawn(&s, err);
	close(p[1]);
	struct strbuf text _strbuf_ = STRBUF_INIT;
	char buf[4096];
	ssize_t n;
	while (pid > 0 && ((n = read(p[0], buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR))) {
		if (n > 0 && text.len < OUTPUT_MAX)
			strbuf_add(&text, buf, (size_t)n);
	}
	close(p[0]);
	if (pid < 0)
		return (int)pid;
	int status = child_wait(pid);
	if (output && text.len)
		strbuf_add(output, text.data, text.len);
	const char *line = last_line(&text);
	if (status)
		return error_set(err, EIO, "%s ended with status %d%s%s", argv[0], status,
			*line ? ": " : "", line);
	return 0;
}
