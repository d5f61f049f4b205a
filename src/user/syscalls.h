// SPDX-License-Identifier: Apache-2.0
// The table of system calls (syscalls.def) and the handlers behind its rows.
#ifndef STRATA_USER_SYSCALLS_H
#define STRATA_USER_SYSCALLS_H

#include "user/internal.h"

typedef int64_t user_handler(struct user_thread *t, const uint64_t a[6]);

struct user_row {
	const char *name;
	const char *args; /* one letter per argument: see syscalls.def */
	int host;	  /* the host's number; -1: handler; -2: refused with `error` */
	int error;
	user_handler *handler;
};
enum { USER_ROWS = 470 };
extern const struct user_row user_rows[USER_ROWS];

/* struct stat of asm-generic, 64 bits. */
struct user_stat {
	uint64_t dev, ino;
	uint32_t mode, nlink, uid, gid;
	uint64_t rdev, pad1;
	int64_t size;
	int32_t blksize, pad2;
	int64_t blocks;
	int64_t atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns;
	uint32_t unused[2];
};

/* strace.c. row: NULL when the number is not known. done: there is a result. */
void user_trace_call(const struct user_row *row, uint64_t number, const uint64_t a[6],
	int64_t result, bool done);

/* sys_file.c, sys_misc.c */
user_handler user_sys_openat, user_sys_openat2, user_sys_close, user_sys_close_range, user_sys_dup3,
	user_sys_fstat, user_sys_fstatat, user_sys_readlinkat, user_sys_getcwd, user_sys_epoll_ctl,
	user_sys_epoll_pwait, user_sys_epoll_pwait2, user_sys_chroot, user_sys_pivot_root,
	user_sys_setns, user_sys_symlinkat, user_sys_bind, user_sys_getsockname,
	user_sys_getpeername, user_sys_connect, user_sys_exit, user_sys_exit_group,
	user_sys_set_tid_address, user_sys_set_robust_list, user_sys_clone, user_sys_setrlimit,
	user_sys_getrlimit, user_sys_prlimit64, user_sys_prctl, user_sys_seccomp, user_sys_uname,
	user_sys_gettimeofday, user_sys_clock_gettime, user_sys_semctl, user_sys_riscv_hwprobe,
	user_sys_riscv_flush_icache, user_sys_membarrier, user_sys_brk, user_sys_mmap,
	user_sys_munmap, user_sys_mprotect, user_sys_mremap, user_sys_madvise, user_sys_shmat,
	user_sys_shmdt, user_sys_pkey_mprotect;

#endif
