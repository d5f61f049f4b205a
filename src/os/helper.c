// SPDX-License-Identifier: Apache-2.0
#include "os/helper.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where helpers are, seen from the running program: installed under a prefix, wherever that was
 * moved to; beside another helper; in the build tree. */
static const char *const places[] = {"/../libexec/strata", "", "/src/net", "/src/user", "/src/oci",
	"/../net", "/../user", "/../oci", "/../src/net", "/../src/user", "/../src/oci"};

static char *look(const char *directory, const char *place, const char *name)
{
	char *path _free_ = xasprintf("%s%s/%s", directory, place, name);
	return access(path, X_OK) == 0 ? TAKE_PTR(path) : NULL;
}

int helper_find(const char *name, char **path, struct error *err)
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	exe[MAX(n, 0)] = 0;
	char *slash = strrchr(exe, '/');
	if (slash)
		*slash = 0;
	const char *from_env = getenv("STRATA_LIBEXEC");
	char *found = from_env ? look(from_env, "", name) : NULL;
	for (size_t i = 0; i < ARRAY_SIZE(places) && slash && !found; i++)
		found = look(exe, places[i], name);
	if (!found)
		found = look(STRATA_LIBEXECDIR, "", name);
	if (found) {
		*path = found;
		return 0;
	}
	error_set(err, ENOENT, "the helper program %s is not installed", name);
	error_remedy(
		err, "install Strata again, or set STRATA_LIBEXEC to the directory that holds it");
	return -ENOENT;
}

/* In the child, after fork: async-signal-safe calls only. */
static void become_helper(
	const char *path, char *const argv[], const int *fds, unsigned count, int error_fd)
{
	int moved[HELPER_FDS_MAX], above = HELPER_FIRST_FD + HELPER_FDS_MAX;
	sigset_t none;
	setsid();
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL); /* fails for SIGKILL and SIGSTOP, which is as it should be */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* First out of the way of one another, then to their places. */
	error_fd = fcntl(error_fd, F_DUPFD_CLOEXEC, above);
	if (error_fd < 0)
		_exit(127);
	for (unsigned i = 0; i < count; i++) {
		moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, above);
		if (moved[i] < 0)
			goto fail;
	}
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		goto fail;
	for (int i = 0; i < HELPER_FIRST_FD; i++)
		if (dup2(null, i) < 0)
			goto fail;
	for (unsigned i = 0; i < count; i++)
		if (dup2(moved[i], HELPER_FIRST_FD + (int)i) < 0)
			goto fail;
	if (null == HELPER_FIRST_FD - 1) /* dup2 onto itself leaves close-on-exec set */
		fcntl(null, F_SETFD, 0);
	if (close_range(HELPER_FIRST_FD + count, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		goto fail;
	execv(path, argv);
fail:;
	int code = errno;
	ssize_t w = write(error_fd, &code, sizeof(code));
	(void)w;
	_exit(127);
}

int helper_start(const char *path, const char *const argv[], const int *fds, unsigned count,
	pid_t *pid, struct error *err)
{
	if (count > HELPER_FDS_MAX)
		return error_set(err, EINVAL, "too many descriptors for %s", path);
	int failed[2];
	if (pipe2(failed, O_CLOEXEC) < 0)
		return error_errno(err, errno, "start %s: pipe", path);
	_close_ int from_child = failed[0];
	_close_ int to_parent = failed[1];
	pid_t child = fork();
	if (child < 0)
		return error_errno(err, errno, "start %s: fork", path);
	if (child == 0)
		become_helper(path, (char *const *)argv, fds, count, to_parent);
	close(TAKE_FD(to_parent));
	int code = 0;
	ssize_t n;
	do {
		n = read(from_child, &code, sizeof(code));
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		waitpid(child, NULL, 0);
		return error_errno(err, code, "start %s", path);
	}
	*pid = child;
	return 0;
}

int helper_become(const char *path, const char *const argv[], struct error *err)
{
	signal(SIGPIPE, SIG_DFL);
	execv(path, (char *const *)(uintptr_t)argv);
	return error_errno(err, errno, "%s", path);
}
