// SPDX-License-Identifier: Apache-2.0
#include "image/names.h"

#include <sys/random.h>

void names_done(struct names *n)
{
	free(n->slots);
	arena_done(&n->arena);
	*n = (struct names){0};
}

/* FNV-1a with a random start. */
static uint32_t hash_name(const struct names *n, struct slice s)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ n->seed;
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (uint8_t)s.p[i]) * UINT64_C(0x100000001b3);
	return (uint32_t)(h ^ h >> 32);
}

static struct names_slot *find(const struct names *n, struct slice name, uint32_t hash)
{
	size_t i = hash & (n->cap - 1);
	while (n->slots[i].name.p &&
		(n->slots[i].hash != hash || !slice_eq(n->slots[i].name, name)))
		i = (i + 1) & (n->cap - 1);
	return &n->slots[i];
}

int names_get(const struct names *n, struct slice name)
{
	if (!n->cap)
		return NAMES_NONE;
	const struct names_slot *s = find(n, name, hash_name(n, name));
	return s->name.p ? s->value : NAMES_NONE;
}

static void grow(struct names *n)
{
	struct names_slot *old = n->slots;
	size_t old_cap = n->cap;
	if (!old_cap && getrandom(&n->seed, sizeof(n->seed), 0) < 0)
		n->seed = 0;
	n->cap = old_cap ? 2 * old_cap : 256;
	n->slots = xcalloc(n->cap, sizeof(*n->slots));
	for (size_t i = 0; i < old_cap; i++)
		if (old[i].name.p)
			*find(n, old[i].name, old[i].hash) = old[i];
	free(old);
}

void names_set(struct names *n, struct slice name, int value)
{
	if (n->len * 4 >= n->cap * 3)
		grow(n);
	uint32_t hash = hash_name(n, name);
	struct names_slot *s = find(n, name, hash);
	if (!s->name.p) {
		char *copy = arena_alloc(&n->arena, name.len + 1);
		if (name.len)
			memcpy(copy, name.p, name.len);
		*s = (struct names_slot){.name = {copy, name.len}, .hash = hash};
		n->len++;
	}
	s->value = value;
}
