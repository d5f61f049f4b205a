// SPDX-License-Identifier: Apache-2.0
// What the kernel says of odd requests: rseq, ptrace, seccomp, prctl, unknown numbers, random
// bytes, registers after a system call, clone and futex by hand.
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void show(const char *what, long r)
{
	printf("%s: %ld %s\n", what, r, r < 0 ? strerror(errno) : "");
}

static void refusals(void)
{
	show("rseq", syscall(SYS_rseq, 0, 0, 0, 0));
	show("ptrace", ptrace(PTRACE_TRACEME, 0, 0, 0));
	show("ptrace", ptrace(PTRACE_ATTACH, getppid(), 0, 0));
	show("seccomp", syscall(SYS_seccomp, 0, 0, NULL));
	show("seccomp by prctl", prctl(PR_SET_SECCOMP, 1));
	show("pkey_alloc", syscall(SYS_pkey_alloc, 0, 0));
	show("unknown", syscall(400, 1, 2, 3));
	show("unknown", syscall(400, 1, 2, 3));
	show("unknown", syscall(1000000, 1, 2, 3));
	show("not there", syscall(-1L));
}

static void names(void)
{
	char name[32] = "";
	show("set name", prctl(PR_SET_NAME, "a thread's name"));
	show("get name", prctl(PR_GET_NAME, name));
	printf("name %s\n", name);
	FILE *f = fopen("/proc/self/comm", "r");
	fgets(name, sizeof(name), f);
	fclose(f);
	printf("comm %s", name);
	show("death signal", prctl(PR_SET_PDEATHSIG, SIGTERM));
	int sig = 0;
	prctl(PR_GET_PDEATHSIG, &sig);
	printf("death signal %d\n", sig);
	show("dumpable", prctl(PR_GET_DUMPABLE));
	show("no new privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	show("no new privileges", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	show("nonsense", prctl(12345));
}

static void randomness(void)
{
	unsigned char a[64] = {0}, b[64] = {0};
	show("random", getrandom(a, sizeof(a), 0));
	show("random", getrandom(b, sizeof(b), GRND_NONBLOCK));
	printf("different %d\n", memcmp(a, b, sizeof(a)) != 0);
	show("nowhere", syscall(SYS_getrandom, 8, 16, 0));
	show("flags", getrandom(a, 1, 0x8000));
	const unsigned char *r = (void *)getauxval(AT_RANDOM);
	unsigned sum = 0;
	for (int n = 0; n < 16; n++)
		sum |= r[n];
	printf("AT_RANDOM %d\n", sum != 0);
}

/* /proc/self/auxv is what stands above the environment. */
static void vectors(void)
{
	uint64_t aux[64] = {0};
	FILE *f = fopen("/proc/self/auxv", "r");
	size_t n = fread(aux, 16, 32, f);
	fclose(f);
	int same = n > 10;
	for (size_t i = 0; i < n && aux[2 * i] != AT_NULL; i++)
		same &= getauxval(aux[2 * i]) == aux[2 * i + 1];
	printf("auxv %d, page %lu, hwcap %lx, clock %lu, secure %lu\n", same, getauxval(AT_PAGESZ),
		getauxval(AT_HWCAP) & 0x112d, getauxval(AT_CLKTCK), getauxval(AT_SECURE));
}

static void times(void)
{
	struct timespec a, b;
	struct timeval v;
	int bad = 0;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int n = 0; n < 10000; n++) {
		clock_gettime(CLOCK_MONOTONIC, &b);
		bad += b.tv_sec < a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec < a.tv_nsec);
		a = b;
	}
	clock_gettime(CLOCK_REALTIME, &a);
	gettimeofday(&v, NULL);
	printf("clock: %d, %d %d\n", bad, labs(a.tv_sec - v.tv_sec) <= 1,
		labs(a.tv_sec - time(NULL)) <= 1);
	show("a clock", clock_getres(CLOCK_MONOTONIC, &b));
	show("no clock", clock_gettime(77, &a));
	show("no place", syscall(SYS_clock_gettime, 0, 8));
}

/* A system call changes a0 alone. */
static void registers(void)
{
	uint64_t saved[8], after[8];
	__asm__ volatile(
		"li a1, 11\nli a2, 12\nli a3, 13\nli a4, 14\nli a5, 15\nli a6, 16\nli t0, 17\n"
		"li t6, 18\nli a0, -7\nli a7, 172\necall\n"
		"sd a1, 0(%0)\nsd a2, 8(%0)\nsd a3, 16(%0)\nsd a4, 24(%0)\nsd a5, 32(%0)\n"
		"sd a6, 40(%0)\nsd t0, 48(%0)\nsd t6, 56(%0)\nsd a0, 0(%1)\nsd a7, 8(%1)\n" ::"r"(
			saved),
		"r"(after)
		: "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "t0", "t6", "memory");
	for (int n = 0; n < 8; n++)
		printf("%ld ", (long)saved[n]);
	printf("%d %ld\n", after[0] == (uint64_t)getpid(), (long)after[1]);
}

/* --- clone and futex without a library --- */
static int word, tid_cleared = -1, tid_of_parent, tid_of_child;
static char child_stack[65536] __attribute__((aligned(16)));
static int raw_child(void *arg)
{
	tid_of_child = (int)syscall(SYS_gettid) == *(volatile int *)arg;
	__atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
	syscall(SYS_exit, 0);
	return 0;
}

static void raw(void)
{
	int tid = clone(raw_child, child_stack + sizeof(child_stack),
		CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
			CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID,
		&tid_of_parent, &tid_of_parent, NULL, &tid_cleared);
	while (!__atomic_load_n(&word, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
	int seen;
	while ((seen = __atomic_load_n(&tid_cleared, __ATOMIC_SEQ_CST)))
		syscall(SYS_futex, &tid_cleared, FUTEX_WAIT, seen, NULL, NULL, 0);
	printf("clone: %d %d %d\n", tid == tid_of_parent, tid_of_child, tid_cleared);
	struct timespec soon = {0, 1000000};
	show("futex in vain", syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0));
	show("futex too long", syscall(SYS_futex, &word, FUTEX_WAIT, 1, &soon, NULL, 0));
	show("futex nowhere", syscall(SYS_futex, 8, FUTEX_WAIT, 1, &soon, NULL, 0));
	show("half a thread",
		syscall(SYS_clone, CLONE_THREAD | CLONE_VM, child_stack + 1024, 0, 0, 0));
	show("clone3 of nothing", syscall(SYS_clone3, NULL, 0));
	uint64_t tid_at = 0;
	syscall(SYS_set_tid_address, &tid_cleared);
	show("get tid address", prctl(PR_GET_TID_ADDRESS, &tid_at));
	printf("tid address %d\n", tid_at == (uint64_t)&tid_cleared);
	show("tid address", syscall(SYS_set_tid_address, NULL) == getpid() ? 0 : 1);
	show("affinity", syscall(SYS_sched_setaffinity, 0, 8, 8) < 0 ? 0 : 1);
}

static void shared(void)
{
	FILE *f = tmpfile();
	ftruncate(fileno(f), 8192);
	char *a = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
	char *b = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fileno(f), 4096), back[8] = "";
	strcpy(a + 4096, "by map");
	pread(fileno(f), back, 6, 4096);
	printf("shared file: %s, %s\n", back, b);
	int *n = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!fork()) {
		__atomic_fetch_add(n, 5, __ATOMIC_SEQ_CST);
		_exit(0);
	}
	wait(NULL);
	printf("shared with a child: %d\n", *n);
	show("msync", msync(a, 8192, MS_SYNC));
	show("mlock", mlock(a, 4096));
	unsigned char in = 0;
	show("mincore", mincore(a, 4096, &in));
	show("unaligned", (long)mmap((void *)0x20001, 4096, PROT_READ,
				  MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	show("too high", (long)mmap((void *)(1UL << 40), 4096, PROT_READ,
				 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	show("too low", (long)mmap((void *)0, 4096, PROT_READ,
				MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	show("bad descriptor", (long)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 99, 0));
	show("protect nothing", mprotect((void *)0x3000000, 4096, PROT_READ));
	show("unmap unaligned", munmap((void *)0x3000001, 4096));
	show("remap nothing", (long)mremap((void *)0x3000000, 4096, 8192, 0));
	char *c = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(c + 4096, "middle");
	munmap(c, 4096);
	munmap(c + 8192, 4096);
	char *to = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *moved = mremap(c + 4096, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, to + 4096);
	printf("moved over: %d %s\n", moved == to + 4096, moved);
	char *kept = mremap(moved, 4096, 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
	printf("not unmapped: %d %s [%s]\n", kept != moved, kept, moved);
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	refusals();
	names();
	randomness();
	vectors();
	times();
	registers();
	raw();
	shared();
	return 0;
}
