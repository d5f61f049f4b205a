// SPDX-License-Identifier: Apache-2.0
// The host's floating-point unit while guest code runs on it.
//
// An executor runs guest floating point on the host's FPU, on the vCPU's thread, with traps masked.
// Exceptions gather in the host's sticky flags; whoever wants to know them moves them into
// cpu_head.fp_flags first: a helper of the architecture that reads or writes the guest's flags, and
// an executor before it leaves the thread or lets other code use the FPU.
#ifndef STRATA_ISA_FPU_H
#define STRATA_ISA_FPU_H

#include <fenv.h>

#include "isa/isa.h"

/* Moves the host's sticky flags into cpu_head.fp_flags. */
static inline void fpu_harvest(struct cpu_head *h)
{
	int flags = fetestexcept(FE_ALL_EXCEPT);
	if (flags) {
		h->fp_flags |= (uint32_t)flags;
		feclearexcept(FE_ALL_EXCEPT);
	}
}

/* The guest sets its flags: host flags so far are forgotten. */
static inline void fpu_set_flags(struct cpu_head *h, uint32_t fe_flags)
{
	feclearexcept(FE_ALL_EXCEPT);
	h->fp_flags = fe_flags;
}

#endif
