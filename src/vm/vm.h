// SPDX-License-Identifier: Apache-2.0
// A virtual machine's life, from its configuration to the reason why it ended. Runs inside a
// monitor process; everything it needs from the host comes as open descriptors, so that the monitor
// can be sandboxed before vm_start().
//
// Threads: vm_* functions are for the monitor's main thread, which runs `loop`; the vCPUs and I/O
// threads are the machine's own.
#ifndef STRATA_VM_VM_H
#define STRATA_VM_VM_H

#include "base/error.h"
#include "os/loop.h"

enum { VM_DISKS_MAX = 16, VM_SHARES_MAX = 16, VM_LAYERS_MAX = 64, VM_CPUS_MAX = 64 };

/* A block device; in the order of this list the guest sees vda, vdb, … */
struct vm_disk {
	const char *path;   /* for messages */
	const char *serial; /* at most 20 bytes, or NULL */
	int fd;		    /* opened by the caller, locked against other users */
	bool readonly;
};

/* A directory of the host, or a stack of image layers (tar files), as a virtio-fs mount tag. */
struct vm_share {
	const char *tag;
	int dir_fd;	      /* host directory, or -1 when it is a stack of layers */
	const int *layer_fds; /* uncompressed tar files, lowest first */
	unsigned layer_count;
	bool readonly;
};

struct vm_config {
	const char *arch; /* "riscv64" */
	unsigned cpus;
	uint64_t memory_bytes;
	const char *kernel_name; /* for messages; or NULL */
	int kernel_fd;		 /* Linux Image, gzip of it, or ELF */
	const int *initrd_fds;	 /* concatenated in memory, each padded to 4 bytes */
	unsigned initrd_count;
	const void *initrd_extra; /* appended last (the agent's cpio), or NULL */
	size_t initrd_extra_bytes;
	const char *cmdline;
	struct vm_disk disks[VM_DISKS_MAX];
	unsigned disk_count;
	struct vm_share shares[VM_SHARES_MAX];
	unsigned share_count;
	int net_fd; /* frames, one a message (net/slirp.h); -1: no network device */
	uint8_t mac[6];
	int vsock_listen_fd; /* bound Unix socket; -1: no vsock device */
	/* Where the guest's own connections go: <path>_<port>. NULL: nowhere, and the sandbox lets
	 * the monitor connect to no socket, which is the safer choice. */
	const char *vsock_path;
	uint64_t console_log_bytes; /* not 0: console_out_fd is a log of at most this (serial.h) */
	int console_in_fd, console_out_fd; /* the serial console; -1: input none, output dropped */
	/* A listening socket for debuggers (gdb/gdb.h); has_debugger is false: none. */
	bool has_debugger, debugger_wait; /* wait: nothing runs before one says so */
	int debugger_fd;
};

enum vm_end {
	VM_END_POWEROFF, /* the guest switched itself off */
	VM_END_REBOOT,	 /* the guest asked for a reset */
	VM_END_PANIC,	 /* the guest's kernel gave up */
	VM_END_STOPPED,	 /* vm_stop() */
	VM_END_FAILED,	 /* the machine could not go on: see reason */
};

struct vm;
typedef void vm_ended_fn(void *opaque, enum vm_end end, const char *reason);

/* Builds the machine and loads the guest; nothing runs yet. The configuration's descriptors belong
 * to the machine when this succeeds. ended is called once, on the loop's thread. */
int vm_new(struct vm **out, const struct vm_config *config, struct loop *loop, vm_ended_fn *ended,
	void *opaque, struct error *err);
/* Gives up, for the whole process, what a running machine does not need: privileges, other files
 * than its shared directories, other processes, the network, most system calls (docs/sandbox.md).
 * After vm_new(), before vm_start(), in a process with one thread. */
int vm_sandbox(struct vm *vm, struct error *err);
int vm_start(struct vm *vm, struct error *err);
void vm_pause(struct vm *vm); /* when it returns, no vCPU and no device is at work */
void vm_resume(struct vm *vm);
void vm_stop(struct vm *vm, const char *reason); /* ends it at once; ended() follows */
void vm_free(struct vm *vm);

struct state;
void vm_state(struct vm *vm, struct state *s); /* paused machine: everything but memory and disks */

/* Counters of one CPU; false: there is none of that number. */
struct vcpu_stats;
bool vm_stats(struct vm *vm, unsigned cpu, struct vcpu_stats *out);

#endif
