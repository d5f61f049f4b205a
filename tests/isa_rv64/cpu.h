// SPDX-License-Identifier: Apache-2.0
// A hart by itself, for tests that need no machine.
#ifndef STRATA_TESTS_CPU_H
#define STRATA_TESTS_CPU_H

#include "isa/rv64/internal.h"

static inline struct rv64_cpu *new_cpu(unsigned hart)
{
	struct rv64_cpu *c = xcalloc(1, sizeof(*c));
	rv64_isa.init(c, hart);
	return c;
}
static inline void free_cpu(struct rv64_cpu *c)
{
	rv64_isa.done(c);
	free(c);
}

#endif
