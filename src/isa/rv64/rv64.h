// SPDX-License-Identifier: Apache-2.0
// The RISC-V guest CPU: RV64GC and what rv64_extensions[] lists, user and supervisor mode, Sv39 and
// Sv48. There is no machine mode: an environment call from supervisor mode is an SBI call, served
// by the monitor (cpu_env.firmware_call); all traps and interrupts go to supervisor mode.
// Specifications: RISC-V unprivileged ISA 20240411, privileged ISA 20240411.
//
// The vCPU's thread owns struct rv64_cpu, but for the two atomic words. docs/rv64.md tells more.
#ifndef STRATA_ISA_RV64_RV64_H
#define STRATA_ISA_RV64_RV64_H

#include "isa/isa.h"

enum rv64_priv { RV64_USER = 0, RV64_SUPERVISOR = 1 };

/* scause; interrupts have bit 63 set */
enum rv64_cause {
	RV64_CAUSE_FETCH_ACCESS = 1,
	RV64_CAUSE_ILLEGAL = 2,
	RV64_CAUSE_BREAKPOINT = 3,
	RV64_CAUSE_LOAD_MISALIGNED = 4,
	RV64_CAUSE_LOAD_ACCESS = 5,
	RV64_CAUSE_STORE_MISALIGNED = 6,
	RV64_CAUSE_STORE_ACCESS = 7,
	RV64_CAUSE_ECALL_USER = 8,
	RV64_CAUSE_FETCH_PAGE = 12,
	RV64_CAUSE_LOAD_PAGE = 13,
	RV64_CAUSE_STORE_PAGE = 15,
};

/* Interrupt lines: bits of sip and sie, numbers for isa.set_irq. */
enum rv64_irq { RV64_IRQ_SOFTWARE = 1, RV64_IRQ_TIMER = 5, RV64_IRQ_EXTERNAL = 9 };

#define RV64_TIMEBASE_HZ UINT64_C(10000000)
#define RV64_CBO_BYTES	 64 /* cache block of cbo.* */
#define RV64_MMU_TYPE	 "riscv,sv48"

/* Sets of TLBs, one per recently used satp value, so that switching back is free. In each, one TLB
 * per mode, so that a system call is a change of pointers. */
enum { RV64_SPACES = 4, RV64_CODE_FILTER_BITS = 1 << 15 };
enum rv64_tlb_mode { RV64_TLB_USER, RV64_TLB_SUPERVISOR, RV64_TLB_SUPERVISOR_SUM, RV64_TLB_MODES };

/* 2 MiB of a superpage, as its leaf says: what the TLBs miss of it needs no walk. */
struct rv64_superpage {
	uint64_t page; /* virtual address >> RV64_SUPERPAGE_SHIFT */
	uint64_t pte;  /* 0: none */
	uint8_t level, space;
	bool global; /* in every space */
};
enum { RV64_SUPERPAGE_SHIFT = 21, RV64_SUPERPAGES = 64 };

struct rv64_cpu {
	struct cpu_head head;
	uint64_t x[32]; /* x[0] stays 0 */
	uint64_t f[32]; /* single precision is NaN-boxed */

	/* CSRs. sstatus holds SIE, SPIE, SPP, SUM and MXR; FS is apart because code marks it dirty.
	 */
	uint32_t priv; /* enum rv64_priv */
	uint32_t fs;   /* 0 off, 1 initial, 2 clean, 3 dirty */
	uint32_t frm;  /* as written; 5 to 7 are reserved and make dynamic rounding illegal */
	uint32_t scounteren;
	uint64_t sstatus, sie, stvec, sscratch, sepc, scause, stval, satp, senvcfg, stimecmp;
	_Atomic uint64_t
		sip; /* [any thread] lines as set_irq left them; the guest writes SSIP alone */

	unsigned hart_id;
	/* time = host monotonic clock in ticks + time_offset. It belongs to the machine, which
	 * gives all harts the same one, saves it and restores it. */
	uint64_t time_offset;
	/* What cycle and instret had when the state was saved, less what this process had counted:
	 * they do not go back when one process counts and the other does not. */
	uint64_t counter_base;

	struct {
		uint64_t satp;
		/* Per TLB: false while it has nothing in it. */
		bool filled[RV64_TLB_MODES];
		/* Addresses from low to high may be mapped by superpages or NAPOT ranges, of which
		 * one fence must drop all pages. low > high: none. */
		uint64_t large_low, large_high;
		uint32_t epoch; /* cpu_head.mapping_epoch while this is the current space */
		/* Pages that code may have been fetched from since the last flush (a Bloom filter
		 * of one hash): only their mappings are known outside the TLBs. */
		uint64_t code[RV64_CODE_FILTER_BITS / 64];
	} spaces[RV64_SPACES];
	struct rv64_superpage superpages[RV64_SUPERPAGES]; /* direct-mapped */
	uint64_t superpages_low, superpages_high;	   /* none is outside; low > high: none */
	unsigned space;					   /* the current one */
	unsigned next_space;				   /* to be reused next */
	uint32_t last_epoch;				   /* the newest that a space has */
	struct tlb tlbs[RV64_SPACES * RV64_TLB_MODES];
};

extern const struct isa rv64_isa;

/* What a device tree tells the guest. The string is the single-letter form with all multi-letter
 * extensions; the array ends with NULL. */
extern const char *const rv64_extensions[];
const char *rv64_isa_string(void);

/* Puts the hart where the SBI boot protocol wants it: supervisor mode, no translation, interrupts
 * off, a0 = hart id, a1 = opaque. Keeps time. */
void rv64_reset(struct rv64_cpu *c, uint64_t pc, uint64_t hart_id, uint64_t opaque);

/* Puts a hart of a flat group (cpu_head.flat) in user mode, as Linux starts a program: all else is
 * 0, floating point on. */
void rv64_reset_user(struct rv64_cpu *c, uint64_t pc, uint64_t sp);
/* fcsr, while the hart does not run. */
uint32_t rv64_fcsr(const struct rv64_cpu *c);
void rv64_set_fcsr(struct rv64_cpu *c, uint32_t fcsr);

/* Guest time in ticks of RV64_TIMEBASE_HZ. */
uint64_t rv64_time(const struct rv64_cpu *c);
uint64_t rv64_time_ns(const struct rv64_cpu *c); /* the same clock */
/* The timer interrupt becomes pending at that guest time (stimecmp, SBI set_timer). On the vCPU's
 * thread. */
void rv64_set_stimecmp(struct rv64_cpu *c, uint64_t ticks);

/* sfence.vma for [start, start + bytes) of one address space, or of all when asid is
 * RV64_ALL_ASIDS. On the vCPU's thread. */
#define RV64_ALL_ASIDS UINT64_MAX
void rv64_fence_vma(struct rv64_cpu *c, uint64_t start, uint64_t bytes, uint64_t asid);

/* Registers of an SBI call. */
static inline uint64_t rv64_arg(const struct rv64_cpu *c, unsigned n) /* a0 to a7 */
{
	return c->x[10 + (n & 7)];
}
static inline void rv64_set_result(struct rv64_cpu *c, uint64_t a0, uint64_t a1)
{
	c->x[10] = a0;
	c->x[11] = a1;
}

#endif
