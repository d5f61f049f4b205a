// SPDX-License-Identifier: Apache-2.0
// Processes: fork, vfork, exec, spawn, scripts, statuses. What it prints is in processes.expected:
// qemu-riscv64 starts no riscv64 program from a program.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void status(const char *what, pid_t pid)
{
	int s = 0;
	if (waitpid(pid, &s, 0) != pid)
		printf("%s: not waited for\n", what);
	else if (WIFSIGNALED(s))
		printf("%s: signal %d\n", what, WTERMSIG(s));
	else
		printf("%s: status %d\n", what, WEXITSTATUS(s));
}

static void die_by(int sig)
{
	pid_t pid = fork();
	if (!pid) {
		signal(sig, SIG_DFL);
		if (sig == SIGSEGV)
			*(volatile int *)0 = 0;
		if (sig == SIGABRT)
			abort();
		kill(getpid(), sig);
		_exit(0);
	}
	status(strsignal(sig), pid);
}

static void ends(void)
{
	die_by(SIGSEGV);
	die_by(SIGABRT);
	die_by(SIGTERM);
	die_by(SIGBUS);
	pid_t pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_IGN);
		kill(getpid(), SIGSEGV); /* sent: ignored */
		*(volatile int *)0 = 0;	 /* done: not */
	}
	status("ignored fault", pid);
	pid = fork();
	if (!pid) {
		raise(SIGSTOP);
		_exit(6);
	}
	int s;
	waitpid(pid, &s, WUNTRACED);
	printf("stopped %d\n", WIFSTOPPED(s));
	kill(pid, SIGCONT);
	status("continued", pid);
}

static void spawns(char *self)
{
	char *args[] = {self, "child", "a b", "", NULL}, *env[] = {"ONE=1", NULL};
	pid_t pid;
	int r = posix_spawn(&pid, self, NULL, NULL, args, env);
	status("spawned", pid); /* which prints when the child has */
	printf("spawn %d\n", r);
	printf("spawn of nothing: %s\n",
		strerror(posix_spawn(&pid, "/nonexistent", NULL, NULL, args, env)));
	printf("spawn of a directory: %s\n",
		strerror(posix_spawn(&pid, "/tmp", NULL, NULL, args, env)));
	volatile int changed = 0;
	pid = vfork();
	if (!pid) {
		changed = 1;
		signal(SIGUSR1, SIG_IGN);
		_exit(8);
	}
	struct sigaction sa;
	sigaction(SIGUSR1, NULL, &sa);
	printf("vfork shares memory %d, not handlers %d\n", changed, sa.sa_handler == SIG_DFL);
	status("vfork", pid);
	int fd = -1;
	siginfo_t info = {0};
	pid = (pid_t)syscall(
		SYS_clone, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, 0, &fd, 0, 0);
	if (!pid)
		_exit(9);
	waitid(P_PIDFD, (id_t)fd, &info, WEXITED);
	printf("vfork with descriptor: %d, status %d\n", info.si_pid == pid, info.si_status);
	close(fd);
	FILE *f = popen("echo from the host; exit 3", "r");
	char line[64] = "";
	fgets(line, sizeof(line), f);
	printf("popen: %s", line);
	printf("pclose: %d\n", WEXITSTATUS(pclose(f)));
}

static void scripts(char *self, char *dir)
{
	char path[4200], text[4200];
	snprintf(path, sizeof(path), "%s/script", dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	int n = snprintf(text, sizeof(text), "#! %s  child word\nrest\n", self);
	write(fd, text, (size_t)n);
	close(fd);
	char *args[] = {"ignored", "last", NULL};
	pid_t pid = fork();
	if (!pid) {
		execve(path, args, environ);
		_exit(1);
	}
	status("script", pid);
	chmod(path, 0644);
	printf("not executable: %d %s\n", execve(path, args, environ), strerror(errno));
	fd = open(path, O_WRONLY | O_TRUNC);
	write(fd, "neither\n", 8);
	close(fd);
	chmod(path, 0755);
	printf("no program: %d %s\n", execve(path, args, environ), strerror(errno));
	fd = open(self, O_RDONLY | O_CLOEXEC);
	pid = fork();
	if (!pid) {
		char *by_fd[] = {"by descriptor", "child", NULL};
		fexecve(fd, by_fd, environ);
		_exit(1);
	}
	status("fexecve", pid);
	unlink(path);
}

/* What an exec keeps: ignored and blocked signals, open descriptors without FD_CLOEXEC. */
static void kept(char *self)
{
	sigset_t set;
	int kept_fd = dup(1), closed_fd = fcntl(1, F_DUPFD_CLOEXEC, 0);
	char a[16], b[16];
	snprintf(a, sizeof(a), "%d", kept_fd);
	snprintf(b, sizeof(b), "%d", closed_fd);
	pid_t pid = fork();
	if (!pid) {
		signal(SIGHUP, SIG_IGN);
		signal(SIGSEGV, SIG_IGN);
		sigemptyset(&set);
		sigaddset(&set, SIGUSR2);
		sigaddset(&set, SIGSEGV);
		sigprocmask(SIG_BLOCK, &set, NULL);
		execl(self, self, "kept", a, b, NULL);
		_exit(1);
	}
	status("kept", pid);
}

static int child(int argc, char **argv)
{
	for (int n = 0; n < argc; n++)
		printf("  [%s]\n", strrchr(argv[n], '/') ? strrchr(argv[n], '/') : argv[n]);
	printf("  ONE=%s\n", getenv("ONE") ? getenv("ONE") : "-");
	return 5;
}

static int kept_child(char **argv)
{
	struct sigaction hup, segv;
	sigset_t set;
	sigaction(SIGHUP, NULL, &hup);
	sigaction(SIGSEGV, NULL, &segv);
	sigprocmask(SIG_SETMASK, NULL, &set);
	printf("  ignored %d %d, blocked %d %d %d, open %d %d\n", hup.sa_handler == SIG_IGN,
		segv.sa_handler == SIG_IGN, sigismember(&set, SIGUSR2), sigismember(&set, SIGSEGV),
		sigismember(&set, SIGUSR1), fcntl(atoi(argv[2]), F_GETFD) >= 0,
		fcntl(atoi(argv[3]), F_GETFD) >= 0);
	return 0;
}

static void about_itself(char *self)
{
	char link[4200], real[4200], line[100] = "";
	struct utsname u;
	uname(&u);
	ssize_t n = readlink("/proc/self/exe", link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = 0;
	printf("machine %s, exe %d, execfn %d\n", u.machine, !strcmp(link, realpath(self, real)),
		!strcmp((char *)getauxval(AT_EXECFN), self));
	FILE *f = fopen("/proc/self/cmdline", "r");
	fread(line, 1, sizeof(line) - 1, f);
	fclose(f);
	printf("cmdline %d\n", !strcmp(line, self) || strlen(self) >= sizeof(line) - 1);
	f = fopen("/proc/self/maps", "r");
	int stack = 0, code = 0;
	while (fgets(link, sizeof(link), f)) {
		unsigned long start, end;
		char x;
		if (sscanf(link, "%lx-%lx %*c%*c%c", &start, &end, &x) != 3)
			continue;
		stack += strstr(link, "[stack]") && (unsigned long)&stack - start < end - start;
		code += (unsigned long)about_itself - start < end - start && x == 'x';
	}
	fclose(f);
	printf("maps %d %d\n", stack, code);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	if (argc > 1 && !strncmp(argv[1], "child", 5))
		return child(argc, argv);
	if (argc > 1 && !strcmp(argv[1], "kept"))
		return kept_child(argv);
	about_itself(argv[0]);
	ends();
	spawns(argv[0]);
	scripts(argv[0], getenv("DIR"));
	kept(argv[0]);
	return 0;
}
