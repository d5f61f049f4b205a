// SPDX-License-Identifier: Apache-2.0
// The supervisor binary interface (RISC-V SBI specification 2.0), served by the monitor: there is
// no firmware in the guest. sbi.c finds the extension; each larger extension has a file.
//
// All runs on the calling hart's thread.
#ifndef STRATA_BOARD_RISCV64_SBI_H
#define STRATA_BOARD_RISCV64_SBI_H

#include "board/riscv64/machine.h"

struct rv64_cpu;

enum sbi_error {
	SBI_SUCCESS = 0,
	SBI_ERR_FAILED = -1,
	SBI_ERR_NOT_SUPPORTED = -2,
	SBI_ERR_INVALID_PARAM = -3,
	SBI_ERR_DENIED = -4,
	SBI_ERR_INVALID_ADDRESS = -5,
	SBI_ERR_ALREADY_AVAILABLE = -6,
	SBI_ERR_ALREADY_STARTED = -7,
	SBI_ERR_ALREADY_STOPPED = -8,
};

struct sbi_result {
	long error; /* enum sbi_error */
	uint64_t value;
};
#define SBI_OK(v)   ((struct sbi_result){SBI_SUCCESS, (v)})
#define SBI_FAIL(e) ((struct sbi_result){(e), 0})

/* One call. */
struct sbi {
	struct riscv_machine *machine;
	unsigned hart; /* that calls */
	struct rv64_cpu *cpu;
	uint64_t function;
	uint64_t arg[6];
	bool no_return; /* the call set the hart's registers itself */
};

void sbi_call(struct riscv_machine *m, struct vcpu *v, struct rv64_cpu *cpu);

/* --- for the extensions --- */

/* Harts of a mask as SBI passes it (chapter 3: hart_mask, hart_mask_base), bit per hart id. */
int sbi_hart_mask(const struct riscv_machine *m, uint64_t mask, uint64_t base, uint64_t *out);
#define sbi_for_each_hart(i, mask)                                                                 \
	for (uint64_t rest_ = (mask), i; rest_ && (i = (uint64_t)__builtin_ctzll(rest_), true);    \
		rest_ &= rest_ - 1)

struct sbi_result sbi_hsm(struct sbi *call); /* hsm.c */
/* The hart makes a call, so it sleeps no longer. [its own thread] */
void hsm_hart_is_awake(struct riscv_machine *m, unsigned hart);
struct sbi_result sbi_rfence(struct sbi *call); /* sbi_rfence.c */
struct sbi_result sbi_dbcn(struct sbi *call);	/* sbi_console.c */
struct sbi_result sbi_legacy_putchar(struct sbi *call);
struct sbi_result sbi_legacy_getchar(struct sbi *call);

#endif
