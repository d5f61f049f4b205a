// SPDX-License-Identifier: Apache-2.0
// Bump allocation: everything is freed at once. One arena per translation. Not thread-safe.
#ifndef STRATA_BASE_ARENA_H
#define STRATA_BASE_ARENA_H

#include "base/base.h"

struct arena_chunk;
struct arena {
	struct arena_chunk *head; /* newest chunk, owned */
	char *next, *end;	  /* free bytes of head */
};

#define ARENA_INIT ((struct arena){0})

/* Zeroed, 16-byte aligned. Never NULL: bound sizes that come from outside first. */
void *arena_alloc(struct arena *a, size_t bytes) __attribute__((malloc, returns_nonnull));
void arena_reset(struct arena *a); /* frees all but one chunk */
void arena_done(struct arena *a);

#define ARENA_NEW(a, type)	((type *)arena_alloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, n) ((type *)arena_alloc((a), sizeof(type) * (size_t)(n)))

#endif
