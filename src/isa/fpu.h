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
#include <immintrin.h>

#include "isa/isa.h"

/* MXCSR: six sticky flags with the values of FE_*, six masks, two bits of rounding mode. */
enum {
	FPU_FLAGS = 0x3f,
	FPU_MASKS = 0x1f80,
	FPU_ROUND_SHIFT = 13,
	FPU_ROUND = 3 << FPU_ROUND_SHIFT
};

/* The host's bits for a rounding mode. It has no "nearest, ties away": ops in that mode do not use
 * the host's FPU (interp/softfloat.h), so any will do. */
static inline unsigned fpu_host_rounding(unsigned ir_rm)
{
	/* IR: even, zero, down, up, away; host: even 0, down 1, up 2, zero 3 */
	return (0x2130u >> (4 * (ir_rm & 7)) & 3u) << FPU_ROUND_SHIFT;
}

/* Moves the host's sticky flags into cpu_head.fp_flags. */
static inline void fpu_harvest(struct cpu_head *h)
{
	unsigned csr = _mm_getcsr();
	if (csr & FPU_FLAGS) {
		h->fp_flags |= csr & FE_ALL_EXCEPT;
		_mm_setcsr(csr & ~(unsigned)FPU_FLAGS);
	}
}

/* The guest sets its flags: host flags so far are forgotten. */
static inline void fpu_set_flags(struct cpu_head *h, uint32_t fe_flags)
{
	_mm_setcsr(_mm_getcsr() & ~(unsigned)FPU_FLAGS);
	h->fp_flags = fe_flags;
}

/* The guest changes its dynamic rounding mode. Harmless when the FPU is not the guest's: the next
 * fpu_enter() takes the mode from the head. */
static inline void fpu_set_rounding(struct cpu_head *h, unsigned ir_rm)
{
	h->fp_rounding = ir_rm;
	if (h->fpu_entered)
		_mm_setcsr((_mm_getcsr() & ~(unsigned)FPU_ROUND) | fpu_host_rounding(ir_rm));
}

/* The FPU becomes the guest's, and the host's own again. */
static inline void fpu_enter(struct cpu_head *h)
{
	_mm_setcsr(FPU_MASKS | fpu_host_rounding(h->fp_rounding));
	h->fpu_entered = true;
}
static inline void fpu_leave(struct cpu_head *h)
{
	h->fp_flags |= _mm_getcsr() & FE_ALL_EXCEPT;
	h->fpu_entered = false;
	_mm_setcsr(FPU_MASKS);
}

#endif
