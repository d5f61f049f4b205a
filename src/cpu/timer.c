// SPDX-License-Identifier: Apache-2.0
// The vCPUs' timers. A vCPU that waits for an interrupt sleeps until its own deadline; for those
// that run, one thread per machine sleeps until the earliest. It sleeps in a timerfd, so that a
// guest that moves its deadline to and fro wakes nobody.
#include <sys/timerfd.h>
#include <unistd.h>

#include "cpu/internal.h"

void vcpu_timer_init(struct vcpu_timer *t)
{
	pthread_mutex_init(&t->lock, NULL);
	t->fd = -1;
	t->armed_ns = UINT64_MAX;
}

/* The lock is held. */
static void arm(struct vcpu_timer *t, uint64_t deadline_ns)
{
	if (deadline_ns == t->armed_ns || t->fd < 0)
		return;
	t->armed_ns = deadline_ns;
	struct itimerspec its = {0}; /* all 0: never */
	if (deadline_ns != UINT64_MAX) {
		uint64_t ns = MAX(deadline_ns, 1);
		its.it_value =
			(struct timespec){(time_t)(ns / NS_PER_SEC), (long)(ns % NS_PER_SEC)};
	}
	timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &its, NULL);
}

void vcpu_timer_done(struct vcpu_timer *t)
{
	if (t->started) {
		pthread_mutex_lock(&t->lock);
		t->stop = true;
		arm(t, 0);
		pthread_mutex_unlock(&t->lock);
		pthread_join(t->thread, NULL);
	}
	if (t->fd >= 0)
		close(t->fd);
	pthread_mutex_destroy(&t->lock);
}

/* Raises a line that is due; false: there is none, and *next is the next deadline. The lock is
 * held, but not while the vCPU is woken: its own lock comes first. */
static bool raise_due(struct vcpu_group *g, uint64_t now, uint64_t *next)
{
	*next = UINT64_MAX;
	for (unsigned n = 0; n < atomic_load(&g->count); n++) {
		struct vcpu *v = g->vcpus[n];
		if (v->own_timer)
			continue;
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
	pthread_setname_np(pthread_self(), "timer");
	pthread_mutex_lock(&t->lock);
	while (!t->stop) {
		uint64_t next, expirations;
		if (raise_due(g, clock_monotonic_ns(), &next))
			continue;
		arm(t, next);
		pthread_mutex_unlock(&t->lock);
		ssize_t got = read(t->fd, &expirations, sizeof(expirations));
		pthread_mutex_lock(&t->lock);
		if (got > 0)
			t->armed_ns = UINT64_MAX;
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

int vcpu_timer_start(struct vcpu_group *g, struct error *err)
{
	struct vcpu_timer *t = &g->timer;
	int ret = 0;
	pthread_mutex_lock(&t->lock);
	if (t->fd < 0) {
		t->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
		if (t->fd < 0)
			ret = error_errno(err, errno, "vcpu: cannot make a timer");
	}
	if (!ret && !t->started) {
		int code = pthread_create(&t->thread, NULL, timer_thread, g);
		if (code)
			ret = error_errno(err, code, "vcpu: cannot start the timer's thread");
		else
			t->started = true;
	}
	pthread_mutex_unlock(&t->lock);
	return ret;
}

/* A deadline has changed, or whose business it is. The lock is held. */
static void rearm(struct vcpu_group *g, struct vcpu *v, uint64_t old_ns)
{
	struct vcpu_timer *t = &g->timer;
	uint64_t next = v->own_timer ? UINT64_MAX : v->deadline_ns;
	if (next >= t->armed_ns && old_ns != t->armed_ns)
		return; /* another's is earlier and has not changed */
	for (unsigned n = 0; n < atomic_load(&g->count); n++)
		if (!g->vcpus[n]->own_timer)
			next = MIN(next, g->vcpus[n]->deadline_ns);
	arm(t, next);
}

void vcpu_set_timer(void *opaque, uint64_t deadline_ns)
{
	struct vcpu *v = opaque;
	struct vcpu_group *g = v->group;
	bool due = deadline_ns <= clock_monotonic_ns();
	pthread_mutex_lock(&g->timer.lock);
	uint64_t old_ns = v->deadline_ns;
	v->deadline_ns = due ? UINT64_MAX : deadline_ns;
	g->isa->set_irq(v->head, g->isa->timer_line, due);
	rearm(g, v, old_ns);
	pthread_mutex_unlock(&g->timer.lock);
}

uint64_t vcpu_timer_take(struct vcpu *v)
{
	struct vcpu_timer *t = &v->group->timer;
	pthread_mutex_lock(&t->lock);
	uint64_t deadline_ns = v->deadline_ns;
	v->own_timer = true;
	rearm(v->group, v, deadline_ns);
	pthread_mutex_unlock(&t->lock);
	return deadline_ns;
}

void vcpu_timer_give_back(struct vcpu *v, bool expired)
{
	struct vcpu_timer *t = &v->group->timer;
	pthread_mutex_lock(&t->lock);
	v->own_timer = false;
	if (expired)
		v->deadline_ns = UINT64_MAX;
	rearm(v->group, v, UINT64_MAX);
	pthread_mutex_unlock(&t->lock);
}
