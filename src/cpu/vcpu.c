// SPDX-License-Identifier: Apache-2.0
// vCPUs and their threads.
//
// A vCPU's thread runs guest code, or is idle: asleep at a block boundary (parked, or waiting for
// an interrupt). While it is idle, whoever holds its lock may do its work for it.
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "cpu/internal.h"

#include "base/log.h"
#include "isa/fpu.h"

enum { HOT_DEFAULT = 64, COMPILED_BYTES = 32 << 20, INTERPRETED_BYTES = 16 << 20 };

/* --- what the architecture asks of us --- */
static bool env_mmio_read(void *opaque, gpa_t addr, unsigned bytes, uint64_t *value)
{
	const struct vcpu_callbacks *cb = &((struct vcpu *)opaque)->group->callbacks;
	return cb->mmio_read && cb->mmio_read(cb->opaque, addr, bytes, value);
}

static bool env_mmio_write(void *opaque, gpa_t addr, unsigned bytes, uint64_t value)
{
	const struct vcpu_callbacks *cb = &((struct vcpu *)opaque)->group->callbacks;
	return cb->mmio_write && cb->mmio_write(cb->opaque, addr, bytes, value);
}

static void env_firmware_call(void *opaque, void *cpu)
{
	struct vcpu *v = opaque;
	const struct vcpu_callbacks *cb = &v->group->callbacks;
	if (!cb->firmware_call)
		return;
	fpu_leave(v->head);
	cb->firmware_call(cb->opaque, v, cpu);
	fpu_enter(v->head);
}

/* Code that was written has been dropped by the store itself; the block ends after the fence, and
 * the next one is looked up afresh. So nothing is left to do. */
static void env_code_fence(void *opaque)
{
	struct vcpu_group *g = ((struct vcpu *)opaque)->group;
	if (g->space.code_fence)
		g->space.code_fence(g->space.opaque);
}

/* The thread sleeps at the next block boundary, which comes at once: the instruction ends its
 * block. There it uses no translated code, and others may work for it. */
static void env_wait_for_interrupt(void *opaque)
{
	((struct vcpu *)opaque)->wait_wanted = true;
}

/* --- groups --- */
static uint64_t oldest_epoch(void *opaque)
{
	struct vcpu_group *g = opaque;
	uint64_t oldest = UINT64_MAX;
	for (unsigned n = 0; n < atomic_load(&g->count); n++) {
		uint64_t seen = atomic_load(&g->vcpus[n]->code_epoch);
		oldest = MIN(oldest, seen);
	}
	return oldest;
}

static void code_dropped(void *opaque)
{
	struct vcpu_group *g = opaque;
	for (unsigned n = 0; n < atomic_load(&g->count); n++)
		cpu_want_attention(g->vcpus[n]->head);
}

static bool is_code(void *opaque, const uint8_t *page)
{
	struct vcpu_group *g = opaque;
	if (!g->memory)
		return g->space.is_code(g->space.opaque, page);
	return atomic_load(code_cache_page_flags(g->cache, page)) & MEMORY_PAGE_CODE;
}

/* KiB behind a comma; *end: what is behind them. */
static size_t take_kib(const char **end, size_t otherwise)
{
	if (!*end || **end != ',')
		return otherwise;
	long kib = strtol(*end + 1, (char **)end, 10);
	return kib > 0 && kib < 1 << 20 ? (size_t)kib << 10 : otherwise;
}

/* STRATA_JIT: "off", or how often a block is interpreted before it is compiled; then, each after a
 * comma, KiB of memory for compiled and for interpreted code.
 * STRATA_COUNT: compiled code counts instructions. */
static void start_code(struct vcpu_group *g, bool counted)
{
	struct error err _error_ = ERROR_INIT;
	const char *wanted = getenv("STRATA_JIT"), *rest = wanted ? strchr(wanted, ',') : NULL;
	size_t compiled = take_kib(&rest, COMPILED_BYTES),
	       interpreted = take_kib(&rest, INTERPRETED_BYTES);
	bool off = wanted && !strcmp(wanted, "off");
	g->hot = wanted && atoi(wanted) > 0 ? (uint32_t)atoi(wanted) : HOT_DEFAULT;
	if (!off && jit_new(&g->jit, g->isa, !g->memory, counted, MAX(compiled, JIT_MIN_BYTES),
			    &err) < 0)
		log_info("%s", err.message);
	g->counts_insns = counted || !g->jit;
	g->cache = code_cache_new(g->memory, g->jit, interpreted,
		&(struct code_cache_users){g, is_code, oldest_epoch, code_dropped});
}

struct vcpu_group *vcpu_group_make(const struct isa *isa, struct memory *memory, bool counted)
{
	struct vcpu_group *g = xcalloc(1, sizeof(*g));
	g->isa = isa;
	g->memory = memory;
	start_code(g, counted || getenv("STRATA_COUNT"));
	code_dump_open(&g->dump);
	vcpu_timer_init(&g->timer);
	pthread_mutex_init(&g->debug.lock, NULL);
	pthread_mutex_init(&g->reserve_lock, NULL);
	pthread_mutex_init(&g->request_lock, NULL);
	pthread_cond_init(&g->request_done, NULL);
	g->spin = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	return g;
}

int vcpu_group_new(struct vcpu_group **out, const struct isa *isa, struct memory *memory,
	const struct vcpu_callbacks *callbacks, struct error *err)
{
	struct vcpu_group *g = vcpu_group_make(isa, memory, false);
	g->callbacks = *callbacks;
	*out = g;
	return 0;
}

static void vcpu_free(struct vcpu *v)
{
	v->head->isa->done(v->head);
	pthread_mutex_destroy(&v->lock);
	pthread_cond_destroy(&v->wake);
	pthread_cond_destroy(&v->stopped);
	interp_lowerer_free(v->lowerer);
	arena_done(&v->arena);
	free(v->jumps);
	free(v->memory);
	free(v);
}

void vcpu_group_free(struct vcpu_group *g)
{
	if (!g)
		return;
	for (unsigned n = 0; n < g->count; n++)
		vcpu_stop(g->vcpus[n]);
	vcpu_timer_done(&g->timer);
	code_cache_free(g->cache);
	code_dump_close(&g->dump);
	jit_free(g->jit);
	for (unsigned n = 0; n < g->count; n++)
		vcpu_free(g->vcpus[n]);
	pthread_mutex_destroy(&g->debug.lock);
	pthread_mutex_destroy(&g->reserve_lock);
	pthread_mutex_destroy(&g->request_lock);
	pthread_cond_destroy(&g->request_done);
	free(g);
}

int vcpu_new(struct vcpu_group *g, unsigned id, struct vcpu **out, struct error *err)
{
	bool flat = !g->memory;
	unsigned most = flat ? VCPU_FLAT_MAX : VCPU_MAX;
	if (g->count == most)
		return error_set(err, EINVAL, "vcpu: there are at most %u CPUs", most);
	if (vcpu_get(g, id))
		return error_set(err, EEXIST, "vcpu: there is a CPU %u already", id);
	struct vcpu *v = xcalloc(1, sizeof(*v));
	v->group = g;
	v->id = id;
	v->memory = xcalloc(1, cpu_state_bytes(g->isa) + CPU_STATE_ALIGN);
	v->head = (struct cpu_head *)align_up((uintptr_t)v->memory, CPU_STATE_ALIGN);
	v->jumps = xcalloc(INTERP_JUMPS, sizeof(*v->jumps));
	v->lowerer = interp_lowerer_new(flat);
	if (g->jit)
		interp_lowerer_count(v->lowerer, g->hot);
	v->run = (struct interp_run){.cpu = v->head, .jumps = v->jumps};
	v->park = v->parked = true;
	v->idle = true;
	v->code_epoch = CODE_EPOCH_IDLE;
	v->deadline_ns = UINT64_MAX;
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_cond_init(&v->stopped, NULL);
	v->env = (struct cpu_env){
		.opaque = v,
		.mmio_read = env_mmio_read,
		.mmio_write = env_mmio_write,
		.firmware_call = env_firmware_call,
		.set_timer = vcpu_set_timer,
		.code_fence = env_code_fence,
		.wait_for_interrupt = env_wait_for_interrupt,
		.load = flat ? vcpu_load_flat : vcpu_load,
		.store = flat ? vcpu_store_flat : vcpu_store,
		.atomic = flat ? vcpu_atomic_flat : vcpu_atomic,
		.load_reserved = vcpu_load_reserved,
		.store_conditional = vcpu_store_conditional,
	};
	v->head->flat = flat;
	v->head->counts_insns = g->counts_insns;
	v->head->memory = g->memory;
	v->head->env = &v->env;
	v->head->isa = g->isa;
	g->isa->init(v->head, id);
	g->vcpus[g->count] = v;
	atomic_fetch_add(&g->count, 1);
	*out = v;
	return 0;
}

struct vcpu *vcpu_get(struct vcpu_group *g, unsigned id)
{
	for (unsigned n = 0; n < atomic_load(&g->count); n++)
		if (g->vcpus[n]->id == id)
			return g->vcpus[n];
	return NULL;
}

unsigned vcpu_count(const struct vcpu_group *g)
{
	return atomic_load(&g->count);
}

void *vcpu_state(struct vcpu *v)
{
	return v->head;
}

unsigned vcpu_id(const struct vcpu *v)
{
	return v->id;
}

/* --- requests --- */
static void finish(struct vcpu_group *g, struct vcpu_work *w)
{
	/* Gone from its owner's stack when nothing is left of it. */
	unsigned left = atomic_load(&w->left);
	while (left > 1)
		if (atomic_compare_exchange_weak(&w->left, &left, left - 1))
			return;
	pthread_mutex_lock(&g->request_lock);
	bool last = atomic_fetch_sub(&w->left, 1) == 1;
	pthread_mutex_unlock(&g->request_lock);
	if (last)
		pthread_cond_broadcast(&g->request_done);
}

/* All of the queue, in order. The lock is held. */
static void serve_locked(struct vcpu *v)
{
	while (v->requests) {
		struct vcpu_work *w = v->requests->work;
		v->requests = v->requests->next;
		w->fn(w->opaque, v->head);
		finish(v->group, w);
	}
}

void vcpu_serve_requests(struct vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	serve_locked(v);
	pthread_mutex_unlock(&v->lock);
}

static struct vcpu *current_vcpu(struct vcpu_group *g)
{
	pthread_t self = pthread_self();
	for (unsigned n = 0; n < atomic_load(&g->count); n++)
		if (atomic_load(&g->vcpus[n]->running) && pthread_equal(g->vcpus[n]->self, self))
			return g->vcpus[n];
	return NULL;
}

/* A running vCPU comes to a block's end within a microsecond or two; to sleep and to be woken takes
 * ten times as long. */
enum { SPIN_NS = 20000 };

static void cpu_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	atomic_signal_fence(memory_order_seq_cst);
#endif
}

static void spin_until_done(struct vcpu_work *w)
{
	uint64_t begin = clock_monotonic_ns();
	do {
		for (unsigned n = 0; n < 32; n++) {
			if (!atomic_load_explicit(&w->left, memory_order_acquire))
				return;
			cpu_pause();
		}
	} while (clock_monotonic_ns() - begin < SPIN_NS);
}

/* Waits until the work is done. A vCPU that waits counts as idle: others do its work. */
static void wait_done(struct vcpu *self, struct vcpu_group *g, struct vcpu_work *w)
{
	if (self) {
		pthread_mutex_lock(&self->lock);
		serve_locked(self);
		atomic_store(&self->idle, true);
		pthread_mutex_unlock(&self->lock);
	}
	if (g->spin)
		spin_until_done(w);
	/* Also when nothing is left: he who said so may still hold the lock. */
	pthread_mutex_lock(&g->request_lock);
	while (atomic_load(&w->left))
		pthread_cond_wait(&g->request_done, &g->request_lock);
	pthread_mutex_unlock(&g->request_lock);
	if (self) {
		pthread_mutex_lock(&self->lock);
		atomic_store(&self->idle, false);
		pthread_mutex_unlock(&self->lock);
	}
}

/* Done at once when the vCPU is idle; otherwise *r is added to its queue, and true returned. */
static bool ask(struct vcpu *v, struct vcpu_request *r)
{
	struct vcpu_work *w = r->work;
	pthread_mutex_lock(&v->lock);
	bool idle = v->idle;
	if (idle) {
		w->fn(w->opaque, v->head);
	} else {
		struct vcpu_request **last = &v->requests;
		while (*last)
			last = &(*last)->next;
		r->next = NULL;
		*last = r;
		/* It is not served before the lock is free. */
		atomic_fetch_add(&w->left, 1);
		cpu_want_attention(v->head);
	}
	pthread_mutex_unlock(&v->lock);
	return !idle;
}

void vcpu_run_on_each(struct vcpu *const *vcpus, unsigned count, vcpu_run_fn *fn, void *opaque)
{
	if (!count)
		return;
	struct vcpu_group *g = vcpus[0]->group;
	struct vcpu *self = current_vcpu(g);
	struct vcpu_request requests[VCPU_MAX];
	struct vcpu_work w = {.fn = fn, .opaque = opaque};
	bool wait = false, own = false;
	for (unsigned n = 0; n < count; n++) {
		requests[n].work = &w;
		if (vcpus[n] == self)
			own = true;
		else if (ask(vcpus[n], &requests[n]))
			wait = true;
	}
	if (own)
		fn(opaque, self->head);
	if (wait)
		wait_done(self, g, &w);
}

void vcpu_run_on(struct vcpu *v, vcpu_run_fn *fn, void *opaque)
{
	vcpu_run_on_each(&v, 1, fn, opaque);
}

/* --- the thread --- */
void vcpu_kick(struct vcpu *v)
{
	if (!atomic_load(&v->idle))
		return;
	/* The lock is for him who has looked and not slept yet. He who is woken wants it: it is
	 * given up before. */
	pthread_mutex_lock(&v->lock);
	pthread_mutex_unlock(&v->lock);
	pthread_cond_signal(&v->wake);
}

/* The lock is held, as in what follows. */
static void become_idle(struct vcpu *v)
{
	atomic_store(&v->code_epoch, CODE_EPOCH_IDLE);
	atomic_store(&v->idle, true);
}

static bool is_parked(struct vcpu *v)
{
	return (v->park || v->held) && !v->stop;
}

static bool is_waiting(struct vcpu *v)
{
	return !v->park && !v->held && !v->stop && !v->group->isa->wakes(v->head);
}

static void sleep_parked(struct vcpu *v)
{
	v->parked = true;
	pthread_cond_broadcast(&v->stopped);
	become_idle(v);
	while (is_parked(v))
		pthread_cond_wait(&v->wake, &v->lock);
}

static void sleep_waiting(struct vcpu *v)
{
	if (!is_waiting(v))
		return;
	become_idle(v);
	uint64_t deadline_ns = vcpu_timer_take(v);
	bool expired = false;
	struct timespec until = {
		(time_t)(deadline_ns / NS_PER_SEC), (long)(deadline_ns % NS_PER_SEC)};
	do {
		if (expired || deadline_ns == UINT64_MAX) {
			pthread_cond_wait(&v->wake, &v->lock);
		} else if (pthread_cond_timedwait(&v->wake, &v->lock, &until) == ETIMEDOUT) {
			expired = true;
			v->group->isa->set_irq(v->head, v->group->isa->timer_line, true);
		}
	} while (is_waiting(v));
	vcpu_timer_give_back(v, expired);
	/* What it was set for is seen below, or before the first block. */
	atomic_store(&v->head->attention, 0);
}

/* What there is to do beside running; false: end the thread. The lock is held. */
static bool settle(struct vcpu *v)
{
	atomic_store(&v->head->attention, 0);
	serve_locked(v);
	if (v->wait_wanted)
		sleep_waiting(v);
	v->wait_wanted = false;
	if (is_parked(v))
		sleep_parked(v);
	/* Also when it was resumed before it came here. */
	v->parked = false;
	atomic_store(&v->idle, false);
	return !v->stop;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	char name[16];
	snprintf(name, sizeof(name), "cpu%u", v->id);
	pthread_setname_np(pthread_self(), name);
	v->self = pthread_self();
	atomic_store(&v->running, true);
	pthread_mutex_lock(&v->lock);
	while (settle(v)) {
		pthread_mutex_unlock(&v->lock);
		vcpu_run(v);
		pthread_mutex_lock(&v->lock);
	}
	serve_locked(v);
	atomic_store(&v->running, false);
	v->parked = true;
	atomic_store(&v->code_epoch, CODE_EPOCH_IDLE);
	atomic_store(&v->idle, true);
	pthread_cond_broadcast(&v->stopped);
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

int vcpu_start(struct vcpu *v, struct error *err)
{
	/* Signals of the process are for its main thread. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int ret = vcpu_timer_start(v->group, err);
	if (ret < 0) {
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		return ret;
	}
	pthread_mutex_lock(&v->lock);
	int code = pthread_create(&v->thread, NULL, vcpu_thread, v);
	v->started = !code;
	pthread_mutex_unlock(&v->lock);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return code ? error_errno(err, code, "vcpu: cannot start the thread of CPU %u", v->id) : 0;
}

void vcpu_resume(struct vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	v->park = false;
	pthread_cond_signal(&v->wake);
	pthread_mutex_unlock(&v->lock);
}

void vcpu_park(struct vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	v->park = true;
	cpu_want_attention(v->head);
	pthread_cond_signal(&v->wake);
	pthread_mutex_unlock(&v->lock);
}

void vcpu_park_wait(struct vcpu *v)
{
	if (current_vcpu(v->group) == v)
		return;
	pthread_mutex_lock(&v->lock);
	while (v->started && v->park && !v->parked)
		pthread_cond_wait(&v->stopped, &v->lock);
	pthread_mutex_unlock(&v->lock);
}

bool vcpu_is_parked(struct vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	bool parked = v->parked;
	pthread_mutex_unlock(&v->lock);
	return parked;
}

void vcpu_stop(struct vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	bool join = v->started;
	v->stop = true;
	cpu_want_attention(v->head);
	pthread_cond_signal(&v->wake);
	pthread_mutex_unlock(&v->lock);
	if (join) {
		pthread_join(v->thread, NULL);
		v->started = false;
	}
}

void vcpu_set_irq(struct vcpu *v, unsigned line, bool level)
{
	v->group->isa->set_irq(v->head, line, level);
	if (level)
		vcpu_kick(v);
}

/* --- statistics and state --- */
void vcpu_stats(struct vcpu *v, struct vcpu_stats *out)
{
	out->insns = __atomic_load_n(&v->head->insns_retired, __ATOMIC_RELAXED);
#define X(name) out->name = atomic_load_explicit(&v->name, memory_order_relaxed);
	VCPU_EVENTS(X)
#undef X
}

void vcpu_group_stats(struct vcpu_group *g, struct vcpu_stats *out)
{
	*out = (struct vcpu_stats){0};
	for (unsigned n = 0; n < atomic_load(&g->count); n++) {
		struct vcpu_stats one;
		vcpu_stats(g->vcpus[n], &one);
#define X(name) out->name += one.name;
		VCPU_STATS(X)
#undef X
	}
}

void vcpu_group_state(struct vcpu_group *g, struct state *s)
{
	uint32_t count = atomic_load(&g->count);
	if (state_begin(s, "vcpus", 1)) {
		state_u32(s, "count", &count);
		if (count != atomic_load(&g->count))
			state_fail(s, "saved with %u CPUs, the machine has %u", count,
				atomic_load(&g->count));
		for (unsigned n = 0; n < atomic_load(&g->count); n++)
			g->isa->state(g->vcpus[n]->head, s);
	}
	state_end(s);
}
