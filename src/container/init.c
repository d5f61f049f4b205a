// SPDX-License-Identifier: Apache-2.0
// The container's first process, until its program takes its place. Whatever fails is told to the
// runtime over the channel; nothing is printed here.
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "container/channel.h"
#include "container/exposure.h"
#include "container/foreign.h"
#include "container/hooks.h"
#include "container/launch.h"
#include "container/process.h"
#include "container/usernet.h"

static bool is_new(const struct launch *l, enum namespace_kind k)
{
	return l->spec->namespaces[k].listed && !l->spec->namespaces[k].path;
}

/* One birth, seen from the new process. */
struct init {
	struct launch *l;
	int channel;
};

static int join_rest(struct launch *l, struct error *err)
{
	for (int k = NAMESPACE_PID; k < NAMESPACES; k++)
		if (l->joins[k] >= 0 && !l->joined_before[k] &&
			setns(l->joins[k], (int)namespace_flag((enum namespace_kind)k)) < 0)
			return error_errno(err, errno, "join the %s namespace",
				spec_namespace_name((enum namespace_kind)k));
	return 0;
}

static int shift_time(const struct launch *l, struct error *err)
{
	const struct spec *s = l->spec;
	char text[160];
	if (!s->time_offsets)
		return 0;
	if (unshare(CLONE_NEWTIME) < 0)
		return error_errno(err, errno, "time namespace");
	int n = snprintf(text, sizeof(text), "monotonic %lld %u\nboottime %lld %u\n",
		(long long)s->monotonic_s, s->monotonic_ns, (long long)s->boottime_s,
		s->boottime_ns);
	int fd _close_ = openat(l->proc, "self/timens_offsets", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		return error_errno(err, errno, "time namespace: offsets");
	int ns _close_ = openat(l->proc, "self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWTIME) < 0)
		return error_errno(err, errno, "enter the time namespace");
	return 0;
}

static int raise_loopback(struct error *err)
{
	struct ifreq r = {.ifr_name = "lo"};
	int fd _close_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0; /* a kernel without IPv4 */
	if (ioctl(fd, SIOCGIFFLAGS, &r) < 0)
		return error_errno(err, errno, "loopback interface");
	r.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &r) < 0 ? error_errno(err, errno, "loopback interface") : 0;
}

/* Settings of the namespaces we are in, whichever /proc they are written through. */
static int write_sysctl(const struct launch *l, struct error *err)
{
	for (size_t i = 0; i < l->spec->sysctl.n; i++) {
		const struct spec_pair *p = &l->spec->sysctl.items[i];
		char *path _free_ = xasprintf("sys/%s", p->key);
		if (!strchr(p->key, '/'))
			for (char *c = path; *c; c++)
				if (*c == '.')
					*c = '/';
		int fd _close_ = openat(l->proc, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || write(fd, p->value, strlen(p->value)) < 0)
			return error_errno(err, errno, "sysctl %s", p->key);
	}
	return 0;
}

static int set_names(const struct spec *s, struct error *err)
{
	if (s->hostname && *s->hostname && sethostname(s->hostname, strlen(s->hostname)) < 0)
		return error_errno(err, errno, "hostname %s", s->hostname);
	if (s->domainname && *s->domainname &&
		setdomainname(s->domainname, strlen(s->domainname)) < 0)
		return error_errno(err, errno, "domainname %s", s->domainname);
	return 0;
}

/* Into the control groups, as soon as they are there, and the namespace that begins with them. */
static int enter_groups(void *opaque, struct error *err)
{
	struct init *in = opaque;
	int entries[CHANNEL_FDS_MAX], n = 0;
	if (in->l->grouped)
		return 0;
	int r = channel_expect_fds(in->channel, 'C', entries, &n, err);
	if (r == 0)
		r = cgroup_enter(entries, n, err);
	for (int i = 0; i < n; i++)
		close(entries[i]);
	if (r == 0 && is_new(in->l, NAMESPACE_CGROUP) && unshare(CLONE_NEWCGROUP) < 0)
		r = error_errno(err, errno, "cgroup namespace");
	in->l->grouped = true;
	return r;
}

/* In the namespaces, before the tree is built. */
static int settle(struct launch *l, int channel, struct error *err)
{
	int r = join_rest(l, err);
	/* First: /proc/self belongs to nobody we can be once we are another user. */
	if (r == 0)
		r = shift_time(l, err);
	if (r < 0)
		return r;
	/* Still as who we were on the host, who may open the host's device. */
	if (l->spec->user_network)
		r = usernet_make(l->proc, channel, err);
	if (r < 0)
		return r;
	/* In a user namespace: what we make belongs to its root. */
	if (l->spec->namespaces[NAMESPACE_USER].listed) {
		if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) {
			/* 0 is not mapped: we stay who we are. */
		}
	}
	r = set_names(l->spec, err);
	if (r == 0 && is_new(l, NAMESPACE_NET))
		r = raise_loopback(err);
	return r;
}

static int container_hooks(const struct launch *l, enum hook_kind kind, pid_t pid,
	const char *status, struct error *err)
{
	if (!l->spec->n_hooks[kind])
		return 0;
	char *state _free_ = l->state(l->opaque, pid, status);
	return hooks_run(l->spec, kind, state, err);
}

/* As the host numbers us. */
static pid_t own_pid(const struct launch *l)
{
	char text[16] = "";
	ssize_t n = readlinkat(l->proc, "self", text, sizeof(text) - 1);
	return n > 0 ? atoi(text) : 0;
}

static int build(struct launch *l, int channel, pid_t pid, int *terminal, struct error *err)
{
	struct init in = {l, channel};
	const struct spec *s = l->spec;
	int r = channel_expect(channel, 'M', err);
	if (r == 0)
		r = settle(l, channel, err);
	if (r == 0 && l->open_inside)
		r = rootfs_open(&l->rootfs, l->root, err);
	if (r == 0)
		r = rootfs_build(&l->rootfs, enter_groups, &in, err);
	if (r == 0)
		r = enter_groups(&in, err);
	if (r == 0)
		r = write_sysctl(l, err);
	if (r == 0)
		r = channel_tell(channel, 'H', err);
	if (r == 0)
		r = channel_expect(channel, 'G', err);
	if (r == 0)
		r = container_hooks(l, HOOK_CREATE_CONTAINER, pid, "creating", err);
	if (r == 0)
		r = process_label(s->process, l->proc, err);
	if (r == 0)
		r = rootfs_enter(&l->rootfs, l->no_pivot, err);
	if (r < 0)
		return r;
	if (s->process->terminal) {
		r = process_terminal(s->process, l->console_socket, terminal, err);
		if (r == 0)
			r = rootfs_console(*terminal, err);
	} else if (setsid() < 0 && getsid(0) != getpid()) {
		r = error_errno(err, errno, "session");
	}
	return r < 0 ? r : rootfs_seal(&l->rootfs, err);
}

static int finish(struct launch *l, int channel, struct process_program *program, struct error *err)
{
	const struct spec *s = l->spec;
	int r = l->new_keyring ? process_keyring(err) : 0;
	if (r == 0 && s->personality_given && personality(s->personality) < 0)
		r = error_errno(err, errno, "personality");
	if (r == 0)
		r = process_prepare(s->process, err);
	if (r == 0)
		r = process_find(s->process, program, err);
	if (r == 0)
		r = foreign_ask(s->foreign, s->process, program, channel, err);
	return r;
}

/* Until `start`: *channel is then where it waits for an answer. */
static int wait_for_start(const struct launch *l, int *channel, struct error *err)
{
	if (l->listener >= 0) {
		close(*channel);
		while ((*channel = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC)) < 0 &&
			errno == EINTR)
			;
		/* A `start` that is killed before it says so does not count. */
		while (channel_expect(*channel, 'S', err) < 0) {
			cleanup_close_fd(channel);
			*channel = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
			if (*channel < 0 && errno != EINTR && errno != ECONNABORTED)
				return error_errno(err, errno, "wait for start");
		}
		close(l->listener);
		return 0;
	}
	return channel_expect(*channel, 'S', err);
}

_Noreturn void init_main(struct launch *l, int channel)
{
	struct error err = ERROR_INIT;
	struct process_program program = PROCESS_PROGRAM_INIT;
	int terminal = -1;
	const struct spec *s = l->spec;
	/* If the runtime dies before it has written down that we exist, so do we. (Where it is
	 * another user who we become, the kernel forgets this, and the channel's end tells us.) */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(l->channel);
	umask(0);
	pid_t pid = own_pid(l);
	int r = build(l, channel, pid, &terminal, &err);
	if (r == 0)
		r = channel_expect(channel, 'X', &err);
	if (r == 0 && !l->hidden)
		r = exposure_end(l->image, l->proc, &err);
	if (r == 0)
		r = finish(l, channel, &program, &err);
	if (!l->tied)
		prctl(PR_SET_PDEATHSIG, 0);
	/* A directory of the host that stayed open would be a way out through /proc/self/fd. */
	const int keep[] = {l->listener, l->filter, l->agent, program.translator, channel};
	close_all_but(3 + l->preserve_fds, keep, ARRAY_SIZE(keep));
	struct process_filter filter = {l->filter, 0, 0, l->agent, NULL};
	struct stat st;
	if (r == 0 && l->filter >= 0) {
		filter.bytes = fstat(l->filter, &st) == 0 ? (size_t)st.st_size : 0;
		filter.flags = s->seccomp->flags;
		if (l->agent >= 0)
			filter.state = l->agent_state(l->opaque, pid);
	}
	if (r == 0)
		r = channel_tell(channel, 'R', &err);
	if (r == 0)
		r = wait_for_start(l, &channel, &err);
	/* Who said it need not be there any more. */
	if (r == 0)
		channel_tell(channel, 'A', NULL);
	if (r == 0)
		r = process_give_up(s->process, &filter, l->tied, &err);
	/* The hook's program is the image's. */
	if (r == 0)
		r = container_hooks(l, HOOK_START_CONTAINER, pid, "created", &err);
	if (r == 0)
		r = process_exec(s->process, &program, &err);
	channel_fail(channel, r, &err);
	_exit(r == -ENOENT ? 127 : 126);
}
