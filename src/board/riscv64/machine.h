// SPDX-License-Identifier: Apache-2.0
// The RISC-V board: a PLIC machine laid out like those that Linux knows best, and no firmware in
// the guest. The files of this folder share this header. docs/machine.md is its manual.
#ifndef STRATA_BOARD_RISCV64_MACHINE_H
#define STRATA_BOARD_RISCV64_MACHINE_H

#include <pthread.h>

#include "board/board.h"
#include "device/irq/plic.h"
#include "device/pci.h"
#include "device/rtc_goldfish.h"

/* Guest-physical memory map. */
#define RISCV_RTC_BASE	   UINT64_C(0x00101000)
#define RISCV_PLIC_BASE	   UINT64_C(0x0c000000)
#define RISCV_SERIAL_BASE  UINT64_C(0x10000000)
#define RISCV_ECAM_BASE	   UINT64_C(0x30000000)
#define RISCV_MMIO32_BASE  UINT64_C(0x40000000)
#define RISCV_MMIO32_BYTES UINT64_C(0x40000000)
#define RISCV_RAM_BASE	   UINT64_C(0x80000000)
#define RISCV_MMIO64_BASE  UINT64_C(0x10000000000)
#define RISCV_MMIO64_BYTES UINT64_C(0x1000000000)

enum {
	RISCV_CPUS_MAX = PLIC_CONTEXTS_MAX,
	RISCV_PCI_BUSES = 1,
	/* Interrupt sources: */
	RISCV_IRQ_SERIAL = 10,
	RISCV_IRQ_RTC = 11,
	RISCV_IRQ_PCI = 32, /* + slot */
	RISCV_FIRST_SLOT = 1,
};

/* SBI HSM states of a hart (SBI 2.0, table 9). */
enum hart_state {
	HART_STARTED,
	HART_STOPPED,
	HART_START_PENDING,
	HART_STOP_PENDING,
	HART_SUSPENDED,
	HART_SUSPEND_PENDING,
	HART_RESUME_PENDING,
};

struct riscv_hart {
	struct vcpu *vcpu;
	/* Under hsm_lock: */
	uint32_t state;	     /* enum hart_state; SUSPENDED until the hart's next call */
	uint64_t suspend_pc; /* SUSPENDED: where it goes on */
};

struct riscv_machine {
	struct board board;
	board_ended_fn *ended;
	void *opaque;
	unsigned cpus;
	uint64_t memory_bytes;
	struct plic *plic;
	struct rtc_goldfish *rtc;
	struct pci_host *pci;
	unsigned next_slot;
	uint32_t used_slots;	  /* bit per slot */
	uint64_t entry, fdt_addr; /* where the first hart starts, and its argument */

	pthread_mutex_t hsm_lock; /* guards paused and harts[].state; no vCPU waits for another in
				     it but for one that is stopped */
	bool paused;		  /* started harts are held */
	struct riscv_hart harts[RISCV_CPUS_MAX];
};

extern const struct board_ops riscv_board_ops;

static inline struct riscv_machine *riscv_machine(struct board *b)
{
	return container_of(b, struct riscv_machine, board);
}

/* boot.c: kernel, initial RAM disk and device tree into memory; sets entry and fdt_addr. */
int riscv_boot_load(struct riscv_machine *m, const struct board_boot *boot, struct error *err);

/* hsm.c */
int riscv_harts_start(struct riscv_machine *m, struct error *err);
void riscv_harts_pause(struct riscv_machine *m);
void riscv_harts_resume(struct riscv_machine *m);
void riscv_harts_state(struct riscv_machine *m, struct state *s);

#endif
