// SPDX-License-Identifier: Apache-2.0
#include "os/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/vec.h"

struct loop_fd {
	struct loop *loop;
	int fd;
	uint32_t events;
	bool watched; /* known to epoll */
	bool removed; /* freed after the current round */
	loop_fd_fn *fn;
	void *opaque;
	struct loop_fd *next, **link;
};

struct loop_timer {
	struct loop_fd *watch;
	int fd; /* timerfd, owned */
	loop_fn *fn;
	void *opaque;
};

struct posted {
	loop_fn *fn;
	void *opaque;
};

struct loop {
	int epoll_fd, wake_fd;
	struct loop_fd *wake;
	struct loop_fd *sources; /* all live sources */
	struct loop_fd *dead;	 /* removed during a round */
	bool dispatching;
	atomic_bool stopped;
	pthread_mutex_t lock; /* guards queue */
	VEC(struct posted) queue;
};

static void on_wake(void *opaque, int fd, uint32_t events)
{
	struct loop *l = opaque;
	uint64_t n;
	(void)events;
	if (read(fd, &n, sizeof(n)) < 0)
		return;
	pthread_mutex_lock(&l->lock);
	__typeof__(l->queue) batch = l->queue;
	memset(&l->queue, 0, sizeof(l->queue));
	pthread_mutex_unlock(&l->lock);
	vec_for_each (p, &batch)
		p->fn(p->opaque);
	vec_done(&batch);
}

static void wake(struct loop *l)
{
	uint64_t one = 1;
	ssize_t n = write(l->wake_fd, &one, sizeof(one));
	(void)n; /* EAGAIN: the counter is full, so the loop wakes anyway */
}

int loop_new(struct loop **out, struct error *err)
{
	struct loop *l = xcalloc(1, sizeof(*l));
	pthread_mutex_init(&l->lock, NULL);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->epoll_fd < 0 || l->wake_fd < 0) {
		int r = error_errno(err, errno, "event loop");
		loop_free(l);
		return r;
	}
	int r = loop_fd_add(l, l->wake_fd, EPOLLIN, on_wake, l, &l->wake, err);
	if (r < 0) {
		loop_free(l);
		return r;
	}
	*out = l;
	return 0;
}

static void bury(struct loop *l)
{
	while (l->dead) {
		struct loop_fd *w = l->dead;
		l->dead = w->next;
		free(w);
	}
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	while (l->sources)
		loop_fd_remove(l->sources);
	bury(l);
	vec_done(&l->queue);
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int loop_once(struct loop *l, int timeout_ms, struct error *err)
{
	struct epoll_event events[64];
	int n = epoll_wait(l->epoll_fd, events, ARRAY_SIZE(events), timeout_ms);
	if (n < 0)
		return errno == EINTR ? 0 : error_errno(err, errno, "event loop: epoll_wait");
	l->dispatching = true;
	for (int i = 0; i < n; i++) {
		struct loop_fd *w = events[i].data.ptr;
		if (!w->removed)
			w->fn(w->opaque, w->fd, events[i].events);
	}
	l->dispatching = false;
	bury(l);
	return 0;
}

int loop_run(struct loop *l, struct error *err)
{
	while (!atomic_load(&l->stopped)) {
		int r = loop_once(l, -1, err);
		if (r < 0)
			return r;
	}
	atomic_store(&l->stopped, false);
	return 0;
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stopped, true);
	wake(l);
}

void loop_post(struct loop *l, loop_fn *fn, void *opaque)
{
	pthread_mutex_lock(&l->lock);
	vec_push(&l->queue, (struct posted){fn, opaque});
	pthread_mutex_unlock(&l->lock);
	wake(l);
}

int loop_fd_add(struct loop *l, int fd, uint32_t epoll_events, loop_fd_fn *fn, void *opaque,
	struct loop_fd **out, struct error *err)
{
	struct loop_fd *w = xcalloc(1, sizeof(*w));
	*w = (struct loop_fd){.loop = l, .fd = fd, .fn = fn, .opaque = opaque};
	if (epoll_events) {
		struct epoll_event ev = {.events = epoll_events, .data.ptr = w};
		if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
			int code = errno;
			free(w);
			return error_errno(err, code, "event loop: watch descriptor %d", fd);
		}
		w->watched = true;
		w->events = epoll_events;
	}
	w->next = l->sources;
	w->link = &l->sources;
	if (w->next)
		w->next->link = &w->next;
	l->sources = w;
	*out = w;
	return 0;
}

void loop_fd_set(struct loop_fd *w, uint32_t epoll_events)
{
	if (w->events == epoll_events)
		return;
	/* A paused source leaves epoll: EPOLLHUP cannot be masked and would spin. */
	struct epoll_event ev = {.events = epoll_events, .data.ptr = w};
	int op = !epoll_events ? EPOLL_CTL_DEL : w->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (epoll_ctl(w->loop->epoll_fd, op, w->fd, &ev) == 0) {
		w->watched = epoll_events != 0;
		w->events = epoll_events;
	}
}

void loop_fd_remove(struct loop_fd *w)
{
	if (!w)
		return;
	struct loop *l = w->loop;
	if (w->watched)
		epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	if (!l->dispatching) {
		free(w);
		return;
	}
	w->removed = true;
	w->next = l->dead;
	l->dead = w;
}

static void on_timer(void *opaque, int fd, uint32_t events)
{
	struct loop_timer *t = opaque;
	uint64_t n;
	(void)events;
	if (read(fd, &n, sizeof(n)) == sizeof(n))
		t->fn(t->opaque);
}

int loop_timer_new(
	struct loop *l, loop_fn *fn, void *opaque, struct loop_timer **out, struct error *err)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fd < 0)
		return error_errno(err, errno, "timer");
	struct loop_timer *t = xcalloc(1, sizeof(*t));
	*t = (struct loop_timer){.fd = fd, .fn = fn, .opaque = opaque};
	int r = loop_fd_add(l, fd, EPOLLIN, on_timer, t, &t->watch, err);
	if (r < 0) {
		close(fd);
		free(t);
		return r;
	}
	*out = t;
	return 0;
}

static void timer_set(struct loop_timer *t, uint64_t deadline_ns)
{
	struct itimerspec its = {
		.it_value.tv_sec = (time_t)(deadline_ns / NS_PER_SEC),
		.it_value.tv_nsec = (long)(deadline_ns % NS_PER_SEC),
	};
	timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &its, NULL);
}

void loop_timer_arm(struct loop_timer *t, uint64_t deadline_ns)
{
	timer_set(t, MAX(deadline_ns, UINT64_C(1))); /* zero would disarm */
}

void loop_timer_disarm(struct loop_timer *t)
{
	timer_set(t, 0);
}

void loop_timer_free(struct loop_timer *t)
{
	if (!t)
		return;
	loop_fd_remove(t->watch);
	close(t->fd);
	free(t);
}
