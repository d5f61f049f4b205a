// SPDX-License-Identifier: Apache-2.0
// What a guest architecture is to the rest: its CPU state, its lifter, its address translation and
// its exceptions. One constant `struct isa` per architecture; the executors (interp/, jit/) and
// cpu/ know nothing else of it.
#ifndef STRATA_ISA_ISA_H
#define STRATA_ISA_ISA_H

#include <stdatomic.h>

#include "ir/ir.h"
#include "mem/memory.h"
#include "mem/tlb.h"
#include "wire/state.h"

enum isa_access { ISA_READ, ISA_WRITE, ISA_EXEC };

/* What the CPU asks of its surroundings; set by cpu/ before the first instruction.
 * All are called on the vCPU's own thread. */
struct cpu_env {
	void *opaque;
	/* Memory-mapped I/O at a guest-physical address that is not RAM. bytes: 1, 2, 4, 8.
	 * false: nothing answers there (the guest gets an access fault). */
	bool (*mmio_read)(void *opaque, gpa_t addr, unsigned bytes, uint64_t *value);
	bool (*mmio_write)(void *opaque, gpa_t addr, unsigned bytes, uint64_t value);
	/* The environment call to the layer above the guest's highest mode (RISC-V: SBI). */
	void (*firmware_call)(void *opaque, void *cpu);
	/* Lowers isa->timer_line and raises it again (isa->set_irq) at deadline_ns
	 * (CLOCK_MONOTONIC; UINT64_MAX: never; in the past: at once). */
	void (*set_timer)(void *opaque, uint64_t deadline_ns);
	/* Makes other CPUs see code that was written: a fence.i has been executed. */
	void (*code_fence)(void *opaque);
	/* Waits for an interrupt; returns when isa->wakes() or when the vCPU has other business. */
	void (*wait_for_interrupt)(void *opaque);

	/* Memory accesses that miss in the TLB: misaligned across pages, devices, pages with code,
	 * faults. For executors; also for helpers that access guest memory. addr is virtual.
	 * mem_flags: enum ir_mem_flag. false: cpu_head.fault is set and nothing was done. */
	bool (*load)(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t *value);
	bool (*store)(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t value);
	/* Host address for one atomic access, naturally aligned; NULL: cpu_head.fault is set.
	 * write: the page counts as written before this returns, so use the pointer at once. */
	void *(*atomic)(void *cpu, uint64_t addr, unsigned bytes, bool write);
	/* A load-reserved whose store-conditional is to fail when another CPU has stored there in
	 * between, whatever it stored: for sequences that can tell (STOREC compares values). Slow.
	 */
	bool (*load_reserved)(void *cpu, uint64_t addr, unsigned bytes, uint64_t *value);
	/* The store-conditional while reservation.watched is set. */
	bool (*store_conditional)(
		void *cpu, uint64_t addr, unsigned bytes, uint64_t value, bool *done);
};

/* Temporaries of one block that an executor keeps in memory. A guest instruction must need fewer
 * at a time. */
enum { CPU_SCRATCH = 128 };

/* The head of every architecture's CPU state; what compiled code uses most comes first. The vCPU's
 * thread owns it all; fields marked [any thread] are atomic. */
struct cpu_head {
	_Atomic uint32_t attention;    /* [any thread] non-zero: leave translated code soon; set by
					* cpu_want_attention() */
	uint32_t fp_rounding;	       /* enum ir_fp_flag rounding mode that IR_RM_DYNAMIC means */
	uint64_t pc;		       /* valid outside blocks and at precise points */
	uint64_t insns_retired;	       /* by block; if counts_insns, by compiled code too */
	struct tlb_entry *tlb_entries; /* of tlb, for compiled code: cpu_use_tlb() */
	uint64_t tlb_mask;
	/* Compiled code's own. */
	struct {
		uint64_t args[4]; /* to and from functions that compiled code calls */
		uint32_t info, fp_info;
		void *link; /* of an exit: struct jit_link, or NULL */
		/* [any thread] Under which entries of the jump table hold; never 0. */
		_Atomic uint64_t context;
		/* The host's stack when compiled code was entered, and how far down the return
		 * addresses of guest calls may go; [any thread] its maximum stops the next call. */
		uintptr_t stack;
		_Atomic uintptr_t stack_limit;
	} exec;
	/* A guest exception that an op or a helper raised; delivered by isa->deliver. */
	struct {
		bool pending;
		uint64_t cause, value;
	} fault;
	/* Load-reserved. host: the address whose value STOREC compares. watched: the address, of
	 * env.load_reserved, that nobody must have stored to; others may take it away. NULL: none;
	 * at most one is set. */
	struct {
		void *host;
		uint64_t value;
		_Atomic(uint8_t *) watched; /* [any thread] */
		uint8_t bytes;
		gva_t addr;
	} reservation;
	bool fpu_entered;   /* the host's FPU is in the guest's mode (isa/fpu.h) */
	uint32_t fp_flags;  /* sticky host flags harvested so far, as FE_* of <fenv.h> */
	struct tlb *tlb;    /* the software TLB of the current mode: one of tlbs[], see mem/tlb.h */
	struct tlb *tlbs;   /* all that the CPU has, one per mode and address space; set by init */
	unsigned tlb_count; /* a page that now holds code must be protected in each */
	uint32_t mapping_epoch; /* names the current address space and what its TLBs hold: differs
				   after a flush, comes back with the space; a mere change of
				   mode shows in translation_flags */
	/* The guest's addresses are the host's, in this process: no TLB, no guest-physical memory.
	 * A host fault at a guest's access becomes cpu_head.fault (vcpu_host_fault() of
	 * cpu/vcpu.h). Constant; executors read it when they are made. */
	bool flat;
	bool counts_insns;     /* constant */
	struct memory *memory; /* NULL when flat */
	const struct cpu_env *env;
	const struct isa *isa;
	uint64_t zero;		       /* always 0: an operand for executors */
	uint64_t scratch[CPU_SCRATCH]; /* the executor's; of no meaning outside a block */
};

/* Compiled code looks at `attention` where it goes back, at the context where it goes to an address
 * that it looks up, and at stack_limit where it calls: any loop does one of them. [any thread] */
enum { CPU_NO_CONTEXT = 1 };
static inline void cpu_want_attention(struct cpu_head *h)
{
	atomic_store(&h->attention, 1);
	atomic_store(&h->exec.context, CPU_NO_CONTEXT);
	atomic_store(&h->exec.stack_limit, UINTPTR_MAX);
}

/* Compiled code by guest address, per vCPU: behind the CPU state, where code reaches it at a
 * constant distance. */
struct cpu_jump {
	uint64_t pc, context;
	const void *code;
	uint64_t unused; /* entries do not cross cache lines, and two share one */
};
enum { ISA_LIFT_AHEAD = 64 }; /* bytes; see isa.lift */
enum { CPU_JUMPS = 16384, CPU_STATE_ALIGN = 64 };

/* How a virtual address maps, as isa->translate found it. */
struct isa_mapping {
	gpa_t page;			     /* guest-physical address of the 4 KiB page */
	bool readable, writable, executable; /* writable only when the dirty bit is already set */
	bool global;
};

/* What a debugger sees of a CPU that stands; for any thread that may touch its state. Nothing here
 * has a side effect that the guest could notice, but the one that is asked for. */
enum { ISA_REGISTER_BYTES = 16 };
struct isa_debug {
	/* The target description (XML) of GDB's remote protocol. Its registers have the numbers 0,
	 * 1, … in the order in which it names them. */
	void (*describe)(struct strbuf *out);
	/* A register in the guest's byte order; returns its length, 0 when there is none of that
	 * number. */
	unsigned (*read)(void *cpu, unsigned number, uint8_t out[ISA_REGISTER_BYTES]);
	/* false: it cannot be written. Bits that have no meaning are dropped. */
	bool (*write)(void *cpu, unsigned number, const uint8_t *bytes);
	/* Where a virtual address is mapped, whatever the current mode may do there. */
	bool (*probe)(const void *cpu, gva_t addr, gpa_t *out);
	/* The guest's clock has stood still for so long: it goes on from there. */
	void (*time_stood)(void *cpu, uint64_t ns);
};

struct isa {
	const char *name;	 /* "riscv64" */
	size_t state_bytes;	 /* of the CPU state, struct cpu_head first */
	unsigned min_insn_bytes; /* alignment of code: 2 for RISC-V with C */
	unsigned max_insn_bytes; /* at most 16 */
	struct ir_target target; /* slots lie in the first 64 KiB of the state */
	unsigned timer_line;	 /* the interrupt line of env.set_timer */

	void (*init)(void *cpu,
		unsigned hart_id); /* all of the state beyond what cpu/ sets in the head */
	void (*done)(void *cpu);

	/* Lifts one basic block at f->pc. code: the bytes from there to the end of the page, or
	 * what max_insns may take and ISA_LIFT_AHEAD more to look at; and,
	 * when code_next is not NULL, the start of the next page (code_next_bytes). Ends the block
	 * after a control transfer, at the end of the page, or after max_insns. An instruction that
	 * crosses into a page that code_next does not give ends the block before it; when it is the
	 * first, returns -EAGAIN: cpu/ must map the next page (or deliver its fetch fault). Of the
	 * CPU it knows `flags` alone (below): what it makes is right for every CPU that has them.
	 * Sets f->bytes and f->insns. */
	int (*lift)(struct ir_func *f, uint16_t flags, const uint8_t *code, size_t code_bytes,
		const uint8_t *code_next, size_t code_next_bytes, unsigned max_insns);
	/* Everything beside the code bytes that a lifted block depends on (mode bits of the state),
	 * packed: part of the key under which translations are cached. */
	uint16_t (*translation_flags)(const void *cpu);

	/* Walks the guest's page tables. 0, or -EFAULT with cpu_head.fault set (page or access
	 * fault for this kind of access). May update accessed and dirty bits. */
	int (*translate)(void *cpu, gva_t addr, enum isa_access access, struct isa_mapping *out);
	/* Sets cpu_head.fault: an access to something that is neither RAM nor answered by a device;
	 * a misaligned atomic. */
	void (*access_fault)(void *cpu, gva_t addr, enum isa_access access);
	void (*misaligned_fault)(void *cpu, gva_t addr, enum isa_access access);

	/* Enters the guest's handler for cpu_head.fault (pc is the faulting instruction's), clears
	 * it. */
	void (*deliver)(void *cpu);
	/* Takes a pending and enabled interrupt, if there is one: returns true when pc changed. */
	bool (*interrupt)(void *cpu);
	/* Sets or clears an interrupt line of the CPU [any thread]; numbers are the architecture's
	 * (RISC-V: bits of mip). Sets cpu_head.attention when it became pending. */
	void (*set_irq)(void *cpu, unsigned line, bool level);
	/* True when an interrupt is pending that ends a wait (RISC-V: WFI ignores the global
	 * enable). */
	bool (*wakes)(const void *cpu);

	void (*state)(void *cpu, struct state *s);	    /* everything architectural */
	void (*print)(const void *cpu, struct strbuf *out); /* registers, for people */
	/* One instruction as text; returns its length in bytes (0: cut short). */
	unsigned (*disassemble)(const uint8_t *code, size_t bytes, uint64_t pc, struct strbuf *out);
	const struct isa_debug *debug; /* or NULL */
};

static inline void cpu_forget_reservation(struct cpu_head *h)
{
	h->reservation.host = NULL;
	atomic_store_explicit(&h->reservation.watched, NULL, memory_order_relaxed);
}

/* Makes t the current TLB; also after its entries may have moved. */
static inline void cpu_use_tlb(struct cpu_head *h, struct tlb *t)
{
	h->tlb = t;
	h->tlb_entries = t->entries;
	h->tlb_mask = t->mask;
}

static inline size_t cpu_jumps_offset(const struct isa *isa)
{
	return (isa->state_bytes + 63) & ~(size_t)63;
}
/* Of a CPU's state with its jump table. */
static inline size_t cpu_state_bytes(const struct isa *isa)
{
	return cpu_jumps_offset(isa) + CPU_JUMPS * sizeof(struct cpu_jump);
}
static inline struct cpu_jump *cpu_jumps(const struct isa *isa, void *cpu)
{
	return (struct cpu_jump *)((char *)cpu + cpu_jumps_offset(isa));
}

#endif
