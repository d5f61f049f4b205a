// SPDX-License-Identifier: Apache-2.0
// The map is an immutable sorted array. Whoever changes it publishes a new array; readers announce
// themselves in one of two counters, so that a remover can wait for those that may still hold the
// old one (two flips, as in sleepable RCU: a reader may have read the epoch just before a flip).
#include "device/bus.h"

#include <pthread.h>
#include <sched.h>

struct range {
	uint64_t base, last; /* inclusive */
	const struct bus_ops *ops;
	void *opaque;
	const char *name;
};

struct map {
	struct map *retired;   /* next of those that wait to be freed */
	_Atomic unsigned hint; /* index that was found last */
	unsigned count;
	struct range ranges[];
};

struct bus {
	_Atomic(struct map *) map;
	_Atomic unsigned epoch;
	_Atomic unsigned readers[2];
	pthread_mutex_t lock; /* guards changes and the list of retired maps */
	struct map *retired;
};

static struct map *map_new(unsigned count)
{
	struct map *m = xcalloc(1, sizeof(*m) + count * sizeof(m->ranges[0]));
	m->count = count;
	return m;
}

int bus_new(struct bus **out, struct error *err)
{
	struct bus *b = xcalloc(1, sizeof(*b));
	pthread_mutex_init(&b->lock, NULL);
	atomic_store(&b->map, map_new(0));
	*out = b;
	return 0;
}

static void free_retired(struct bus *b)
{
	while (b->retired) {
		struct map *m = b->retired;
		b->retired = m->retired;
		free(m);
	}
}

void bus_free(struct bus *b)
{
	if (!b)
		return;
	free_retired(b);
	free(atomic_load(&b->map));
	pthread_mutex_destroy(&b->lock);
	free(b);
}

/* The first range whose end is not below addr; m->count when there is none. */
static unsigned find(const struct map *m, uint64_t addr)
{
	unsigned lo = 0, hi = m->count;
	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		if (m->ranges[mid].last < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Publishes `next` in place of the present map. Lock held. */
static void replace(struct bus *b, struct map *next)
{
	struct map *old = atomic_exchange(&b->map, next);
	old->retired = b->retired;
	b->retired = old;
}

int bus_add(struct bus *b, gpa_t base, uint64_t bytes, const struct bus_ops *ops, void *opaque,
	const char *name, struct error *err)
{
	uint64_t last;
	if (!bytes || add_overflows(base.v, bytes - 1, &last))
		return error_set(err, EINVAL, "bus: %s: bad range of %llu bytes at 0x%llx", name,
			(unsigned long long)bytes, (unsigned long long)base.v);
	pthread_mutex_lock(&b->lock);
	struct map *old = atomic_load(&b->map);
	unsigned at = find(old, base.v);
	if (at < old->count && old->ranges[at].base <= last) {
		const char *other = old->ranges[at].name;
		pthread_mutex_unlock(&b->lock);
		return error_set(err, EEXIST, "bus: %s at 0x%llx overlaps %s", name,
			(unsigned long long)base.v, other);
	}
	struct map *m = map_new(old->count + 1);
	memcpy(m->ranges, old->ranges, at * sizeof(m->ranges[0]));
	m->ranges[at] = (struct range){base.v, last, ops, opaque, name};
	memcpy(m->ranges + at + 1, old->ranges + at, (old->count - at) * sizeof(m->ranges[0]));
	/* Readers of the old map see no less than before: it is freed by the next remover, so that
	 * a handler may add a range. */
	replace(b, m);
	pthread_mutex_unlock(&b->lock);
	return 0;
}

static void wait_for_readers(struct bus *b)
{
	for (int flip = 0; flip < 2; flip++) {
		unsigned old = atomic_fetch_add(&b->epoch, 1) & 1;
		while (atomic_load(&b->readers[old]))
			sched_yield(); /* a handler is short */
	}
}

void bus_remove(struct bus *b, gpa_t base)
{
	pthread_mutex_lock(&b->lock);
	struct map *old = atomic_load(&b->map);
	unsigned at = find(old, base.v);
	if (at < old->count && old->ranges[at].base == base.v) {
		struct map *m = map_new(old->count - 1);
		memcpy(m->ranges, old->ranges, at * sizeof(m->ranges[0]));
		memcpy(m->ranges + at, old->ranges + at + 1,
			(old->count - at - 1) * sizeof(m->ranges[0]));
		replace(b, m);
		wait_for_readers(b);
		free_retired(b);
	}
	pthread_mutex_unlock(&b->lock);
}

/* The range that holds addr, or NULL. Between enter() and leave(). */
static const struct range *lookup(struct bus *b, uint64_t addr)
{
	struct map *m = atomic_load(&b->map);
	unsigned hint = atomic_load_explicit(&m->hint, memory_order_relaxed);
	if (hint < m->count && addr >= m->ranges[hint].base && addr <= m->ranges[hint].last)
		return &m->ranges[hint];
	unsigned at = find(m, addr);
	if (at == m->count || addr < m->ranges[at].base)
		return NULL;
	atomic_store_explicit(&m->hint, at, memory_order_relaxed);
	return &m->ranges[at];
}

static unsigned enter(struct bus *b)
{
	unsigned side = atomic_load(&b->epoch) & 1;
	atomic_fetch_add(&b->readers[side], 1);
	return side;
}

static void leave(struct bus *b, unsigned side)
{
	atomic_fetch_sub(&b->readers[side], 1);
}

static bool acceptable(const struct range *r, uint64_t addr, unsigned bytes)
{
	return is_pow2(bytes) && bytes >= r->ops->min_bytes && bytes <= r->ops->max_bytes &&
	       bytes - 1 <= r->last - addr;
}

bool bus_read(struct bus *b, gpa_t addr, unsigned bytes, uint64_t *value)
{
	unsigned side = enter(b);
	const struct range *r = lookup(b, addr.v);
	if (r) {
		uint64_t ones = bytes >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << (8 * bytes)) - 1;
		uint64_t v = ones;
		if (r->ops->read && acceptable(r, addr.v, bytes))
			v = r->ops->read(r->opaque, addr.v - r->base, bytes);
		*value = v & ones;
	}
	leave(b, side);
	return r != NULL;
}

bool bus_write(struct bus *b, gpa_t addr, unsigned bytes, uint64_t value)
{
	unsigned side = enter(b);
	const struct range *r = lookup(b, addr.v);
	if (r && r->ops->write && acceptable(r, addr.v, bytes)) {
		if (bytes < 8)
			value &= (UINT64_C(1) << (8 * bytes)) - 1;
		r->ops->write(r->opaque, addr.v - r->base, bytes, value);
	}
	leave(b, side);
	return r != NULL;
}
