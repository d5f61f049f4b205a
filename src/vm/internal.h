// SPDX-License-Identifier: Apache-2.0
// What the files of this folder share.
#ifndef STRATA_VM_INTERNAL_H
#define STRATA_VM_INTERNAL_H

#include <pthread.h>

#include "board/board.h"
#include "gdb/gdb.h"
#include "os/sandbox.h"
#include "vm/panic.h"
#include "vm/vm.h"

/* A thread that runs a loop for devices whose work takes time. */
struct vm_io {
	struct loop *loop;
	pthread_t thread;
	bool started;
	char name[16];
	struct vm_io *next;
};

struct vm {
	struct board *board;			/* owned */
	struct loop *loop;			/* the monitor's */
	struct gdb *gdb;			/* owned; NULL: no debugger can come */
	struct vm_io *io;			/* owned */
	struct sandbox_dir dirs[VM_SHARES_MAX]; /* shared directories, owned until vm_sandbox() */
	unsigned dir_count;
	bool connects; /* the guest may connect to Unix sockets of the host */
	vm_ended_fn *ended;
	void *opaque;
	bool started, paused, over;
	struct loop_fd *end_watch;
	struct loop_timer *silence; /* after a panic that leads to no reset */

	/* What vCPU threads report, read by the loop's thread. */
	int end_fd;		    /* eventfd */
	_Atomic int end;	    /* enum vm_end + 1; 0: none yet */
	pthread_mutex_t panic_lock; /* guards panic; taken inside the serial port's lock */
	struct panic_watch panic;
};

/* devices.c: the virtio devices of the configuration, in slots of the board. */
int vm_devices_add(struct vm *vm, const struct vm_config *config, struct error *err);
/* The machine works on its own copies of the configuration's descriptors, so that the caller keeps
 * its own when vm_new() fails. -1 stays -1. */
int vm_own_fd(int *out, int fd, struct error *err);
/* A new I/O thread's loop; the thread starts with vm_io_start(). */
int vm_io_new(struct vm *vm, const char *name, struct loop **out, struct error *err);

#endif
