// SPDX-License-Identifier: Apache-2.0
#include "container/process.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "container/channel.h"
#include "container/foreign.h"

static int set_scheduler(const struct spec_process *p, struct error *err)
{
	/* struct sched_attr of sched_setattr(2), which glibc 2.36 does not have. */
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} a = {sizeof(a), p->scheduler_policy, p->scheduler_flags, p->nice, p->scheduler_priority,
		p->scheduler_runtime, p->scheduler_deadline, p->scheduler_period};
	if (p->scheduler_given && syscall(SYS_sched_setattr, 0, &a, 0) < 0)
		return error_errno(err, errno, "scheduler");
	enum { WHO_PROCESS = 1, CLASS_SHIFT = 13 };
	if (p->io_class && syscall(SYS_ioprio_set, WHO_PROCESS, 0,
				   p->io_class << CLASS_SHIFT | p->io_priority) < 0)
		return error_errno(err, errno, "I/O priority");
	return 0;
}

static int set_limits(const struct spec_process *p, struct error *err)
{
	for (size_t i = 0; i < p->n_rlimits; i++) {
		const struct spec_rlimit *l = &p->rlimits[i];
		struct rlimit new = {l->soft, l->hard}, old;
		if (setrlimit((__rlimit_resource_t)l->resource, &new) == 0)
			continue;
		int code = errno;
		error_errno(err, code, "resource limit %d", l->resource);
		if (code == EPERM && getrlimit((__rlimit_resource_t)l->resource, &old) == 0 &&
			new.rlim_max > old.rlim_max)
			error_remedy(err,
				"raising a hard limit above %llu needs CAP_SYS_RESOURCE, which "
				"this process does not have: ask for less",
				(unsigned long long)old.rlim_max);
		return -code;
	}
	return 0;
}

int process_prepare(const struct spec_process *p, struct error *err)
{
	int r = set_scheduler(p, err);
	return r < 0 ? r : set_limits(p, err);
}

int process_keyring(struct error *err)
{
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS &&
		errno != EPERM && errno != EDQUOT)
		return error_errno(err, errno, "session keyring");
	return 0;
}

int process_terminal(
	const struct spec_process *p, int console_socket, int *terminal, struct error *err)
{
	int master _close_ = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW);
	unsigned number, unlock = 0;
	struct statfs fs;
	if (master < 0 || fstatfs(master, &fs) < 0)
		return error_errno(err, errno, "terminal: /dev/pts/ptmx");
	/* What an image has there is none: CVE-2025-52565. */
	if (fs.f_type != DEVPTS_SUPER_MAGIC)
		return error_set(err, EINVAL, "terminal: /dev/pts is not of type devpts");
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
		return error_errno(err, errno, "terminal");
	/* The other side through the descriptor: no path that the image could have replaced. */
	int slave _close_ = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return error_errno(err, errno, "terminal %u", number);
	struct winsize size = {.ws_row = p->rows, .ws_col = p->columns};
	if ((p->rows || p->columns) && ioctl(slave, TIOCSWINSZ, &size) < 0)
		return error_errno(err, errno, "terminal: its size");
	if (fchown(slave, p->uid, (gid_t)-1) < 0 && errno != EINVAL && errno != EPERM &&
		errno != EROFS)
		return error_errno(err, errno, "terminal: its owner");
	int r = channel_send(console_socket, "/dev/ptmx", 9, &master, 1, err);
	if (r < 0)
		return error_wrap(err, r, "console socket");
	if (setsid() < 0 && getsid(0) != getpid())
		return error_errno(err, errno, "session");
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return error_errno(err, errno, "terminal: make it ours");
	for (int i = 0; i < 3; i++)
		if (dup2(slave, i) < 0)
			return error_errno(err, errno, "terminal");
	*terminal = TAKE_FD(slave);
	return 0;
}

static bool executable(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

int process_find(const struct spec_process *p, struct process_program *out, struct error *err)
{
	const char *name = p->args[0],
		   *list = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	struct stat st;
	out->env = process_environment(p);
	for (const char **e = p->env; *e; e++)
		if (!strncmp(*e, "PATH=", 5))
			list = *e + 5;
	if (strchr(name, '/')) {
		char *full _free_ = *name == '/' ? xstrdup(name) : xasprintf("%s/%s", p->cwd, name);
		if (stat(full, &st) < 0)
			return error_errno(err, errno, "exec %s", name);
		if (!executable(full))
			return error_errno(err, EACCES, "exec %s", name);
		out->path = xstrdup(name);
		return 0;
	}
	for (const char *at = list; *name; at += strspn(at, ":")) {
		int n = (int)strcspn(at, ":");
		char *full _free_ = xasprintf("%.*s/%s", n, at, name);
		if (n && executable(full)) {
			out->path = TAKE_PTR(full);
			return 0;
		}
		if (!at[n])
			break;
		at += n;
	}
	return error_errno(err, ENOENT, "executable file `%s` not found in $PATH", name);
}

int process_label(const struct spec_process *p, int proc, struct error *err)
{
	const char *value = p->apparmor ? p->apparmor : p->selinux;
	if (!value)
		return 0;
	int fd _close_ = -1;
	if (p->apparmor)
		fd = openat(proc, "thread-self/attr/apparmor/exec", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		fd = openat(proc, "thread-self/attr/exec", O_WRONLY | O_CLOEXEC);
	char *text _free_ = xasprintf("%s%s", p->apparmor ? "exec " : "", value);
	if (fd >= 0 && write(fd, text, strlen(text)) >= 0)
		return 0;
	int code = errno;
	error_errno(
		err, code, "%s \"%s\"", p->apparmor ? "AppArmor profile" : "SELinux label", value);
	error_remedy(err, "this kernel may not have %s switched on, or not know the name",
		p->apparmor ? "AppArmor" : "SELinux");
	return -code;
}

static int capset_both(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	for (int i = 0; i < 2; i++) {
		data[i].effective = (uint32_t)(effective >> (32 * i));
		data[i].permitted = (uint32_t)(permitted >> (32 * i));
		data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
	}
	return (int)syscall(SYS_capset, &head, data);
}

static uint64_t permitted_now(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {0};
	if (syscall(SYS_capget, &head, data) < 0)
		return 0;
	return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

static int set_user(const struct spec_process *p, struct error *err)
{
	/* setgroups(2) is denied where an ordinary user maps itself: there are no other groups
	 * then. */
	if (setgroups(p->n_groups, p->groups) < 0 && (p->n_groups || errno != EPERM))
		return error_errno(err, errno, "supplementary groups");
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return error_errno(err, errno, "keep capabilities");
	if (setresgid(p->gid, p->gid, p->gid) < 0)
		return error_errno(err, errno, "group %u", p->gid);
	if (setresuid(p->uid, p->uid, p->uid) < 0)
		return error_errno(err, errno, "user %u", p->uid);
	return 0;
}

static int drop_bounding(const struct spec_process *p, struct error *err)
{
	for (int cap = 0; cap < 64; cap++) {
		if (p->caps[CAPS_BOUNDING] >> cap & 1)
			continue;
		int there = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
		if (there < 0)
			break; /* past the kernel's last */
		if (there && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return error_errno(err, errno, "drop a capability");
	}
	return 0;
}

static int load_filter(const struct process_filter *f, struct error *err)
{
	if (f->fd < 0)
		return 0;
	void *code = mmap(NULL, f->bytes, PROT_READ, MAP_PRIVATE, f->fd, 0);
	if (code == MAP_FAILED)
		return error_errno(err, errno, "seccomp filter");
	if (f->bytes / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return error_set(err, E2BIG, "seccomp filter: %zu instructions, more than %d",
			f->bytes / sizeof(struct sock_filter), BPF_MAXINSNS);
	struct sock_fprog program = {(unsigned short)(f->bytes / sizeof(struct sock_filter)), code};
	unsigned flags = f->flags;
	if (f->notify_socket >= 0)
		flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
	int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	if (listener < 0)
		return error_errno(err, errno, "load the seccomp filter");
	if (f->notify_socket < 0)
		return 0;
	int r = channel_send(f->notify_socket, f->state, strlen(f->state), &listener, 1, err);
	close(listener);
	return r < 0 ? error_wrap(err, r, "seccomp listener") : 0;
}

/* What is ignored or blocked stays so across execve(2), and our caller's choices are not the
 * program's. */
static void default_signals(void)
{
	sigset_t none;
	for (int i = 1; i <= SIGRTMAX; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

int process_give_up(const struct spec_process *p, const struct process_filter *filter, bool tied,
	struct error *err)
{
	/* A filter without no_new_privs takes CAP_SYS_ADMIN, so that one stays until then. It
	 * would not outlive execve(), which computes the sets anew from bounding, inheritable and
	 * ambient ones; these are final before the filter is loaded. */
	bool admin = filter->fd >= 0 && !p->no_new_privileges;
	uint64_t have = permitted_now(), want[CAPS_SETS];
	for (int i = 0; i < CAPS_SETS; i++)
		want[i] = p->caps[i];
	/* What we do not have nobody can be given: rootless, or a host that withholds it. */
	want[CAPS_PERMITTED] &= have;
	want[CAPS_EFFECTIVE] &= want[CAPS_PERMITTED];
	want[CAPS_INHERITABLE] &= have;
	want[CAPS_AMBIENT] &= want[CAPS_PERMITTED] & want[CAPS_INHERITABLE];
	uint64_t extra = admin ? UINT64_C(1) << CAP_SYS_ADMIN & have : 0;
	int r = drop_bounding(p, err);
	if (r == 0)
		r = set_user(p, err);
	if (r < 0)
		return r;
	/* Becoming another user has ended it. */
	if (tied)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (capset_both(want[CAPS_EFFECTIVE] | extra, want[CAPS_PERMITTED] | extra,
		    want[CAPS_INHERITABLE]) < 0)
		return error_errno(err, errno, "capabilities");
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (int cap = 0; cap < 64; cap++)
		if (want[CAPS_AMBIENT] >> cap & 1 &&
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return error_errno(err, errno, "ambient capabilities");
	/* As the user, who may not be allowed to go there. */
	if (chdir(p->cwd) < 0)
		return error_errno(err, errno, "cwd %s", p->cwd);
	/* A directory that is not below our root would be one of the host's: a descriptor that
	 * leaked into /proc/self/fd. */
	char cwd[PATH_MAX];
	if (!getcwd(cwd, sizeof(cwd)))
		return error_errno(err, errno, "cwd %s", p->cwd);
	if (*cwd == '(')
		return error_set(err, EPERM,
			"cwd %s is outside the container: Operation not permitted", p->cwd);
	default_signals();
	umask(p->umask >= 0 ? (mode_t)p->umask : 022);
	if (p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_errno(err, errno, "no new privileges");
	r = load_filter(filter, err);
	if (r < 0)
		return r;
	/* The filter may deny it; execve() does the same. */
	if (extra)
		capset_both(want[CAPS_EFFECTIVE], want[CAPS_PERMITTED], want[CAPS_INHERITABLE]);
	return 0;
}

int process_exec(
	const struct spec_process *p, const struct process_program *program, struct error *err)
{
	if (program->translator >= 0)
		return foreign_exec(program->translator, program->path, p->args,
			(const char *const *)program->env, err);
	execve(program->path, (char *const *)(uintptr_t)p->args, program->env);
	return error_errno(err, errno, "exec %s", program->path);
}

int process_open_filter(const struct spec_seccomp *s, int *filter, int *agent, struct error *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	if (!s)
		return 0;
	*filter = memfd_create("seccomp", MFD_CLOEXEC);
	if (*filter < 0)
		return error_errno(err, errno, "seccomp filter");
	const char *path = s->listener_path;
	if (!path)
		return 0;
	if (strlen(path) >= sizeof(a.sun_path))
		return error_set(err, ENAMETOOLONG, "seccomp agent %s: path too long", path);
	strcpy(a.sun_path, path);
	*agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*agent < 0 || connect(*agent, (struct sockaddr *)&a, sizeof(a)) < 0)
		return error_errno(err, errno, "seccomp agent %s", path);
	return 0;
}

int process_oom_score(const struct spec_process *p, int proc, pid_t pid, struct error *err)
{
	char path[48], text[16];
	if (!p->oom_given)
		return 0;
	snprintf(path, sizeof(path), "%d/oom_score_adj", (int)pid);
	int fd _close_ = openat(proc, path, O_WRONLY | O_CLOEXEC);
	int n = snprintf(text, sizeof(text), "%d", p->oom_score_adj);
	if (fd >= 0 && write(fd, text, (size_t)n) == n)
		return 0;
	int code = errno;
	error_errno(err, code, "oomScoreAdj %s", text);
	if (code == EACCES)
		error_remedy(err,
			"lowering it needs CAP_SYS_RESOURCE, which this process does not have");
	return -code;
}

void close_all_but(unsigned from, const int *keep, size_t n)
{
	for (;;) {
		int next = -1;
		for (size_t i = 0; i < n; i++)
			if (keep[i] >= (int)from && (next < 0 || keep[i] < next))
				next = keep[i];
		if (next < 0)
			break;
		if ((unsigned)next > from)
			close_range(from, (unsigned)next - 1, 0);
		from = (unsigned)next + 1;
	}
	close_range(from, ~0u, 0);
}
