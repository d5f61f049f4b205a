// SPDX-License-Identifier: Apache-2.0
// The interpreter. A verified function is lowered once to threaded code (code.h): a string of
// 64-bit words, each operation its handler's address followed by operands. Running it needs no
// decoding, no type dispatch and no copy between guest registers and temporaries.
//
// Code is immutable but for its links (below) and is shared by all vCPUs of a machine.
#ifndef STRATA_INTERP_INTERP_H
#define STRATA_INTERP_INTERP_H

#include "isa/isa.h"

struct interp_code {
	uint64_t pc;	/* guest address of the entry */
	uint32_t words; /* length of code[] */
	uint32_t insns; /* guest instructions */
	uint64_t code[];
};

/* Working memory of the lowering; one per thread that lowers. */
struct interp_lowerer;
/* flat: the code is for CPUs with cpu_head.flat, and runs with interp_run_flat(). */
struct interp_lowerer *interp_lowerer_new(bool flat);
void interp_lowerer_free(struct interp_lowerer *l);

/* Code that begins with a counter leaves with INTERP_HOT when it has been entered as often, and
 * each time after that. 0: no counter. */
void interp_lowerer_count(struct interp_lowerer *l, uint32_t entries);
/* The counter of code with one: this entry is not to be hot, never again. */
void interp_hot_after(const uint64_t *entry, unsigned entries); /* more */
void interp_never_hot(const uint64_t *entry);

/* page: of the host's memory, where the guest's code begins; NULL: its jumps are never linked.
 * *out is freed with free(). -E2BIG: a block needs more temporaries than there are; lift fewer
 * instructions and try again. f must be verified. */
int interp_lower(struct interp_lowerer *l, const struct ir_func *f, const void *page,
	struct interp_code **out, struct error *err);

/* A jump inside the page where a block begins is linked: the word beside its target holds the
 * address of the target's code, once that is known and is in the same host page. It then needs no
 * lookup, and both ends leave the code cache together. Other jumps
 * go through a table of the vCPU, whose entries hold as long as `context` is the same. */
struct interp_jump {
	uint64_t pc, context;
	const uint64_t *entry; /* code[] of the block at pc; NULL when native is all there is */
	const void *native;    /* compiled code for it that is to be run instead, or NULL */
	uint64_t page;	       /* interp_page_tag() of its page; 0: it must not be linked to */
};
enum { INTERP_JUMPS = 32768 };

static inline struct interp_jump *interp_jump_slot(struct interp_jump *jumps, uint64_t pc)
{
	return &jumps[(pc >> 1 ^ pc >> 13) % INTERP_JUMPS];
}

struct interp_run {
	void *cpu;		   /* struct cpu_head first */
	struct interp_jump *jumps; /* INTERP_JUMPS entries */
	uint64_t context;	   /* what makes an entry of jumps valid; never 0 */
	/* After INTERP_MISS: where the address of the block at cpu_head.pc may be stored (see
	 * interp_link()), or NULL. */
	uint64_t *link;
};

enum interp_exit {
	INTERP_MISS,	  /* no code known for cpu_head.pc */
	INTERP_EXIT,	  /* an EXIT op: start afresh at cpu_head.pc */
	INTERP_ATTENTION, /* cpu_head.attention is set; about to run cpu_head.pc */
	INTERP_FAULT,	  /* cpu_head.fault is set; cpu_head.pc is the instruction's */
	INTERP_HOT,	  /* the block at cpu_head.pc, about to be run, is worth compiling */
};

/* Runs from a block's entry until there is a reason to leave. The FPU must be the guest's
 * (fpu_enter). On the vCPU's thread. */
enum interp_exit interp_run(struct interp_run *r, const uint64_t *entry);
enum interp_exit interp_run_flat(struct interp_run *r, const uint64_t *entry);

/* Blocks of one host page leave the cache together, whatever address it is mapped at now. */
static inline uint64_t interp_page_tag(const void *page)
{
	return (uint64_t)(uintptr_t)page | 1;
}

static inline void interp_link(uint64_t *link, const struct interp_jump *j)
{
	if (__atomic_load_n(link, __ATOMIC_RELAXED) == j->page)
		__atomic_store_n(link, (uint64_t)(uintptr_t)j->entry, __ATOMIC_RELEASE);
}

#endif
