// SPDX-License-Identifier: Apache-2.0
// Numbers given to a client for objects of ours: a slot and a generation, so that a number whose
// object is gone is never taken for the next one in its slot. Bounded. The owner locks.
#ifndef STRATA_FS_ID_TABLE_H
#define STRATA_FS_ID_TABLE_H

#include "base/base.h"

struct id_slot {
	void *item; /* NULL: free */
	uint32_t generation;
	uint32_t next_free; /* slot + 1; 0 ends */
};

struct id_table {
	struct id_slot *slots;
	uint32_t count, cap, max;
	uint32_t free_head; /* slot + 1; 0: none */
};

static inline uint64_t id_table_id(const struct id_table *t, uint32_t slot)
{
	return (uint64_t)t->slots[slot].generation << 32 | (slot + 1);
}

static inline void *id_table_get(const struct id_table *t, uint64_t id)
{
	uint32_t slot = (uint32_t)id - 1;
	if (slot >= t->count || t->slots[slot].generation != id >> 32)
		return NULL;
	return t->slots[slot].item;
}

static inline int id_table_reserve_(struct id_table *t, uint32_t count)
{
	if (count <= t->cap)
		return 0;
	if (count > t->max)
		return -ENFILE;
	uint32_t cap = MIN(t->max, MAX(count, MAX(t->cap * 2, 64u)));
	struct id_slot *slots = realloc(t->slots, cap * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	t->slots = slots;
	t->cap = cap;
	return 0;
}

/* -ENFILE: the table is full. */
static inline int id_table_add(struct id_table *t, void *item, uint64_t *id)
{
	uint32_t slot;
	if (t->free_head) {
		slot = t->free_head - 1;
		t->free_head = t->slots[slot].next_free;
	} else {
		int rc = id_table_reserve_(t, t->count + 1);
		if (rc < 0)
			return rc;
		slot = t->count++;
		t->slots[slot].generation = 0;
	}
	t->slots[slot].item = item;
	*id = id_table_id(t, slot);
	return 0;
}

static inline void id_table_remove(struct id_table *t, uint64_t id)
{
	uint32_t slot = (uint32_t)id - 1;
	t->slots[slot].item = NULL;
	t->slots[slot].generation++;
	t->slots[slot].next_free = t->free_head;
	t->free_head = slot + 1;
}

/* Restoring: puts item under an id that is free (-EEXIST) in a table without holes taken so far;
 * id_table_restored() then makes the slots between available. */
static inline int id_table_restore(struct id_table *t, void *item, uint64_t id)
{
	uint32_t slot = (uint32_t)id - 1;
	if ((uint32_t)id == 0 || slot >= t->max)
		return -ENFILE;
	int rc = id_table_reserve_(t, slot + 1);
	if (rc < 0)
		return rc;
	for (; t->count <= slot; t->count++)
		t->slots[t->count] = (struct id_slot){0};
	if (t->slots[slot].item)
		return -EEXIST;
	t->slots[slot].item = item;
	t->slots[slot].generation = (uint32_t)(id >> 32);
	return 0;
}

static inline void id_table_restored(struct id_table *t)
{
	t->free_head = 0;
	for (uint32_t i = t->count; i-- > 0;) {
		if (t->slots[i].item)
			continue;
		/* Old numbers of this slot were not saved: start above any that is likely. */
		t->slots[i].generation += 1u << 16;
		t->slots[i].next_free = t->free_head;
		t->free_head = i + 1;
	}
}

#endif
