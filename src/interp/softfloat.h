// SPDX-License-Identifier: Apache-2.0
// IEEE 754 binary32 and binary64 in integers, exact in every rounding mode: for the mode that the
// host's FPU has not (nearest, ties away from zero), for hosts without fused multiply-add, and for
// conversions whose range the host has not. Values are bit patterns.
//
// Flags are FE_* of <fenv.h>; tininess is detected after rounding. A NaN result is the first NaN
// argument, quieted, or the default NaN (IR_FP_DEFAULT_NAN in aux, or when no argument is a NaN).
#ifndef STRATA_INTERP_SOFTFLOAT_H
#define STRATA_INTERP_SOFTFLOAT_H

#include "ir/ir.h"

struct softfloat {
	unsigned rounding; /* enum ir_fp_flag, not IR_RM_DYNAMIC */
	unsigned aux;	   /* the op's IR_FP_* */
	unsigned flags;	   /* gathered here */
};

/* type is IR_F32 or IR_F64 throughout. */
uint64_t softfloat_add(struct softfloat *s, enum ir_type type, uint64_t a, uint64_t b);
uint64_t softfloat_sub(struct softfloat *s, enum ir_type type, uint64_t a, uint64_t b);
uint64_t softfloat_mul(struct softfloat *s, enum ir_type type, uint64_t a, uint64_t b);
uint64_t softfloat_div(struct softfloat *s, enum ir_type type, uint64_t a, uint64_t b);
uint64_t softfloat_sqrt(struct softfloat *s, enum ir_type type, uint64_t a);
/* a * b + c; infinity * 0 is invalid whatever c is. */
uint64_t softfloat_fma(struct softfloat *s, enum ir_type type, uint64_t a, uint64_t b, uint64_t c);
uint64_t softfloat_convert(struct softfloat *s, enum ir_type from, enum ir_type to, uint64_t a);
/* To an integer of `bits` bits. Out of range: invalid, and with IR_FP_SATURATE the nearest end of
 * the range (NaN: the maximum), without it the smallest signed integer. */
uint64_t softfloat_to_int(struct softfloat *s, enum ir_type from, unsigned bits, uint64_t a);
uint64_t softfloat_from_int(
	struct softfloat *s, enum ir_type to, bool negative, uint64_t magnitude);

bool softfloat_is_nan(enum ir_type type, uint64_t a);
bool softfloat_is_signaling(enum ir_type type, uint64_t a);
uint64_t softfloat_default_nan(enum ir_type type);

#endif
