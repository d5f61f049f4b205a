// SPDX-License-Identifier: Apache-2.0
// Reservations that notice every store, whatever it stores (docs/engine.md, "Load-reserved and
// store-conditional"). A page with such reservations has MEMORY_PAGE_RESERVED, and no TLB has a
// write tag for it: so all stores to it come here. What happens to it happens under one lock.
#include "cpu/internal.h"
#include "interp/code.h"

enum { LINE_BYTES = 64, MAX_RETRIES = 100 };

static bool within(const uint8_t *p, const uint8_t *from, size_t bytes)
{
	return (uintptr_t)p - (uintptr_t)from < bytes;
}

/* Takes the reservations in [from, from + bytes) from all but one. The lock is held. */
static void take_away(
	struct vcpu_group *g, const uint8_t *from, size_t bytes, const struct vcpu *but)
{
	for (unsigned n = 0; n < atomic_load(&g->count); n++) {
		struct cpu_head *h = g->vcpus[n]->head;
		const uint8_t *p = atomic_load(&h->reservation.watched);
		/* Its owner may give it up meanwhile; a new one needs the lock. */
		if (p && within(p, from, bytes) && g->vcpus[n] != but)
			atomic_store(&h->reservation.watched, NULL);
	}
}

/* The page of p has none any more: it becomes an ordinary one. The lock is held. */
static void release_page(struct vcpu_group *g, const uint8_t *p)
{
	const uint8_t *page = align_down_ptr(p, GUEST_PAGE_BYTES);
	for (unsigned n = 0; n < atomic_load(&g->count); n++) {
		const uint8_t *w = atomic_load(&g->vcpus[n]->head->reservation.watched);
		if (w && within(w, page, GUEST_PAGE_BYTES))
			return;
	}
	atomic_fetch_and(code_cache_page_flags(g->cache, page), (uint8_t)~MEMORY_PAGE_RESERVED);
}

void vcpu_break_reservations(struct vcpu_group *g, const uint8_t *page)
{
	page = align_down_ptr(page, GUEST_PAGE_BYTES);
	pthread_mutex_lock(&g->reserve_lock);
	take_away(g, page, GUEST_PAGE_BYTES, NULL);
	release_page(g, page);
	pthread_mutex_unlock(&g->reserve_lock);
}

/* After a store under the lock, which ends here. Like a device, who looks for code after its last
 * byte: the page may have become code before that. */
static void stored(struct vcpu *v, const uint8_t *p)
{
	struct vcpu_group *g = v->group;
	_Atomic uint8_t *flags = code_cache_page_flags(g->cache, p);
	uint8_t old = atomic_fetch_or(flags, MEMORY_PAGE_DIRTY);
	take_away(g, align_down_ptr(p, LINE_BYTES), LINE_BYTES, v);
	release_page(g, p);
	pthread_mutex_unlock(&g->reserve_lock);
	if (old & MEMORY_PAGE_CODE) {
		atomic_fetch_and(flags, (uint8_t)~MEMORY_PAGE_CODE);
		code_cache_drop_page(g->cache, p);
	}
}

static bool is_reserved(struct vcpu *v, const uint8_t *p)
{
	return atomic_load(code_cache_page_flags(v->group->cache, p)) & MEMORY_PAGE_RESERVED;
}

bool vcpu_store_reserved(struct vcpu *v, uint8_t *p, unsigned bytes, uint64_t value)
{
	pthread_mutex_lock(&v->group->reserve_lock);
	if (!is_reserved(v, p)) {
		pthread_mutex_unlock(&v->group->reserve_lock);
		return false;
	}
	vcpu_write_host(p, bytes, value);
	stored(v, p);
	return true;
}

static uint64_t load(const uint8_t *p, unsigned bytes)
{
	return bytes == 4 ? __atomic_load_n((const uint32_t *)p, __ATOMIC_SEQ_CST)
			  : __atomic_load_n((const uint64_t *)p, __ATOMIC_SEQ_CST);
}

/* Nobody stores to the page unnoticed, and p is reserved. false: somebody stored at once. */
static bool reserve(struct vcpu *v, uint8_t *p, unsigned bytes, uint64_t *value)
{
	struct cpu_head *h = v->head;
	pthread_mutex_lock(&v->group->reserve_lock);
	bool done = is_reserved(v, p);
	if (done) {
		*value = load(p, bytes);
		h->reservation.value = *value;
		h->reservation.bytes = (uint8_t)bytes;
		atomic_store(&h->reservation.watched, p);
	}
	pthread_mutex_unlock(&v->group->reserve_lock);
	return done;
}

bool vcpu_load_reserved(void *cpu, uint64_t addr, unsigned bytes, uint64_t *value)
{
	struct cpu_head *h = cpu;
	struct vcpu *v = vcpu_of(cpu);
	cpu_forget_reservation(h);
	if (h->flat || atomic_load(&v->group->count) == 1) {
		struct interp_result r = interp_load_reserved(cpu, addr, bytes);
		*value = r.value;
		return r.ok;
	}
	uint8_t *p = vcpu_atomic(cpu, addr, bytes, false), *before = NULL;
	for (unsigned n = 0; p && n < MAX_RETRIES; n++) {
		/* While this CPU waits for others, they may change where addr is. */
		if (p == before && reserve(v, p, bytes, value))
			return true;
		vcpu_protect_page(
			v, (uint8_t *)align_down_ptr(p, GUEST_PAGE_BYTES), MEMORY_PAGE_RESERVED);
		before = p;
		p = vcpu_atomic(cpu, addr, bytes, false);
	}
	if (p) /* others are always faster: the store-conditional will fail */
		*value = load(p, bytes);
	return p;
}

bool vcpu_store_conditional(void *cpu, uint64_t addr, unsigned bytes, uint64_t value, bool *done)
{
	struct cpu_head *h = cpu;
	struct vcpu *v = vcpu_of(cpu);
	bool reserved;
	*done = false;
	uint8_t *p = vcpu_find_store(v, addr, bytes, &reserved);
	if (!p)
		return false;
	if (reserved) {
		pthread_mutex_lock(&v->group->reserve_lock);
		uint64_t expected = h->reservation.value;
		/* A device may have stored: the value tells, if anything. */
		*done = is_reserved(v, p) && atomic_load(&h->reservation.watched) == p &&
			h->reservation.bytes == bytes &&
			interp_compare_exchange(p, bytes, &expected, value);
		cpu_forget_reservation(h);
		if (*done) {
			stored(v, p);
		} else {
			release_page(v->group, p);
			pthread_mutex_unlock(&v->group->reserve_lock);
		}
	}
	cpu_forget_reservation(h);
	return true;
}
