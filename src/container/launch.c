// SPDX-License-Identifier: Apache-2.0
#include "container/launch.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/channel.h"
#include "container/hooks.h"
#include "container/process.h"
#include "container/exposure.h"
#include "container/filter.h"
#include "container/foreign.h"
#include "container/usernet.h"
#include "container/userns.h"

void launch_done(struct launch *l)
{
	rootfs_done(&l->rootfs);
	for (int k = 0; k < NAMESPACES; k++)
		cleanup_close_fd(&l->joins[k]);
	int *const fds[] = {&l->proc, &l->image, &l->filter, &l->agent, &l->channel};
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		cleanup_close_fd(fds[i]);
		*fds[i] = -1;
	}
	for (int k = 0; k < NAMESPACES; k++)
		l->joins[k] = -1;
}

/* All that is the host's is opened here, with the host's rights. */
static int open_all(struct launch *l, struct error *err)
{
	const struct spec *s = l->spec;
	l->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (l->proc < 0)
		return error_errno(err, errno, "/proc");
	l->image = exposure_open(err);
	int r = l->image < 0 ? l->image : namespaces_open(s, l->joins, err);
	if (r < 0)
		return r;
	l->rootfs.spec = s;
	l->rootfs.cgroup = l->cgroup;
	l->rootfs.user_namespace = s->namespaces[NAMESPACE_USER].listed || !userns_is_host();
	r = rootfs_open(&l->rootfs, l->root, err);
	if (r == -EPERM && s->namespaces[NAMESPACE_USER].listed && geteuid() != 0) {
		rootfs_done(&l->rootfs);
		l->open_inside = true;
		r = 0;
	}
	if (r < 0)
		return r;
	return process_open_filter(s->seccomp, &l->filter, &l->agent, err);
}

/* Enters the namespaces of others that the clone is to inherit. Those that we may not enter yet
 * belong to a user namespace that is entered later. */
static int join_before(struct launch *l, struct error *err)
{
	for (int k = NAMESPACE_PID; k < NAMESPACE_MOUNT; k++) {
		if (l->joins[k] < 0 || l->joined_before[k])
			continue;
		if (setns(l->joins[k], (int)namespace_flag((enum namespace_kind)k)) == 0)
			l->joined_before[k] = true;
		else if (errno != EPERM)
			return error_errno(err, errno, "join the %s namespace",
				spec_namespace_name((enum namespace_kind)k));
	}
	return 0;
}

static pid_t clone_init(struct launch *l, int channel, uint64_t extra)
{
	struct clone_args args = {
		.flags = extra, .exit_signal = extra & CLONE_PARENT ? 0 : SIGCHLD};
	for (int k = 0; k < NAMESPACES; k++)
		if (l->spec->namespaces[k].listed && !l->spec->namespaces[k].path)
			args.flags |= namespace_flag((enum namespace_kind)k);
	/* The group's namespace begins where its process is, and v1 groups are entered by the
	 * process itself; offsets must be written before anybody is in a time namespace. */
	args.flags &= ~(uint64_t)CLONE_NEWCGROUP;
	if (l->spec->time_offsets)
		args.flags &= ~(uint64_t)CLONE_NEWTIME;
	int group = cgroup_v2_fd(l->cgroup);
	if (group >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)group;
	}
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		init_main(l, channel);
	return pid;
}

/* In the process between: its answer is the new process's number. */
static int birth_from_between(struct launch *l, int channel, struct error *err)
{
	int user = l->joins[NAMESPACE_USER], r = join_before(l, err);
	if (r == 0 && user >= 0 && setns(user, CLONE_NEWUSER) < 0)
		r = error_errno(err, errno, "join the user namespace");
	if (r == 0)
		r = join_before(l, err);
	if (r == 0 && l->hidden) {
		prctl(PR_SET_DUMPABLE, 0);
		r = exposure_end(l->image, l->proc, err);
	}
	if (r < 0)
		return r;
	pid_t pid = clone_init(l, channel, CLONE_PARENT);
	return pid < 0 ? error_errno(err, errno, "make the container's process") : pid;
}

/* Through a process between, which enters the user namespace, hides our program, and is gone
 * afterwards; the container's process is our child all the same. */
static int birth_between(struct launch *l, int *channel, struct error *err)
{
	int pipes[2], status;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return error_errno(err, errno, "pipe");
	pid_t between = fork();
	int code = errno;
	if (between == 0) {
		struct error why = ERROR_INIT;
		int r = birth_from_between(l, *channel, &why);
		if (r < 0)
			channel_fail(*channel, r, &why);
		ssize_t n = write(pipes[1], &r, sizeof(r));
		_exit(n < 0);
	}
	close(pipes[1]);
	int r = between < 0 ? error_errno(err, code, "make a process") : 0;
	if (r == 0 && read(pipes[0], &l->pid, sizeof(l->pid)) != sizeof(l->pid))
		l->pid = -1;
	close(pipes[0]);
	while (between > 0 && waitpid(between, &status, 0) < 0 && errno == EINTR)
		;
	if (r == 0 && l->pid <= 0) {
		l->pid = -1;
		cleanup_close_fd(channel);
		*channel = -1;
		r = channel_expect(l->channel, 'R', err);
	}
	return r;
}

static int birth(struct launch *l, int *channel, struct error *err)
{
	int own[NAMESPACES], r = 0;
	/* Others are in the PID namespace already, and see the process from its first moment on.
	 * An ordinary user may hide nothing before it is in a user namespace, and need not: what
	 * others could reach is the user's own. */
	const struct spec_namespace *pids = &l->spec->namespaces[NAMESPACE_PID];
	l->hidden =
		(!pids->listed || pids->path) && (geteuid() == 0 || l->joins[NAMESPACE_USER] >= 0);
	if (l->hidden)
		r = exposure_fill(l->image, err);
	if (r < 0)
		return r;
	if (l->hidden || l->joins[NAMESPACE_USER] >= 0)
		return birth_between(l, channel, err);
	for (int k = 0; k < NAMESPACES; k++)
		own[k] = -1;
	static const char *const files[NAMESPACES] = {
		"user", "pid", "net", "ipc", "uts", "cgroup", "time", "mnt"};
	for (int k = NAMESPACE_PID; k < NAMESPACE_MOUNT; k++) {
		char path[32];
		snprintf(path, sizeof(path), "self/ns/%s", files[k]);
		if (l->joins[k] >= 0)
			own[k] = openat(l->proc, path, O_RDONLY | O_CLOEXEC);
	}
	r = join_before(l, err);
	if (r == 0) {
		l->pid = clone_init(l, *channel, 0);
		if (l->pid < 0)
			r = error_errno(err, errno, "make the container's process");
	}
	/* Back: hooks and all else of ours belong to the host's namespaces. */
	for (int k = NAMESPACE_PID; k < NAMESPACE_MOUNT; k++) {
		if (l->joined_before[k] &&
			setns(own[k], (int)namespace_flag((enum namespace_kind)k)) < 0 && r == 0)
			r = error_errno(err, errno, "come back from the %s namespace",
				spec_namespace_name((enum namespace_kind)k));
		cleanup_close_fd(&own[k]);
	}
	return r;
}

/* ID maps of the process and of mounts: it waits for them. */
static int map_ids(struct launch *l, struct error *err)
{
	const struct spec *s = l->spec;
	int r = 0;
	if (s->namespaces[NAMESPACE_USER].listed && !s->namespaces[NAMESPACE_USER].path)
		r = userns_write_maps(l->pid, &s->uids, &s->gids, err);
	if (r == 0 && rootfs_has_idmap(&l->rootfs)) {
		char path[48];
		snprintf(path, sizeof(path), "%d/ns/user", (int)l->pid);
		int fd _close_ = s->namespaces[NAMESPACE_USER].listed
					 ? openat(l->proc, path, O_RDONLY | O_CLOEXEC)
					 : -1;
		r = rootfs_idmap(&l->rootfs, fd, err);
	}
	return r < 0 ? r : channel_tell(l->channel, 'M', err);
}

static int make_groups(struct launch *l, struct error *err)
{
	int entries[CHANNEL_FDS_MAX], n = 0;
	int r = l->groups(l->opaque, err);
	if (r == 0)
		r = n = cgroup_entries(l->cgroup, entries, ARRAY_SIZE(entries), err);
	if (r >= 0)
		r = channel_send(l->channel, "C", 1, entries, (size_t)n, err);
	for (int i = 0; i < n; i++)
		close(entries[i]);
	return r;
}

/* What the new process cannot do itself. */
static int serve(struct launch *l, struct error *err)
{
	const struct spec *s = l->spec;
	int r = map_ids(l, err);
	if (r == 0)
		r = make_groups(l, err);
	if (r == 0)
		r = l->born(l->opaque, l->pid, err);
	if (r == 0 && s->user_network) {
		int tap _close_ = usernet_receive(l->channel, err);
		r = tap < 0 ? tap : l->network(l->opaque, tap, l->pid, err);
	}
	if (r == 0)
		r = process_oom_score(s->process, l->proc, l->pid, err);
	if (r == 0 && s->seccomp)
		r = (int)MIN(filter_compile(s->seccomp, l->filter_cache, l->filter, err), 0);
	if (r == 0)
		r = channel_expect(l->channel, 'H', err);
	if (r == 0 && s->user_network)
		r = l->network_ready(l->opaque, err);
	if (r == 0 && s->n_hooks[HOOK_PRESTART] + s->n_hooks[HOOK_CREATE_RUNTIME]) {
		char *state _free_ = l->state(l->opaque, l->pid, "creating");
		r = hooks_run(s, HOOK_PRESTART, state, err);
		if (r == 0)
			r = hooks_run(s, HOOK_CREATE_RUNTIME, state, err);
	}
	if (r == 0)
		r = channel_tell(l->channel, 'G', err);
	/* While it enters its tree. */
	if (r == 0 && !l->hidden)
		r = exposure_fill(l->image, err);
	if (r == 0)
		r = channel_tell(l->channel, 'X', err);
	return r == 0 ? foreign_serve(l->channel, 'R', err) : r;
}

int launch_create(struct launch *l, struct error *err)
{
	int pair[2];
	l->rootfs = ROOTFS_INIT;
	l->proc = l->image = l->filter = l->agent = l->channel = -1;
	l->grouped = false;
	l->pid = -1;
	for (int k = 0; k < NAMESPACES; k++) {
		l->joins[k] = -1;
		l->joined_before[k] = false;
	}
	l->open_inside = l->hidden = false;
	int r = open_all(l, err);
	if (r == 0)
		r = channel_pair(pair, err);
	if (r < 0)
		return r;
	l->channel = pair[0];
	r = birth(l, &pair[1], err);
	cleanup_close_fd(&pair[1]);
	if (r == 0)
		r = serve(l, err);
	if (r < 0 && l->pid > 0) {
		kill(l->pid, SIGKILL);
		while (waitpid(l->pid, NULL, 0) < 0 && errno == EINTR)
			;
		l->pid = -1;
	}
	return r;
}

int launch_start_over(int fd, struct error *err)
{
	int r = channel_tell(fd, 'S', err);
	/* Heard: from here on the end means that the program has begun. */
	if (r == 0)
		r = channel_expect(fd, 'A', err);
	return r < 0 ? r : channel_end(fd, err);
}

int launch_start(struct launch *l, struct error *err)
{
	return launch_start_over(l->channel, err);
}
