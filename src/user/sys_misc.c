// SPDX-License-Identifier: Apache-2.0
// System calls on processes, memory, time and the machine.
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "user/syscalls.h"

/* Newer than some headers. */
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif

/* --- processes --- */
int64_t user_sys_exit(struct user_thread *t, const uint64_t a[6])
{
	user_thread_exit(t, (int)a[0]);
	return USER_NO_RESULT;
}

int64_t user_sys_exit_group(struct user_thread *t, const uint64_t a[6])
{
	user_exit(t, (int)a[0]);
}

int64_t user_sys_clone(struct user_thread *t, const uint64_t a[6])
{
	/* Of this architecture the order is flags, stack, parent's tid, TLS, child's tid. The
	 * pidfd comes in place of the parent's tid. */
	uint64_t flags = a[0] & ~(uint64_t)CSIGNAL & UINT32_MAX;
	if ((flags & CLONE_PIDFD) && (flags & CLONE_PARENT_SETTID))
		return -EINVAL;
	return user_clone(t, flags, a[1], a[2], a[3], a[4], (int)(a[0] & CSIGNAL),
		flags & CLONE_PIDFD ? a[2] : 0);
}

int64_t user_sys_set_tid_address(struct user_thread *t, const uint64_t a[6])
{
	t->clear_tid = a[0];
	return USER_CALL(SYS_gettid);
}

int64_t user_sys_set_robust_list(struct user_thread *t, const uint64_t a[6])
{
	int64_t r = user_host(t, SYS_set_robust_list, a);
	if (r == 0)
		t->robust_list = a[0];
	return r;
}

/* --- limits --- */
static bool limit_is_kept(uint64_t resource)
{
	return resource == RLIMIT_AS || resource == RLIMIT_DATA || resource == RLIMIT_STACK;
}

int64_t user_sys_prlimit64(struct user_thread *t, const uint64_t a[6])
{
	struct user_process *p = t->process;
	uint64_t new[2], old[2];
	if (!limit_is_kept(a[1]) || (a[0] && a[0] != (uint64_t)getpid()))
		return user_host(t, SYS_prlimit64, a);
	int64_t r = USER_CALL(SYS_prlimit64, 0, a[1], 0, (uintptr_t)old);
	if (r < 0)
		return r;
	if (a[2] && user_read(a[2], new, sizeof(new)) < 0)
		return -EFAULT;
	pthread_mutex_lock(&p->lock);
	if (p->limits[a[1]].set) {
		old[0] = p->limits[a[1]].soft;
		old[1] = p->limits[a[1]].hard;
	}
	if (a[2] && new[0] > new[1])
		r = -EINVAL;
	else if (a[2] && new[1] > old[1] && geteuid())
		r = -EPERM;
	if (a[2] && r == 0) {
		p->limits[a[1]].soft = new[0];
		p->limits[a[1]].hard = new[1];
		p->limits[a[1]].set = true;
	}
	pthread_mutex_unlock(&p->lock);
	return r < 0 || !a[3] ? r : user_write(a[3], old, sizeof(old));
}

int64_t user_sys_getrlimit(struct user_thread *t, const uint64_t a[6])
{
	return user_sys_prlimit64(t, (const uint64_t[6]){0, a[0], 0, a[1]});
}

int64_t user_sys_setrlimit(struct user_thread *t, const uint64_t a[6])
{
	return user_sys_prlimit64(t, (const uint64_t[6]){0, a[0], a[1], 0});
}

/* --- what would hit this program instead of the guest's, or is of another architecture --- */
int64_t user_sys_prctl(struct user_thread *t, const uint64_t a[6])
{
	switch ((int)a[0]) {
	case PR_SET_SECCOMP:
	case PR_GET_SECCOMP:
	case PR_SET_TSC:
	case PR_GET_TSC:
	case PR_SET_SYSCALL_USER_DISPATCH:
	case PR_MPX_ENABLE_MANAGEMENT:
	case PR_MPX_DISABLE_MANAGEMENT:
	case PR_SET_MDWE: /* the translator writes code */
	case PR_GET_MDWE:
		return -EINVAL;
	case PR_GET_TID_ADDRESS:
		return user_write(a[1], &t->clear_tid, sizeof(t->clear_tid));
	case PR_SET_MM:
		return -EPERM;
	default:
		return user_host(t, SYS_prctl, a);
	}
}

int64_t user_sys_seccomp(struct user_thread *t, const uint64_t a[6])
{
	return -ENOSYS; /* as a kernel without it: a filter would see the host's system calls */
}

/* --- the machine --- */
int64_t user_sys_uname(struct user_thread *t, const uint64_t a[6])
{
	struct utsname u = {0};
	int64_t r = USER_CALL(SYS_uname, (uintptr_t)&u);
	strcpy(u.machine, "riscv64");
	return r < 0 ? r : user_write(a[0], &u, sizeof(u));
}

/* Documentation/arch/riscv/hwprobe.rst */
enum hwprobe_key {
	KEY_MVENDORID,
	KEY_MARCHID,
	KEY_MIMPID,
	KEY_BASE_BEHAVIOR,
	KEY_IMA_EXT_0,
	KEY_CPUPERF_0,
	KEY_ZICBOZ_BLOCK_SIZE,
	KEY_HIGHEST_VIRT_ADDRESS,
	KEY_TIME_CSR_FREQ,
	KEY_MISALIGNED_SCALAR_PERF,
	KEY_MISALIGNED_VECTOR_PERF,
};
/* FD, C, Zba, Zbb, Zbs, Zicboz, Zbc, Zicond, Zihintpause, Zawrs */
static const uint8_t ima_bits[] = {0, 1, 3, 4, 5, 6, 7, 35, 36, 48};

static uint64_t hwprobe_value(const struct user_process *p, int64_t key, bool *known)
{
	uint64_t v = 0;
	*known = true;
	switch (key) {
	case KEY_MVENDORID:
	case KEY_MARCHID:
	case KEY_MIMPID:
		return 0;
	case KEY_BASE_BEHAVIOR:
		return 1; /* IMA */
	case KEY_IMA_EXT_0:
		for (size_t n = 0; n < sizeof(ima_bits); n++)
			v |= UINT64_C(1) << ima_bits[n];
		return v;
	case KEY_CPUPERF_0:
	case KEY_MISALIGNED_SCALAR_PERF:
		return 3; /* fast */
	case KEY_ZICBOZ_BLOCK_SIZE:
		return RV64_CBO_BYTES;
	case KEY_HIGHEST_VIRT_ADDRESS:
		return p->map.top - 1;
	case KEY_TIME_CSR_FREQ:
		return RV64_TIMEBASE_HZ;
	case KEY_MISALIGNED_VECTOR_PERF:
		return 4; /* unsupported */
	default:
		*known = false;
		return 0;
	}
}

int64_t user_sys_riscv_hwprobe(struct user_thread *t, const uint64_t a[6])
{
	struct {
		int64_t key;
		uint64_t value;
	} pair;
	if (a[4]) /* which of the CPUs have this: they are all alike, so nobody needs it */
		return -EINVAL;
	for (uint64_t n = 0; n < a[1]; n++) {
		uint64_t at = a[0] + n * sizeof(pair);
		bool known;
		if (user_read(at, &pair, sizeof(pair)) < 0)
			return -EFAULT;
		pair.value = hwprobe_value(t->process, pair.key, &known);
		if (!known)
			pair.key = -1;
		if (user_write(at, &pair, sizeof(pair)) < 0)
			return -EFAULT;
	}
	return 0;
}

/* Code that has changed is seen by every thread. */
static void sync_code(struct user_thread *t)
{
	user_map_code_fence(&t->process->map);
	vcpu_group_settle(t->process->group, t->vcpu);
}

int64_t user_sys_riscv_flush_icache(struct user_thread *t, const uint64_t a[6])
{
	if (a[2] & ~UINT64_C(1)) /* SYS_RISCV_FLUSH_ICACHE_LOCAL */
		return -EINVAL;
	if (a[2] & 1)
		user_map_code_fence(&t->process->map);
	else
		sync_code(t);
	return 0;
}

int64_t user_sys_membarrier(struct user_thread *t, const uint64_t a[6])
{
	int64_t r = user_host(t, SYS_membarrier, a);
	if (r == 0 && (int)a[0] == MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)
		sync_code(t);
	return r;
}

/* --- time, from the host's vDSO --- */
int64_t user_sys_clock_gettime(struct user_thread *t, const uint64_t a[6])
{
	struct timespec now;
	if (clock_gettime((clockid_t)a[0], &now) < 0)
		return -errno;
	return user_write(a[1], &now, sizeof(now));
}

int64_t user_sys_gettimeofday(struct user_thread *t, const uint64_t a[6])
{
	struct timeval now;
	if (a[1])
		return user_host(t, SYS_gettimeofday, a);
	if (gettimeofday(&now, NULL) < 0)
		return -errno;
	return a[0] ? user_write(a[0], &now, sizeof(now)) : 0;
}

/* --- System V semaphores: x86-64 has gaps between the times --- */
struct guest_semid {
	uint8_t perm[48];
	uint64_t otime, ctime, nsems, unused[2];
};
struct host_semid {
	uint8_t perm[48];
	uint64_t otime, unused1, ctime, unused2, nsems, unused[2];
};

int64_t user_sys_semctl(struct user_thread *t, const uint64_t a[6])
{
	struct guest_semid g = {0};
	struct host_semid h = {0};
	int command = (int)a[2];
	if (command == IPC_SET) {
		if (user_read(a[3], &g, sizeof(g)) < 0)
			return -EFAULT;
		memcpy(h.perm, g.perm, sizeof(h.perm));
	} else if (command != IPC_STAT && command != SEM_STAT && command != SEM_STAT_ANY) {
		return user_host(t, SYS_semctl, a);
	}
	int64_t r = USER_CALL(SYS_semctl, a[0], a[1], a[2], (uintptr_t)&h);
	if (r < 0 || command == IPC_SET)
		return r;
	memcpy(g.perm, h.perm, sizeof(g.perm));
	g.otime = h.otime;
	g.ctime = h.ctime;
	g.nsems = h.nsems;
	int w = user_write(a[3], &g, sizeof(g));
	return w < 0 ? w : r;
}

/* --- memory --- */
int64_t user_sys_brk(struct user_thread *t, const uint64_t a[6])
{
	return user_brk(&t->process->map, a[0]);
}
int64_t user_sys_mmap(struct user_thread *t, const uint64_t a[6])
{
	return user_mmap(
		&t->process->map, a[0], a[1], (unsigned)a[2] & 7, (unsigned)a[3], (int)a[4], a[5]);
}
int64_t user_sys_munmap(struct user_thread *t, const uint64_t a[6])
{
	return user_munmap(&t->process->map, a[0], a[1]);
}
int64_t user_sys_mprotect(struct user_thread *t, const uint64_t a[6])
{
	return user_mprotect(&t->process->map, a[0], a[1], (unsigned)a[2]);
}
int64_t user_sys_pkey_mprotect(struct user_thread *t, const uint64_t a[6])
{
	return (int)a[3] == -1 ? user_sys_mprotect(t, a) : -EINVAL;
}
int64_t user_sys_mremap(struct user_thread *t, const uint64_t a[6])
{
	return user_mremap(&t->process->map, a[0], a[1], a[2], (unsigned)a[3], a[4]);
}
int64_t user_sys_madvise(struct user_thread *t, const uint64_t a[6])
{
	return user_madvise(&t->process->map, a[0], a[1], (int)a[2]);
}
int64_t user_sys_shmat(struct user_thread *t, const uint64_t a[6])
{
	return user_shmat(&t->process->map, (int)a[0], a[1], (int)a[2]);
}
int64_t user_sys_shmdt(struct user_thread *t, const uint64_t a[6])
{
	return user_shmdt(&t->process->map, a[0]);
}
