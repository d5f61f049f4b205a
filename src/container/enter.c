// SPDX-License-Identifier: Apache-2.0
#include "container/enter.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/channel.h"
#include "container/exposure.h"
#include "container/filter.h"
#include "container/foreign.h"
#include "container/launch.h"
#include "container/process.h"

/* What both sides have of one entering. */
struct entering {
	struct enter *e;
	int proc, image, filter, agent, channel; /* channel: of the side that runs */
	int entries[64], n_entries;
	unsigned long kinds; /* CLONE_NEW* of the namespaces that differ from ours */
	bool user;	     /* the user namespace does, too */
};

/* Its namespaces by file: those that are ours already need not, and the user's must not, be
 * entered. */
static int compare_namespaces(struct entering *in, struct error *err)
{
	static const char *const files[NAMESPACES] = {
		"user", "pid", "net", "ipc", "uts", "cgroup", "time", "mnt"};
	for (int k = 0; k < NAMESPACES; k++) {
		char path[64];
		struct stat ours, theirs;
		snprintf(path, sizeof(path), "self/ns/%s", files[k]);
		if (fstatat(in->proc, path, &ours, 0) < 0)
			continue; /* a kernel without them */
		snprintf(path, sizeof(path), "%d/ns/%s", (int)in->e->target_pid, files[k]);
		if (fstatat(in->proc, path, &theirs, 0) < 0)
			return error_errno(err, errno, "the container's %s namespace",
				spec_namespace_name((enum namespace_kind)k));
		if (ours.st_ino == theirs.st_ino)
			continue;
		if (k == NAMESPACE_USER)
			in->user = true;
		else
			in->kinds |= namespace_flag((enum namespace_kind)k);
	}
	return 0;
}

/* In the new process. */
static int prepare(struct entering *in, struct process_program *program, struct error *err)
{
	const struct spec_process *p = in->e->process;
	int r = process_label(p, in->proc, err), terminal _close_ = -1;
	if (r == 0 && p->terminal)
		r = process_terminal(p, in->e->console_socket, &terminal, err);
	else if (r == 0 && setsid() < 0)
		r = error_errno(err, errno, "session");
	if (r == 0 && in->e->new_keyring)
		r = process_keyring(err);
	if (r == 0)
		r = process_prepare(p, err);
	if (r == 0)
		r = process_find(p, program, err);
	return r == 0 ? foreign_ask(in->e->foreign, p, program, in->channel, err) : r;
}

static _Noreturn void run_new(struct entering *in)
{
	struct error err = ERROR_INIT;
	struct process_program program = PROCESS_PROGRAM_INIT;
	char text[16] = "";
	int channel = in->channel;
	struct process_filter filter = {in->filter, 0, 0, in->agent, NULL};
	struct stat st;
	/* As the host numbers us. */
	ssize_t n = readlinkat(in->proc, "self", text, sizeof(text) - 1);
	pid_t pid = n > 0 ? atoi(text) : 0;
	int r = prepare(in, &program, &err);
	const int keep[] = {in->filter, in->agent, program.translator, channel};
	close_all_but(3 + in->e->preserve_fds, keep, ARRAY_SIZE(keep));
	if (r == 0)
		r = channel_tell(channel, 'R', &err);
	if (r == 0)
		r = channel_expect(channel, 'S', &err);
	if (r == 0)
		channel_tell(channel, 'A', NULL);
	if (r == 0 && filter.fd >= 0) {
		filter.bytes = fstat(filter.fd, &st) == 0 ? (size_t)st.st_size : 0;
		filter.flags = in->e->seccomp->flags;
		if (filter.notify_socket >= 0)
			filter.state = in->e->agent_state(in->e->opaque, pid);
	}
	if (r == 0)
		r = process_give_up(in->e->process, &filter, false, &err);
	if (r == 0)
		r = process_exec(in->e->process, &program, &err);
	channel_fail(channel, r, &err);
	_exit(r == -ENOENT ? 127 : 126);
}

/* In the process between: its answer is the new process's number, or the error is in the channel.
 */
static _Noreturn void run_between(struct entering *in, int answer)
{
	struct error err = ERROR_INIT;
	prctl(PR_SET_DUMPABLE, 0);
	int r = cgroup_enter(in->entries, in->n_entries, &err);
	if (r == 0 && in->user && setns(in->e->target, CLONE_NEWUSER) < 0)
		r = error_errno(&err, errno, "enter the container's user namespace");
	if (r == 0 && in->user && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
		r = 0; /* 0 is not mapped: we stay who we are */
	if (r == 0)
		r = exposure_end(in->image, in->proc, &err);
	if (r == 0 && in->kinds && setns(in->e->target, (int)in->kinds) < 0)
		r = error_errno(&err, errno, "enter the container's namespaces");
	if (r == 0) {
		struct clone_args args = {.flags = CLONE_PARENT};
		pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
		if (pid == 0) {
			close(answer);
			run_new(in);
		}
		if (pid > 0 && write(answer, &pid, sizeof(pid)) == sizeof(pid))
			_exit(0);
		r = error_errno(&err, errno, "make the process");
	}
	channel_fail(in->channel, r, &err);
	_exit(1);
}

static int birth(struct entering *in, int channel, struct error *err)
{
	int pipes[2];
	struct clone_args args = {.exit_signal = SIGCHLD};
	int group = cgroup_v2_fd(in->e->cgroup);
	if (group >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)group;
	}
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return error_errno(err, errno, "pipe");
	pid_t between = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	int code = errno;
	if (between < 0 && code == EBUSY && group >= 0 &&
		cgroup_follow(in->e->cgroup, in->e->target_pid, err) == 0) {
		args.cgroup = (uint64_t)cgroup_v2_fd(in->e->cgroup);
		between = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
		code = errno;
	}
	if (between == 0) {
		close(in->channel);
		in->channel = channel;
		close(pipes[0]);
		run_between(in, pipes[1]);
	}
	close(pipes[1]);
	close(channel);
	int r = between < 0 ? error_errno(err, code, "make a process") : 0;
	if (r == 0 && read(pipes[0], &in->e->pid, sizeof(pid_t)) != sizeof(pid_t)) {
		in->e->pid = -1;
		r = channel_expect(in->channel, 'R', err);
	}
	close(pipes[0]);
	while (between > 0 && waitpid(between, NULL, 0) < 0 && errno == EINTR)
		;
	return r;
}

static int serve(struct entering *in, struct error *err)
{
	const struct enter *e = in->e;
	int r = process_oom_score(e->process, in->proc, e->pid, err);
	if (r == 0 && e->seccomp)
		r = (int)MIN(filter_compile(e->seccomp, e->filter_cache, in->filter, err), 0);
	return r == 0 ? foreign_serve(in->channel, 'R', err) : r;
}

int enter_create(struct enter *e, struct error *err)
{
	struct entering in = {
		.e = e, .proc = -1, .image = -1, .filter = -1, .agent = -1, .channel = -1};
	int pair[2];
	e->pid = -1;
	in.proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = in.proc < 0 ? error_errno(err, errno, "/proc") : compare_namespaces(&in, err);
	if (r == 0)
		r = in.image = exposure_open(err);
	if (r >= 0)
		r = exposure_fill(in.image, err);
	if (r == 0)
		r = in.n_entries =
			cgroup_entries(e->cgroup, in.entries, ARRAY_SIZE(in.entries), err);
	if (r >= 0)
		r = process_open_filter(e->seccomp, &in.filter, &in.agent, err);
	if (r == 0)
		r = channel_pair(pair, err);
	if (r == 0) {
		in.channel = pair[0];
		r = birth(&in, pair[1], err);
	}
	if (r == 0)
		r = serve(&in, err);
	if (r < 0 && e->pid > 0) {
		kill(e->pid, SIGKILL);
		while (waitpid(e->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	cleanup_close_fd(&in.proc);
	cleanup_close_fd(&in.image);
	cleanup_close_fd(&in.filter);
	cleanup_close_fd(&in.agent);
	for (int i = 0; i < in.n_entries; i++)
		close(in.entries[i]);
	if (r < 0)
		cleanup_close_fd(&in.channel);
	else
		e->channel = in.channel;
	return r;
}

int enter_start(struct enter *e, struct error *err)
{
	return launch_start_over(e->channel, err);
}
