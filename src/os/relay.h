// SPDX-License-Identifier: Apache-2.0
// Copies bytes from one descriptor to another inside an event loop, with back-pressure: nothing is
// read while the writer cannot take what was read before. Used on both sides of a guest's standard
// streams. Belongs to the loop's thread. The process must ignore SIGPIPE.
#ifndef STRATA_OS_RELAY_H
#define STRATA_OS_RELAY_H

#include "os/loop.h"

enum relay_end {
	RELAY_EOF,    /* everything was copied */
	RELAY_BROKEN, /* nobody reads the other end any more */
	RELAY_FAILED, /* see code */
};

struct relay_config {
	int from, to; /* not owned; pipes, sockets, terminals, files; blocking ones too */
	/* May look at the bytes and change them in place; returns how many go on (<= n). Or NULL.
	 */
	size_t (*filter)(void *opaque, uint8_t *bytes, size_t n);
	/* Called once, last; may free the relay. code is a positive errno with RELAY_FAILED. */
	void (*done)(void *opaque, enum relay_end end, int code);
	void *opaque;
};

struct relay;

int relay_new(struct relay **out, struct loop *loop, const struct relay_config *config,
	struct error *err);
void relay_free(struct relay *r); /* accepts NULL; done() is not called */

/* Whoever wrote into `from` is gone, though another may hold its other end: copies what is there
 * now, then ends with RELAY_EOF. */
void relay_drain(struct relay *r);
uint64_t relay_total(const struct relay *r); /* bytes written so far */

#endif
