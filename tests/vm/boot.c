// SPDX-License-Identifier: Apache-2.0
// Boots a kernel with the serial port on stdin and stdout: boot [-c CPUS] [-m MIB] [-i INITRD]
// [-a CMDLINE] [-d DISK] [-S DIRECTORY] [-t SECONDS] [-s (sandboxed)] [-g [HOST:]PORT|unix:PATH
// (debugger; -w: wait for it)] KERNEL. For people and scripts; exits 0 when the guest switched
// itself off.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "cpu/vcpu.h"
#include "os/listen.h"
#include "vm/vm.h"

static struct loop *loop;
static enum vm_end how;

static void on_end(void *opaque, enum vm_end end, const char *reason)
{
	how = end;
	fprintf(stderr, "\n-- ended (%d): %s\n", end, reason);
	loop_stop(loop);
}

static void on_log(void *opaque, enum log_level level, const char *message)
{
	fprintf(stderr, "-- %s\n", message);
}

static void on_timeout(void *opaque)
{
	vm_stop(*(struct vm **)opaque, "time is up");
}

int main(int argc, char **argv)
{
	struct error err _error_ = ERROR_INIT;
	struct vm *vm = NULL;
	struct loop_timer *timer = NULL;
	struct vcpu_stats stats = {0}, cpu;
	struct rusage usage;
	int option, initrd = -1;
	bool sandbox = false;
	uint64_t seconds = 600;
	struct vm_config config = {
		.arch = "riscv64",
		.cpus = 1,
		.memory_bytes = 512 * MiB,
		.cmdline = "console=ttyS0 earlycon=sbi panic=-1",
		.net_fd = -1,
		.vsock_listen_fd = -1,
		.console_in_fd = dup(0),
		.console_out_fd = dup(1),
	};
	while ((option = getopt(argc, argv, "c:m:i:a:t:d:S:sg:w")) != -1) {
		if (option == 'c')
			config.cpus = (unsigned)atoi(optarg);
		else if (option == 'm')
			config.memory_bytes = (uint64_t)atoi(optarg) * MiB;
		else if (option == 'a')
			config.cmdline = optarg;
		else if (option == 't')
			seconds = (uint64_t)atoi(optarg);
		else if (option == 's')
			sandbox = true;
		else if (option == 'w')
			config.debugger_wait = true;
		else if (option == 'g') {
			config.has_debugger = true;
			if (listen_open(optarg, &config.debugger_fd, &err) < 0) {
				fprintf(stderr, "boot: %s\n", err.message);
				return 2;
			}
		} else if (option == 'S')
			config.shares[config.share_count++] = (struct vm_share){
				.tag = "root", .dir_fd = open(optarg, O_PATH | O_CLOEXEC)};
		else if (option == 'd')
			config.disks[config.disk_count++] = (struct vm_disk){
				.path = optarg, .fd = open(optarg, O_RDWR | O_CLOEXEC)};
		else if (option == 'i') {
			initrd = open(optarg, O_RDONLY | O_CLOEXEC);
			config.initrd_fds = &initrd;
			config.initrd_count = 1;
		} else
			return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	log_set_sink(on_log, NULL, LOG_INFO);
	config.kernel_fd = optind < argc ? open(argv[optind], O_RDONLY | O_CLOEXEC) : -1;
	uint64_t start = clock_monotonic_ns();
	if (loop_new(&loop, &err) || vm_new(&vm, &config, loop, on_end, NULL, &err) ||
		loop_timer_new(loop, on_timeout, &vm, &timer, &err) ||
		(sandbox && vm_sandbox(vm, &err)) || vm_start(vm, &err)) {
		fprintf(stderr, "boot: %s\n%s\n", err.message, err.remedy ? err.remedy : "");
		return 2;
	}
	loop_timer_arm(timer, start + seconds * NS_PER_SEC);
	loop_run(loop, NULL);
	for (unsigned n = 0; vm_stats(vm, n, &cpu); n++) {
		stats.insns += cpu.insns;
		stats.blocks_lifted += cpu.blocks_lifted;
	}
	getrusage(RUSAGE_SELF, &usage);
	fprintf(stderr, "-- %.1f s, %llu instructions, %llu blocks, peak RSS %ld MiB\n",
		(double)(clock_monotonic_ns() - start) / 1e9, (unsigned long long)stats.insns,
		(unsigned long long)stats.blocks_lifted, usage.ru_maxrss / 1024);
	loop_timer_free(timer);
	vm_free(vm);
	loop_free(loop);
	return how == VM_END_POWEROFF ? 0 : 1;
}
