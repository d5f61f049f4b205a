// SPDX-License-Identifier: Apache-2.0
// Dumps of compiled regions, for those who work on the compiler.
#ifndef STRATA_CPU_DUMP_H
#define STRATA_CPU_DUMP_H

#include <pthread.h>
#include <stdio.h>

#include "base/strbuf.h"
#include "ir/ir.h"

struct code_dump {
	FILE *out;	    /* owned; NULL: nothing is dumped */
	const char *stages; /* ir_optimise()'s, and "host" */
	pthread_mutex_t lock;
};

void code_dump_open(struct code_dump *d); /* as the environment asks; before a sandbox */
void code_dump_close(struct code_dump *d);
/* [any thread] ir: what ir_optimise() printed. */
void code_dump_region(
	struct code_dump *d, uint64_t pc, struct strbuf *ir, const uint8_t *host, size_t bytes);

#endif
