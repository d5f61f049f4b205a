// SPDX-License-Identifier: Apache-2.0
#include <assert.h>

#include "ir/fold.h"

void ir_func_init(
	struct ir_func *f, const struct ir_target *target, struct arena *arena, uint64_t pc)
{
	*f = (struct ir_func){.target = target, .arena = arena, .pc = pc};
}

/* Arrays grow by doubling inside the arena; the old copy dies with it. */
static void *grow(struct arena *arena, const void *old, size_t used, size_t *cap, size_t item)
{
	size_t n = *cap ? *cap * 2 : 128;
	void *p = arena_alloc(arena, n * item);
	if (used)
		memcpy(p, old, used * item);
	*cap = n;
	return p;
}

unsigned ir_block_begin(struct ir_func *f, uint64_t pc)
{
	assert(!f->open);
	if (f->block_count == f->block_cap) {
		size_t cap = f->block_cap;
		f->blocks = grow(f->arena, f->blocks, f->block_count, &cap, sizeof(*f->blocks));
		f->block_cap = (unsigned)cap;
	}
	f->blocks[f->block_count] = (struct ir_block){.first = f->len, .end = f->len, .pc = pc};
	f->open = true;
	return f->block_count++;
}

static ir_ref append(struct ir_func *f, struct ir_ins ins)
{
	assert(f->open);
	if (f->len == f->cap) {
		size_t cap = f->cap;
		f->ins = grow(f->arena, f->ins, f->len, &cap, sizeof(*f->ins));
		f->cap = (ir_ref)cap;
	}
	f->ins[f->len++] = ins;
	if (ir_ops[ins.op].flags & IR_TERM) {
		f->blocks[f->block_count - 1].end = f->len;
		f->open = false;
	}
	return f->len - 1;
}

static bool commutes(unsigned op)
{
	return op == IR_ADD || op == IR_MUL || op == IR_MULHU || op == IR_MULHS || op == IR_AND ||
	       op == IR_OR || op == IR_XOR || op == IR_EQ || op == IR_NE;
}

ir_ref ir_emit(struct ir_func *f, enum ir_op op, enum ir_type type, unsigned aux, ir_ref a,
	ir_ref b, ir_ref c, uint64_t imm)
{
	struct ir_ins ins = {.op = (uint8_t)op,
		.type = (uint8_t)type,
		.aux = (uint16_t)aux,
		.a = a,
		.b = b,
		.c = c,
		.imm = imm};
	if (commutes(op) && ir_is_const(f, a) && !ir_is_const(f, b)) {
		ins.a = b;
		ins.b = a;
	}
	struct ir_folded r = ir_fold(f, &ins);
	if (r.kind == IR_FOLD_CONST)
		return ir_const(f, type, r.value);
	if (r.kind == IR_FOLD_VALUE)
		return r.ref;
	if (r.kind == IR_FOLD_UNARY)
		ins = (struct ir_ins){.op = (uint8_t)r.op,
			.type = (uint8_t)type,
			.a = r.ref,
			.b = IR_NONE,
			.c = IR_NONE};
	return append(f, ins);
}

ir_ref ir_const(struct ir_func *f, enum ir_type type, uint64_t value)
{
	value &= ir_type_mask(type);
	uint64_t hash = (value ^ value >> 32) * UINT64_C(0x9e3779b97f4a7c15) + type;
	ir_ref *cached = &f->const_cache[(hash >> 40) % IR_CONST_CACHE];
	/* An entry may be of an earlier block, or never set: look at what it names. */
	if (*cached >= f->blocks[f->block_count - 1].first && *cached < f->len) {
		const struct ir_ins *i = ir_at(f, *cached);
		if (i->op == IR_CONST && i->type == type && i->imm == value)
			return *cached;
	}
	struct ir_ins ins = {.op = IR_CONST,
		.type = (uint8_t)type,
		.a = IR_NONE,
		.b = IR_NONE,
		.c = IR_NONE,
		.imm = value};
	return *cached = append(f, ins);
}

ir_ref ir_get(struct ir_func *f, unsigned slot)
{
	return ir_emit(f, IR_GET, f->target->slots[slot].type, slot, IR_NONE, IR_NONE, IR_NONE, 0);
}

void ir_put(struct ir_func *f, unsigned slot, ir_ref value)
{
	ir_emit(f, IR_PUT, IR_VOID, slot, value, IR_NONE, IR_NONE, 0);
}

void ir_insn(struct ir_func *f, uint64_t pc, unsigned bytes)
{
	ir_emit(f, IR_INSN, IR_VOID, bytes, IR_NONE, IR_NONE, IR_NONE, pc);
}

ir_ref ir_un(struct ir_func *f, enum ir_op op, enum ir_type type, ir_ref a)
{
	return ir_emit(f, op, type, 0, a, IR_NONE, IR_NONE, 0);
}

ir_ref ir_bin(struct ir_func *f, enum ir_op op, enum ir_type type, ir_ref a, ir_ref b)
{
	return ir_emit(f, op, type, 0, a, b, IR_NONE, 0);
}

ir_ref ir_cmp(struct ir_func *f, enum ir_op op, ir_ref a, ir_ref b)
{
	return ir_emit(f, op, IR_I64, 0, a, b, IR_NONE, 0);
}

ir_ref ir_select(struct ir_func *f, ir_ref cond, ir_ref if_true, ir_ref if_false)
{
	return ir_emit(f, IR_SELECT, ir_at(f, if_true)->type, 0, cond, if_true, if_false, 0);
}

ir_ref ir_fp(struct ir_func *f, enum ir_op op, enum ir_type type, unsigned fp_flags, ir_ref a,
	ir_ref b, ir_ref c)
{
	return ir_emit(f, op, type, fp_flags, a, b, c, 0);
}

ir_ref ir_load(struct ir_func *f, enum ir_type type, unsigned mem_flags, ir_ref addr)
{
	return ir_emit(f, IR_LOAD, type, mem_flags, addr, IR_NONE, IR_NONE, 0);
}

void ir_store(struct ir_func *f, unsigned mem_flags, ir_ref addr, ir_ref value)
{
	ir_emit(f, IR_STORE, IR_VOID, mem_flags, addr, value, IR_NONE, 0);
}

ir_ref ir_call(struct ir_func *f, unsigned helper, ir_ref a, ir_ref b, ir_ref c)
{
	return ir_emit(f, IR_CALL, IR_I64, 0, a, b, c, helper);
}

void ir_trap(struct ir_func *f, uint64_t cause, ir_ref tval)
{
	if (tval == IR_NONE)
		tval = ir_const(f, IR_I64, 0);
	ir_emit(f, IR_TRAP, IR_VOID, 0, tval, IR_NONE, IR_NONE, cause);
}

void ir_goto(struct ir_func *f, ir_ref pc, enum ir_jump kind)
{
	ir_emit(f, IR_GOTO, IR_VOID, kind, pc, IR_NONE, IR_NONE, 0);
}

void ir_goto_call(struct ir_func *f, ir_ref pc, uint64_t return_pc)
{
	ir_emit(f, IR_GOTO, IR_VOID, IR_JUMP_CALL, pc, IR_NONE, IR_NONE, return_pc);
}

void ir_goto_if(struct ir_func *f, ir_ref cond, uint64_t pc_true, uint64_t pc_false)
{
	ir_ref t = ir_const(f, IR_I64, pc_true), e = ir_const(f, IR_I64, pc_false);
	if (ir_is_const(f, cond))
		ir_goto(f, ir_at(f, cond)->imm ? t : e, IR_JUMP_PLAIN);
	else
		ir_emit(f, IR_GOTO_IF, IR_VOID, 0, cond, t, e, 0);
}

void ir_exit(struct ir_func *f, ir_ref pc)
{
	ir_emit(f, IR_EXIT, IR_VOID, 0, pc, IR_NONE, IR_NONE, 0);
}
