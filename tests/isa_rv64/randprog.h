// SPDX-License-Identifier: Apache-2.0
// Makes a program of random blocks of instructions, as a static RISC-V Linux ELF file that any
// system can run: each block starts from random registers, and leaves registers, fcsr, its scratch
// memory and, when a signal ended it, which and where, in a record. Some have loops and functions.
// When all have run as often as asked, the program writes the records to stdout and exits with 0.
#ifndef STRATA_TESTS_RANDPROG_H
#define STRATA_TESTS_RANDPROG_H

#include "base/base.h"

enum { RP_SCRATCH = 768, RP_SCRATCH_BASE = 256 /* where a block's base register points */ };

/* What a block leaves. The program's own code knows the offsets. */
struct rp_record {
	uint64_t x[32]; /* x[0] is unused; that of the base register is as loaded */
	uint64_t f[32];
	uint64_t fcsr;
	uint64_t signal; /* 0: it ran to its end */
	uint64_t pc;	 /* with a signal */
	uint64_t addr;	 /* with SIGSEGV */
	uint64_t entry;	 /* address of the block */
	uint64_t unused[3];
	uint8_t scratch[RP_SCRATCH];
};

/* What it starts from, beside 32 words for x, 32 for f and RP_SCRATCH bytes at these addresses. */
struct rp_input {
	uint64_t x, f, scratch, fcsr, entry, loader;
};

struct randprog {
	uint8_t *elf; /* owned */
	size_t elf_bytes;
	/* The one segment of it. */
	const uint8_t *image;
	size_t image_bytes, memory_bytes;
	uint64_t base, start;
	uint64_t inputs, records,
		current; /* addresses; `current` holds that of the running record */
	uint64_t next;	 /* where a block that got a signal goes on */
	unsigned blocks;
};

/* passes: how often each block runs; what a block leaves is that of the last time. */
void randprog_make(struct randprog *p, uint64_t seed, unsigned blocks, unsigned passes);
void randprog_done(struct randprog *p);
const struct rp_input *randprog_input(const struct randprog *p, unsigned block);
/* Can the reference (qemu-riscv64 7.2) run it? */
bool randprog_knows(unsigned row);

#endif
