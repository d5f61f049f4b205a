// SPDX-License-Identifier: Apache-2.0
// The vCPUs' timers: one thread per machine, asleep until the earliest deadline.
#include <time.h>

#include "cpu/internal.h"

void vcpu_timer_init(struct vcpu_timer *t)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, &attr);
	pthread_condattr_destroy(&attr);
}

void vcpu_timer_done(struct vcpu_timer *t)
{
	if (t->started) {
		pthread_mutex_lock(&t->lock);
		t->stop = true;
		pthread_cond_signal(&t->changed);
		pthread_mutex_unlock(&t->lock);
		pthread_join(t->thread, NULL);
	}
	pthread_mutex_destroy(&t->lock);
	pthread_cond_destroy(&t->changed);
}

/* Raises a line that is due; false: there is none, and *next is the next deadline. The lock is
 * held, but not while the vCPU is woken: its own lock comes first. */
static bool raise_due(struct vcpu_group *g, uint64_t now, uint64_t *next)
{
	*next = UINT64_MAX;
	for (unsigned n = 0; n < atomic_load(&g->count); n++) {
		struct vcpu *v = g->vcpus[n];
		if (v->deadline_ns <= now) {
			v->deadline_ns = UINT64_MAX;
			g->isa->set_irq(v->head, g->isa->timer_line, true);
			pthread_mutex_unlock(&g->timer.lock);
			vcpu_kick(v);
			pthread_mutex_lock(&g->timer.lock);
			return true;
		}
		*next = MIN(*next, v->deadline_ns);
	}
	return false;
}

static void *timer_thread(void *arg)
{
	struct vcpu_group *g = arg;
	struct vcpu_timer *t = &g->timer;
	pthread_mutex_lock(&t->lock);
	while (!t->stop) {
		uint64_t next;
		if (raise_due(g, clock_monotonic_ns(), &next))
			continue;
		t->sleeping_until_ns = next;
		if (next == UINT64_MAX) {
			pthread_cond_wait(&t->changed, &t->lock);
		} else {
			struct timespec ts = {
				(time_t)(next / NS_PER_SEC), (long)(next % NS_PER_SEC)};
			pthread_cond_timedwait(&t->changed, &t->lock, &ts);
		}
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

int vcpu_timer_start(struct vcpu_group *g, struct error *err)
{
	struct vcpu_timer *t = &g->timer;
	int ret = 0;
	pthread_mutex_lock(&t->lock);
	if (!t->started) {
		int code = pthread_create(&t->thread, NULL, timer_thread, g);
		if (code)
			ret = error_errno(err, code, "vcpu: cannot start the timer's thread");
		else
			t->started = true;
	}
	pthread_mutex_unlock(&t->lock);
	return ret;
}

void vcpu_set_timer(void *opaque, uint64_t deadline_ns)
{
	struct vcpu *v = opaque;
	struct vcpu_group *g = v->group;
	struct vcpu_timer *t = &g->timer;
	bool due = deadline_ns <= clock_monotonic_ns();
	pthread_mutex_lock(&t->lock);
	v->deadline_ns = due ? UINT64_MAX : deadline_ns;
	g->isa->set_irq(v->head, g->isa->timer_line, due);
	if (v->deadline_ns < t->sleeping_until_ns)
		pthread_cond_signal(&t->changed);
	pthread_mutex_unlock(&t->lock);
}
