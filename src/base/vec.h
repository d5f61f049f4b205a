// SPDX-License-Identifier: Apache-2.0
// A growing array of any element type: `struct { T *items; size_t len, cap; } v = {0};`
#ifndef STRATA_BASE_VEC_H
#define STRATA_BASE_VEC_H

#include "base/base.h"

#define VEC(type)                                                                                  \
	struct {                                                                                   \
		type *items;                                                                       \
		size_t len, cap;                                                                   \
	}

static inline void *vec_grow_(void *items, size_t *cap, size_t need, size_t item_bytes)
{
	size_t n = *cap ? *cap * 2 : 8, bytes;
	if (n < need)
		n = need;
	if (mul_overflows(n, item_bytes, &bytes))
		abort();
	*cap = n;
	return xrealloc(items, bytes);
}

#define vec_reserve(v, n)                                                                          \
	do {                                                                                       \
		if ((v)->cap < (size_t)(n))                                                        \
			(v)->items = vec_grow_((v)->items, &(v)->cap, (n), sizeof(*(v)->items));   \
	} while (0)
#define vec_push(v, ...)                                                                           \
	do {                                                                                       \
		vec_reserve((v), (v)->len + 1);                                                    \
		(v)->items[(v)->len++] = (__VA_ARGS__);                                            \
	} while (0)
#define vec_pop(v)   ((v)->items[--(v)->len])
#define vec_clear(v) ((v)->len = 0)
#define vec_for_each(it, v)                                                                        \
	for (__typeof__((v)->items[0]) *it = (v)->items; it && it < (v)->items + (v)->len; it++)
#define vec_done(v)                                                                                \
	do {                                                                                       \
		free((v)->items);                                                                  \
		(v)->items = NULL;                                                                 \
		(v)->len = (v)->cap = 0;                                                           \
	} while (0)

#endif
