// SPDX-License-Identifier: Apache-2.0
#include "os/sandbox.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int compare_ints(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;
	return (x > y) - (x < y);
}

int sandbox_close_fds(const int *keep, unsigned count, struct error *err)
{
	int sorted[16];
	if (count > ARRAY_SIZE(sorted))
		return error_set(err, EINVAL, "too many descriptors to keep");
	memcpy(sorted, keep, count * sizeof(*keep));
	qsort(sorted, count, sizeof(*sorted), compare_ints);
	unsigned from = 3;
	for (unsigned i = 0; i < count; i++) {
		if (sorted[i] < 0 || (unsigned)sorted[i] < from)
			continue;
		unsigned fd = (unsigned)sorted[i];
		if (fd > from && close_range(from, fd - 1, 0) < 0)
			return error_errno(err, errno, "close_range");
		from = fd + 1;
	}
	if (close_range(from, ~0U, 0) < 0)
		return error_errno(err, errno, "close_range");
	return 0;
}

int sandbox_die_with_parent(pid_t parent, struct error *err)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return error_errno(err, errno, "PR_SET_PDEATHSIG");
	/* It may have ended before the line above. */
	if (getppid() != parent)
		return error_set(err, ESRCH, "the parent process has ended");
	return 0;
}

int sandbox_limit(int resource, uint64_t value, struct error *err)
{
	struct rlimit old;
	if (getrlimit((__rlimit_resource_t)resource, &old) < 0)
		return error_errno(err, errno, "getrlimit %d", resource);
	struct rlimit new = {MIN(old.rlim_cur, value), MIN(old.rlim_max, value)};
	if (setrlimit((__rlimit_resource_t)resource, &new) < 0)
		return error_errno(err, errno, "setrlimit %d", resource);
	return 0;
}

int sandbox_drop_privileges(struct error *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_errno(err, errno, "PR_SET_NO_NEW_PRIVS");
	/* Fails without CAP_SETPCAP; then there is nothing to gain from the bounding set either. */
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
	if (syscall(SYS_capset, &head, none) < 0)
		return error_errno(err, errno, "capset");
	return 0;
}

enum {
	LANDLOCK_READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
	LANDLOCK_CHANGE = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
			  LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
			  LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
			  LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM |
			  LANDLOCK_ACCESS_FS_REFER | 1 << 14 /* TRUNCATE */,
};

static int landlock_allow(
	int ruleset, const struct sandbox_dir *dir, uint64_t handled, struct error *err)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = handled & (LANDLOCK_READ | (dir->readonly ? 0 : LANDLOCK_CHANGE)),
		.parent_fd = dir->fd,
	};
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return error_errno(err, errno, "landlock_add_rule");
	return 0;
}

int sandbox_files(const struct sandbox_dir *dirs, unsigned count, struct error *err)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
		return 1;
	if (abi < 0)
		return error_errno(err, errno, "landlock");
	/* Every right that the kernel knows, so that every one is denied. Version 1 has 13 of them
	 * (EXECUTE to MAKE_SYM), 2 adds REFER, 3 TRUNCATE, 5 IOCTL_DEV. */
	unsigned rights = abi >= 5 ? 16 : abi >= 3 ? 15 : abi >= 2 ? 14 : 13;
	struct landlock_ruleset_attr attr = {.handled_access_fs = (UINT64_C(1) << rights) - 1};
	int fd _close_ =
		(int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	if (fd < 0)
		return error_errno(err, errno, "landlock_create_ruleset");
	for (unsigned i = 0; i < count; i++) {
		int r = landlock_allow(fd, &dirs[i], attr.handled_access_fs, err);
		if (r < 0)
			return r;
	}
	if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return error_errno(err, errno, "landlock_restrict_self");
	return 0;
}

int sandbox_no_files(struct error *err)
{
	return sandbox_files(NULL, 0, err);
}

static bool write_proc(const char *path, const char *text)
{
	int fd _close_ = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

int sandbox_namespaces(struct error *err)
{
	const int wanted = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	unsigned uid = geteuid(), gid = getegid();
	if (unshare(wanted) == 0)
		return 0;
	if (unshare(CLONE_NEWUSER | wanted) < 0)
		return 1; /* forbidden by policy, or no such thing here */
	/* Whoever owns a file must look the same as before. */
	char *uid_map _free_ = xasprintf("%u %u 1", uid, uid);
	char *gid_map _free_ = xasprintf("%u %u 1", gid, gid);
	if (!write_proc("/proc/self/setgroups", "deny") ||
		!write_proc("/proc/self/uid_map", uid_map) ||
		!write_proc("/proc/self/gid_map", gid_map))
		return error_errno(err, errno, "user namespace: map of ids");
	return 0;
}

static int seccomp_all_threads(scmp_filter_ctx ctx, struct error *err)
{
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	return r ? error_errno(err, -r, "seccomp: all threads") : 0;
}

int sandbox_kill_syscalls(const char *const *names, unsigned count, struct error *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	if (!ctx)
		return error_set(err, ENOMEM, "seccomp: no memory");
	int r = seccomp_all_threads(ctx, err);
	/* A call of another ABI (32-bit, x32) is none that this program makes. */
	if (!r)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	for (unsigned i = 0; !r && i < count; i++) {
		int nr = seccomp_syscall_resolve_name(names[i]);
		if (nr < 0)
			continue;
		r = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, nr, 0);
		if (r)
			error_errno(err, -r, "seccomp: rule for %s", names[i]);
	}
	if (!r)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (!r) {
		r = seccomp_load(ctx);
		if (r)
			error_errno(err, -r, "seccomp: load");
	}
	seccomp_release(ctx);
	return r;
}

int sandbox_allow_syscalls(const struct sandbox_syscall *rows, unsigned count, struct error *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!ctx)
		return error_set(err, ENOMEM, "seccomp: no memory");
	int r = seccomp_all_threads(ctx, err);
	for (unsigned i = 0; !r && i < count; i++) {
		int nr = seccomp_syscall_resolve_name(rows[i].name);
		if (nr < 0)
			continue;
		if (rows[i].mask)
			r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1,
				SCMP_CMP64(rows[i].argument, SCMP_CMP_MASKED_EQ, rows[i].mask,
					rows[i].value));
		else
			r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
		if (r)
			error_errno(err, -r, "seccomp: rule for %s", rows[i].name);
	}
	if (!r) {
		r = seccomp_load(ctx);
		if (r)
			error_errno(err, -r, "seccomp: load");
	}
	seccomp_release(ctx);
	return r;
}
