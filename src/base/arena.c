// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

enum { CHUNK_BYTES = 64 * 1024 };

struct arena_chunk {
	struct arena_chunk *older;
	size_t bytes; /* of the payload */
	_Alignas(16) char payload[];
};

static void chunk_push(struct arena *a, size_t bytes)
{
	struct arena_chunk *c = xmalloc(sizeof(*c) + bytes);
	c->older = a->head;
	c->bytes = bytes;
	a->head = c;
	a->next = c->payload;
	a->end = c->payload + bytes;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
	bytes = align_up(bytes, 16);
	if ((size_t)(a->end - a->next) < bytes || !a->head)
		chunk_push(a, MAX(bytes, (size_t)CHUNK_BYTES));
	void *p = a->next;
	a->next += bytes;
	return memset(p, 0, bytes);
}

void arena_reset(struct arena *a)
{
	if (!a->head)
		return;
	while (a->head->older) {
		struct arena_chunk *c = a->head;
		a->head = c->older;
		free(c);
	}
	a->next = a->head->payload;
	a->end = a->next + a->head->bytes;
}

void arena_done(struct arena *a)
{
	while (a->head) {
		struct arena_chunk *c = a->head;
		a->head = c->older;
		free(c);
	}
	*a = ARENA_INIT;
}
