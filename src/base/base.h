// SPDX-License-Identifier: Apache-2.0
// Small things every file may use: attributes, bit operations, checked arithmetic, byte order.
#ifndef STRATA_BASE_BASE_H
#define STRATA_BASE_BASE_H

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define ARRAY_SIZE(a)			(sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)			((a) < (b) ? (a) : (b))
#define MAX(a, b)			((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define LIKELY(x)	     __builtin_expect(!!(x), 1)
#define UNLIKELY(x)	     __builtin_expect(!!(x), 0)
#define PRINTF_LIKE(fmt, va) __attribute__((format(printf, fmt, va)))
#define WARN_UNUSED	     __attribute__((warn_unused_result))
#define COLD		     __attribute__((cold, noinline))
#define CLEANUP(fn)	     __attribute__((cleanup(fn)))

#define KiB (UINT64_C(1) << 10)
#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)

#define NS_PER_SEC UINT64_C(1000000000)

/* Defines a cleanup function `name` for variables of pointer type `type`. */
#define DEFINE_CLEANUP(type, name, free_fn)                                                        \
	static inline void name(type *p)                                                           \
	{                                                                                          \
		if (*p)                                                                            \
			free_fn(*p);                                                               \
	}

static inline void cleanup_free_p(void *p)
{
	free(*(void **)p);
}
/* char *s _free_ = strdup(...);  is freed when it leaves its scope. */
#define _free_ CLEANUP(cleanup_free_p)

void cleanup_close_fd(int *fd); /* closes when >= 0, keeps errno */
#define _close_ CLEANUP(cleanup_close_fd)

/* Takes the value out of a variable that a cleanup attribute guards. */
#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__auto_type take_ptr_tmp_ = (p);                                                   \
		(p) = NULL;                                                                        \
		take_ptr_tmp_;                                                                     \
	})
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int take_fd_tmp_ = (fd);                                                           \
		(fd) = -1;                                                                         \
		take_fd_tmp_;                                                                      \
	})

/* Allocation that cannot fail: small host-side bookkeeping only, never a size that a guest,
 * an image or a peer chose. Out of memory here ends the process. */
void *xmalloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t bytes) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t bytes) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((malloc, returns_nonnull));

/* True on overflow; *out is then unspecified. */
#define add_overflows(a, b, out) __builtin_add_overflow((a), (b), (out))
#define mul_overflows(a, b, out) __builtin_mul_overflow((a), (b), (out))

/* True when [off, off + len) lies inside [0, size). No overflow possible. */
static inline bool range_fits(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

static inline bool is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}
static inline uint64_t align_up(uint64_t v, uint64_t a)
{
	return (v + a - 1) & ~(a - 1);
}
static inline uint64_t align_down(uint64_t v, uint64_t a)
{
	return v & ~(a - 1);
}
static inline uint8_t *align_down_ptr(const void *p, size_t a)
{
	return (uint8_t *)((uintptr_t)p & ~(uintptr_t)(a - 1));
}

/* Unaligned loads and stores in a given byte order. */
#define DEFINE_BYTEORDER(bits)                                                                     \
	static inline uint##bits##_t load_le##bits(const void *p)                                  \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		memcpy(&v, p, sizeof(v));                                                          \
		return le##bits##toh(v);                                                           \
	}                                                                                          \
	static inline uint##bits##_t load_be##bits(const void *p)                                  \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		memcpy(&v, p, sizeof(v));                                                          \
		return be##bits##toh(v);                                                           \
	}                                                                                          \
	static inline void store_le##bits(void *p, uint##bits##_t v)                               \
	{                                                                                          \
		v = htole##bits(v);                                                                \
		memcpy(p, &v, sizeof(v));                                                          \
	}                                                                                          \
	static inline void store_be##bits(void *p, uint##bits##_t v)                               \
	{                                                                                          \
		v = htobe##bits(v);                                                                \
		memcpy(p, &v, sizeof(v));                                                          \
	}
DEFINE_BYTEORDER(16)
DEFINE_BYTEORDER(32)
DEFINE_BYTEORDER(64)
#undef DEFINE_BYTEORDER

/* Host time in nanoseconds, CLOCK_MONOTONIC. */
uint64_t clock_monotonic_ns(void);

#endif
