// SPDX-License-Identifier: Apache-2.0
#include "cpu/debug.h"

#include "cpu/internal.h"
#include "isa/fpu.h"

/* --- breakpoints: sorted, so that the next one is found quickly --- */

/* The first entry at or behind addr. The lock is held. */
static unsigned lower_bound(const struct vcpu_debug *d, uint64_t addr)
{
	unsigned low = 0, high = atomic_load_explicit(&d->breakpoint_count, memory_order_relaxed);
	while (low < high) {
		unsigned mid = (low + high) / 2;
		if (d->breakpoints[mid].addr < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool has_breakpoints(const struct vcpu_debug *d)
{
	return UNLIKELY(atomic_load_explicit(&d->breakpoint_count, memory_order_relaxed));
}

/* The owners of the breakpoint at pc; 0: there is none. */
static unsigned breakpoint_owners(struct vcpu_debug *d, uint64_t pc)
{
	pthread_mutex_lock(&d->lock);
	unsigned n = lower_bound(d, pc), owners = 0;
	if (n < d->breakpoint_count && d->breakpoints[n].addr == pc)
		owners = d->breakpoints[n].owners;
	pthread_mutex_unlock(&d->lock);
	return owners;
}

bool vcpu_debug_is_breakpoint(struct vcpu_group *g, uint64_t pc)
{
	return has_breakpoints(&g->debug) && breakpoint_owners(&g->debug, pc);
}

uint64_t vcpu_debug_room(struct vcpu_group *g, uint64_t pc, uint64_t bytes)
{
	struct vcpu_debug *d = &g->debug;
	if (!has_breakpoints(d) || pc == UINT64_MAX)
		return bytes;
	pthread_mutex_lock(&d->lock);
	unsigned n = lower_bound(d, pc + 1);
	if (n < d->breakpoint_count)
		bytes = MIN(bytes, d->breakpoints[n].addr - pc);
	pthread_mutex_unlock(&d->lock);
	return bytes;
}

/* true: an entry came or went. The lock is held. */
static int change_breakpoint(struct vcpu_debug *d, uint64_t addr, unsigned owner, bool on)
{
	unsigned count = d->breakpoint_count, n = lower_bound(d, addr);
	struct vcpu_breakpoint *b = &d->breakpoints[n];
	bool there = n < count && b->addr == addr;
	if (!on) {
		if (!there || (b->owners &= ~owner))
			return 0;
		memmove(b, b + 1, (count - n - 1) * sizeof(*b));
		d->breakpoint_count = count - 1;
		return 1;
	}
	if (there) {
		b->owners |= owner;
		return 0;
	}
	if (count == VCPU_BREAKPOINTS_MAX)
		return -ENOSPC;
	memmove(b + 1, b, (count - n) * sizeof(*b));
	*b = (struct vcpu_breakpoint){addr, owner};
	d->breakpoint_count = count + 1;
	return 1;
}

int vcpu_debug_set_breakpoint(struct vcpu_group *g, uint64_t addr, unsigned owner, bool on)
{
	if (addr % g->isa->min_insn_bytes)
		return -EINVAL;
	pthread_mutex_lock(&g->debug.lock);
	int r = change_breakpoint(&g->debug, addr, owner, on);
	pthread_mutex_unlock(&g->debug.lock);
	if (r > 0)
		code_cache_drop_all(g->cache);
	return MIN(r, 0);
}

/* --- watchpoints --- */

static void flush_tlbs(void *opaque, void *state)
{
	struct cpu_head *h = state;
	for (unsigned n = 0; n < h->tlb_count; n++)
		tlb_flush(&h->tlbs[n]);
	if (h->tlb)
		cpu_use_tlb(h, h->tlb);
}

/* Accesses to watched pages are to come to access.c, those to others no more. */
static void watchpoints_changed(struct vcpu_group *g)
{
	for (unsigned n = 0; n < atomic_load(&g->count); n++)
		vcpu_run_on(g->vcpus[n], flush_tlbs, NULL);
}

int vcpu_debug_set_watchpoint(struct vcpu_group *g, uint64_t addr, uint64_t bytes, unsigned kinds,
	unsigned owner, bool on)
{
	struct vcpu_debug *d = &g->debug;
	uint64_t last;
	if (!bytes || bytes > VCPU_WATCH_BYTES_MAX || !kinds ||
		add_overflows(addr, bytes - 1, &last))
		return -EINVAL;
	const struct vcpu_watchpoint w = {addr, last, kinds, owner};
	unsigned n = 0;
	while (n < d->watchpoint_count && memcmp(&d->watchpoints[n], &w, sizeof(w)))
		n++;
	if (on == (n < d->watchpoint_count))
		return 0;
	if (on && n == VCPU_WATCHPOINTS_MAX)
		return -ENOSPC;
	if (on)
		d->watchpoints[d->watchpoint_count++] = w;
	else
		d->watchpoints[n] = d->watchpoints[--d->watchpoint_count];
	watchpoints_changed(g);
	return 0;
}

bool vcpu_debug_page_watched(const struct vcpu_debug *d, uint64_t page)
{
	for (unsigned n = 0; n < d->watchpoint_count; n++)
		if (d->watchpoints[n].first <= (page | (GUEST_PAGE_BYTES - 1)) &&
			d->watchpoints[n].last >= page)
			return true;
	return false;
}

bool vcpu_debug_watch_hit(struct vcpu *v, uint64_t addr, unsigned bytes, unsigned kinds)
{
	const struct vcpu_debug *d = &v->group->debug;
	uint64_t last = addr + bytes - 1;
	for (unsigned n = 0; n < d->watchpoint_count && !v->passing_watch; n++) {
		const struct vcpu_watchpoint *w = &d->watchpoints[n];
		if (!(w->kinds & kinds) || w->first > last || w->last < addr)
			continue;
		v->found = (struct vcpu_stop){VCPU_STOP_WATCHPOINT, w->owner, MAX(addr, w->first)};
		v->head->fault.pending = true;
		return true;
	}
	return false;
}

void vcpu_debug_clear(struct vcpu_group *g)
{
	struct vcpu_debug *d = &g->debug;
	pthread_mutex_lock(&d->lock);
	bool broke = d->breakpoint_count, watched = d->watchpoint_count;
	d->breakpoint_count = d->watchpoint_count = 0;
	pthread_mutex_unlock(&d->lock);
	if (broke)
		code_cache_drop_all(g->cache);
	if (watched)
		watchpoints_changed(g);
}

/* --- holding and stepping --- */

void vcpu_debug_listen(struct vcpu_group *g, vcpu_stopped_fn *fn, void *opaque)
{
	g->debug.stopped = fn;
	g->debug.opaque = opaque;
}

void vcpu_debug_hold(struct vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	v->held = true;
	cpu_want_attention(v->head);
	pthread_cond_signal(&v->wake);
	pthread_mutex_unlock(&v->lock);
}

void vcpu_debug_wait(struct vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	while (v->started && v->held && !v->parked)
		pthread_cond_wait(&v->stopped, &v->lock);
	pthread_mutex_unlock(&v->lock);
}

void vcpu_debug_release(struct vcpu *v, bool step)
{
	pthread_mutex_lock(&v->lock);
	v->passing = v->taken != VCPU_STOP_NONE && v->taken_pc == v->head->pc;
	v->passing_watch = v->passing && v->taken == VCPU_STOP_WATCHPOINT;
	v->stepping = step;
	v->taken = VCPU_STOP_NONE;
	v->stop_found.reason = VCPU_STOP_NONE;
	v->held = false;
	pthread_cond_signal(&v->wake);
	pthread_mutex_unlock(&v->lock);
}

bool vcpu_debug_take_stop(struct vcpu *v, struct vcpu_stop *out)
{
	pthread_mutex_lock(&v->lock);
	*out = v->stop_found;
	bool found = out->reason != VCPU_STOP_NONE;
	if (found) {
		v->taken = out->reason == VCPU_STOP_STEPPED ? VCPU_STOP_NONE : out->reason;
		v->taken_pc = v->head->pc;
		v->stop_found.reason = VCPU_STOP_NONE;
	}
	pthread_mutex_unlock(&v->lock);
	return found;
}

/* --- on the vCPU's thread --- */

static void stop_here(struct vcpu *v, const struct vcpu_stop *stop)
{
	pthread_mutex_lock(&v->lock);
	v->stop_found = *stop;
	v->held = true;
	cpu_want_attention(v->head);
	pthread_mutex_unlock(&v->lock);
	if (v->group->debug.stopped)
		v->group->debug.stopped(v->group->debug.opaque, v);
}

bool vcpu_debug_break(struct vcpu *v)
{
	struct vcpu_debug *d = &v->group->debug;
	unsigned owners = has_breakpoints(d) ? breakpoint_owners(d, v->head->pc) : 0;
	if (!owners)
		return false;
	v->found = (struct vcpu_stop){VCPU_STOP_BREAKPOINT, owners, v->head->pc};
	v->head->fault.pending = true;
	return true;
}

void vcpu_take_fault(struct vcpu *v)
{
	struct vcpu_stop found = v->found;
	if (found.reason == VCPU_STOP_NONE) {
		vcpu_count_event(&v->exceptions);
		v->head->isa->deliver(v->head);
		return;
	}
	v->found.reason = VCPU_STOP_NONE;
	v->head->fault.pending = false;
	stop_here(v, &found);
}

bool vcpu_debug_steps(struct vcpu *v)
{
	static const struct vcpu_stop stepped = {VCPU_STOP_STEPPED, 0, 0};
	struct cpu_head *h = v->head;
	bool stepping = v->stepping;
	if (LIKELY(!stepping && !v->passing))
		return true;
	v->stepping = false;
	/* Code looks at this word at the end of each block: so it runs this one and no other. */
	cpu_want_attention(h);
	fpu_enter(h);
	struct interp_code *code = vcpu_make_step(v);
	if (code)
		interp_run(&v->run, code->code);
	fpu_leave(h);
	free(code);
	v->passing = v->passing_watch = v->wait_wanted = false;
	bool stopped = v->found.reason != VCPU_STOP_NONE;
	if (h->fault.pending)
		vcpu_take_fault(v);
	if (stepping && !stopped)
		stop_here(v, &stepped);
	return false;
}
