// SPDX-License-Identifier: Apache-2.0
// What the portable part of the compiler and the emitters share.
#ifndef STRATA_JIT_INTERNAL_H
#define STRATA_JIT_INTERNAL_H

#include <pthread.h>
#include <stdio.h>

#include "base/arena.h"
#include "jit/jit.h"
#include "jit/slow.h"

/* A free stretch of code memory. */
struct jit_hole {
	uint32_t at, bytes;
};

struct jit {
	const struct isa *isa;
	uint8_t *write; /* the code memory, writable */
	uint8_t *exec;	/* and the same, executable */
	size_t bytes;
	bool flat, counted;
	pthread_mutex_t lock;	     /* what follows */
	struct jit_region **regions; /* in order of their code; when flat */
	unsigned region_count, region_cap;
	struct jit_hole *holes; /* sorted by address, never touching each other */
	unsigned hole_count, hole_cap;
	size_t used;
	unsigned victim; /* number of the quarter to be freed next */
	FILE *perf_map;	 /* owned; NULL: not wanted */

	/* Written once, by the emitter's jit_emit_common(). */
	uint8_t *enter, *leave, *leave_stored; /* in the writable mapping */
	uint8_t *leave_link;		       /* by the link in rax */
	uint8_t *leave_cell;		       /* to the address in rax, by the link in rdx */
	uint8_t *slow_failed;
	/* See end.c: through the jump table; its other way; a return that does not match. */
	uint8_t *look_up, *other_way, *mismatch;
	uint8_t *slow[JIT_SLOW_COUNT][2]; /* [1]: xmm registers are in use */
	uint8_t *alone[2][4][2];	  /* by write, log2(bytes), xmm; see mem.c */
	size_t common_bytes;
};

/* The emitter of this host (jit/x86_64). 0, or -ENOTSUP with the missing instructions. */
int jit_host_check(struct error *err);
void jit_emit_common(struct jit *j);
/* Emits f at `at`, which has `room` bytes. Fills region->bytes, entries, links. -ENOTSUP, -ENOSPC.
 */
int jit_emit(struct jit *j, const struct ir_func *f, unsigned entries, uint8_t *at, size_t room,
	struct jit_region *region, struct error *err);
/* The host's part of jit_recover(): where the fault was, and going on with jit_run()'s end. */
const uint8_t *jit_fault_address(const void *ucontext);
void jit_leave_faulted(const struct jit *j, void *cpu, uint64_t pc, void *ucontext);
void jit_patch_jump(uint8_t *jump, const uint8_t *target);

static inline const void *jit_executable(const struct jit *j, const uint8_t *p)
{
	return j->exec + (p - j->write);
}
static inline uint8_t *jit_writable(const struct jit *j, const void *code)
{
	return j->write + ((const uint8_t *)code - j->exec);
}

#endif
