// SPDX-License-Identifier: Apache-2.0
// The device tree that tells a guest of its machine (Devicetree Specification 0.4; Linux bindings).
#ifndef STRATA_BOARD_RISCV64_FDT_H
#define STRATA_BOARD_RISCV64_FDT_H

#include "base/error.h"

enum {
	RISCV_CMDLINE_MAX = 1023, /* bytes that Linux keeps on RISC-V */
	RISCV_SEED_BYTES = 64,
};

struct riscv_fdt_config {
	unsigned cpus;
	uint64_t memory_bytes;
	const char *cmdline;
	uint64_t initrd_addr, initrd_bytes; /* 0 bytes: none */
	uint32_t pci_slots;		    /* bit per slot that has a device */
	uint8_t seed[RISCV_SEED_BYTES];	    /* fresh randomness for the guest's generator */
};

/* *out is malloc'ed: a flattened tree of *bytes bytes. */
int riscv_fdt_build(
	void **out, size_t *bytes, const struct riscv_fdt_config *config, struct error *err);

#endif
