// SPDX-License-Identifier: Apache-2.0
// The software TLB of one vCPU in one mode: guest-virtual page -> host page. Direct-mapped; it
// grows while it misses much, and shrinks when it is flushed with little in it. Owned by the vCPU's
// thread.
#ifndef STRATA_MEM_TLB_H
#define STRATA_MEM_TLB_H

#include "mem/memory.h"

/* How many entries a TLB has: a power of two. */
enum { TLB_MIN = 256, TLB_MAX = 1 << 15 };

/* A tag is the page's virtual address when that kind of access may go straight to host memory, and
 * TLB_NO_TAG otherwise (not mapped, not allowed, memory-mapped I/O, or a store that must be seen:
 * a page with code, a page whose dirty bit is clear). It equals no page and no page with an offset
 * below 2048: a check may keep the low bits of an address that is to be aligned. */
#define TLB_NO_TAG UINT64_C(0x800)

struct tlb_entry {
	uint64_t read, write, exec; /* tags */
	uintptr_t addend;	    /* host address = virtual address + addend */
};
enum { TLB_ENTRY_SHIFT = 5 };
_Static_assert(sizeof(struct tlb_entry) == 1 << TLB_ENTRY_SHIFT, "an index is made with one shift");

enum { TLB_FILTER_BITS = 1024 };

struct tlb {
	struct tlb_entry *entries; /* owned */
	uint32_t mask;		   /* of an entry's offset in bytes */
	uint32_t misses;	   /* since the last flush or growth */
	/* Which host pages have had a write tag since the last flush (a Bloom filter of one hash).
	 */
	uint64_t writers[TLB_FILTER_BITS / 64];
};

static inline struct tlb_entry *tlb_slot(struct tlb *t, uint64_t va)
{
	uint64_t offset = va >> (GUEST_PAGE_SHIFT - TLB_ENTRY_SHIFT) & t->mask;
	return (struct tlb_entry *)((char *)t->entries + offset);
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

void tlb_init(struct tlb *t); /* of zeroes, or after tlb_done() */
void tlb_done(struct tlb *t);
static inline unsigned tlb_size(const struct tlb *t)
{
	return (t->mask >> TLB_ENTRY_SHIFT) + 1;
}
/* A miss is about to be filled; entries may move. */
void tlb_miss(struct tlb *t);
void tlb_flush(struct tlb *t); /* entries may move */
void tlb_flush_page(struct tlb *t, gva_t addr);
/* Forbids direct stores to the host page at `host` (it now holds code). */
void tlb_protect(struct tlb *t, const void *host);

#endif
