// SPDX-License-Identifier: Apache-2.0
#include "mem/tlb.h"

static const struct tlb_entry empty = {TLB_NO_TAG, TLB_NO_TAG, TLB_NO_TAG, 0};

static void set_size(struct tlb *t, unsigned entries)
{
	t->entries = xmalloc(entries * sizeof(*t->entries));
	t->mask = (entries - 1) << TLB_ENTRY_SHIFT;
	for (unsigned i = 0; i < entries; i++)
		t->entries[i] = empty;
}

void tlb_init(struct tlb *t)
{
	*t = (struct tlb){0};
	set_size(t, TLB_MIN);
}

void tlb_done(struct tlb *t)
{
	free(t->entries);
	*t = (struct tlb){0};
}

/* The page of an entry, whatever it allows; TLB_NO_TAG: it is empty. */
static uint64_t entry_page(const struct tlb_entry *e)
{
	return e->read != TLB_NO_TAG ? e->read : e->write != TLB_NO_TAG ? e->write : e->exec;
}

void tlb_miss(struct tlb *t)
{
	unsigned size = tlb_size(t);
	if (++t->misses < 2 * size || size == TLB_MAX)
		return;
	struct tlb_entry *old = t->entries;
	set_size(t, 2 * size);
	for (unsigned i = 0; i < size; i++) {
		uint64_t page = entry_page(&old[i]);
		if (page != TLB_NO_TAG)
			*tlb_slot(t, page) = old[i];
	}
	free(old);
	t->misses = 0;
}

void tlb_flush(struct tlb *t)
{
	unsigned size = tlb_size(t);
	if (size > TLB_MIN && t->misses < size / 8) {
		free(t->entries);
		set_size(t, size / 2);
	} else {
		for (unsigned i = 0; i < size; i++)
			t->entries[i] = empty;
	}
	t->misses = 0;
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
	for (unsigned i = 0; i < tlb_size(t); i++) {
		struct tlb_entry *e = &t->entries[i];
		if (e->write != TLB_NO_TAG && e->write + e->addend == (uintptr_t)host)
			e->write = TLB_NO_TAG;
	}
}
