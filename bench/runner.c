// SPDX-License-Identifier: Apache-2.0
// Runs programs and says what they took. Built twice by suite.py, and static, so that a forked
// child's memory is not what is measured.
//
// On the host, `runner [-r ROOT] [-1] [-l SECONDS] PROGRAM ARGS…` runs one program, below ROOT
// (chroot, with /dev and /proc) and on one CPU when asked to, and prints a result.
// As a guest's first process it makes the first disk its root, runs each line of the initramfs's
// /commands, and prints on the console "@begin N", "@end N", then "@result N RESULT", and at last
// "@done"; a line is a time limit in seconds, 1 or 0 for one CPU or all, then the arguments, all
// separated by tabs.
//
// A result: wait status (-1: over its time), wall seconds, user and system seconds, the peak RSS in
// KiB, bytes of output, FNV-1a of the output; after a failure the end of its output follows, each
// line after "@say ".
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define COMMANDS "/commands"

enum { WORDS_MAX = 64, TAIL = 1500, SETUP_FAILED = 126 };

struct job {
	const char *root; /* NULL: where we are */
	long limit_s;
	int one_cpu;
	char **argv;
};

struct result {
	int status, output;
	double seconds;
	struct rusage usage;
};

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void give_up(const char *what)
{
	dprintf(2, "runner: %s: %s\n", what, strerror(errno));
	_exit(SETUP_FAILED);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		give_up(path);
	close(fd);
}

/* As root, or as root of a user namespace of its own. */
static void enter_root(const char *root)
{
	static const char *const mounts[] = {"/dev", "/proc", "/sys"};
	char text[4200];
	unsigned uid = geteuid(), gid = getegid();
	if (unshare(uid ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS) < 0)
		give_up("unshare (are user namespaces allowed?)");
	if (uid) {
		write_file("/proc/self/setgroups", "deny");
		snprintf(text, sizeof(text), "0 %u 1", uid);
		write_file("/proc/self/uid_map", text);
		snprintf(text, sizeof(text), "0 %u 1", gid);
		write_file("/proc/self/gid_map", text);
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		give_up("mount /");
	for (size_t i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		snprintf(text, sizeof(text), "%s%s", root, mounts[i]);
		if (mount(mounts[i], text, NULL, MS_BIND | MS_REC, NULL) < 0)
			give_up(text);
	}
	if (chroot(root) < 0 || chdir("/") < 0)
		give_up(root);
}

static void become(const struct job *j, int output)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	int null = open("/dev/null", O_RDONLY);
	setsid();
	if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
		give_up("stdio");
	if (j->one_cpu) {
		cpu_set_t one;
		CPU_ZERO(&one);
		CPU_SET((unsigned)sched_getcpu(), &one);
		if (sched_setaffinity(0, sizeof(one), &one) < 0)
			give_up("sched_setaffinity");
	}
	if (j->root)
		enter_root(j->root);
	execvp(j->argv[0], j->argv);
	give_up(j->argv[0]);
}

/* Waits for the child, and kills its session when the time is up. Orphans of a guest's init, too.
 */
static void wait_for(pid_t child, const struct job *j, double start, struct result *r)
{
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (int killed = 0;;) {
		int status;
		pid_t pid = wait4(-1, &status, WNOHANG, &r->usage);
		if (pid == child) {
			r->status = killed ? -1 : status;
			return;
		}
		if (pid > 0)
			continue;
		double left = start + (double)j->limit_s - now();
		if (left <= 0 && !killed) {
			kill(-child, SIGKILL);
			killed = 1;
		}
		left = left < 0.01 ? 0.01 : left;
		struct timespec ts = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
		sigtimedwait(&chld, NULL, &ts);
	}
}

static int run(const struct job *j, struct result *r)
{
	r->output = memfd_create("output", MFD_CLOEXEC);
	if (r->output < 0)
		return -errno;
	double start = now();
	pid_t child = fork();
	if (child < 0)
		return -errno;
	if (!child)
		become(j, r->output);
	wait_for(child, j, start, r);
	r->seconds = now() - start;
	return 0;
}

static void print_tail(int fd, off_t size)
{
	char text[TAIL + 1];
	ssize_t n = pread(fd, text, TAIL, size > TAIL ? size - TAIL : 0);
	text[n > 0 ? n : 0] = 0;
	for (char *save, *line = strtok_r(text, "\r\n", &save); line;
		line = strtok_r(NULL, "\r\n", &save))
		printf("@say %s\n", line);
}

static void print_result(const struct result *r)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	struct stat st = {0};
	fstat(r->output, &st);
	if (st.st_size) {
		const unsigned char *p =
			mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, r->output, 0);
		if (p == MAP_FAILED)
			give_up("output");
		for (off_t i = 0; i < st.st_size; i++)
			hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
		munmap((void *)(uintptr_t)p, (size_t)st.st_size);
	}
	const struct timeval *u = &r->usage.ru_utime, *s = &r->usage.ru_stime;
	printf("%d %.6f %ld.%06ld %ld.%06ld %ld %lld %016llx\n", r->status, r->seconds,
		(long)u->tv_sec, (long)u->tv_usec, (long)s->tv_sec, (long)s->tv_usec,
		r->usage.ru_maxrss, (long long)st.st_size, (unsigned long long)hash);
	if (r->status)
		print_tail(r->output, st.st_size);
	close(r->output);
}

static void run_line(unsigned n, char *line)
{
	char *argv[WORDS_MAX + 1], *save;
	struct result r = {0};
	struct job j = {.limit_s = atol(strtok_r(line, "\t\n", &save))};
	char *word = strtok_r(NULL, "\t\n", &save);
	size_t argc = 0;
	j.one_cpu = word && *word == '1';
	while (argc < WORDS_MAX && (word = strtok_r(NULL, "\t\n", &save)))
		argv[argc++] = word;
	argv[argc] = NULL;
	j.argv = argv;
	if (!argc)
		return;
	/* The serial port is idle again before the program starts. */
	printf("@begin %u\n", n);
	tcdrain(1);
	int e = run(&j, &r);
	printf("@end %u\n", n);
	tcdrain(1);
	printf("@result %u ", n);
	if (e < 0)
		printf("%s\n", strerror(-e));
	else
		print_result(&r);
	tcdrain(1);
}

static void mount_or_say(const char *source, const char *type, const char *where,
	unsigned long flags, const char *data)
{
	if (mount(source, where, type, flags, data) < 0)
		printf("@say mount %s on %s: %s\n", source, where, strerror(errno));
}

/* Those of the boot image's initramfs, in its order; a kernel with everything built in has none. */
static void load_modules(void)
{
	char *line = NULL;
	size_t cap = 0;
	FILE *f = fopen("/lib/strata/modules", "re");
	while (f && getline(&line, &cap, f) > 0) {
		line[strcspn(line, "#\n")] = 0;
		int fd = open(line, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
			printf("@say module %s: %s\n", line, strerror(errno));
		close(fd);
	}
	free(line);
}

/* The first disk becomes the root. */
static void enter_disk(void)
{
	static const char *const links[][2] = {{"/proc/self/fd", "/dev/fd"}, {"fd/0", "/dev/stdin"},
		{"fd/1", "/dev/stdout"}, {"fd/2", "/dev/stderr"}};
	mkdir("/root", 0755);
	mount_or_say("devtmpfs", "devtmpfs", "/dev", 0, NULL);
	for (int i = 0; i < 500 && access("/dev/vda", F_OK) < 0; i++)
		usleep(10000);
	mount_or_say("/dev/vda", "ext4", "/root", MS_RDONLY | MS_NOATIME, NULL);
	if (chroot("/root") < 0 || chdir("/") < 0)
		give_up("/root");
	mount_or_say("devtmpfs", "devtmpfs", "/dev", 0, NULL);
	mount_or_say("proc", "proc", "/proc", 0, NULL);
	mount_or_say("sysfs", "sysfs", "/sys", 0, NULL);
	mount_or_say("tmpfs", "tmpfs", "/tmp", 0, NULL);
	for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++)
		if (symlink(links[i][0], links[i][1]) < 0)
			printf("@say %s: %s\n", links[i][1], strerror(errno));
}

/* Reads a file, so that no program waits for the disk. */
static int warm(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	static char buffer[1 << 18];
	int fd = kind == FTW_F && S_ISREG(st->st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return 0;
	while (read(fd, buffer, sizeof(buffer)) > 0)
		;
	close(fd);
	return 0;
}

static int be_init(void)
{
	char *line = NULL;
	size_t cap = 0;
	FILE *f = fopen(COMMANDS, "re");
	load_modules();
	enter_disk();
	printf("@userland\n");
	nftw("/usr", warm, 16, FTW_PHYS);
	nftw("/bench", warm, 16, FTW_PHYS);
	clearenv();
	setenv("PATH", "/usr/bin:/bin", 1);
	setenv("LC_ALL", "C", 1);
	setenv("HOME", "/", 1);
	for (unsigned n = 0; f && getline(&line, &cap, f) > 0; n++)
		run_line(n, line);
	printf("@done\n");
	tcdrain(1);
	return reboot(RB_POWER_OFF);
}

int main(int argc, char **argv)
{
	struct job j = {.limit_s = 600};
	struct result r = {0};
	sigset_t chld;
	int option;
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	if (getpid() == 1)
		return be_init();
	while ((option = getopt(argc, argv, "+r:l:1")) != -1) {
		if (option == 'r')
			j.root = optarg;
		else if (option == 'l')
			j.limit_s = atol(optarg);
		else if (option == '1')
			j.one_cpu = 1;
		else
			return 2;
	}
	j.argv = argv + optind;
	if (optind == argc)
		return 2;
	int e = run(&j, &r);
	if (e < 0) {
		fprintf(stderr, "runner: %s\n", strerror(-e));
		return 1;
	}
	print_result(&r);
	return 0;
}
