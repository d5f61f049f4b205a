// SPDX-License-Identifier: Apache-2.0
// A debugger's access to vCPUs: a server of GDB's remote protocol, all-stop mode, one client at a
// time. vCPU n is thread n + 1. While a client is connected and has not let them go on, all vCPUs
// are held and the guest's clock stands still; without a client nothing is different.
//
// A client may do anything to the guest and nothing to this process. All functions are for the
// loop's thread.
#ifndef STRATA_GDB_GDB_H
#define STRATA_GDB_GDB_H

#include "cpu/vcpu.h"
#include "os/loop.h"

struct gdb_config {
	struct vcpu_group *cpus; /* all there will be */
	struct memory *memory;
	struct loop *loop;
	int listen_fd; /* bound, listening, not blocking; owned on success */
	bool wait;     /* hold the vCPUs until a client lets them go */
	/* The client wants the guest to end (why: for people). Called from inside a callback of the
	 * loop. */
	void (*kill)(void *opaque, const char *why);
	void *opaque;
};

struct gdb;
/* Before the first vCPU runs. -EINVAL when the architecture has no registers to show. */
int gdb_new(struct gdb **out, const struct gdb_config *config, struct error *err);
/* The guest has ended: tells the client and goes deaf. */
void gdb_guest_ended(struct gdb *g);
void gdb_free(struct gdb *g); /* accepts NULL; no vCPU runs any more */

#endif
