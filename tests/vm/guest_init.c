// SPDX-License-Identifier: Apache-2.0
// The first process of a guest, on a shared directory: tries what a userland needs and writes down
// what it found in the file "report" beside it, then switches the machine off.
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static FILE *report;

static void want(const char *what, long got, long expected)
{
	fprintf(report, "%s - %s", got == expected ? "ok" : "not ok", what);
	if (got != expected)
		fprintf(report, ": got %ld, wanted %ld", got, expected);
	fprintf(report, "\n");
	fflush(report);
}

static int *volatile nowhere = (int *)8;

static void processes(void)
{
	int good = 0;
	for (int i = 0; i < 20; i++) {
		int status = -1;
		pid_t pid = fork();
		if (pid == 0)
			_exit(i);
		if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
			WEXITSTATUS(status) == i)
			good++;
	}
	want("processes", good, 20);
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		*nowhere = 1;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	want("a bad pointer is a signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0, 11);
}

static long counter;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long atomic_counter;

static void *count(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20000; i++) {
		__atomic_fetch_add(&atomic_counter, 1, __ATOMIC_RELAXED);
		pthread_mutex_lock(&lock);
		counter++;
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static void threads(void)
{
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, count, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	want("mutex", counter, 80000);
	want("atomics", atomic_counter, 80000);
}

static void arithmetic(void)
{
	volatile double x = 0;
	for (int i = 1; i <= 1000; i++)
		x += 1.0 / i;
	want("floating point", (long)(x * 1e9), 7485470860);
	volatile float f = 16777216.0f;
	want("single precision", (long)(f + 1.0f), 16777216);
}

static void files(void)
{
	enum { BYTES = 300000 };
	static unsigned char out[BYTES], in[BYTES];
	for (int i = 0; i < BYTES; i++)
		out[i] = (unsigned char)(i * 31 >> 3);
	int fd = open("/made-by-guest", O_RDWR | O_CREAT | O_TRUNC, 0640);
	want("write a file", write(fd, out, BYTES), BYTES);
	want("fsync", fsync(fd), 0);
	want("read it back", pread(fd, in, BYTES, 0), BYTES);
	want("same bytes", memcmp(in, out, BYTES), 0);
	void *map = mmap(NULL, BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	want("mapped", map != MAP_FAILED && !memcmp(map, out, BYTES), 1);
	close(fd);
	want("rename", rename("/made-by-guest", "/renamed-by-guest"), 0);
	want("mkdir", mkdir("/dir", 0755), 0);
	want("symlink", symlink("../x", "/dir/link"), 0);
}

static void the_clock(void)
{
	struct timespec a, b, nap = {0, 30000000};
	clock_gettime(CLOCK_MONOTONIC, &a);
	nanosleep(&nap, NULL);
	clock_gettime(CLOCK_MONOTONIC, &b);
	long ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
	want("sleeps long enough", ms >= 29 && ms < 10000, 1);
	want("real time", time(NULL) > 1700000000, 1);
}

int main(void)
{
	report = fopen("/report", "w");
	if (!report)
		report = stderr;
	mkdir("/proc", 0755);
	want("mount proc", mount("proc", "/proc", "proc", 0, NULL), 0);
	fprintf(report, "# CPUs %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
	processes();
	threads();
	arithmetic();
	files();
	the_clock();
	puts("guest says goodbye");
	fprintf(report, "done\n");
	fclose(report);
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
