// SPDX-License-Identifier: Apache-2.0
// In the sandbox of a running machine: what is forbidden is denied or deadly, what is needed works.
// Each attempt has a process of its own with a machine that runs.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"
#include "vm/vm.h"

enum { DENIED = 0, ALLOWED = 1, BROKEN = 77 };

static char shared[] = "/tmp/strata-sandbox-XXXXXX";
static int shared_fd, parent;

static void on_ended(void *opaque, enum vm_end end, const char *reason)
{
}

static int idle_kernel(void)
{
	uint8_t image[4096] = {0};
	store_le32(image, 0x10500073);	   /* wfi */
	store_le32(image + 4, 0xffdff06f); /* j -4 */
	store_le64(image + 16, sizeof(image));
	store_le32(image + 32, 2);
	memcpy(image + 56, "RSC\x05", 4);
	int fd = memfd_create("kernel", MFD_CLOEXEC);
	return fd >= 0 && write(fd, image, sizeof(image)) == (ssize_t)sizeof(image) ? fd : -1;
}

/* A machine that runs in the sandbox; does not return without. */
static void enter(bool share)
{
	struct loop *loop;
	struct vm *vm;
	struct vm_config config = {.arch = "riscv64",
		.cpus = 2,
		.memory_bytes = 64 * MiB,
		.kernel_fd = idle_kernel(),
		.cmdline = "",
		.shares = {{.tag = "t", .dir_fd = share ? dup(shared_fd) : -1}},
		.share_count = share,
		.net_fd = -1,
		.vsock_listen_fd = -1,
		.console_in_fd = -1,
		.console_out_fd = -1};
	struct error err _error_ = ERROR_INIT;
	if (loop_new(&loop, &err) || vm_new(&vm, &config, loop, on_ended, NULL, &err) ||
		vm_sandbox(vm, &err) || vm_start(vm, &err)) {
		dprintf(1, "# %s\n", err.message);
		_exit(BROKEN);
	}
}

/* DENIED, ALLOWED, or the number of the signal that ended the attempt, negative. */
static int attempt(int (*act)(void), bool share)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		enter(share);
		_exit(act() ? ALLOWED : DENIED);
	}
	if (waitpid(pid, &status, 0) != pid)
		return BROKEN;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int opens(const char *path)
{
	return open(path, O_RDONLY) >= 0;
}
static int open_passwd(void)
{
	return opens("/etc/passwd");
}
static int make_file(void)
{
	return open("/tmp/strata-escape", O_CREAT | O_WRONLY, 0600) >= 0;
}
static int open_shared(void)
{
	return openat(shared_fd, "inside", O_RDONLY) >= 0;
}
static int write_shared(void)
{
	return openat(shared_fd, "new", O_CREAT | O_WRONLY, 0600) >= 0 &&
	       mkdirat(shared_fd, "newdir", 0700) == 0;
}
static int leave_shared(void)
{
	return openat(shared_fd, "../../etc/passwd", O_RDONLY) >= 0;
}
static int unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) >= 0; /* the user's bus, a container engine, … */
}
static int make_device(void)
{
	return mknodat(shared_fd, "dev", S_IFCHR | 0600, 0x0103) == 0;
}
static int run_program(void)
{
	return execl("/bin/true", "true", NULL) == 0;
}
static int make_process(void)
{
	return syscall(SYS_fork) >= 0;
}
static int clone_process(void)
{
	return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) >= 0;
}
static int trace_parent(void)
{
	return ptrace(PTRACE_ATTACH, parent, 0, 0) == 0;
}
static int kill_parent(void)
{
	return kill(parent, SIGUSR1) == 0;
}
static int internet(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}
static int make_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED;
}
static int new_namespace(void)
{
	return unshare(CLONE_NEWUSER) == 0;
}
static int use_io_uring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL) >= 0;
}
static int load_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0) >= 0;
}
static void *thread(void *opaque)
{
	return opaque;
}
static int make_thread(void)
{
	pthread_t t;
	return pthread_create(&t, NULL, thread, NULL) == 0 && pthread_join(t, NULL) == 0;
}
static int everyday(void)
{
	uint8_t byte;
	struct timespec ts;
	void *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return m != MAP_FAILED && getentropy(&byte, 1) == 0 &&
	       clock_gettime(CLOCK_MONOTONIC, &ts) == 0 && fcntl(1, F_GETFD) >= 0 &&
	       madvise(m, 1 << 20, MADV_DONTNEED) == 0 && munmap(m, 1 << 20) == 0;
}

static void files_are_out_of_reach(void)
{
	CHECK_EQ(attempt(open_passwd, false), DENIED);
	CHECK_EQ(attempt(open_passwd, true), DENIED);
	CHECK_EQ(attempt(make_file, true), DENIED);
	CHECK_EQ(attempt(open_shared, false), DENIED);
}

static void shared_directories_stay(void)
{
	CHECK_EQ(attempt(open_shared, true), ALLOWED);
	CHECK_EQ(attempt(write_shared, true), ALLOWED);
	CHECK_EQ(attempt(leave_shared, true), DENIED);
	CHECK_EQ(attempt(make_device, true), DENIED);
}

static void other_processes_are_out_of_reach(void)
{
	CHECK_EQ(attempt(run_program, true), -SIGSYS);
	CHECK_EQ(attempt(make_process, true), -SIGSYS);
	CHECK_EQ(attempt(clone_process, true), DENIED);
	CHECK_EQ(attempt(trace_parent, true), -SIGSYS);
	CHECK_EQ(attempt(kill_parent, true), DENIED);
}

static void the_kernel_shows_little(void)
{
	CHECK_EQ(attempt(internet, true), DENIED);
	CHECK_EQ(attempt(unix_socket, true), DENIED);
	CHECK_EQ(attempt(make_code, true), DENIED);
	CHECK_EQ(attempt(new_namespace, true), -SIGSYS);
	CHECK_EQ(attempt(use_io_uring, true), -SIGSYS);
	CHECK_EQ(attempt(load_bpf, true), -SIGSYS);
}

static void the_needed_works(void)
{
	CHECK_EQ(attempt(make_thread, false), ALLOWED);
	CHECK_EQ(attempt(everyday, false), ALLOWED);
}

int main(void)
{
	parent = getpid();
	signal(SIGUSR1, SIG_IGN);
	if (!mkdtemp(shared) || (shared_fd = open(shared, O_PATH | O_DIRECTORY)) < 0)
		return 1;
	close(openat(shared_fd, "inside", O_CREAT | O_WRONLY, 0600));
	RUN(files_are_out_of_reach);
	RUN(shared_directories_stay);
	RUN(other_processes_are_out_of_reach);
	RUN(the_kernel_shows_little);
	RUN(the_needed_works);
	char *rm _free_ = xasprintf("rm -rf %s", shared);
	return system(rm) != 0 || tap_done();
}
