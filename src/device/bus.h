// SPDX-License-Identifier: Apache-2.0
// Where devices meet CPUs: a bus maps guest-physical ranges to register handlers, and an irq_line
// carries a level from a device to an interrupt controller.
//
// Ranges are added before the first vCPU runs, or later by a device that moves (PCI BARs): a bus is
// read under a lock-free snapshot, so bus_read/bus_write are for any thread, often several at once.
// A device guards its own registers.
#ifndef STRATA_DEVICE_BUS_H
#define STRATA_DEVICE_BUS_H

#include "base/error.h"
#include "mem/memory.h"

struct bus;

/* offset is within the range and the access lies inside it; bytes is 1, 2, 4 or 8 and within the
 * device's [min_bytes, max_bytes]; other accesses read as all ones and write nothing. */
struct bus_ops {
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned bytes);
	void (*write)(void *opaque, uint64_t offset, unsigned bytes, uint64_t value);
	uint8_t min_bytes, max_bytes;
};

int bus_new(struct bus **out, struct error *err);
void bus_free(struct bus *b);
/* name and ops must outlive the bus. Fails with -EEXIST when it overlaps. [any thread] */
int bus_add(struct bus *b, gpa_t base, uint64_t bytes, const struct bus_ops *ops, void *opaque,
	const char *name, struct error *err);
/* After it returns no handler of the range runs or will run. [any thread, not from a handler] */
void bus_remove(struct bus *b, gpa_t base);
/* false: nothing is there. [any thread] */
bool bus_read(struct bus *b, gpa_t addr, unsigned bytes, uint64_t *value);
bool bus_write(struct bus *b, gpa_t addr, unsigned bytes, uint64_t value);

/* A level-triggered input of an interrupt controller. set() is for any thread. */
struct irq_line {
	void (*set)(void *opaque, unsigned n, bool level);
	void *opaque;
	unsigned n;
};
static inline void irq_line_set(const struct irq_line *line, bool level)
{
	if (line->set)
		line->set(line->opaque, line->n, level);
}

#endif
