// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

#include "vm/internal.h"

/* A kernel that has panicked and says nothing for so long stays where it is. */
#define PANIC_SILENCE_NS (NS_PER_SEC / 2)
enum { CONSOLE_FLUSH_MS = 200 };

/* --- I/O threads --- */

int vm_io_new(struct vm *vm, const char *name, struct loop **out, struct error *err)
{
	struct vm_io *io = xcalloc(1, sizeof(*io));
	int r = loop_new(&io->loop, err);
	if (r < 0) {
		free(io);
		return r;
	}
	snprintf(io->name, sizeof(io->name), "%s", name);
	io->next = vm->io;
	vm->io = io;
	*out = io->loop;
	return 0;
}

static void *io_main(void *opaque)
{
	struct vm_io *io = opaque;
	pthread_setname_np(pthread_self(), io->name);
	struct error err _error_ = ERROR_INIT;
	if (loop_run(io->loop, &err) < 0)
		log_error("%s: %s", io->name, err.message);
	return NULL;
}

/* Signals are the monitor's main thread's. */
static int io_start(struct vm_io *io, struct error *err)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int r = pthread_create(&io->thread, NULL, io_main, io);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return error_errno(err, r, "start thread %s", io->name);
	io->started = true;
	return 0;
}

static void io_stop_all(struct vm *vm)
{
	for (struct vm_io *io = vm->io; io; io = io->next) {
		if (!io->started)
			continue;
		loop_stop(io->loop);
		pthread_join(io->thread, NULL);
		io->started = false;
	}
}

static void io_free_all(struct vm *vm)
{
	while (vm->io) {
		struct vm_io *io = vm->io;
		vm->io = io->next;
		loop_free(io->loop);
		free(io);
	}
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* --- the end --- */

static void wake_end(struct vm *vm)
{
	uint64_t one = 1;
	ssize_t n = write(vm->end_fd, &one, sizeof(one));
	(void)n; /* the counter cannot be full */
}

/* The first reason stays. [any thread] */
static void report_end(struct vm *vm, enum vm_end end)
{
	int none = 0;
	if (atomic_compare_exchange_strong(&vm->end, &none, (int)end + 1))
		wake_end(vm);
}

static void on_board_ended(void *opaque, enum board_end how)
{
	static const enum vm_end ends[] = {
		[BOARD_POWEROFF] = VM_END_POWEROFF,
		[BOARD_REBOOT] = VM_END_REBOOT,
		[BOARD_FAILURE] = VM_END_PANIC,
	};
	report_end(opaque, ends[how]);
}

static void on_console(void *opaque, const uint8_t *bytes, size_t len)
{
	struct vm *vm = opaque;
	pthread_mutex_lock(&vm->panic_lock);
	panic_watch_feed(&vm->panic, bytes, len);
	bool ended = vm->panic.ended;
	pthread_mutex_unlock(&vm->panic_lock);
	if (ended) /* each further byte puts it off */
		loop_timer_arm(vm->silence, clock_monotonic_ns() + PANIC_SILENCE_NS);
}

static void on_silence(void *opaque)
{
	report_end(opaque, VM_END_PANIC);
}

static void finish(struct vm *vm, enum vm_end end, const char *reason)
{
	if (vm->over)
		return;
	vm->over = true;
	if (vm->started)
		vm->board->ops->pause(vm->board);
	serial_flush(vm->board->serial, CONSOLE_FLUSH_MS);
	gdb_guest_ended(vm->gdb);
	vm->ended(vm->opaque, end, reason);
}

static void on_end(void *opaque, int fd, uint32_t events)
{
	struct vm *vm = opaque;
	uint64_t n;
	if (read(fd, &n, sizeof(n)) < 0 || vm->over)
		return;
	enum vm_end end = (enum vm_end)(atomic_load(&vm->end) - 1);
	char text[PANIC_TEXT_MAX];
	pthread_mutex_lock(&vm->panic_lock);
	memcpy(text, vm->panic.text, sizeof(text));
	pthread_mutex_unlock(&vm->panic_lock);
	/* With "panic=N" on its command line a kernel that gave up asks for a reset. */
	if (end == VM_END_REBOOT && text[0])
		end = VM_END_PANIC;
	switch (end) {
	case VM_END_POWEROFF:
		finish(vm, end, "the guest switched itself off");
		break;
	case VM_END_REBOOT:
		finish(vm, end, "the guest asked for a reset");
		break;
	default: {
		char *reason _free_ =
			xasprintf("the guest's kernel panicked%s%s", text[0] ? ": " : "", text);
		finish(vm, VM_END_PANIC, reason);
	}
	}
}

void vm_stop(struct vm *vm, const char *reason)
{
	finish(vm, VM_END_STOPPED, reason ? reason : "stopped");
}

/* --- life --- */

/* Memory is taken as the guest touches it; what the host does not have at all would end the monitor
 * at some later moment. */
static int check_host_memory(uint64_t bytes, struct error *err)
{
	long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
	if (pages <= 0 || page_bytes <= 0)
		return 0;
	uint64_t host_bytes = (uint64_t)pages * (uint64_t)page_bytes;
	if (bytes <= host_bytes)
		return 0;
	error_set(err, ENOMEM, "a machine with %llu MiB of memory on a host that has %llu MiB",
		(unsigned long long)(bytes / MiB), (unsigned long long)(host_bytes / MiB));
	error_remedy(err, "give the machine less memory");
	return -ENOMEM;
}

static int make_events(struct vm *vm, struct error *err)
{
	vm->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->end_fd < 0)
		return error_errno(err, errno, "eventfd");
	int r = loop_timer_new(vm->loop, on_silence, vm, &vm->silence, err);
	if (r == 0)
		r = loop_fd_add(vm->loop, vm->end_fd, EPOLLIN, on_end, vm, &vm->end_watch, err);
	return r;
}

int vm_own_fd(int *out, int fd, struct error *err)
{
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0 && fd >= 0)
		return error_errno(err, errno, "descriptor %d", fd);
	*out = copy;
	return 0;
}

static int make_board(struct vm *vm, const struct vm_config *config, struct error *err)
{
	const struct board_ops *ops = board_find(config->arch);
	if (!ops)
		return error_set(err, EINVAL, "no machine for architecture %s", config->arch);
	struct board_config bc = {
		.cpus = config->cpus,
		.memory_bytes = config->memory_bytes,
		.console_in_fd = -1,
		.console_out_fd = -1,
		.console_log_bytes = config->console_log_bytes,
		.tap = on_console,
		.ended = on_board_ended,
		.opaque = vm,
	};
	int r = vm_own_fd(&bc.console_in_fd, config->console_in_fd, err);
	if (r == 0)
		r = vm_own_fd(&bc.console_out_fd, config->console_out_fd, err);
	if (r == 0)
		r = board_new(&vm->board, ops, &bc, vm->loop, err);
	if (r < 0) {
		close_fd(bc.console_in_fd);
		close_fd(bc.console_out_fd);
	}
	return r;
}

static void on_debugger_kill(void *opaque, const char *why)
{
	vm_stop(opaque, why);
}

static int add_debugger(struct vm *vm, const struct vm_config *config, struct error *err)
{
	struct gdb_config gc = {
		.cpus = vm->board->cpus,
		.memory = vm->board->memory,
		.loop = vm->loop,
		.wait = config->debugger_wait,
		.kill = on_debugger_kill,
		.opaque = vm,
	};
	if (!config->has_debugger)
		return 0;
	int r = vm_own_fd(&gc.listen_fd, config->debugger_fd, err);
	if (r == 0) {
		r = gdb_new(&vm->gdb, &gc, err);
		if (r < 0)
			close_fd(gc.listen_fd);
	}
	return r < 0 ? error_wrap(err, r, "debugger") : 0;
}

/* The machine has its own copies now, or has read what it wanted. */
static void close_config(const struct vm_config *config)
{
	close_fd(config->kernel_fd);
	for (unsigned i = 0; i < config->initrd_count; i++)
		close_fd(config->initrd_fds[i]);
	for (unsigned i = 0; i < config->disk_count; i++)
		close_fd(config->disks[i].fd);
	for (unsigned i = 0; i < config->share_count; i++) {
		close_fd(config->shares[i].dir_fd);
		for (unsigned n = 0; n < config->shares[i].layer_count; n++)
			close_fd(config->shares[i].layer_fds[n]);
	}
	close_fd(config->net_fd);
	close_fd(config->vsock_listen_fd);
	close_fd(config->console_in_fd);
	if (config->console_out_fd != config->console_in_fd)
		close_fd(config->console_out_fd);
	if (config->has_debugger)
		close_fd(config->debugger_fd);
}

int vm_new(struct vm **out, const struct vm_config *config, struct loop *loop, vm_ended_fn *ended,
	void *opaque, struct error *err)
{
	int r = check_host_memory(config->memory_bytes, err);
	if (r < 0)
		return r;
	struct vm *vm = xcalloc(1, sizeof(*vm));
	vm->loop = loop;
	vm->ended = ended;
	vm->opaque = opaque;
	vm->end_fd = -1;
	pthread_mutex_init(&vm->panic_lock, NULL);
	const struct board_boot boot = {
		.kernel_name = config->kernel_name,
		.kernel_fd = config->kernel_fd,
		.initrd_fds = config->initrd_fds,
		.initrd_count = config->initrd_count,
		.initrd_extra = config->initrd_extra,
		.initrd_extra_bytes = config->initrd_extra_bytes,
		.cmdline = config->cmdline,
	};
	r = make_events(vm, err);
	if (r == 0)
		r = make_board(vm, config, err);
	if (r == 0)
		r = vm_devices_add(vm, config, err);
	if (r == 0)
		r = vm->board->ops->load(vm->board, &boot, err);
	if (r == 0)
		r = add_debugger(vm, config, err);
	if (r < 0) {
		vm_free(vm);
		return r;
	}
	close_config(config);
	*out = vm;
	return 0;
}

static int io_start_all(struct vm *vm, struct error *err)
{
	int r = 0;
	for (struct vm_io *io = vm->io; r == 0 && io; io = io->next)
		r = io_start(io, err);
	return r;
}

int vm_start(struct vm *vm, struct error *err)
{
	int r = io_start_all(vm, err);
	if (r == 0)
		r = vm->board->ops->start(vm->board, err);
	if (r == 0)
		vm->started = true;
	return r;
}

void vm_pause(struct vm *vm)
{
	if (vm->started && !vm->paused && !vm->over) {
		vm->board->ops->pause(vm->board);
		/* What a device has begun it ends; what is posted to it waits in its loop. */
		io_stop_all(vm);
	}
	vm->paused = true;
}

void vm_resume(struct vm *vm)
{
	struct error err _error_ = ERROR_INIT;
	bool stands = vm->started && vm->paused && !vm->over;
	vm->paused = false;
	if (!stands)
		return;
	if (io_start_all(vm, &err) < 0)
		finish(vm, VM_END_FAILED, err.message);
	else
		vm->board->ops->resume(vm->board);
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	/* CPUs first, then the threads that work for them, then the devices, then the loops. */
	if (vm->board && vm->started && !vm->over)
		vm->board->ops->pause(vm->board);
	io_stop_all(vm);
	gdb_free(vm->gdb);
	board_free(vm->board);
	io_free_all(vm);
	loop_fd_remove(vm->end_watch);
	loop_timer_free(vm->silence);
	close_fd(vm->end_fd);
	for (unsigned i = 0; i < vm->dir_count; i++)
		close_fd(vm->dirs[i].fd);
	pthread_mutex_destroy(&vm->panic_lock);
	free(vm);
}

void vm_state(struct vm *vm, struct state *s)
{
	if (state_begin(s, "vm", 1))
		vm->board->ops->state(vm->board, s);
	state_end(s);
}

bool vm_stats(struct vm *vm, unsigned cpu, struct vcpu_stats *out)
{
	struct vcpu *v = vcpu_get(vm->board->cpus, cpu);
	if (v)
		vcpu_stats(v, out);
	return v;
}
