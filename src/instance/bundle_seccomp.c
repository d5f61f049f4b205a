// SPDX-License-Identifier: Apache-2.0
// The default seccomp profile: what programs need is allowed; what acts on the whole host is EPERM
// unless the container has the capability that it takes; what is not here does not exist (ENOSYS),
// so that a program that tries a newer call falls back to an older one.
#include <linux/capability.h>
#include <sched.h>
#include <sys/personality.h>

#include "instance/bundle_seccomp.h"

#define CAP(name) (UINT64_C(1) << CAP_##name)

/* A list of names, separated by blanks; allowed when the container has all of caps. */
struct group {
	uint64_t caps;
	const char *names;
};

static const struct group groups[] = {
	/* processes, threads, scheduling, signals */
	{0, "execve execveat exit exit_group fork vfork wait4 waitid waitpid getpid getppid "
	    "gettid getpgid getpgrp getsid setpgid setsid set_tid_address prctl arch_prctl "
	    "set_thread_area get_thread_area modify_ldt set_robust_list get_robust_list rseq "
	    "futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue membarrier "
	    "sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr "
	    "sched_getparam sched_setparam sched_getscheduler sched_setscheduler "
	    "sched_get_priority_max sched_get_priority_min sched_rr_get_interval "
	    "sched_rr_get_interval_time64 getpriority setpriority nice ioprio_get ioprio_set "
	    "getcpu "
	    "kill tkill tgkill pidfd_open pidfd_send_signal rt_sigaction rt_sigpending "
	    "rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait "
	    "rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal signalfd "
	    "signalfd4 sigpending sigprocmask sigreturn sigsuspend pause restart_syscall alarm "
	    "ptrace process_madvise process_mrelease process_vm_readv process_vm_writev kcmp "
	    "pidfd_getfd getrusage times setrlimit getrlimit ugetrlimit prlimit64 uname sysinfo "
	    "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self "
	    "map_shadow_stack uretprobe"},
	/* identity */
	{0, "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid "
	    "getresuid32 getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid "
	    "setgid32 "
	    "setreuid setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32 "
	    "setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset umask"},
	/* memory */
	{0, "brk mmap mmap2 munmap mremap mprotect pkey_alloc pkey_free pkey_mprotect madvise "
	    "mincore "
	    "mlock mlock2 mlockall munlock munlockall msync remap_file_pages memfd_create "
	    "memfd_secret mseal shmat shmctl shmdt shmget get_mempolicy cachestat"},
	/* files */
	{0, "open openat openat2 creat close close_range read write readv writev pread64 pwrite64 "
	    "preadv pwritev preadv2 pwritev2 lseek _llseek dup dup2 dup3 fcntl fcntl64 flock ioctl "
	    "pipe pipe2 access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 "
	    "fstatat64 "
	    "newfstatat statx statfs statfs64 fstatfs fstatfs64 chdir fchdir getcwd rename "
	    "renameat "
	    "renameat2 mkdir mkdirat rmdir link linkat symlink symlinkat unlink unlinkat readlink "
	    "readlinkat mknod mknodat chmod fchmod fchmodat fchmodat2 chown chown32 fchown "
	    "fchown32 "
	    "lchown lchown32 fchownat utime utimes utimensat utimensat_time64 futimesat truncate "
	    "truncate64 ftruncate ftruncate64 fallocate fadvise64 fadvise64_64 arm_fadvise64_64 "
	    "readahead fsync fdatasync sync syncfs sync_file_range sync_file_range2 "
	    "arm_sync_file_range sendfile sendfile64 splice tee vmsplice copy_file_range getdents "
	    "getdents64 getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr "
	    "setxattrat listxattr llistxattr flistxattr listxattrat removexattr lremovexattr "
	    "fremovexattr removexattrat name_to_handle_at inotify_init inotify_init1 "
	    "inotify_add_watch inotify_rm_watch statmount listmount"},
	/* waiting, time */
	{0, "select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create "
	    "epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait "
	    "epoll_pwait2 "
	    "eventfd eventfd2 nanosleep clock_nanosleep clock_nanosleep_time64 clock_gettime "
	    "clock_gettime64 clock_getres clock_getres_time64 gettimeofday time getitimer "
	    "setitimer "
	    "timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 "
	    "timer_settime "
	    "timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime "
	    "timerfd_settime64 adjtimex clock_adjtime clock_adjtime64 getrandom"},
	/* asynchronous input and output; io_uring is not here: too much goes past a filter */
	{0, "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents "
	    "io_pgetevents_time64"},
	/* sockets and message queues; socket itself is below */
	{0, "socketcall socketpair bind listen accept accept4 connect shutdown getsockname "
	    "getpeername "
	    "getsockopt setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg "
	    "recvmmsg_time64 ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop "
	    "semtimedop_time64 mq_open mq_unlink mq_notify mq_getsetattr mq_timedreceive "
	    "mq_timedreceive_time64 mq_timedsend mq_timedsend_time64"},
	/* keys live in a keyring of the container's own */
	{0, "add_key keyctl request_key"},
	/* Namespaces and mounts: the kernel asks for rights in a user namespace. */
	{CAP(SYS_ADMIN), "clone clone3 unshare setns mount umount umount2 mount_setattr move_mount "
			 "open_tree "
			 "open_tree_attr fsopen fsconfig fsmount fspick pivot_root sethostname "
			 "setdomainname "
			 "bpf fanotify_init fanotify_mark lookup_dcookie quotactl quotactl_fd "
			 "perf_event_open"},
	{CAP(SYS_CHROOT), "chroot"},
	{CAP(DAC_READ_SEARCH), "open_by_handle_at"},
	{CAP(BPF), "bpf"},
	{CAP(PERFMON), "perf_event_open"},
	{CAP(SYS_BOOT), "reboot kexec_load kexec_file_load"},
	{CAP(SYS_MODULE), "init_module finit_module delete_module"},
	{CAP(SYS_PACCT), "acct"},
	{CAP(SYS_RAWIO), "iopl ioperm"},
	{CAP(SYS_TIME), "settimeofday stime clock_settime clock_settime64"},
	{CAP(SYS_TTY_CONFIG), "vhangup"},
	{CAP(SYS_NICE), "mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node"},
	{CAP(SYSLOG), "syslog"},
	{CAP(SYS_ADMIN) | CAP(SYS_PTRACE), "userfaultfd"},
};

/* Refused with EPERM, not ENOSYS: programs know them and go on without. */
static const char refused[] =
	"bpf fanotify_init lookup_dcookie perf_event_open quotactl quotactl_fd setns unshare mount "
	"umount umount2 mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick "
	"pivot_root "
	"sethostname setdomainname chroot open_by_handle_at reboot kexec_load kexec_file_load "
	"init_module finit_module delete_module create_module query_module get_kernel_syms acct "
	"iopl "
	"ioperm settimeofday stime clock_settime clock_settime64 vhangup mbind migrate_pages "
	"move_pages set_mempolicy set_mempolicy_home_node syslog userfaultfd swapon swapoff sysfs "
	"_sysctl uselib ustat nfsservctl vm86 vm86old io_uring_setup io_uring_enter "
	"io_uring_register";

/* The words of a list that are not in without. */
static json_t *names_of(const char *list, const json_t *without)
{
	json_t *a = json_array();
	for (const char *p = list; *p; p += strspn(p, " ")) {
		size_t n = strcspn(p, " "), i = 0, have = json_array_size(without);
		json_t *name = json_stringn(p, n);
		while (i < have && !json_equal(json_array_get(without, i), name))
			i++;
		if (i == have)
			json_array_append_new(a, name);
		else
			json_decref(name);
		p += n;
	}
	return a;
}

static json_t *rule(json_t *names, const char *action, json_t *args)
{
	json_t *o = json_pack("{s:o, s:s}", "names", names, "action", action);
	if (args)
		json_object_set_new(o, "args", args);
	return o;
}

static json_t *arg(int index, json_int_t value, json_int_t two, const char *op)
{
	return json_pack("[{s:i, s:I, s:I, s:s}]", "index", index, "value", value, "valueTwo", two,
		"op", op);
}

static void allow_conditions(json_t *rules, uint64_t caps)
{
	static const json_int_t domains[] = {
		PER_LINUX, PER_LINUX32, UNAME26, UNAME26 | PER_LINUX32, 0xffffffff /* only asks */};
	const json_int_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
				      CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
	for (size_t i = 0; i < ARRAY_SIZE(domains); i++)
		json_array_append_new(rules, rule(json_pack("[s]", "personality"), "SCMP_ACT_ALLOW",
						     arg(0, domains[i], 0, "SCMP_CMP_EQ")));
	/* AF_VSOCK reaches the hypervisor under the host. */
	enum { VSOCK = 40 };
	json_array_append_new(rules, rule(json_pack("[s]", "socket"), "SCMP_ACT_ALLOW",
					     arg(0, VSOCK, 0, "SCMP_CMP_NE")));
	/* clone3 has its flags in memory, where a filter cannot look: it does not exist, and glibc
	 * takes clone. */
	if (!(caps & CAP(SYS_ADMIN)))
		json_array_append_new(rules, rule(json_pack("[s]", "clone"), "SCMP_ACT_ALLOW",
						     arg(0, namespaces, 0, "SCMP_CMP_MASKED_EQ")));
}

json_t *bundle_seccomp(uint64_t caps)
{
	json_t *rules = json_array(), *allowed = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		if ((groups[i].caps & caps) != groups[i].caps)
			continue;
		json_t *names = names_of(groups[i].names, allowed);
		json_array_extend(allowed, names);
		json_decref(names);
	}
	json_t *eperm = rule(names_of(refused, allowed), "SCMP_ACT_ERRNO", NULL);
	json_object_set_new(eperm, "errnoRet", json_integer(EPERM));
	json_array_append_new(rules, eperm);
	json_array_append_new(rules, rule(allowed, "SCMP_ACT_ALLOW", NULL));
	allow_conditions(rules, caps);
	json_t *arches = json_array();
#if defined(__x86_64__)
	json_array_append_new(arches, json_string("SCMP_ARCH_X86_64"));
	json_array_append_new(arches, json_string("SCMP_ARCH_X86"));
	json_array_append_new(arches, json_string("SCMP_ARCH_X32"));
#elif defined(__aarch64__)
	json_array_append_new(arches, json_string("SCMP_ARCH_AARCH64"));
	json_array_append_new(arches, json_string("SCMP_ARCH_ARM"));
#else
	json_array_append_new(arches, json_string("SCMP_ARCH_NATIVE"));
#endif
	return json_pack("{s:s, s:i, s:o, s:o}", "defaultAction", "SCMP_ACT_ERRNO",
		"defaultErrnoRet", ENOSYS, "architectures", arches, "syscalls", rules);
}
