// SPDX-License-Identifier: Apache-2.0
// What a monitor may still do once its machine is built. docs/sandbox.md is the table for people.
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/sandbox.h"
#include "vm/internal.h"

static const struct sandbox_syscall always[] = {
	/* Descriptors that are open. */
	ALLOW("read"),
	ALLOW("readv"),
	ALLOW("pread64"),
	ALLOW("preadv"),
	ALLOW("preadv2"),
	ALLOW("write"),
	ALLOW("writev"),
	ALLOW("pwrite64"),
	ALLOW("pwritev"),
	ALLOW("pwritev2"),
	ALLOW("close"),
	ALLOW("lseek"),
	ALLOW("fstat"),
	ALLOW("newfstatat"), /* what fstat() is in some C libraries; paths are Landlock's */
	ALLOW("fsync"),
	ALLOW("fdatasync"),
	ALLOW("fallocate"),
	ALLOW("ftruncate"),
	ALLOW("dup"),
	ALLOW_IF("fcntl", 1, F_GETFL),
	ALLOW_IF("fcntl", 1, F_SETFL),
	ALLOW_IF("fcntl", 1, F_GETFD),
	ALLOW_IF("fcntl", 1, F_SETFD),
	ALLOW_IF("fcntl", 1, F_DUPFD_CLOEXEC),
	ALLOW_IF("ioctl", 1, FIONREAD),
	ALLOW_IF("ioctl", 1, BLKDISCARD), /* a disk that is a block device */
	ALLOW_IF("ioctl", 1, BLKZEROOUT),
	/* Waiting. */
	ALLOW("poll"),
	ALLOW("ppoll"),
	ALLOW("epoll_create1"),
	ALLOW("epoll_ctl"),
	ALLOW("epoll_wait"),
	ALLOW("epoll_pwait"),
	ALLOW("eventfd2"),
	ALLOW("timerfd_create"),
	ALLOW("timerfd_settime"),
	ALLOW("clock_gettime"),
	ALLOW("clock_getres"),
	ALLOW("clock_nanosleep"),
	ALLOW("gettimeofday"),
	ALLOW("restart_syscall"),
	/* Memory that is no code. */
	ALLOW("brk"),
	{"mmap", 2, PROT_EXEC, 0},
	{"mprotect", 2, PROT_EXEC, 0},
	ALLOW("munmap"),
	ALLOW("mremap"),
	ALLOW("madvise"),
	ALLOW("getrandom"),
	/* Threads of this process. */
	{"clone", 0, CLONE_THREAD, CLONE_THREAD},
	ALLOW("clone3"), /* the filter that kills answers ENOSYS */
	ALLOW("set_robust_list"),
	ALLOW("rseq"),
	ALLOW("futex"),
	ALLOW("sched_yield"),
	ALLOW("sched_getaffinity"),
	ALLOW("membarrier"),
	ALLOW("gettid"),
	ALLOW("getpid"),
	ALLOW("getrusage"),
	ALLOW_IF("prctl", 0, PR_SET_NAME),
	ALLOW("rt_sigprocmask"),
	ALLOW("rt_sigaction"),
	ALLOW("rt_sigreturn"),
	ALLOW("sigaltstack"),
	ALLOW("exit"),
	ALLOW("exit_group"),
	/* Sockets: the frames, the agent's streams, the control socket. */
	ALLOW("accept4"),
	ALLOW("sendto"),
	ALLOW("sendmsg"),
	ALLOW("sendmmsg"),
	ALLOW("recvfrom"),
	ALLOW("recvmsg"),
	ALLOW("recvmmsg"),
	ALLOW("shutdown"),
	ALLOW("getsockopt"),
	ALLOW_IF("setsockopt", 1, SOL_SOCKET),
	ALLOW("getsockname"),
	ALLOW("getpeername"),
};

/* With shared directories: file system calls, which Landlock and the file server confine. */
static const struct sandbox_syscall with_directories[] = {
	ALLOW("openat"),
	ALLOW("openat2"),
	ALLOW("statx"),
	ALLOW("faccessat"),
	ALLOW("faccessat2"),
	ALLOW("getdents64"),
	ALLOW("readlinkat"),
	ALLOW("mkdirat"),
	ALLOW("mknodat"),
	ALLOW("symlinkat"),
	ALLOW("linkat"),
	ALLOW("unlinkat"),
	ALLOW("renameat"),
	ALLOW("renameat2"),
	ALLOW("fchmod"),
	ALLOW("fchmodat"),
	ALLOW("fchmodat2"),
	ALLOW("chmod"), /* of /proc/self/fd/N: an O_PATH descriptor has no fchmod */
	ALLOW("fchown"),
	ALLOW("fchownat"),
	ALLOW("utimensat"),
	ALLOW("statfs"),
	ALLOW("fstatfs"),
	ALLOW("syncfs"),
	ALLOW("copy_file_range"),
	ALLOW("getxattr"),
	ALLOW("listxattr"),
	ALLOW("setxattr"),
	ALLOW("removexattr"),
	ALLOW("fgetxattr"),
	ALLOW("flistxattr"),
	ALLOW("fsetxattr"),
	ALLOW("fremovexattr"),
	ALLOW("umask"),
};

/* What somebody who has taken the monitor over would try. */
static const char *const fatal[] = {
	"execve",
	"execveat",
	"fork",
	"vfork",
	"ptrace",
	"process_vm_readv",
	"process_vm_writev",
	"process_madvise",
	"pidfd_getfd",
	"kcmp",
	"kexec_load",
	"kexec_file_load",
	"init_module",
	"finit_module",
	"delete_module",
	"bpf",
	"perf_event_open",
	"userfaultfd",
	"io_uring_setup",
	"io_uring_enter",
	"io_uring_register",
	"mount",
	"umount2",
	"pivot_root",
	"chroot",
	"move_mount",
	"open_tree",
	"fsopen",
	"fsconfig",
	"fsmount",
	"fspick",
	"mount_setattr",
	"setns",
	"unshare",
	"name_to_handle_at",
	"open_by_handle_at",
	"add_key",
	"request_key",
	"keyctl",
	"setuid",
	"setgid",
	"setreuid",
	"setregid",
	"setresuid",
	"setresgid",
	"setgroups",
	"setfsuid",
	"setfsgid",
	"capset",
	"personality",
	"reboot",
	"swapon",
	"swapoff",
	"acct",
	"quotactl",
	"settimeofday",
	"clock_settime",
	"clock_adjtime",
	"adjtimex",
	"sethostname",
	"setdomainname",
	"syslog",
	"vhangup",
	"iopl",
	"ioperm",
	"modify_ldt",
	"memfd_secret",
	"shmget",
	"shmat",
	"msgget",
	"semget",
	"mq_open",
	"mbind",
	"migrate_pages",
	"move_pages",
	"lookup_dcookie",
	"fanotify_init",
	"inotify_init1",
	"bind",
	"listen",
	"socketpair",
};

/* To let the guest connect to Unix sockets. Which ones, no filter can say: Landlock does not know
 * them on older kernels, so it is only for machines that ask for it. */
static const struct sandbox_syscall with_connections[] = {
	ALLOW_IF("socket", 0, AF_UNIX),
	ALLOW("connect"),
};

static int allow(bool directories, bool connections, struct error *err)
{
	struct sandbox_syscall rows[ARRAY_SIZE(always) + ARRAY_SIZE(with_directories) +
				    ARRAY_SIZE(with_connections) + 2];
	unsigned n = ARRAY_SIZE(always);
	memcpy(rows, always, sizeof(always));
	if (directories) {
		memcpy(rows + n, with_directories, sizeof(with_directories));
		n += ARRAY_SIZE(with_directories);
	}
	if (connections) {
		memcpy(rows + n, with_connections, sizeof(with_connections));
		n += ARRAY_SIZE(with_connections);
	}
	/* Signals to itself: how abort() ends, and nothing else. */
	rows[n++] = (struct sandbox_syscall){"tgkill", 0, UINT32_MAX, (uint64_t)getpid()};
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	rows[n++] = (struct sandbox_syscall)ALLOW("readlink"); /* for its reports */
#endif
	return sandbox_allow_syscalls(rows, n, err);
}

int vm_sandbox(struct vm *vm, struct error *err)
{
	int r = sandbox_limit(RLIMIT_CORE, 0, err); /* a core file would hold the guest's memory */
	if (r == 0)
		r = MIN(sandbox_namespaces(err), 0);
	/* Other processes of the user may not look into this one. Now: the step above wrote to
	 * /proc. */
	if (r == 0 && prctl(PR_SET_DUMPABLE, 0) < 0)
		r = error_errno(err, errno, "PR_SET_DUMPABLE");
	if (r == 0)
		r = sandbox_drop_privileges(err);
	if (r == 0)
		r = MIN(sandbox_files(vm->dirs, vm->dir_count, err), 0);
	if (r == 0)
		r = sandbox_kill_syscalls(fatal, ARRAY_SIZE(fatal), err);
	if (r == 0)
		r = allow(vm->dir_count > 0, vm->connects, err);
	for (unsigned i = 0; i < vm->dir_count; i++)
		close(vm->dirs[i].fd);
	vm->dir_count = 0;
	return r < 0 ? error_wrap(err, r, "sandbox") : 0;
}
