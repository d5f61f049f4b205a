// SPDX-License-Identifier: Apache-2.0
// What the files of this folder share: CSR fields, slots and helpers of the IR target, the pieces
// of struct isa.
#ifndef STRATA_ISA_RV64_INTERNAL_H
#define STRATA_ISA_RV64_INTERNAL_H

#include "isa/rv64/insn.h"
#include "isa/rv64/rv64.h"

#define SSTATUS_SIE	 (UINT64_C(1) << 1)
#define SSTATUS_SPIE	 (UINT64_C(1) << 5)
#define SSTATUS_SPP	 (UINT64_C(1) << 8)
#define SSTATUS_FS_SHIFT 13
#define SSTATUS_SUM	 (UINT64_C(1) << 18)
#define SSTATUS_MXR	 (UINT64_C(1) << 19)
#define SSTATUS_UXL	 (UINT64_C(2) << 32) /* user mode is 64-bit, always */
#define SSTATUS_SD	 (UINT64_C(1) << 63)
#define SSTATUS_WRITABLE (SSTATUS_SIE | SSTATUS_SPIE | SSTATUS_SPP | SSTATUS_SUM | SSTATUS_MXR)

#define SENVCFG_FIOM	   UINT64_C(1)
#define SENVCFG_CBIE_SHIFT 4
#define SENVCFG_CBIE	   (UINT64_C(3) << SENVCFG_CBIE_SHIFT)
#define SENVCFG_CBCFE	   (UINT64_C(1) << 6)
#define SENVCFG_CBZE	   (UINT64_C(1) << 7)

#define SATP_MODE_SHIFT 60
#define SATP_ASID_SHIFT 44
#define SATP_ASID_MASK	UINT64_C(0xffff)
#define SATP_PPN_MASK	((UINT64_C(1) << 44) - 1)
enum { SATP_BARE = 0, SATP_SV39 = 8, SATP_SV48 = 9 };

#define IRQ_BIT(line)	(UINT64_C(1) << (line))
#define IRQ_ALL		(IRQ_BIT(RV64_IRQ_SOFTWARE) | IRQ_BIT(RV64_IRQ_TIMER) | IRQ_BIT(RV64_IRQ_EXTERNAL))
#define CAUSE_INTERRUPT (UINT64_C(1) << 63)

/* Slots: x1 to x31, then f0 to f31, then these. */
enum {
	SLOT_X = 0, /* SLOT_X + n is register n; slot 0 is never used */
	SLOT_F = 32,
	SLOT_FS = 64,
	SLOT_SSCRATCH,
	SLOT_SEPC,
	SLOT_SCAUSE,
	SLOT_STVAL,
	SLOT_COUNT
};

/* What a translation depends on beside its code: isa.translation_flags. */
enum {
	FLAG_SUPERVISOR = 1,
	FLAG_FS_SHIFT = 1,  /* 2 bits: 0 off, 2 on, 3 on and dirty */
	FLAG_FRM_SHIFT = 3, /* 2 bits: enum frm_class */
	FLAG_CBIE = 1 << 5, /* user mode: what senvcfg allows */
	FLAG_CBCFE = 1 << 6,
	FLAG_CBZE = 1 << 7,
};
/* Round to nearest, ties to max magnitude, is no mode that hosts have: code for it is special. */
enum frm_class { FRM_COMMON, FRM_RMM, FRM_RESERVED };

#define HELPERS(X)                                                                                 \
	X(CSR, csr, 3, IR_HELPER_FAULT | IR_HELPER_READS_SLOTS | IR_HELPER_WRITES_SLOTS)           \
	X(COUNTER, counter, 2, IR_HELPER_FAULT)                                                    \
	X(FCSR, fcsr, 2, 0)                                                                        \
	X(FIRMWARE, firmware, 1, IR_HELPER_FAULT | IR_HELPER_READS_SLOTS | IR_HELPER_WRITES_SLOTS) \
	X(SRET, sret, 0, IR_HELPER_READS_SLOTS)                                                    \
	X(WFI, wfi, 0, 0)                                                                          \
	X(FENCE_I, fence_i, 0, 0)                                                                  \
	X(SFENCE_VMA, sfence_vma, 3, 0)                                                            \
	X(CBO_CHECK, cbo_check, 1, IR_HELPER_FAULT)                                                \
	X(LOAD_RESERVED, load_reserved, 2, IR_HELPER_FAULT)                                        \
	X(CLMUL, clmul, 2, IR_HELPER_PURE)                                                         \
	X(CLMULH, clmulh, 2, IR_HELPER_PURE)                                                       \
	X(CLMULR, clmulr, 2, IR_HELPER_PURE)
enum {
#define X(id, name, nargs, flags) HELPER_##id,
	HELPERS(X)
#undef X
		HELPER_COUNT
};
#define X(id, name, nargs, flags) ir_helper_fn rv64_helper_##name;
HELPERS(X)
#undef X

/* target.c */
extern const struct ir_slot rv64_slots[SLOT_COUNT];
extern const struct ir_helper rv64_helpers[HELPER_COUNT];
extern const char *const rv64_x_names[32], *const rv64_f_names[32];

/* lift.c */
int rv64_lift(struct ir_func *f, uint16_t flags, const uint8_t *code, size_t code_bytes,
	const uint8_t *code_next, size_t code_next_bytes, unsigned max_insns);
uint16_t rv64_translation_flags(const void *cpu);

/* disasm.c */
unsigned rv64_disassemble(const uint8_t *code, size_t bytes, uint64_t pc, struct strbuf *out);

/* debug.c */
extern const struct isa_debug rv64_debug;

/* csr.c */
enum csr_flag {
	CSR_READ_ONLY = 1,
	CSR_SUPERVISOR = 2, /* illegal in user mode */
	CSR_FP = 4,	    /* illegal while FS is off */
	CSR_COUNTER = 8,    /* user mode needs a bit of scounteren */
	CSR_EXITS = 16,	    /* a write changes what translations were made for, or interrupts */
	CSR_SLOT = 32,	    /* lies in a slot: no call */
	CSR_INSNS = 64,	    /* counts instructions: its block must begin and end with it */
};
struct rv64_csr {
	const char *name;
	uint16_t number;
	uint8_t flags;	     /* enum csr_flag */
	uint8_t slot;	     /* CSR_SLOT */
	uint64_t slot_clear; /* bits that always read as 0 */
	uint64_t (*read)(struct rv64_cpu *c);
	/* Bits of `value` under `touched` were asked for by the instruction, the others are as
	 * read. */
	void (*write)(struct rv64_cpu *c, uint64_t value, uint64_t touched);
};
/* NULL when there is no such CSR. */
const struct rv64_csr *rv64_csr_find(unsigned number);
/* cycle and instret. */
uint64_t rv64_counter(const struct rv64_cpu *c);
void rv64_set_counter(struct rv64_cpu *c, uint64_t value);
const struct rv64_csr *rv64_csr_at(
	unsigned n); /* in order of their numbers; NULL behind the last */
/* First argument of helper csr: number | op << 12 | (writes ? CSR_CALL_WRITE : 0). */
enum { CSR_FFLAGS = 0x001, CSR_FRM = 0x002, CSR_FCSR = 0x003 };
enum { CSR_OP_WRITE, CSR_OP_SET, CSR_OP_CLEAR, CSR_CALL_WRITE = 1 << 16 };
uint64_t rv64_sstatus(const struct rv64_cpu *c);
void rv64_set_frm(struct rv64_cpu *c, uint32_t frm);
/* Between FE_* of <fenv.h> and fflags. */
struct rv64_fp_flag {
	uint32_t host, guest; /* one bit each */
};
enum { RV64_FP_FLAGS = 5 };
extern const struct rv64_fp_flag rv64_fp_flags[RV64_FP_FLAGS];
uint32_t rv64_fflags_from_host(uint32_t host);
uint32_t rv64_fflags_to_host(uint32_t guest);

/* mmu.c */
int rv64_translate(void *cpu, gva_t addr, enum isa_access access, struct isa_mapping *out);
bool rv64_probe(const void *cpu, gva_t addr, gpa_t *out); /* isa_debug.probe */
void rv64_mmu_init(struct rv64_cpu *c);
void rv64_mmu_mode_changed(struct rv64_cpu *c); /* priv or SUM */
void rv64_mmu_mxr_changed(struct rv64_cpu *c);
void rv64_mmu_set_satp(struct rv64_cpu *c, uint64_t satp);

/* trap.c */
void rv64_raise(struct rv64_cpu *c, uint64_t cause, uint64_t value);
void rv64_access_fault(void *cpu, gva_t addr, enum isa_access access);
void rv64_misaligned_fault(void *cpu, gva_t addr, enum isa_access access);
void rv64_deliver(void *cpu);
bool rv64_interrupt(void *cpu);
void rv64_set_irq(void *cpu, unsigned line, bool level);
bool rv64_wakes(const void *cpu);
uint64_t rv64_sip(struct rv64_cpu *c);		/* as the guest reads it */
void rv64_check_interrupts(struct rv64_cpu *c); /* asks for attention when one may be taken */

#endif
