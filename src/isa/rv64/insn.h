// SPDX-License-Identifier: Apache-2.0
// A decoded instruction, and the rows of insns.def. The decoder is generated from that table.
#ifndef STRATA_ISA_RV64_INSN_H
#define STRATA_ISA_RV64_INSN_H

#include "base/base.h"

struct rv64_lift;
struct rv64_insn;
typedef void rv64_lift_fn(struct rv64_lift *l, const struct rv64_insn *i);

#include "rv64_insns_gen.h"

/* Operands that the row's format does not have are 0. */
struct rv64_insn {
	uint16_t row; /* enum rv64_row */
	uint8_t bytes;
	uint8_t rd, rs1, rs2, rs3;
	uint8_t rm;   /* rounding mode field */
	uint8_t aqrl; /* bit 1 acquire, bit 0 release */
	int32_t imm;
	uint32_t raw; /* the encoding; 16 bits of it for a compressed instruction */
};

struct rv64_row_info {
	const char *name;     /* as the assembler spells it */
	const char *operands; /* template, see the head of insns.def */
	const char *extension;
	rv64_lift_fn *lift;
	uint32_t mask, match; /* the bits that the row fixes */
};
extern const struct rv64_row_info rv64_rows[RV64_ROW_COUNT];

/* w: 32 bits from the instruction's address; the upper half is ignored for a compressed one.
 * Sets raw and bytes in any case; false when the encoding is not an instruction of this CPU. */
bool rv64_decode(uint32_t w, struct rv64_insn *i);

#endif
