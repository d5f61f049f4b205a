// SPDX-License-Identifier: Apache-2.0
// Event loop over epoll: descriptors, timers, and callbacks posted from other threads.
//
// A loop belongs to the thread that calls loop_run(). All functions are for that thread (or for
// the creator before the thread starts), except those marked [any thread].
// Level-triggered. A callback may remove any source, also its own.
#ifndef STRATA_OS_LOOP_H
#define STRATA_OS_LOOP_H

#include "base/error.h"

struct loop;
struct loop_fd;
struct loop_timer;

typedef void loop_fd_fn(void *opaque, int fd, uint32_t epoll_events);
typedef void loop_fn(void *opaque);

int loop_new(struct loop **out, struct error *err);
void loop_free(struct loop *l); /* frees the sources that are left, not their descriptors */

/* Runs until loop_stop(). Returns 0, or -errno when epoll itself fails. */
int loop_run(struct loop *l, struct error *err);
void loop_stop(
	struct loop *l); /* [any thread] also before loop_run(), which then returns at once */
/* Waits once, at most timeout_ms (-1: for ever), and dispatches. For tests and nested waits. */
int loop_once(struct loop *l, int timeout_ms, struct error *err);

/* Runs fn(opaque) on the loop's thread, in order of posting. [any thread] */
void loop_post(struct loop *l, loop_fn *fn, void *opaque);

/* Watches fd (not owned) for EPOLLIN | EPOLLOUT | … */
int loop_fd_add(struct loop *l, int fd, uint32_t epoll_events, loop_fd_fn *fn, void *opaque,
	struct loop_fd **out, struct error *err);
void loop_fd_set(struct loop_fd *w, uint32_t epoll_events); /* 0 pauses the watch */
void loop_fd_remove(struct loop_fd *w);			    /* accepts NULL */

/* A one-shot timer in CLOCK_MONOTONIC time, disarmed at first. */
int loop_timer_new(
	struct loop *l, loop_fn *fn, void *opaque, struct loop_timer **out, struct error *err);
void loop_timer_arm(struct loop_timer *t, uint64_t deadline_ns); /* [any thread] absolute */
void loop_timer_disarm(struct loop_timer *t);			 /* [any thread] */
void loop_timer_free(struct loop_timer *t);			 /* accepts NULL */

#endif
