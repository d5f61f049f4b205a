// SPDX-License-Identifier: Apache-2.0
// The emitter for x86-64: what its files share. One struct gen per compilation.
//
// Host registers: rbp is the CPU state, rsp the host's stack (a multiple of 8, deeper by one for
// each guest call); gen_pinned[] hold pinned slots, gen_temps[] values of the current block, as do
// all xmm registers.
#ifndef STRATA_JIT_X86_64_GEN_H
#define STRATA_JIT_X86_64_GEN_H

#include "jit/internal.h"
#include "jit/slow.h"
#include "jit/x86_64/asm.h"

enum { GEN_PINNED = 9, GEN_TEMPS = 5, GEN_XMMS = 16 };
extern const uint8_t gen_pinned[GEN_PINNED], gen_temps[GEN_TEMPS];

/* What is known of a value of the current block. */
struct gen_value {
	ir_ref last_use; /* position of the last instruction that reads it; 0: none */
	ir_ref result;	 /* what its instruction computes: itself, or the extension of its load */
	ir_ref hint;	 /* the PUT whose register it may be computed in, or IR_NONE */
	uint32_t uses, address_uses;
	int32_t slot;	 /* a slot that holds the same, or -1 */
	int16_t scratch; /* cpu_head.scratch, or -1 */
	int16_t group;	 /* of a memory access, or -1 */
	int8_t reg;	 /* temporary or xmm register, or NO_REG */
	bool folded;	 /* has no code of its own */
};

/* Accesses of one block near the same base value, which share a TLB check. */
struct gen_group {
	ir_ref base;
	int64_t low, high; /* of the bytes, relative to base; high is inclusive */
	ir_ref last;	   /* position of the last access */
	unsigned count;
	int8_t reg; /* holds the host address of guest address 0 in that page, or 0 */
	bool store, open;
};

/* Code out of the way, written after the blocks. */
enum gen_stub_kind {
	STUB_LOAD,
	STUB_STORE,
	STUB_FP,
	STUB_NAN,
	STUB_EDGE,	    /* leaves by a link */
	STUB_EDGE_BACK,	    /* looks at attention, then leaves by a link */
	STUB_FAR,	    /* leaves through the jump table, target constant */
	STUB_CELL,	    /* a jump by a cell: jit_link.cell */
	STUB_CALL,	    /* calls what is in the other way of the jump table */
	STUB_ATTENTION,	    /* leaves at pc */
	STUB_ATTENTION_RAX, /* leaves at the address in rax */
	STUB_DIVIDE,	    /* a division by 0 or -1 */
	STUB_ATOMIC,	    /* by its slow function */
};
struct gen_stub {
	uint8_t kind, bytes;
	uint8_t slow; /* enum jit_slow */
	bool sext, fp, save_xmm, imm_value;
	bool group, first; /* of the group: the access shares a check; makes it */
	int8_t dst, base, value, group_reg;
	int8_t args[3]; /* registers; NO_REG: none */
	bool arg_fp[3];
	int32_t disp, imm;
	uint32_t info, fp_info;
	uint8_t *from;	   /* the jump to it */
	uint8_t *from_too; /* STUB_CALL: another */
	uint8_t *back;	   /* where it returns */
	uint8_t *cell[2];  /* distances to the halves of the cell */
	uint64_t pc;
};

struct gen_fixup {
	uint8_t *at;
	unsigned block;
};

enum { GEN_MAX_GROUPS = 16 };

struct gen {
	struct jit *j;
	const struct ir_func *f;
	unsigned entries; /* of f */
	struct asm_buf a;
	struct gen_value *v; /* by ir_ref */
	ir_ref *slot_value;  /* by slot: the value that it holds as far as known */
	uint8_t **block_at;
	bool *block_checks; /* begins with a look at attention */
	struct gen_fixup *fixups;
	struct gen_stub *stubs;
	struct jit_link *links;
	struct jit_access *accesses;
	unsigned access_count, access_cap;
	unsigned fixup_count, stub_count, link_count, stub_cap, fixup_cap, link_cap;
	ir_ref owner[16], xmm_owner[16]; /* IR_NONE: free; OWNER_GROUP + n: a group's */
	uint32_t locked, xmm_locked;	 /* operands of the current instruction */
	uint64_t scratch_used[CPU_SCRATCH / 64];
	struct gen_group groups[GEN_MAX_GROUPS];
	unsigned group_count;
	uint8_t *leave_link; /* code that all edges end in, once there is any */
	unsigned block;	     /* the current one */
	unsigned insns;	     /* guest instructions of it so far */
	ir_ref pos;	     /* the current instruction */
	uint64_t pc;	     /* of the current guest instruction */
	bool refused;	     /* something that there is no code for */
};

#define OWNER_GROUP UINT32_C(0xffffff00)

static inline const struct ir_ins *gen_at(const struct gen *g, ir_ref r)
{
	return &g->f->ins[r];
}
static inline bool gen_is_const(const struct gen *g, ir_ref r)
{
	return gen_at(g, r)->op == IR_CONST;
}
static inline bool gen_fits32(uint64_t v)
{
	return (int64_t)v == (int32_t)v;
}
/* Truncations are the same register. */
static inline ir_ref gen_root(const struct gen *g, ir_ref r)
{
	while (gen_at(g, r)->op == IR_TRUNC)
		r = gen_at(g, r)->a;
	return r;
}
static inline bool gen_is_float(const struct gen *g, ir_ref r)
{
	return ir_type_is_float((enum ir_type)gen_at(g, r)->type);
}
#define HEAD_MEM(field) MEM(RBP, offsetof(struct cpu_head, field))
#define SLOT_MEM(g, s)	MEM(RBP, (g)->f->target->slots[s].offset)
/* Of a slow function. */
static inline struct asm_mem gen_arg(unsigned n)
{
	return MEM(RBP, offsetof(struct cpu_head, exec.args) + 8 * (size_t)n);
}

/* An address that is computed by the access itself: a value and a constant. */
static inline bool gen_is_displaced(const struct gen *g, ir_ref r)
{
	return g->v[r].folded && gen_at(g, r)->op == IR_ADD;
}

/* --- analyse.c --- */
void gen_analyse(struct gen *g, const struct ir_block *b);
bool gen_is_compare(unsigned op);
/* The condition is a comparison that is made where it is used. */
static inline bool gen_is_condition(const struct gen *g, ir_ref cond)
{
	return g->v[cond].folded && gen_is_compare(gen_at(g, cond)->op);
}

/* --- regs.c --- */
void gen_begin_block(struct gen *g);
int gen_home(const struct gen *g, int32_t slot); /* its pinned register, or NO_REG */
int gen_temp(struct gen *g);			 /* a free temporary, locked */
void gen_free_temp(struct gen *g, int reg);	 /* one that holds no value */
void gen_take(struct gen *g, int reg);		 /* empties this temporary and locks it */
int gen_xmm(struct gen *g);
/* The register that holds the value; loads it when it is elsewhere. Locked until the instruction
 * ends. */
int gen_use(struct gen *g, ir_ref r);
int gen_use_xmm(struct gen *g, ir_ref r);
/* Where the result goes. */
int gen_def(struct gen *g, ir_ref r);
int gen_def_xmm(struct gen *g, ir_ref r);
/* The result is in this locked temporary already. */
void gen_def_in(struct gen *g, ir_ref r, int reg);
void gen_def_in_xmm(struct gen *g, ir_ref r, int reg);
bool gen_in_memory(const struct gen *g, ir_ref r, struct asm_mem *m); /* dies here, in a slot */
void gen_put(struct gen *g, ir_ref r);
void gen_get(struct gen *g, ir_ref r);
void gen_forget_slots(struct gen *g); /* a helper may write to them */
void gen_end_ins(struct gen *g);
void gen_free_scratch(struct gen *g, struct gen_value *v); /* it is needed no more */

/* --- ops.c, mem.c, fp.c --- */
void gen_ins(struct gen *g, ir_ref r);
/* Compares; the condition under which the comparison at r holds. */
enum cond gen_compare(struct gen *g, ir_ref r);
void gen_memory(struct gen *g, ir_ref r);
void gen_access_stub(struct gen *g, const struct gen_stub *s);
void gen_common_accesses(struct asm_buf *a, struct jit *j);
void gen_fp(struct gen *g, ir_ref r);
/* Leaves in t the host address of guest address 0, if the bytes from base + low to base + high may
 * be accessed directly; else takes the jump that it returns. */
uint8_t *gen_look_up(struct gen *g, int base, int64_t low, int64_t high, bool write, int t, int t2);
/* Calls a slow function now. */
void gen_slow(struct gen *g, enum jit_slow slow, bool save_xmm);
void gen_set_pc(struct gen *g, uint64_t pc);
struct gen_stub *gen_stub(struct gen *g, enum gen_stub_kind kind, uint8_t *from);
bool gen_xmm_used(const struct gen *g);

uint8_t *gen_look_up_aligned(struct gen *g, int base, unsigned bytes, bool write, int t, int t2);
/* The next instruction written is an access that the host may refuse (flat code). */
void gen_may_fault(struct gen *g);

/* --- atomic.c --- */
void gen_atomic(struct gen *g, ir_ref r);

/* --- end.c: ends of blocks; stubs --- */
void gen_end(struct gen *g, ir_ref r);
void gen_stubs(struct gen *g);
bool gen_only_leaves(const struct gen *g, unsigned block, uint64_t *pc);
void gen_check_attention(struct gen *g, uint64_t pc);
void gen_look_up_code(struct asm_buf *a, struct jit *j); /* code that all regions share */

#endif
