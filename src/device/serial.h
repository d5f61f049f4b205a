// SPDX-License-Identifier: Apache-2.0
// A 16550A serial port (National Semiconductor PC16550D) with its cable: a pair of descriptors.
//
// Registers are for any vCPU thread and never wait for the cable. Output goes through a bounded
// buffer that the loop's thread empties; while it is full the transmitter is busy, as a slow line
// makes it. Input is read only while the guest has room for it, so that nothing is lost.
// The process ignores SIGPIPE: a reader that is gone only loses the output.
// serial_new/free/flush/reset are for the loop's thread.
#ifndef STRATA_DEVICE_SERIAL_H
#define STRATA_DEVICE_SERIAL_H

#include "device/bus.h"
#include "os/loop.h"
#include "wire/state.h"

struct serial;

enum { SERIAL_BYTES = 0x100, SERIAL_CLOCK_HZ = 3686400 };

/* Sees all that goes out, in order. Called on the writer's thread with the port's lock held. */
typedef void serial_tap_fn(void *opaque, const uint8_t *bytes, size_t len);

struct serial_config {
	gpa_t base;
	struct irq_line irq;
	int in_fd, out_fd; /* owned on success, may be the same; -1: no input, output dropped */
	/* Not 0: out_fd is a log, a file open for reading too that never grows beyond this: the
	 * newest half of it stays when it is full. */
	uint64_t log_bytes;
	serial_tap_fn *tap; /* or NULL */
	void *tap_opaque;
};

int serial_new(struct serial **out, struct bus *bus, struct loop *loop,
	const struct serial_config *config, struct error *err);
void serial_free(struct serial *p);
void serial_reset(struct serial *p);
void serial_state(struct serial *p, struct state *s);

/* The firmware's console is the same cable. Both never wait. [any thread] */
size_t serial_put(struct serial *p, const void *bytes, size_t len); /* taken: less when full */
size_t serial_get(struct serial *p, void *bytes, size_t len);	    /* 0: nothing has come */
/* Writes what is left in the buffer, waiting at most timeout_ms for the reader. */
void serial_flush(struct serial *p, int timeout_ms);

#endif
