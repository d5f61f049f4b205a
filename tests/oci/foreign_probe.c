// SPDX-License-Identifier: Apache-2.0
// Compiled for riscv64: what a program of another architecture sees and does in a container.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static int show(char **argv)
{
	struct utsname u;
	char exe[200] = "-", name[32], line[200] = "-";
	uname(&u);
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	exe[n < 0 ? 1 : n] = 0;
	prctl(PR_GET_NAME, name);
	int fd = open("/proc/self/cmdline", O_RDONLY);
	if (fd >= 0 && read(fd, line, sizeof(line)) < 0)
		return 1;
	printf("%s %s %s %s %s %d\n", u.machine, argv[0], exe, name, line, (int)getuid());
	return 0;
}

/* Puts another file on every descriptor that it can; none of them is its own. */
static void take_descriptors(void)
{
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	int null = open("/", O_RDONLY);
	for (int fd = 3; fd < (int)limit.rlim_cur && fd < 2000; fd++)
		if (fd != null && dup2(null, fd) < 0)
			break;
	syscall(SYS_close_range, 3, ~0u, 0);
	for (int fd = 3; fd < 2000; fd++)
		close(fd);
}

int main(int argc, char **argv, char **envp)
{
	const char *what = argc > 1 ? argv[1] : "show";
	if (!strcmp(what, "show"))
		return show(argv);
	if (!strcmp(what, "exit"))
		return 42;
	if (!strcmp(what, "root") && chroot(argv[2]) == 0 && chdir("/") == 0)
		argv++, what = "exec";
	if (!strcmp(what, "descriptors"))
		take_descriptors(), what = "exec";
	if (!strcmp(what, "exec"))
		execve(argv[2], argv + 2, envp);
	if (!strcmp(what, "spawn")) {
		int status;
		if (fork() == 0) {
			execve(argv[2], argv + 2, envp);
			printf("%s\n", strerror(errno));
			_exit(errno);
		}
		wait(&status);
		return WEXITSTATUS(status);
	}
	if (!strcmp(what, "sleep")) {
		puts("up");
		fflush(stdout);
		pause();
	}
	printf("%s: %s\n", what, strerror(errno));
	return 1;
}
