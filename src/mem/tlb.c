// SPDX-License-Identifier: Apache-2.0
#include "mem/tlb.h"

static const struct tlb_entry empty = {TLB_NO_TAG, TLB_NO_TAG, TLB_NO_TAG, 0};

void tlb_flush(struct tlb *t)
{
	for (unsigned i = 0; i < TLB_ENTRIES; i++)
		t->entries[i] = empty;
}

void tlb_flush_page(struct tlb *t, gva_t addr)
{
	*tlb_slot(t, addr.v) = empty;
}

void tlb_protect(struct tlb *t, const void *host)
{
	for (unsigned i = 0; i < TLB_ENTRIES; i++) {
		struct tlb_entry *e = &t->entries[i];
		if (e->write != TLB_NO_TAG && e->write + e->addend == (uintptr_t)host)
			e->write = TLB_NO_TAG;
	}
}
