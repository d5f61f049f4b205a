// SPDX-License-Identifier: Apache-2.0
// A board is a machine without its peripherals of choice: CPUs, memory, interrupt controllers, the
// devices that every machine of its kind has, a PCI bus for the rest, its firmware's services and
// the way a kernel is started. One constant `struct board_ops` per board.
//
// Threads: all is for the thread of `loop`, but board_config.ended and tap, which are called on
// vCPU threads.
#ifndef STRATA_BOARD_BOARD_H
#define STRATA_BOARD_BOARD_H

#include "cpu/vcpu.h"
#include "device/serial.h"
#include "device/virtio/virtio.h"

enum board_end {
	BOARD_POWEROFF,
	BOARD_REBOOT,
	BOARD_FAILURE, /* the guest says that it stops because something went wrong */
};
/* The guest ended the machine: the vCPU that said so does not go on. [vCPU thread; more than one
 * may call] */
typedef void board_ended_fn(void *opaque, enum board_end end);

struct board_config {
	unsigned cpus;
	uint64_t memory_bytes;
	int console_in_fd, console_out_fd; /* the first serial port's, owned on success; or -1 */
	uint64_t console_log_bytes;	   /* of console_out_fd: serial.h, log_bytes */
	serial_tap_fn *tap;		   /* sees the first serial port's output; or NULL */
	board_ended_fn *ended;
	void *opaque; /* of tap and ended */
};

/* What is started. Descriptors are read at once and not kept. */
struct board_boot {
	const char *kernel_name; /* for messages; or NULL */
	int kernel_fd;
	const int *initrd_fds; /* concatenated, each padded to 4 bytes */
	unsigned initrd_count;
	const void *initrd_extra; /* appended last; or NULL */
	size_t initrd_extra_bytes;
	const char *cmdline;
};

struct board;

struct board_ops {
	const char *arch; /* "riscv64", as users name it */
	unsigned cpus_max;
	uint64_t memory_min_bytes, memory_max_bytes;
	unsigned slots; /* for board_add_virtio() */

	int (*new)(struct board **out, const struct board_config *config, struct loop *loop,
		struct error *err);
	void (*free)(struct board *b); /* vCPUs are stopped first; the devices' loops do not run */
	int (*add_virtio)(struct board *b, struct virtio_device *d, struct error *err);
	int (*load)(struct board *b, const struct board_boot *boot, struct error *err);
	/* All vCPU threads, and the first instruction. */
	int (*start)(struct board *b, struct error *err);
	void (*pause)(struct board *b); /* when it returns, no vCPU runs */
	void (*resume)(struct board *b);
	void (*state)(struct board *b, struct state *s); /* paused; everything but memory */
};

/* The head of every board. */
struct board {
	const struct board_ops *ops;
	struct memory *memory;	 /* owned */
	struct bus *bus;	 /* owned */
	struct vcpu_group *cpus; /* owned */
	struct serial *serial;	 /* owned; the first serial port */
};

/* The board for an architecture, or NULL. */
const struct board_ops *board_find(const char *arch);

/* Checks the configuration against the board's limits. */
int board_new(struct board **out, const struct board_ops *ops, const struct board_config *config,
	struct loop *loop, struct error *err);
static inline void board_free(struct board *b)
{
	if (b)
		b->ops->free(b);
}
/* Puts a device into the next free slot; owned by the board on success. Before board_load(). */
int board_add_virtio(struct board *b, struct virtio_device *d, struct error *err);

#endif
