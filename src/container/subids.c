// SPDX-License-Identifier: Apache-2.0
#include "container/subids.h"

#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/userns.h"

enum { RANGES_MAX = 64 };

/* The lines "USER:START:COUNT" that are ours, by name or number; above our own ID as 0. */
static size_t read_ranges(
	const char *path, const char *name, uid_t uid, uint32_t own, struct spec_id_map *out)
{
	FILE *f = fopen(path, "re");
	char line[256], number[16];
	size_t n = 1;
	uint64_t next = 1;
	snprintf(number, sizeof(number), "%u", uid);
	out[0] = (struct spec_id_map){0, own, 1};
	while (f && fgets(line, sizeof(line), f) && n < RANGES_MAX) {
		char *colon = strchr(line, ':');
		unsigned long start, count;
		if (!colon || sscanf(colon, ":%lu:%lu", &start, &count) != 2 || !count ||
			start + count > UINT32_MAX)
			continue;
		*colon = 0;
		if (strcmp(line, number) && (!name || strcmp(line, name)))
			continue;
		count = MIN(count, UINT32_MAX - 1 - next);
		out[n++] = (struct spec_id_map){(uint32_t)next, (uint32_t)start, (uint32_t)count};
		next += count;
	}
	if (f)
		fclose(f);
	return n;
}

/* In a child that was born before the namespace: it is in the one that may write the maps. */
static _Noreturn void write_maps(pid_t parent, int ready, int report)
{
	struct spec_id_map uids[RANGES_MAX], gids[RANGES_MAX];
	struct error err = ERROR_INIT;
	uid_t uid = geteuid();
	const struct passwd *p = getpwuid(uid);
	const char *name = p ? p->pw_name : NULL;
	struct spec_id_maps u = {uids, read_ranges("/etc/subuid", name, uid, uid, uids)};
	struct spec_id_maps g = {gids, read_ranges("/etc/subgid", name, uid, getegid(), gids)};
	char go;
	if (read(ready, &go, 1) != 1)
		_exit(2);
	bool ranges = u.n > 1 && g.n > 1;
	if (!ranges)
		error_set(&err, ENOENT, "/etc/subuid and /etc/subgid give %s no range",
			name ? name : "this user");
	int r = ranges ? userns_write_maps(parent, &u, &g, &err) : -ENOENT;
	if (r < 0) {
		/* The user's own ID needs no helper and no range. */
		dprintf(report, "%s", err.message ? err.message : "");
		u.n = g.n = 1;
		r = userns_write_maps(parent, &u, &g, &err);
	}
	_exit(r < 0 ? 2 : 0);
}

static int become_root(
	int ready, int report, pid_t child, bool *one_id, char **why, struct error *err)
{
	char text[512];
	int status = -1;
	ssize_t n = 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) {
		int code = errno;
		error_errno(err, code, "make a user namespace");
		error_remedy(err, "an ordinary user may not make one here: see "
				  "/proc/sys/user/max_user_namespaces and "
				  "/proc/sys/kernel/unprivileged_userns_clone, or run as root");
		return -code;
	}
	if (write(ready, "", 1) == 1)
		n = read(report, text, sizeof(text) - 1);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return error_set(err, EPERM, "the IDs of the user namespace cannot be mapped");
	text[MAX(n, 0)] = 0;
	*one_id = n > 0;
	if (n > 0)
		*why = xstrdup(text);
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return error_errno(err, errno, "become root of the user namespace");
	return 0;
}

int subids_become_root(bool *one_id, char **why, struct error *err)
{
	int go[2] = {-1, -1}, report[2] = {-1, -1};
	*one_id = false;
	*why = NULL;
	if (geteuid() == 0)
		return 0;
	if (pipe2(go, O_CLOEXEC) < 0 || pipe2(report, O_CLOEXEC) < 0) {
		int code = errno;
		cleanup_close_fd(&go[0]);
		cleanup_close_fd(&go[1]);
		return error_errno(err, code, "pipe");
	}
	pid_t parent = getpid(), child = fork();
	if (child == 0) {
		close(go[1]);
		write_maps(parent, go[0], report[1]);
	}
	close(go[0]);
	close(report[1]);
	int r = child < 0 ? error_errno(err, errno, "new process")
			  : become_root(go[1], report[0], child, one_id, why, err);
	close(go[1]);
	close(report[0]);
	if (r < 0 && child > 0)
		waitpid(child, NULL, WNOHANG);
	return r;
}
