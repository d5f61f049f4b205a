// SPDX-License-Identifier: Apache-2.0
// Guest-physical memory: RAM regions and what is known of each of their pages.
//
// Layout is fixed before the first vCPU runs; afterwards all functions are for any thread.
// RAM is one anonymous shared mapping per region (memfd), so that helpers can map it.
#ifndef STRATA_MEM_MEMORY_H
#define STRATA_MEM_MEMORY_H

#include <stdatomic.h>

#include "base/error.h"

/* Distinct types, so that the compiler refuses to mix address spaces. */
typedef struct {
	uint64_t v;
} gpa_t; /* guest-physical address */
typedef struct {
	uint64_t v;
} gva_t; /* guest-virtual address */

#define GPA(x) ((gpa_t){(x)})
#define GVA(x) ((gva_t){(x)})

enum { GUEST_PAGE_SHIFT = 12, GUEST_PAGE_BYTES = 1 << GUEST_PAGE_SHIFT };

/* Bits of a page's flag byte. Set and cleared atomically. */
enum memory_page_flag {
	MEMORY_PAGE_CODE = 1,  /* translated code was made from it: a CPU's store must be noticed */
	MEMORY_PAGE_DIRTY = 2, /* written since the flag was last cleared, where tracking is on */
	/* The translation back end's own: */
	MEMORY_PAGE_WRITER = 4,	   /* some CPU's TLB may let it store directly */
	MEMORY_PAGE_PENDING = 8,   /* direct stores are being revoked */
	MEMORY_PAGE_RESERVED = 16, /* holds reservations that any store ends */
};

struct memory_region {
	gpa_t base;
	uint64_t bytes;		     /* multiple of the page size */
	uint8_t *host;		     /* owned mapping */
	_Atomic uint8_t *page_flags; /* owned, one per page */
	int fd;			     /* owned memfd */
};

struct memory;

int memory_new(struct memory **out, struct error *err);
void memory_free(struct memory *m);

/* Adds RAM, zeroed and not yet backed by host pages. Fails when it overlaps or cannot be had. */
int memory_add_ram(struct memory *m, gpa_t base, uint64_t bytes, struct error *err);
const struct memory_region *memory_regions(const struct memory *m, unsigned *count);
/* The region that holds addr, or NULL. */
const struct memory_region *memory_find(const struct memory *m, gpa_t addr);

/* Host address of [addr, addr + len), or NULL when it is not all in one region. len may be 0.
 * memory_read_ptr() is for reading. memory_write_ptr() is for writing by devices: the pages count
 * as written when it returns: they are dirty, and code made from them has been dropped. A CPU may
 * make code of a page while it is being written: who writes what may be code calls it again
 * when all is written and before the guest is told (virtqueues and memory_write() do). */
const void *memory_read_ptr(const struct memory *m, gpa_t addr, uint64_t len);
void *memory_write_ptr(struct memory *m, gpa_t addr, uint64_t len);
/* 0, or -EFAULT when the range is not all RAM (then nothing was written). */
int memory_read(const struct memory *m, gpa_t addr, void *out, uint64_t len);
int memory_write(struct memory *m, gpa_t addr, const void *bytes, uint64_t len);

/* Called, from any thread, when a device writes to pages that hold MEMORY_PAGE_CODE; the flag is
 * already cleared. Registered once, by the translation back end. */
typedef void memory_code_written_fn(void *opaque, gpa_t page);
void memory_on_code_written(struct memory *m, memory_code_written_fn *fn, void *opaque);

#endif
