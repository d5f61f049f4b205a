// SPDX-License-Identifier: Apache-2.0
// Debugging guest code: breakpoints, watchpoints, single steps, holding vCPUs. For a debugger's
// stub.
//
// A held vCPU stands at an instruction boundary with nothing pending but interrupts. Holding is
// apart from vcpu_park(): a vCPU runs when neither is asked for. A vCPU that comes to a breakpoint
// or a watchpoint holds itself, before the instruction has done anything, and tells.
//
// Addresses are virtual, in any address space. Unless said otherwise, functions are for one thread
// that is no vCPU's, and those that change a list want all vCPUs held (or not started).
#ifndef STRATA_CPU_DEBUG_H
#define STRATA_CPU_DEBUG_H

#include "cpu/vcpu.h"

enum vcpu_watch { VCPU_WATCH_READ = 1, VCPU_WATCH_WRITE = 2 };
/* A breakpoint or watchpoint has owners, one bit each: it stays while one of them wants it. */
enum { VCPU_BREAKPOINTS_MAX = 1024, VCPU_WATCHPOINTS_MAX = 64, VCPU_WATCH_BYTES_MAX = 1 << 16 };

enum vcpu_stop_reason {
	VCPU_STOP_NONE,	      /* it was asked to, or does not stand */
	VCPU_STOP_BREAKPOINT, /* at pc */
	VCPU_STOP_WATCHPOINT, /* the instruction at pc is about to access `addr` */
	VCPU_STOP_STEPPED,    /* the step that vcpu_debug_release() asked for is done */
};
struct vcpu_stop {
	enum vcpu_stop_reason reason;
	unsigned owners; /* of the breakpoint or watchpoint */
	uint64_t addr;	 /* the first byte that is watched and accessed */
};

/* fn is called on the vCPU's thread when one stops by itself; it is held by then, or about to be.
 * NULL: nobody listens. Before the first vCPU runs, or while all are held. */
typedef void vcpu_stopped_fn(void *opaque, struct vcpu *v);
void vcpu_debug_listen(struct vcpu_group *g, vcpu_stopped_fn *fn, void *opaque);

/* Asks a vCPU to stand; waits until it does (at once when it has not been started). */
void vcpu_debug_hold(struct vcpu *v);
void vcpu_debug_wait(struct vcpu *v);
/* Lets it go on. step: for one instruction, or one entry of a trap handler by an exception.
 * No interrupt is taken in a step, and waiting for one ends at once. When the stop that it stands
 * in was taken (below) and its pc is still the same, it first passes the breakpoint
 * there, and after a stop at a watchpoint the watchpoints of that one instruction. A stop that was
 * not taken is forgotten and found again. */
void vcpu_debug_release(struct vcpu *v, bool step);
/* Why a held vCPU stopped; false: it was merely asked to. */
bool vcpu_debug_take_stop(struct vcpu *v, struct vcpu_stop *out);

/* Adds or removes an owner. 0; -EINVAL: no instruction can begin there, or the range is empty, too
 * long or wraps around; -ENOSPC: too many. Removing what is not there is no error. */
int vcpu_debug_set_breakpoint(struct vcpu_group *g, uint64_t addr, unsigned owner, bool on);
int vcpu_debug_set_watchpoint(struct vcpu_group *g, uint64_t addr, uint64_t bytes, unsigned kinds,
	unsigned owner, bool on);
void vcpu_debug_clear(struct vcpu_group *g); /* removes all of both */

/* For translators [any thread]. No code may begin at a breakpoint, and code that begins before one
 * must end there: an edge to a breakpoint's address is never resolved, so that vcpu_find_code()
 * sees it. Each change of the list drops all code and moves code_cache_epoch(); who asks outside a
 * vCPU's thread looks at the epoch before it asks and again before the code is used. */
bool vcpu_debug_is_breakpoint(struct vcpu_group *g, uint64_t pc);
/* How many of the `bytes` from pc on lie before the next breakpoint behind pc. */
uint64_t vcpu_debug_room(struct vcpu_group *g, uint64_t pc, uint64_t bytes);

#endif
