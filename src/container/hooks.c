// SPDX-License-Identifier: Apache-2.0
#include "container/hooks.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const names[HOOKS] = {
	"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"};

static _Noreturn void run_child(const struct spec_hook *h, int input)
{
	static const char *const none[] = {NULL};
	const char *own[] = {h->path, NULL};
	sigset_t empty;
	sigemptyset(&empty);
	sigprocmask(SIG_SETMASK, &empty, NULL);
	signal(SIGPIPE, SIG_DFL);
	dup2(input, 0);
	close_range(3, ~0u, 0);
	execve(h->path, (char *const *)(uintptr_t)(h->args && h->args[0] ? h->args : own),
		(char *const *)(uintptr_t)(h->env ? h->env : none));
	_exit(errno == ENOENT ? 127 : 126);
}

/* Its status, or -errno. */
static int wait_child(pid_t pid, unsigned timeout_s, struct error *err)
{
	int status;
	if (timeout_s) {
		int fd _close_ = (int)syscall(SYS_pidfd_open, pid, 0);
		struct pollfd p = {fd, POLLIN, 0};
		uint64_t end = clock_monotonic_ns() + timeout_s * NS_PER_SEC, now;
		int n = 0;
		while (fd >= 0 && n <= 0 && (now = clock_monotonic_ns()) < end)
			n = poll(&p, 1, (int)MIN((end - now) / 1000000 + 1, INT32_MAX));
		if (fd >= 0 && n <= 0) {
			kill(pid, SIGKILL);
			while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
				;
			return error_set(err, ETIMEDOUT, "not finished after %u s", timeout_s);
		}
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_errno(err, errno, "wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int hook_run(const struct spec_hook *hook, const char *state, struct error *err)
{
	/* A file, not a pipe: whether the hook reads it is its own affair. */
	int input _close_ = memfd_create("state", MFD_CLOEXEC);
	size_t len = strlen(state);
	if (input < 0 || pwrite(input, state, len, 0) != (ssize_t)len)
		return error_errno(err, errno, "state");
	pid_t pid = fork();
	if (pid == 0)
		run_child(hook, input);
	if (pid < 0)
		return error_errno(err, errno, "fork");
	int status = wait_child(pid, hook->timeout_s, err);
	if (status <= 0)
		return status;
	return error_set(err, EIO, "ended with status %d%s", status,
		status == 127 ? ": No such file or directory?" : "");
}

int hooks_run(const struct spec *spec, enum hook_kind kind, const char *state, struct error *err)
{
	int first = 0;
	for (size_t i = 0; i < spec->n_hooks[kind]; i++) {
		int r = hook_run(&spec->hooks[kind][i], state, first ? NULL : err);
		if (r >= 0 || first)
			continue;
		first = error_wrap(err, r, "%s hook %s", names[kind], spec->hooks[kind][i].path);
		if (kind < HOOK_POSTSTART)
			break;
	}
	return first;
}
