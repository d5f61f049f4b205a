// SPDX-License-Identifier: Apache-2.0
// The intermediate representation: what a guest instruction means, on its way from a lifter to the
// interpreter or to a compiler. docs/ir.md has the whole story; ops.h has the table of ops.
//
// A function (one guest basic block, or a region of several) is an array of instructions, cut into
// blocks. An instruction's index is its value (ir_ref). Values are local to one block. What crosses
// a block's end is a *slot*: a field of the guest CPU's state, read by GET and written by PUT. A
// compiler keeps slots in host registers across the blocks of a region, so no phi is needed.
//
// Precise exceptions: INSN marks where a guest instruction begins. When an op that may fault does,
// the guest sees exactly the PUTs that stand before it, and the pc of the last INSN. A lifter
// therefore PUTs an instruction's results after its last op that may fault.
//
// A function belongs to one thread and one arena.
#ifndef STRATA_IR_IR_H
#define STRATA_IR_IR_H

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"

typedef uint32_t ir_ref;
#define IR_NONE UINT32_MAX

/* Integers have no sign: the op does. A value of N bits leaves the rest of its host register
 * unspecified; ZEXT and SEXT define it. */
enum ir_type { IR_VOID, IR_I8, IR_I16, IR_I32, IR_I64, IR_F32, IR_F64, IR_TYPE_COUNT };

enum ir_op {
#define IR_OP(id, name, nargs, sig, flags) IR_##id,
#include "ir/ops.h"
#undef IR_OP
	IR_OP_COUNT
};

enum ir_op_flag {
	IR_PURE = 1,  /* result depends on the arguments alone; may be moved, merged or dropped */
	IR_FAULT = 2, /* may raise a guest exception: a precise point */
	IR_READ = 4,  /* reads guest memory or state beyond its arguments */
	IR_WRITE = 8, /* writes guest memory or state: never dropped */
	IR_TERM = 16, /* ends a block */
	IR_SLOT = 32, /* aux is a slot */
	IR_FP = 64,   /* aux is enum ir_fp_flag; raises sticky floating-point flags */
};

struct ir_op_info {
	const char *name;
	const char *sig; /* types, see ops.h */
	uint8_t nargs;
	uint8_t flags; /* enum ir_op_flag */
};
extern const struct ir_op_info ir_ops[IR_OP_COUNT];

/* aux of memory ops: the access is ir_type_bytes(type) wide (stores: of the stored value). */
enum ir_mem_flag {
	IR_MEM_ACQUIRE = 1,
	IR_MEM_RELEASE = 2,
	IR_MEM_ALIGNED = 4, /* a misaligned address raises the guest's misaligned exception */
};

/* aux of RMW */
enum ir_rmw {
	IR_RMW_SWAP,
	IR_RMW_ADD,
	IR_RMW_AND,
	IR_RMW_OR,
	IR_RMW_XOR,
	IR_RMW_MIN,
	IR_RMW_MAX,
	IR_RMW_MINU,
	IR_RMW_MAXU,
	IR_RMW_COUNT
};

/* aux of FENCE: earlier accesses of the left kind before later ones of the right kind. */
enum ir_fence {
	IR_FENCE_RR = 1,
	IR_FENCE_RW = 2,
	IR_FENCE_WR = 4,
	IR_FENCE_WW = 8,
	IR_FENCE_ALL = 15
};

/* aux of floating-point ops: a rounding mode, and the rules of the guest. */
enum ir_fp_flag {
	IR_RM_NEAREST_EVEN = 0,
	IR_RM_ZERO = 1,
	IR_RM_DOWN = 2,
	IR_RM_UP = 3,
	IR_RM_NEAREST_AWAY = 4,
	IR_RM_DYNAMIC = 7, /* the guest CPU's current mode (struct cpu_head.fp_rounding) */
	IR_RM_MASK = 7,
	IR_FP_DEFAULT_NAN = 8, /* a NaN result is the positive quiet NaN with zero payload */
	IR_FP_UNSIGNED = 16,   /* integer side of a conversion is unsigned */
	IR_FP_SATURATE = 32,   /* float to integer: out of range saturates, NaN gives the maximum */
	IR_FP_SIGNALING = 64,  /* comparison: a quiet NaN too raises invalid */
};

/* aux of GOTO: what kind of jump it is, for prediction. STEADY: mostly to one place, as from a
 * procedure linkage table. */
enum ir_jump { IR_JUMP_PLAIN, IR_JUMP_CALL, IR_JUMP_RETURN, IR_JUMP_STEADY };

struct ir_ins {
	uint8_t op;   /* enum ir_op */
	uint8_t type; /* enum ir_type of the result; IR_VOID for none */
	uint16_t aux;
	ir_ref a, b, c; /* IR_NONE when unused */
	uint64_t imm; /* CONST: value; INSN: pc; CALL: helper; TRAP: cause; JUMP/BRANCH: block ids;
			 GOTO that is a call: where its return goes */
};

struct ir_block {
	ir_ref first, end; /* instructions [first, end); the last one is IR_TERM */
	uint64_t pc;	   /* guest address of the block's first instruction */
};

/* A field of the guest CPU's state. */
struct ir_slot {
	const char *name;
	uint32_t offset; /* from the start of the CPU state, naturally aligned */
	uint8_t type;	 /* enum ir_type */
};

enum ir_helper_flag {
	IR_HELPER_PURE = 1,	    /* no effect, reads only its arguments */
	IR_HELPER_FAULT = 2,	    /* may set cpu_head.fault; the executor checks after the call */
	IR_HELPER_READS_SLOTS = 4,  /* slots must be in memory before the call */
	IR_HELPER_WRITES_SLOTS = 8, /* slots that were in registers are stale after it */
};

/* A C function of the guest architecture. cpu is its state (struct cpu_head first). No floating
 * point inside: the host's FPU is in the guest's mode. */
typedef uint64_t ir_helper_fn(void *cpu, uint64_t a, uint64_t b, uint64_t c);
struct ir_helper {
	const char *name;
	ir_helper_fn *fn;
	uint8_t nargs;
	uint8_t flags; /* enum ir_helper_flag */
};

/* What a guest architecture declares to IR, once, as constants. */
struct ir_target {
	const char *name;
	const struct ir_slot *slots;
	unsigned slot_count;
	const struct ir_helper *helpers;
	unsigned helper_count;
	/* The integer slots that are used most, most wanted first: a compiler keeps as many of them
	 * in host registers as it has. They overlap no other slot. */
	const uint16_t *pinned;
	unsigned pinned_count;
};

enum { IR_CONST_CACHE = 32 };

struct ir_func {
	const struct ir_target *target;
	struct arena *arena; /* not owned */
	struct ir_ins *ins;
	ir_ref len, cap;
	struct ir_block *blocks;
	unsigned block_count, block_cap;
	uint64_t pc;	/* guest address of the entry */
	uint32_t bytes; /* guest code bytes covered by block 0 (a lifter sets it) */
	uint32_t insns; /* guest instructions in it */
	bool open;	/* a block is being built */
	ir_ref const_cache[IR_CONST_CACHE]; /* the builder's: constants of the current block */
};

/* --- building (ir/build.c) --- */

/* Builders fold constants and simple identities as they go, and return an existing constant
 * where there is one. Types of arguments are checked by the verifier, not here. */
void ir_func_init(
	struct ir_func *f, const struct ir_target *target, struct arena *arena, uint64_t pc);
unsigned ir_block_begin(struct ir_func *f, uint64_t pc); /* returns the block's id */
/* The general form; use the named ones below where they exist. */
ir_ref ir_emit(struct ir_func *f, enum ir_op op, enum ir_type type, unsigned aux, ir_ref a,
	ir_ref b, ir_ref c, uint64_t imm);

ir_ref ir_const(struct ir_func *f, enum ir_type type, uint64_t value);
ir_ref ir_get(struct ir_func *f, unsigned slot);
void ir_put(struct ir_func *f, unsigned slot, ir_ref value);
void ir_insn(struct ir_func *f, uint64_t pc, unsigned bytes);
ir_ref ir_un(struct ir_func *f, enum ir_op op, enum ir_type type, ir_ref a);
ir_ref ir_bin(struct ir_func *f, enum ir_op op, enum ir_type type, ir_ref a, ir_ref b);
ir_ref ir_cmp(struct ir_func *f, enum ir_op op, ir_ref a, ir_ref b); /* I64, 0 or 1 */
ir_ref ir_select(struct ir_func *f, ir_ref cond, ir_ref if_true, ir_ref if_false);
ir_ref ir_fp(struct ir_func *f, enum ir_op op, enum ir_type type, unsigned fp_flags, ir_ref a,
	ir_ref b, ir_ref c);
ir_ref ir_load(struct ir_func *f, enum ir_type type, unsigned mem_flags, ir_ref addr);
void ir_store(struct ir_func *f, unsigned mem_flags, ir_ref addr, ir_ref value);
ir_ref ir_call(struct ir_func *f, unsigned helper, ir_ref a, ir_ref b, ir_ref c); /* I64 */
void ir_trap(struct ir_func *f, uint64_t cause, ir_ref tval);
void ir_goto(struct ir_func *f, ir_ref pc, enum ir_jump kind); /* a CONST pc is a direct jump */
void ir_goto_call(struct ir_func *f, ir_ref pc, uint64_t return_pc);
void ir_goto_if(struct ir_func *f, ir_ref cond, uint64_t pc_true, uint64_t pc_false);
/* Leaves to the dispatcher, which starts afresh at pc: for instructions that change what the
 * translation was made for (mode, address space), or that must let interrupts in. */
void ir_exit(struct ir_func *f, ir_ref pc);

static inline const struct ir_ins *ir_at(const struct ir_func *f, ir_ref r)
{
	return &f->ins[r];
}
static inline bool ir_is_const(const struct ir_func *f, ir_ref r)
{
	return r != IR_NONE && f->ins[r].op == IR_CONST;
}
unsigned ir_type_bytes(enum ir_type t); /* 0 for IR_VOID */
bool ir_type_is_int(enum ir_type t);
bool ir_type_is_float(enum ir_type t);
const char *ir_type_name(enum ir_type t);
uint64_t ir_type_mask(enum ir_type t); /* the bits of a value of the type */

/* --- checking and printing --- */
/* Sanitizer builds verify every function that is lifted; others need the time for the guest. */
#ifndef IR_CHECKED
#define IR_CHECKED false
#endif
/* 0, or -EBADMSG naming the instruction and the broken rule. */
int ir_verify(const struct ir_func *f, struct error *err);
void ir_print(const struct ir_func *f, struct strbuf *out);
/* Reads what ir_print wrote (for tests of passes). */
int ir_parse(struct ir_func *f, const char *text, struct error *err);

/* --- passes (ir/pass_*.c, one file each); each keeps a verified function verified --- */
typedef void ir_pass_fn(struct ir_func *f);
struct ir_pass {
	const char *name; /* for dump options */
	ir_pass_fn *fn;
};
extern const struct ir_pass ir_passes[]; /* in order; ends with a NULL name */
/* Whether a list by commas names the stage: "lift" or a pass. NULL: all. */
bool ir_wants_stage(const char *stages, const char *stage);
/* Runs them all; verifies after each when check is set. dump: NULL, or where the function is
 * printed after each of the stages. */
int ir_optimise(
	struct ir_func *f, bool check, struct strbuf *dump, const char *stages, struct error *err);

#endif
