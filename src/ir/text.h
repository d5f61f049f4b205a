// SPDX-License-Identifier: Apache-2.0
// The words of IR's text form, shared by print.c and parse.c.
#ifndef STRATA_IR_TEXT_H
#define STRATA_IR_TEXT_H

#include "ir/ir.h"

/* A word stands for `value` under `mask` of an instruction's aux. */
struct ir_word {
	const char *name;
	uint16_t mask, value;
};

/* The words that apply to an op; ends with a NULL name. */
const struct ir_word *ir_aux_words(unsigned op);

#endif
