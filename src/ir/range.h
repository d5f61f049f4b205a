// SPDX-License-Identifier: Apache-2.0
// What is known of an integer value's upper bits, from how it was computed in its block.
#ifndef STRATA_IR_RANGE_H
#define STRATA_IR_RANGE_H

#include "ir/ir.h"

struct ir_range {
	unsigned sign; /* this many upper bits are equal, at least 1 */
	unsigned zero; /* this many upper bits are 0 */
};

struct ir_range ir_range(const struct ir_func *f, ir_ref r);

#endif
