// SPDX-License-Identifier: Apache-2.0
// The software TLB of one vCPU in one mode: guest-virtual page -> host page. Direct-mapped.
// Owned by the vCPU's thread.
#ifndef STRATA_MEM_TLB_H
#define STRATA_MEM_TLB_H

#include "mem/memory.h"

enum { TLB_ENTRIES = 1024 };

/* A tag is the page's virtual address when that kind of access may go straight to host memory, and
 * TLB_NO_TAG otherwise (not mapped, not allowed, memory-mapped I/O, or a store that must be seen:
 * a page with code, a page whose dirty bit is clear). */
#define TLB_NO_TAG UINT64_C(1)

struct tlb_entry {
	uint64_t read, write, exec; /* tags */
	uintptr_t addend;	    /* host address = virtual address + addend */
};

enum { TLB_FILTER_BITS = 1024 };

struct tlb {
	struct tlb_entry entries[TLB_ENTRIES];
	/* Which host pages have had a write tag since the last flush (a Bloom filter of one hash).
	 */
	uint64_t writers[TLB_FILTER_BITS / 64];
};

static inline struct tlb_entry *tlb_slot(struct tlb *t, uint64_t va)
{
	return &t->entries[(va >> GUEST_PAGE_SHIFT) % TLB_ENTRIES];
}

/* Host address for a naturally aligned or page-internal access, or NULL: take the slow path. */
static inline void *tlb_lookup(struct tlb *t, uint64_t va, unsigned bytes, size_t tag_offset)
{
	struct tlb_entry *e = tlb_slot(t, va);
	uint64_t tag = *(uint64_t *)((char *)e + tag_offset);
	/* One comparison, of the last byte's page: a tag in this slot is never that of the page
	 * after va's (its slot is another), so an access that crosses misses too. */
	if (UNLIKELY(((va + bytes - 1) & ~(uint64_t)(GUEST_PAGE_BYTES - 1)) != tag))
		return NULL;
	return (void *)(va + e->addend);
}
#define tlb_read(t, va, bytes)	tlb_lookup((t), (va), (bytes), offsetof(struct tlb_entry, read))
#define tlb_write(t, va, bytes) tlb_lookup((t), (va), (bytes), offsetof(struct tlb_entry, write))
#define tlb_exec(t, va, bytes)	tlb_lookup((t), (va), (bytes), offsetof(struct tlb_entry, exec))

/* Lets the page at virtual address va be stored to directly; its entry must be filled. */
void tlb_allow_write(struct tlb *t, struct tlb_entry *e, uint64_t va);

void tlb_flush(struct tlb *t);
void tlb_flush_page(struct tlb *t, gva_t addr);
/* Forbids direct stores to the host page at `host` (it now holds code). */
void tlb_protect(struct tlb *t, const void *host);

#endif
