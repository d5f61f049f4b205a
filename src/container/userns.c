// SPDX-License-Identifier: Apache-2.0
#include "container/userns.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "base/vec.h"

bool userns_is_host(void)
{
	char text[128];
	unsigned inside, outside, count;
	int fd _close_ = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return true; /* a kernel without them */
	text[n] = 0;
	return sscanf(text, "%u %u %u", &inside, &outside, &count) == 3 && !inside && !outside &&
	       count == UINT32_MAX;
}

static int write_file(pid_t pid, const char *name, const char *text, size_t len)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	int fd _close_ = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, text, len) < 0 ? -errno : 0;
}

/* newuidmap PID INSIDE OUTSIDE COUNT… */
static int run_helper(
	const char *program, pid_t pid, const struct spec_id_maps *maps, struct error *err)
{
	char numbers[16];
	VEC(char *) argv = {0};
	snprintf(numbers, sizeof(numbers), "%d", (int)pid);
	vec_push(&argv, xstrdup(program));
	vec_push(&argv, xstrdup(numbers));
	for (size_t i = 0; i < maps->n; i++) {
		vec_push(&argv, xasprintf("%u", maps->items[i].inside));
		vec_push(&argv, xasprintf("%u", maps->items[i].outside));
		vec_push(&argv, xasprintf("%u", maps->items[i].count));
	}
	vec_push(&argv, NULL);
	int status = -1, r = 0;
	pid_t child = fork();
	if (child == 0) {
		execvp(program, argv.items);
		_exit(127);
	}
	if (child < 0)
		r = error_errno(err, errno, "%s", program);
	else
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
	vec_for_each (word, &argv)
		free(*word);
	vec_done(&argv);
	if (r == 0 && status != 0) {
		r = error_set(
			err, EPERM, "%s does not map these IDs: Operation not permitted", program);
		error_remedy(
			err, WIFEXITED(status) && WEXITSTATUS(status) == 127
				     ? "install the package uidmap"
				     : "give this user a range in /etc/subuid and /etc/subgid");
	}
	return r;
}

static int write_map(pid_t pid, const char *name, const char *helper,
	const struct spec_id_maps *maps, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	for (size_t i = 0; i < maps->n; i++)
		strbuf_addf(&text, "%u %u %u\n", maps->items[i].inside, maps->items[i].outside,
			maps->items[i].count);
	int r = write_file(pid, name, text.data ? text.data : "", text.len);
	/* One line about ourselves needs no rights, but groups have to be given up for it. */
	bool own = maps->n == 1 && maps->items[0].count == 1;
	if (r == -EPERM && own && !strcmp(name, "gid_map") &&
		write_file(pid, "setgroups", "deny", 4) == 0)
		r = write_file(pid, name, text.data, text.len);
	if (r == -EPERM)
		return run_helper(helper, pid, maps, err);
	return r < 0 ? error_errno(err, -r, "user namespace: %s", name) : 0;
}

int userns_write_maps(pid_t pid, const struct spec_id_maps *uids, const struct spec_id_maps *gids,
	struct error *err)
{
	int r = write_map(pid, "gid_map", "newgidmap", gids, err);
	return r < 0 ? r : write_map(pid, "uid_map", "newuidmap", uids, err);
}

int userns_make(const struct spec_id_maps *uids, const struct spec_id_maps *gids, struct error *err)
{
	struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	pid_t parent = getpid();
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	char path[64];
	if (pid < 0)
		return error_errno(err, errno, "make a user namespace");
	if (pid == 0) {
		/* Not longer than we do. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == parent)
			pause();
		_exit(0);
	}
	int r = userns_write_maps(pid, uids, gids, err);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	if (r == 0 && (r = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		r = error_errno(err, errno, "%s", path);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}
