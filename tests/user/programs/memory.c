// SPDX-License-Identifier: Apache-2.0
// Mappings of all kinds, and code that changes.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

typedef int fn(void);

/* li a0, n; ret */
static void make(unsigned *code, int n)
{
	code[0] = 0x00000513 | (unsigned)n << 20;
	code[1] = 0x00008067;
	__builtin___clear_cache((char *)code, (char *)(code + 2));
}

static void changing_code(void)
{
	unsigned *code = mmap(
		NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int sum = 0;
	for (int n = 0; n < 1000; n++) {
		make(code, n);
		sum += ((fn *)code)();
	}
	printf("rewritten: %d\n", sum);
	for (int n = sum = 0; n < 3000; n++) {
		code[0] = 0x00000513 | (unsigned)(n & 2047) << 20;
		__builtin___clear_cache((char *)code, (char *)(code + 1));
		sum += ((fn *)code)();
	}
	printf("one word rewritten: %d\n", sum);
	/* The kernel writes to a page with code. */
	int fds[2];
	unsigned other[2] = {0x00000513 | 77 << 20, 0x00008067};
	pipe(fds);
	write(fds[1], other, 8);
	ssize_t r = read(fds[0], code, 8);
	__builtin___clear_cache((char *)code, (char *)(code + 2));
	printf("read over code: %zd %d\n", r, ((fn *)code)());
	/* Code that straddles two pages. */
	unsigned *edge = (unsigned *)((char *)code + 4094);
	make(edge, 5);
	int first = ((fn *)edge)();
	make(edge, 6);
	printf("straddling: %d %d\n", first, ((fn *)edge)());
	/* Another file's page at the same place. */
	mprotect(code, 4096, PROT_READ | PROT_EXEC);
	printf("protected: %d\n", ((fn *)code)());
	mmap(code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	make(code, 9);
	printf("mapped anew: %d\n", ((fn *)code)());
	/* Two mappings of one memory. */
	int fd = memfd_create("code", 0);
	ftruncate(fd, 4096);
	unsigned *w = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unsigned *x = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	for (int n = sum = 0; n < 50; n++) {
		w[0] = 0x00000513 | (unsigned)n << 20;
		w[1] = 0x00008067;
		__builtin___clear_cache((char *)x, (char *)(x + 2));
		sum += ((fn *)x)();
	}
	printf("through another mapping: %d\n", sum);
}

static unsigned *shared_code;
static volatile int stop, wrong;
static void *caller(void *arg)
{
	while (!stop) {
		int v = ((fn *)shared_code)();
		if (v != 1 && v != 2)
			wrong++;
	}
	return NULL;
}

static void code_of_two_threads(void)
{
	pthread_t t;
	shared_code = mmap(
		NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	make(shared_code, 1);
	pthread_create(&t, NULL, caller, NULL);
	for (int n = 0; n < 3000; n++) {
		shared_code[0] = 0x00000513 | (1u + (unsigned)n % 2) << 20;
		__builtin___clear_cache((char *)shared_code, (char *)(shared_code + 2));
	}
	stop = 1;
	pthread_join(t, NULL);
	printf("two threads: %d\n", wrong);
}

static void mappings(void)
{
	char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(p, "moved");
	char *guard = mmap(p + (1 << 20), 4096, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	(void)guard;
	char *q = mremap(p, 1 << 20, 8 << 20, MREMAP_MAYMOVE);
	q[(8 << 20) - 1] = 1;
	printf("mremap: %s\n", q);
	q = mremap(q, 8 << 20, 4096, 0);
	printf("shrunk: %s\n", q);
	munmap(q, 4096);
	printf("unmapped: %d\n", msync(q, 4096, MS_ASYNC) == -1 && errno == ENOMEM);
	void *fixed = mmap((void *)0x10000000, 4096, PROT_READ,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	printf("fixed: %p\n", fixed);
	fixed = mmap((void *)0x10000000, 4096, PROT_READ,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	printf("again: %d %s\n", fixed == MAP_FAILED, strerror(errno));
	printf("length 0: %d %s\n",
		mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED,
		strerror(errno));
	char *b = sbrk(0);
	sbrk(1 << 20);
	memset(b, 7, 1 << 20);
	sbrk(-(1 << 20));
	printf("brk: %d\n", sbrk(0) == (void *)b);
	int id = shmget(IPC_PRIVATE, 10000, IPC_CREAT | 0600);
	char *s = shmat(id, NULL, 0), *s2 = shmat(id, NULL, SHM_RDONLY);
	shmctl(id, IPC_RMID, NULL);
	strcpy(s, "shared");
	printf("shm: %s\n", s2);
	printf("detached: %d %d\n", shmdt(s), shmdt(s2));
	printf("not attached: %d\n", shmdt(s));
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p[0] = 1;
	madvise(p, 4096, MADV_DONTNEED);
	printf("dontneed: %d\n", p[0]);
}

static void bad_pointers(void)
{
	int fds[2];
	struct stat st;
	pipe(fds);
	write(fds[1], "z", 1);
	ssize_t r = read(fds[0], (void *)8, 1);
	printf("read: %zd %s\n", r, strerror(errno));
	r = write(fds[1], (void *)8, 1);
	printf("write: %zd %s\n", r, strerror(errno));
	r = stat((char *)8, &st);
	printf("stat: %zd %s\n", r, strerror(errno));
	r = fstat(fds[0], (void *)8);
	printf("fstat: %zd %s\n", r, strerror(errno));
	struct iovec v[2] = {{(void *)8, 4}, {fds, 4}};
	r = writev(fds[1], v, 2);
	printf("writev: %zd %s\n", r, strerror(errno));
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	changing_code();
	code_of_two_threads();
	mappings();
	bad_pointers();
	return 0;
}
