// SPDX-License-Identifier: Apache-2.0
// Processes that only clone() makes, while other threads keep the allocator of whoever runs this
// busy. What it prints is in clones.expected.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef FORKS
#define FORKS 100
#endif
enum { THREADS = 6 };

static volatile int done;

/* Words are copied, programs are looked for: both need memory. */
static void look_for_program(void)
{
	char *words[200];
	for (int n = 0; n < 199; n++)
		words[n] = "a word that is longer than what is kept at hand";
	words[199] = NULL;
	execve("/nonexistent/program", words, words);
}

static void *be_busy(void *arg)
{
	while (!done)
		look_for_program();
	return arg;
}

/* The child's status, -2: it hangs, -1: it could not be made (of which *error tells). */
static int run(unsigned long flags, int want_pid, int *error)
{
	int fd = -1, status, parent = getpid();
	long pid = syscall(SYS_clone, flags, 0, &fd, 0, 0);
	if (!pid) {
		look_for_program();
		_exit(want_pid && getpid() != want_pid	  ? 1
			: want_pid || getppid() == parent ? 0
							  : 2);
	}
	*error = errno;
	if (pid < 0)
		return -1;
	if (flags & CLONE_PIDFD) {
		siginfo_t info = {0};
		if (waitid(P_PIDFD, fd, &info, WEXITED | WNOWAIT) < 0 || info.si_pid != pid)
			return -3;
		close(fd);
	}
	for (int n = 0; n < 2000; n++) {
		if (waitpid(pid, &status, WNOHANG | __WALL) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
		usleep(5000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, __WALL);
	return -2;
}

static void many(const char *what, unsigned long flags, int want_pid)
{
	int status = 0, error = 0;
	for (int n = 0; n < FORKS && !status; n++)
		status = run(flags, want_pid, &error);
	if (status == -1 && (error == EPERM || error == ENOSPC)) /* this host allows none */
		status = 0;
	printf("%s: %d%s%s\n", what, status, status == -1 ? " " : "",
		status == -1 ? strerror(error) : "");
}

static void refused(const char *what, unsigned long flags)
{
	int error = 0, status = run(flags, 0, &error);
	printf("%s: %d %s\n", what, status, status == -1 ? strerror(error) : "");
}

static void no_such_flags(void)
{
	struct clone_args a = {.exit_signal = SIGCHLD | CLONE_VM}, b = {.flags = SIGCHLD};
	long r = syscall(SYS_clone3, &a, sizeof(a));
	printf("memory shared by a signal's number: %ld %s\n", r, strerror(errno));
	r = syscall(SYS_clone3, &b, sizeof(b));
	printf("a signal in the flags: %ld %s\n", r, strerror(errno));
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	setvbuf(stdout, NULL, _IONBF, 0);
	/* All threads of the process that runs this share one heap then. */
	if (!getenv("MALLOC_ARENA_MAX")) {
		setenv("MALLOC_ARENA_MAX", "1", 1);
		execv(argv[0], argv);
	}
	no_such_flags();
	int error;
	printf("alone, no signal: %d\n", run(0, 0, &error));
	printf("alone, shared files: %d\n", run(CLONE_FILES | SIGCHLD, 0, &error));
	printf("alone, with descriptor: %d\n", run(CLONE_PIDFD | SIGCHLD, 0, &error));
	for (int n = 0; n < THREADS; n++)
		pthread_create(&threads[n], NULL, be_busy, NULL);
	many("with descriptor", CLONE_PIDFD | SIGCHLD, 0);
	many("namespace", CLONE_NEWUSER | CLONE_NEWUTS | SIGCHLD, 0);
	many("first of a namespace", CLONE_NEWUSER | CLONE_NEWPID | CLONE_PIDFD | SIGCHLD, 1);
	refused("no signal", 0);
	refused("shared files", CLONE_FILES | SIGCHLD);
	done = 1;
	for (int n = 0; n < THREADS; n++)
		pthread_join(threads[n], NULL);
	printf("open: %d\n", open("/dev/null", O_RDONLY));
	return 0;
}
