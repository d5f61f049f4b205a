// SPDX-License-Identifier: Apache-2.0
// The compiler: a verified IR function of one or more guest blocks (a *region*) becomes host code.
// docs/jit.md explains it. What it has no code for it refuses, and the interpreter keeps it.
//
// Registers: a few slots that the architecture names (ir_target.pinned) live in host registers
// while any compiled code runs; all other slots live in memory. So going from region to region
// costs nothing, and at every instruction the state is exact without tables.
#ifndef STRATA_JIT_JIT_H
#define STRATA_JIT_JIT_H

#include "interp/interp.h"

struct jit; /* the code memory of one vcpu_group and what all its code shares [any thread] */

/* An edge that leaves a region for a constant guest address: a jump that goes to a stub until it is
 * linked to the target's code. */
struct jit_link {
	uint64_t pc;
	const uint8_t *host; /* the target's first byte; the caller's */
	uint8_t *jump;	     /* its 32-bit distance, in the writable mapping; aligned */
	/* Or, when flat, a jump to an address in a register has been to this one first: guest
	 * address and code, which it then compares with; JIT_CELL_EMPTY: nowhere yet. The code is
	 * written first, so that must be no address that a guest can jump to: 0 is one. */
	uint64_t *cell;
};
#define JIT_CELL_EMPTY UINT64_MAX

enum { JIT_MIN_BYTES = 1 << 20 };

struct jit_entry {
	uint64_t pc;
	const void *code;
};

/* An access of flat code that the host may refuse. */
struct jit_access {
	uint32_t at; /* from the region's code */
	uint64_t pc;
};

struct jit_region {
	uint8_t *code; /* in the writable mapping; owned by struct jit */
	uint32_t bytes;
	unsigned entry_count, link_count, access_count;
	struct jit_entry *entries;   /* owned */
	struct jit_link *links;	     /* owned */
	struct jit_access *accesses; /* owned, in order; when flat */
};

/* -ENOTSUP: this host has no emitter, or lacks instructions that it needs; err says which. Maps the
 * code memory (bytes; at least JIT_MIN_BYTES) twice, writable and executable: before a sandbox
 * forbids it.
 * flat: code for CPUs with cpu_head.flat. It is mapped once, writable and executable, and private:
 * a child after fork() has a copy of its own. A process is no security boundary.
 * counted: code counts cpu_head.insns_retired, and is slower by up to a third. */
int jit_new(struct jit **out, const struct isa *isa, bool flat, bool counted, size_t bytes,
	struct error *err);
void jit_free(struct jit *j); /* all regions are freed */

/* Compiles f, whose first `entries` blocks may be entered from outside.
 * -ENOTSUP: f holds what the compiler refuses. -ENOSPC: the code memory is full. [one thread at a
 * time: it takes a lock] */
int jit_compile(struct jit *j, const struct ir_func *f, unsigned entries, struct jit_region **out,
	struct error *err);
void jit_region_free(struct jit *j, struct jit_region *r); /* nobody runs it or jumps to it */
size_t jit_bytes(const struct jit *j);			   /* of code in use */
/* When the memory is full: the quarter of it to be freed next, each in turn, so that what is freed
 * is in one piece. In the writable mapping. */
void jit_next_victim(struct jit *j, const uint8_t **low, const uint8_t **high);

/* Held across fork(), so that the child finds everything whole. */
void jit_lock(struct jit *j);
void jit_unlock(struct jit *j);
bool jit_is_flat(const struct jit *j);

/* Makes the edge jump to code (of an entry). Another CPU may be running it. */
void jit_link_to(struct jit *j, struct jit_link *link, const void *code);

/* [async-signal-safe; on the vCPU's thread] The host refused an access: when that was at an access
 * of compiled flat code, changes *ucontext so that jit_run() returns INTERP_FAULT with the state
 * that the instruction began with, and returns true; cpu_head.fault is the caller's to set. */
bool jit_recover(struct jit *j, void *cpu, void *ucontext);

/* Runs from an entry. The FPU must be the guest's. INTERP_MISS: exec.link is an edge that may be
 * linked, or NULL. On the vCPU's thread. */
enum interp_exit jit_run(struct jit *j, void *cpu, const void *code);

/* --- the vCPU's table of compiled code, looked at by compiled code itself --- */
/* An address is looked for in two entries, which share a cache line: way 0 and way 1. Way 1 is way
 * 0 of the address two bytes on, which is rarely a target itself. */
static inline struct cpu_jump *jit_jump_slot(
	const struct isa *isa, void *cpu, uint64_t pc, unsigned way)
{
	return &cpu_jumps(isa, cpu)[(pc >> 1 & (CPU_JUMPS - 1)) ^ way];
}

/* NULL: not in the table. */
static inline const void *jit_jump_find(
	const struct isa *isa, void *cpu, uint64_t pc, uint64_t context)
{
	for (unsigned way = 0; way < 2; way++) {
		const struct cpu_jump *j = jit_jump_slot(isa, cpu, pc, way);
		if (j->pc == pc && j->context == context)
			return j->code;
	}
	return NULL;
}

/* What is in the way moves over to its way 1, in place of what is there. */
static inline void jit_jump_add(
	const struct isa *isa, void *cpu, uint64_t pc, uint64_t context, const void *code)
{
	struct cpu_jump *j = jit_jump_slot(isa, cpu, pc, 0);
	if (j->pc != pc && j->context == context)
		*jit_jump_slot(isa, cpu, pc, 1) = *j;
	*j = (struct cpu_jump){.pc = pc, .context = context, .code = code};
}

#endif
