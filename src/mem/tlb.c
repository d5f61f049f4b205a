// SPDX-License-Identifier: Apache-2.0
#include "mem/tlb.h"

static const struct tlb_entry empty = {TLB_NO_TAG, TLB_NO_TAG, TLB_NO_TAG, 0};

void tlb_flush(struct tlb *t)
{
	for (unsigned i = 0; i < TLB_ENTRIES; i++)
		t->entries[i] = empty;
	memset(t->writers, 0, sizeof(t->writers));
}

static uint64_t *filter_word(struct tlb *t, uintptr_t host, uint64_t *bit)
{
	uint64_t n = (host >> GUEST_PAGE_SHIFT) * UINT64_C(0x9e3779b97f4a7c15) >> 54;
	*bit = UINT64_C(1) << (n % 64);
	return &t->writers[n / 64];
}

void tlb_allow_write(struct tlb *t, struct tlb_entry *e, uint64_t va)
{
	uint64_t bit, *word = filter_word(t, va + e->addend, &bit);
	*word |= bit;
	e->write = va;
}

void tlb_flush_page(struct tlb *t, gva_t addr)
{
	*tlb_slot(t, addr.v) = empty;
}

void tlb_protect(struct tlb *t, const void *host)
{
	uint64_t bit, *word = filter_word(t, (uintptr_t)host, &bit);
	if (!(*word & bit))
		return;
	for (unsigned i = 0; i < TLB_ENTRIES; i++) {
		struct tlb_entry *e = &t->entries[i];
		if (e->write != TLB_NO_TAG && e->write + e->addend == (uintptr_t)host)
			e->write = TLB_NO_TAG;
	}
}
