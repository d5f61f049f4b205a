// SPDX-License-Identifier: Apache-2.0
// Lowering: IR to threaded code, one IR block at a time.
//
// analyse() finds what needs no operation of its own: an address's addition of a constant, the
// extension of a loaded value, the sign extension of a 32-bit result, a comparison that only the
// block's end uses, truncations. place() then decides where each value lives. A GET costs nothing
// when its slot is not written before the value's last use: the consumer reads the slot. A PUT
// costs nothing when the value can be computed straight into the slot: nobody may read the old
// contents from then on, and no precise point may stand between.
#include "interp/code.h"

/* Where a value lives. */
enum { NOWHERE = 0 }; /* offset 0 is cpu_head.attention, never an operand */

struct value {
	ir_ref last_use;  /* position of the last operation that reads it; 0: none */
	ir_ref first_put; /* the first PUT of it, or IR_NONE */
	ir_ref result; /* the value that this operation computes (itself, or what it is fused with)
			*/
	uint32_t uses;
	uint16_t where;
	bool skip;  /* part of another operation */
	bool fused; /* computed by another, earlier operation */
	bool temp;  /* `where` is a temporary to be given back */
};

/* For each GET and PUT: neighbours of the same granule. */
struct neighbours {
	ir_ref next_write; /* the next PUT, or call that writes slots; IR_NONE: none */
	ir_ref prev_any;   /* the GET, PUT or precise point before */
};

/* Slots that share bytes share a granule (they are aligned and at most eight bytes wide); distant
 * ones may too, which costs a move and nothing else. */
enum { GRANULES = 256 };

struct fixup {
	uint32_t word, from; /* code[word] = start of block - from */
	unsigned block;
};

struct interp_lowerer {
	const void *const *handlers;
	const struct ir_func *f;
	const void *page; /* of the host, where f begins */
	struct value *values;
	struct neighbours *near;
	size_t cap; /* of both */
	uint64_t *code;
	size_t words, words_cap;
	struct fixup *fixups;
	size_t fixup_count, fixup_cap;
	uint32_t *block_start;
	size_t block_cap;
	ir_ref slot_read_until[GRANULES]; /* last use of values that live in a slot */
	uint16_t free_temps[CPU_SCRATCH];
	unsigned free_count;
	unsigned insns; /* in this block so far */
	uint32_t count; /* entries until code is hot; 0: not counted */
	uint64_t pc;	/* of the current guest instruction */
	bool overflow;	/* out of temporaries */
};

struct interp_lowerer *interp_lowerer_new(bool flat)
{
	struct interp_lowerer *l = xcalloc(1, sizeof(*l));
	l->handlers = flat ? interp_handlers_flat() : interp_handlers();
	return l;
}

void interp_lowerer_count(struct interp_lowerer *l, uint32_t entries)
{
	l->count = entries;
}

void interp_hot_after(const uint64_t *entry, unsigned entries)
{
	__atomic_store_n((int64_t *)(uintptr_t)(entry + 1), entries, __ATOMIC_RELAXED);
}

void interp_never_hot(const uint64_t *entry)
{
	__atomic_store_n((int64_t *)(uintptr_t)(entry + 1), INT64_MAX, __ATOMIC_RELAXED);
}

void interp_lowerer_free(struct interp_lowerer *l)
{
	if (!l)
		return;
	free(l->values);
	free(l->near);
	free(l->code);
	free(l->fixups);
	free(l->block_start);
	free(l);
}

static const struct ir_ins *at(const struct interp_lowerer *l, ir_ref r)
{
	return &l->f->ins[r];
}

/* --- analysis --- */

/* Truncations and bit casts are the same bytes: the value that holds them. */
static ir_ref resolve(const struct interp_lowerer *l, ir_ref r)
{
	while (at(l, r)->op == IR_TRUNC || at(l, r)->op == IR_BITCAST)
		r = at(l, r)->a;
	return r;
}

static bool is_const(const struct interp_lowerer *l, ir_ref r)
{
	return at(l, r)->op == IR_CONST;
}

static bool has_imm_form(unsigned bytes)
{
	return bytes >= 4;
}

static const uint16_t binary_base[IR_OP_COUNT] = {
#define X(id, expr) [IR_##id] = H_##id##_8,
	INTERP_BINARY(X) INTERP_COMPARE(X)
#undef X
};
static const uint16_t branch_base[IR_OP_COUNT] = {
#define X(id, expr) [IR_##id] = H_BR_##id##_32,
	INTERP_COMPARE(X)
#undef X
};
static const uint16_t unary_base[IR_OP_COUNT] = {
#define X(id, expr) [IR_##id] = H_##id##_8,
	INTERP_UNARY(X)
#undef X
};

static bool is_compare(unsigned op)
{
	return branch_base[op] != 0;
}
static bool is_binary(unsigned op)
{
	return (binary_base[op] != 0 || op == IR_ADD) && !is_compare(op);
}

/* Log2 of the width in bytes: the order of handlers. */
static unsigned width_index(enum ir_type t)
{
	return (unsigned)__builtin_ctz(ir_type_bytes(t));
}

static void use(struct interp_lowerer *l, ir_ref user, ir_ref r)
{
	if (r == IR_NONE)
		return;
	struct value *v = &l->values[resolve(l, r)];
	if (user > v->last_use)
		v->last_use = user;
}

/* Is the address of memory operation i an addition that no one else wants? */
static bool address_fuses(const struct interp_lowerer *l, const struct ir_ins *i)
{
	const struct ir_ins *a = at(l, i->a);
	return a->op == IR_ADD && is_const(l, a->b) && !is_const(l, a->a) &&
	       l->values[i->a].uses == 1;
}

/* What an operation computes when the extension that is its only user is part of it. */
static void fuse_extension(struct interp_lowerer *l, ir_ref ext)
{
	const struct ir_ins *e = at(l, ext), *i = at(l, e->a);
	if (e->type != IR_I64 || l->values[e->a].uses != 1)
		return;
	bool load = i->op == IR_LOAD && !(i->aux & IR_MEM_ALIGNED);
	bool word = e->op == IR_SEXT && i->type == IR_I32 && is_binary(i->op);
	if (!load && !word)
		return;
	l->values[e->a].result = ext;
	l->values[ext].fused = true;
}

/* Values of the block: counts, fusions, then last uses by what remains. */
static void analyse(struct interp_lowerer *l, const struct ir_block *b)
{
	for (ir_ref r = b->first; r < b->end; r++)
		l->values[r] = (struct value){.result = r, .first_put = IR_NONE};
	for (ir_ref r = b->first; r < b->end; r++) {
		const struct ir_ins *i = at(l, r);
		const ir_ref args[3] = {i->a, i->b, i->c};
		for (unsigned n = 0; n < 3; n++)
			if (args[n] != IR_NONE)
				l->values[args[n]].uses++;
		if (i->op != IR_PUT)
			continue;
		ir_ref src = i->a;
		while (at(l, src)->op == IR_BITCAST)
			src = at(l, src)->a;
		if (l->values[src].first_put == IR_NONE)
			l->values[src].first_put = r;
	}
	for (ir_ref r = b->first; r < b->end; r++) {
		const struct ir_ins *i = at(l, r);
		if ((i->op == IR_LOAD || i->op == IR_STORE) && address_fuses(l, i))
			l->values[i->a].skip = true;
		else if (i->op == IR_SEXT || i->op == IR_ZEXT)
			fuse_extension(l, r);
		else if (i->op == IR_GOTO_IF && is_compare(at(l, i->a)->op) &&
			 l->values[i->a].uses == 1 &&
			 ir_type_bytes(at(l, at(l, i->a)->a)->type) >= 4)
			l->values[i->a].skip = true;
	}
	for (ir_ref r = b->first; r < b->end; r++) {
		const struct ir_ins *i = at(l, r);
		struct value *v = &l->values[r];
		if (v->skip || v->fused || i->op == IR_TRUNC || i->op == IR_BITCAST)
			continue;
		if (i->op == IR_GOTO_IF) { /* its targets are immediates */
			const struct ir_ins *cmp = at(l, i->a);
			use(l, r, l->values[i->a].skip ? cmp->a : i->a);
			use(l, r, l->values[i->a].skip ? cmp->b : IR_NONE);
			continue;
		}
		bool memory = i->op == IR_LOAD || i->op == IR_STORE;
		use(l, r, memory && l->values[i->a].skip ? at(l, i->a)->a : i->a);
		use(l, r, i->b);
		use(l, r, i->c);
	}
}

static unsigned granule(const struct interp_lowerer *l, unsigned slot)
{
	return (l->f->target->slots[slot].offset >> 3) % GRANULES;
}

static unsigned call_flags(const struct interp_lowerer *l, const struct ir_ins *i)
{
	return i->op == IR_CALL ? l->f->target->helpers[i->imm].flags : 0;
}

/* Points where the guest's state must be exactly what the PUTs so far made it. */
static bool observes(const struct interp_lowerer *l, const struct ir_ins *i)
{
	if (i->op == IR_CALL)
		return call_flags(l, i) &
		       (IR_HELPER_FAULT | IR_HELPER_READS_SLOTS | IR_HELPER_WRITES_SLOTS);
	return ir_ops[i->op].flags & IR_FAULT;
}

static void find_neighbours(struct interp_lowerer *l, const struct ir_block *b)
{
	ir_ref table[GRANULES], call = IR_NONE;
	memset(table, 0xff, sizeof(table)); /* IR_NONE */
	for (ir_ref r = b->end; r-- > b->first;) {
		const struct ir_ins *i = at(l, r);
		if (call_flags(l, i) & IR_HELPER_WRITES_SLOTS)
			call = r;
		if (i->op != IR_GET && i->op != IR_PUT)
			continue;
		ir_ref *next = &table[granule(l, i->aux)];
		l->near[r].next_write = MIN(*next, call); /* IR_NONE is the largest */
		if (i->op == IR_PUT)
			*next = r;
	}
	ir_ref seen[GRANULES], observed = 0;
	memset(seen, 0, sizeof(seen));
	for (ir_ref r = b->first; r < b->end; r++) {
		const struct ir_ins *i = at(l, r);
		/* Positions are kept + 1, so that 0 means none. */
		if (i->op == IR_GET || i->op == IR_PUT) {
			ir_ref *prev = &seen[granule(l, i->aux)];
			l->near[r].prev_any = MAX(*prev, observed);
			*prev = r + 1;
		} else if (observes(l, i)) {
			observed = r + 1;
		}
	}
}

/* --- placing values --- */

static uint16_t take_temp(struct interp_lowerer *l)
{
	if (!l->free_count) {
		l->overflow = true;
		return offsetof(struct cpu_head, scratch);
	}
	return l->free_temps[--l->free_count];
}

static void give_back(struct interp_lowerer *l, struct value *v)
{
	if (v->temp) {
		l->free_temps[l->free_count++] = v->where;
		v->temp = false;
	}
}

static uint16_t slot_offset(const struct interp_lowerer *l, unsigned slot)
{
	return (uint16_t)l->f->target->slots[slot].offset;
}

/* Can the operation at r write its value straight to the slot of its first PUT? */
static bool goes_to_slot(struct interp_lowerer *l, ir_ref r, ir_ref value)
{
	const struct value *v = &l->values[value];
	ir_ref put = v->first_put;
	if (put == IR_NONE)
		return false;
	const struct neighbours *n = &l->near[put];
	ir_ref *read_until = &l->slot_read_until[granule(l, at(l, put)->aux)];
	/* Between: no access to the slot, no precise point (prev_any is a position + 1; the
	 * operation itself may fault, before it writes). After: the slot keeps the value while it
	 * is used. Before: values that live in the slot are not needed any more. */
	return n->prev_any <= r + 1 && v->last_use <= n->next_write && *read_until <= r;
}

/* The destination of the operation at r. */
static uint16_t place_result(struct interp_lowerer *l, ir_ref r)
{
	ir_ref value = l->values[r].result;
	struct value *v = &l->values[value];
	if (goes_to_slot(l, r, value)) {
		const struct ir_ins *put = at(l, v->first_put);
		ir_ref *read_until = &l->slot_read_until[granule(l, put->aux)];
		*read_until = MAX(*read_until, v->last_use);
		l->values[v->first_put].skip = true;
		return v->where = slot_offset(l, put->aux);
	}
	v->where = take_temp(l);
	v->temp = true;
	return v->where;
}

/* --- writing code --- */

static void word(struct interp_lowerer *l, uint64_t w)
{
	if (l->words == l->words_cap) {
		l->words_cap = l->words_cap ? l->words_cap * 2 : 1024;
		l->code = xrealloc(l->code, l->words_cap * sizeof(*l->code));
	}
	l->code[l->words++] = w;
}

static void operation(
	struct interp_lowerer *l, unsigned handler, unsigned d, unsigned a, unsigned b, unsigned c)
{
	word(l, (uint64_t)(uintptr_t)l->handlers[handler]);
	word(l, d | (uint64_t)a << 16 | (uint64_t)b << 32 | (uint64_t)c << 48);
}

/* Where an argument is, after it has been put there if it is a constant or a fused GET. */
static uint16_t operand(struct interp_lowerer *l, ir_ref r)
{
	if (r == IR_NONE)
		return offsetof(struct cpu_head, zero);
	r = resolve(l, r);
	struct value *v = &l->values[r];
	if (is_const(l, r) && v->where == NOWHERE) {
		if (!at(l, r)->imm)
			return v->where = offsetof(struct cpu_head, zero);
		v->where = take_temp(l);
		v->temp = true;
		operation(l, H_SET_64, v->where, 0, 0, 0);
		word(l, at(l, r)->imm);
	}
	return v->where;
}

/* Temporaries whose last reader is the operation at r are free for its result. */
static void release(struct interp_lowerer *l, ir_ref r, ir_ref arg)
{
	if (arg == IR_NONE)
		return;
	struct value *v = &l->values[resolve(l, arg)];
	if (v->last_use <= r)
		give_back(l, v);
}

static void release_args(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	release(l, r, i->a);
	release(l, r, i->b);
	release(l, r, i->c);
}

/* A result that nobody reads still needs a place, for a moment. */
static void release_unused(struct interp_lowerer *l, ir_ref r)
{
	struct value *v = &l->values[l->values[r].result];
	if (v->last_use <= r)
		give_back(l, v);
}

static void lower_get(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	struct value *v = &l->values[r];
	if (v->last_use <= l->near[r].next_write) {
		ir_ref *read_until = &l->slot_read_until[granule(l, i->aux)];
		*read_until = MAX(*read_until, v->last_use);
		v->where = slot_offset(l, i->aux);
		return;
	}
	uint16_t d = place_result(l, r);
	operation(l, H_MOV_8 + width_index(i->type), d, slot_offset(l, i->aux), 0, 0);
	release_unused(l, r);
}

static void lower_put(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	unsigned w = width_index(at(l, i->a)->type);
	if (is_const(l, i->a) && at(l, i->a)->imm && l->values[i->a].where == NOWHERE) {
		operation(l, H_SET_8 + w, slot_offset(l, i->aux), 0, 0, 0);
		word(l, at(l, i->a)->imm);
	} else {
		uint16_t a = operand(l, i->a);
		operation(l, H_MOV_8 + w, slot_offset(l, i->aux), a, 0, 0);
	}
	release_args(l, r);
}

/* Binary ops and comparisons. */
static void lower_binary(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	unsigned w = width_index(at(l, i->a)->type), form = FORM_8 + w;
	bool sext = l->values[r].result != r;
	bool imm = is_const(l, i->b) && has_imm_form(1u << w);
	if (sext)
		form = imm ? FORM_32_SEXT_IMM : FORM_32_SEXT;
	else if (imm)
		form = w == 2 ? FORM_32_IMM : FORM_64_IMM;
	uint16_t a = operand(l, i->a), b = imm ? 0 : operand(l, i->b);
	release_args(l, r);
	operation(l, binary_base[i->op] + form, place_result(l, r), a, b, 0);
	if (imm)
		word(l, at(l, i->b)->imm);
	release_unused(l, r);
}

static void lower_unary(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	uint16_t a = operand(l, i->a);
	release_args(l, r);
	operation(l, unary_base[i->op] + width_index(i->type), place_result(l, r), a, 0, 0);
	release_unused(l, r);
}

static void lower_extension(struct interp_lowerer *l, ir_ref r)
{
	/* by width index of source and result */
	static const uint16_t zext[4][4] = {{0, H_ZEXT_8_16, H_ZEXT_8_32, H_ZEXT_8_64},
		{0, 0, H_ZEXT_16_32, H_ZEXT_16_64}, {0, 0, 0, H_ZEXT_32_64}};
	static const uint16_t sext[4][4] = {{0, H_SEXT_8_16, H_SEXT_8_32, H_SEXT_8_64},
		{0, 0, H_SEXT_16_32, H_SEXT_16_64}, {0, 0, 0, H_SEXT_32_64}};
	const struct ir_ins *i = at(l, r);
	unsigned from = width_index(at(l, i->a)->type), to = width_index(i->type);
	uint16_t a = operand(l, i->a);
	release_args(l, r);
	operation(
		l, i->op == IR_ZEXT ? zext[from][to] : sext[from][to], place_result(l, r), a, 0, 0);
	release_unused(l, r);
}

static void lower_select(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	uint16_t c, extended = NOWHERE;
	unsigned cond_width = width_index(at(l, i->a)->type);
	if (cond_width == 3) {
		c = operand(l, i->a);
	} else { /* conditions are 64 bits wide but for rare guests */
		static const uint16_t zext[3] = {H_ZEXT_8_64, H_ZEXT_16_64, H_ZEXT_32_64};
		uint16_t a = operand(l, i->a);
		c = extended = take_temp(l);
		operation(l, zext[cond_width], c, a, 0, 0);
	}
	uint16_t a = operand(l, i->b), b = operand(l, i->c);
	release_args(l, r);
	if (extended != NOWHERE)
		l->free_temps[l->free_count++] = extended;
	operation(l, H_SELECT_8 + width_index(i->type), place_result(l, r), a, b, c);
	release_unused(l, r);
}

/* The address of a memory operation, as operand and displacement. */
static uint16_t address(struct interp_lowerer *l, const struct ir_ins *i, uint64_t *displacement)
{
	ir_ref base = i->a;
	*displacement = 0;
	if (l->values[i->a].skip) {
		base = at(l, i->a)->a;
		*displacement = at(l, at(l, i->a)->b)->imm;
	} else if (is_const(l, i->a)) {
		*displacement = at(l, i->a)->imm;
		return offsetof(struct cpu_head, zero);
	}
	return operand(l, base);
}

static void release_address(struct interp_lowerer *l, ir_ref r, const struct ir_ins *i)
{
	release(l, r, l->values[i->a].skip ? at(l, i->a)->a : i->a);
}

static void lower_load(struct interp_lowerer *l, ir_ref r)
{
	static const uint16_t zext[3] = {H_LD_8_ZEXT, H_LD_16_ZEXT, H_LD_32_ZEXT};
	static const uint16_t sext[3] = {H_LD_8_SEXT, H_LD_16_SEXT, H_LD_32_SEXT};
	const struct ir_ins *i = at(l, r);
	unsigned w = width_index(i->type), handler = H_LD_8 + w, bytes = 0;
	ir_ref result = l->values[r].result;
	if (result != r)
		handler = at(l, result)->op == IR_ZEXT ? zext[w] : sext[w];
	if ((i->aux & IR_MEM_ALIGNED) && w > 0) {
		handler = H_LD_ALIGNED;
		bytes = 1u << w;
	}
	uint64_t displacement;
	uint16_t a = address(l, i, &displacement);
	release_address(l, r, i);
	operation(l, handler, place_result(l, r), a, 0, bytes);
	word(l, displacement);
	word(l, l->pc);
	release_unused(l, r);
}

static void lower_store(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	unsigned w = width_index(at(l, i->b)->type);
	bool aligned = (i->aux & IR_MEM_ALIGNED) && w > 0;
	uint64_t displacement;
	uint16_t a = address(l, i, &displacement), b = operand(l, i->b);
	operation(l, aligned ? H_ST_ALIGNED : H_ST_8 + w, 0, a, b, aligned ? 1u << w : 0);
	word(l, displacement);
	word(l, l->pc);
	release_address(l, r, i);
	release(l, r, i->b);
}

static void lower_atomic(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	uint16_t a = operand(l, i->a), b = operand(l, i->b), c = operand(l, i->c);
	uint64_t imm = ir_type_bytes(i->op == IR_STOREC ? at(l, i->b)->type : i->type);
	unsigned handler;
	switch (i->op) {
	case IR_RMW:
		handler = H_RMW;
		imm |= (uint64_t)i->aux << 8;
		break;
	case IR_CMPXCHG:
		handler = H_CMPXCHG;
		break;
	case IR_LOADR:
		handler = H_LOADR;
		break;
	default:
		handler = H_STOREC;
		break;
	}
	release_args(l, r);
	operation(l, handler, place_result(l, r), a, b, c);
	word(l, imm);
	word(l, l->pc);
	release_unused(l, r);
}

/* Ops that run inline on the host's FPU in the dynamic mode. */
static unsigned host_fp(const struct ir_ins *i)
{
	if (i->aux != (IR_RM_DYNAMIC | IR_FP_DEFAULT_NAN))
		return 0;
	bool d = i->type == IR_F64;
	switch (i->op) {
	case IR_FADD:
		return d ? H_FADD_64 : H_FADD_32;
	case IR_FSUB:
		return d ? H_FSUB_64 : H_FSUB_32;
	case IR_FMUL:
		return d ? H_FMUL_64 : H_FMUL_32;
	case IR_FDIV:
		return d ? H_FDIV_64 : H_FDIV_32;
	default:
		return 0;
	}
}

static void lower_fp(struct interp_lowerer *l, ir_ref r)
{
	static const uint16_t by_width[2][2] = {{H_FP_32_32, H_FP_32_64}, {H_FP_64_32, H_FP_64_64}};
	const struct ir_ins *i = at(l, r);
	enum ir_type from = at(l, i->a)->type;
	unsigned handler = host_fp(i);
	if (!handler)
		handler = by_width[width_index(from) == 3][width_index(i->type) == 3];
	uint16_t a = operand(l, i->a), b = operand(l, i->b), c = operand(l, i->c);
	release_args(l, r);
	operation(l, handler, place_result(l, r), a, b, c);
	word(l, (uint64_t)(uintptr_t)interp_fp(i->op, from, i->type));
	word(l, i->aux);
	release_unused(l, r);
}

static void lower_call(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	const struct ir_helper *h = &l->f->target->helpers[i->imm];
	uint16_t a = operand(l, i->a), b = operand(l, i->b), c = operand(l, i->c);
	release_args(l, r);
	operation(
		l, h->flags & IR_HELPER_FAULT ? H_CALL_FAULT : H_CALL, place_result(l, r), a, b, c);
	word(l, (uint64_t)(uintptr_t)h->fn);
	word(l, l->pc);
	release_unused(l, r);
}

/* --- ends of a block --- */

static void edge(struct interp_lowerer *l, uint64_t to)
{
	bool near = (to ^ l->f->pc) < GUEST_PAGE_BYTES;
	word(l, to);
	word(l, near && l->page ? interp_page_tag(l->page) : INTERP_NO_LINK);
}

static void lower_goto_if(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r), *cmp = at(l, i->a);
	unsigned handler = H_BR_NZ;
	uint16_t a, b = 0, extended;
	bool imm = false;
	if (l->values[i->a].skip) {
		bool wide = ir_type_bytes(at(l, cmp->a)->type) == 8;
		imm = is_const(l, cmp->b);
		handler = branch_base[cmp->op] + wide + (imm ? 2 : 0);
		a = operand(l, cmp->a);
		b = imm ? 0 : operand(l, cmp->b);
	} else {
		a = operand(l, i->a);
		unsigned w = width_index(cmp->type);
		if (w < 3) {
			static const uint16_t zext[3] = {H_ZEXT_8_64, H_ZEXT_16_64, H_ZEXT_32_64};
			extended = take_temp(l);
			operation(l, zext[w], extended, a, 0, 0);
			a = extended;
		}
	}
	operation(l, handler, 0, a, b, l->insns);
	edge(l, at(l, i->b)->imm);
	edge(l, at(l, i->c)->imm);
	if (imm)
		word(l, at(l, cmp->b)->imm);
}

static void lower_goto(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	if (is_const(l, i->a)) {
		operation(l, H_GOTO, 0, 0, 0, l->insns);
		edge(l, at(l, i->a)->imm);
	} else {
		operation(l, H_GOTO_REG, 0, operand(l, i->a), 0, l->insns);
	}
}

/* A distance to a block of this function, and that block's pc. */
static void inner_edge(struct interp_lowerer *l, size_t from, uint64_t block)
{
	if (l->fixup_count == l->fixup_cap) {
		l->fixup_cap = l->fixup_cap ? l->fixup_cap * 2 : 16;
		l->fixups = xrealloc(l->fixups, l->fixup_cap * sizeof(*l->fixups));
	}
	l->fixups[l->fixup_count++] =
		(struct fixup){(uint32_t)l->words, (uint32_t)from, (unsigned)block};
	word(l, 0);
	word(l, l->f->blocks[block].pc);
}

static void lower_inner(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	size_t from;
	if (i->op == IR_JUMP) {
		from = l->words;
		operation(l, H_JUMP, 0, 0, 0, l->insns);
		inner_edge(l, from, i->imm);
		return;
	}
	uint16_t a = operand(l, i->a);
	unsigned w = width_index(at(l, i->a)->type);
	if (w < 3) {
		static const uint16_t zext[3] = {H_ZEXT_8_64, H_ZEXT_16_64, H_ZEXT_32_64};
		uint16_t extended = take_temp(l);
		operation(l, zext[w], extended, a, 0, 0);
		a = extended;
	}
	from = l->words;
	operation(l, H_BRANCH, 0, a, 0, l->insns);
	inner_edge(l, from, (uint32_t)i->imm);
	inner_edge(l, from, i->imm >> 32);
}

static void lower_leave(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	uint16_t a = operand(l, i->a);
	operation(l, i->op == IR_EXIT ? H_EXIT : H_TRAP, 0, a, 0, l->insns);
	if (i->op == IR_TRAP) {
		word(l, i->imm);
		word(l, l->pc);
	}
}

static void lower_ins(struct interp_lowerer *l, ir_ref r)
{
	const struct ir_ins *i = at(l, r);
	switch (i->op) {
	case IR_NOP:
	case IR_CONST:
	case IR_TRUNC:
	case IR_BITCAST:
		break;
	case IR_INSN:
		l->pc = i->imm;
		l->insns++;
		break;
	case IR_GET:
		lower_get(l, r);
		break;
	case IR_PUT:
		lower_put(l, r);
		break;
	case IR_ZEXT:
	case IR_SEXT:
		lower_extension(l, r);
		break;
	case IR_SELECT:
		lower_select(l, r);
		break;
	case IR_LOAD:
		lower_load(l, r);
		break;
	case IR_STORE:
		lower_store(l, r);
		break;
	case IR_RMW:
	case IR_CMPXCHG:
	case IR_LOADR:
	case IR_STOREC:
		lower_atomic(l, r);
		break;
	case IR_FENCE:
		operation(l, H_FENCE, 0, 0, 0, 0);
		word(l, i->aux);
		break;
	case IR_PAUSE:
		operation(l, H_PAUSE, 0, 0, 0, 0);
		break;
	case IR_FFLAGS:
		operation(l, H_FFLAGS, place_result(l, r), 0, 0, 0);
		release_unused(l, r);
		break;
	case IR_FFLAGS_SET:
		operation(l, H_FFLAGS_SET, 0, operand(l, i->a), 0, 0);
		release_args(l, r);
		break;
	case IR_CALL:
		lower_call(l, r);
		break;
	case IR_JUMP:
	case IR_BRANCH:
		lower_inner(l, r);
		break;
	case IR_GOTO:
		lower_goto(l, r);
		break;
	case IR_GOTO_IF:
		lower_goto_if(l, r);
		break;
	case IR_EXIT:
	case IR_TRAP:
		lower_leave(l, r);
		break;
	default:
		if (is_binary(i->op) || is_compare(i->op))
			lower_binary(l, r);
		else if (ir_ops[i->op].flags & IR_FP || i->op == IR_FCLASS)
			lower_fp(l, r);
		else
			lower_unary(l, r);
		break;
	}
}

static void lower_block(struct interp_lowerer *l, const struct ir_block *b)
{
	analyse(l, b);
	find_neighbours(l, b);
	memset(l->slot_read_until, 0, sizeof(l->slot_read_until));
	l->free_count = CPU_SCRATCH;
	for (unsigned n = 0; n < CPU_SCRATCH; n++)
		l->free_temps[n] =
			(uint16_t)(offsetof(struct cpu_head, scratch) + 8 * (CPU_SCRATCH - 1 - n));
	l->insns = 0;
	l->pc = b->pc;
	for (ir_ref r = b->first; r < b->end; r++)
		if (!l->values[r].skip && !l->values[r].fused)
			lower_ins(l, r);
}

static void reserve(struct interp_lowerer *l, const struct ir_func *f)
{
	if (l->cap < f->len) {
		l->cap = f->len * 2;
		l->values = xrealloc(l->values, l->cap * sizeof(*l->values));
		l->near = xrealloc(l->near, l->cap * sizeof(*l->near));
	}
	if (l->block_cap < f->block_count) {
		l->block_cap = f->block_count * 2;
		l->block_start = xrealloc(l->block_start, l->block_cap * sizeof(*l->block_start));
	}
	l->f = f;
	l->words = l->fixup_count = 0;
	l->overflow = false;
}

int interp_lower(struct interp_lowerer *l, const struct ir_func *f, const void *page,
	struct interp_code **out, struct error *err)
{
	reserve(l, f);
	l->page = page;
	if (l->count) {
		word(l, (uint64_t)(uintptr_t)l->handlers[H_COUNT]);
		word(l, l->count);
		word(l, f->pc);
	}
	for (unsigned n = 0; n < f->block_count; n++) {
		l->block_start[n] = (uint32_t)l->words;
		lower_block(l, &f->blocks[n]);
	}
	if (l->overflow)
		return error_set(
			err, E2BIG, "interp: a block needs more than %d temporaries", CPU_SCRATCH);
	for (size_t n = 0; n < l->fixup_count; n++) {
		const struct fixup *x = &l->fixups[n];
		l->code[x->word] = (uint64_t)((int64_t)l->block_start[x->block] - (int64_t)x->from);
	}
	struct interp_code *code = xmalloc(sizeof(*code) + l->words * sizeof(*l->code));
	*code = (struct interp_code){f->pc, (uint32_t)l->words, f->insns};
	memcpy(code->code, l->code, l->words * sizeof(*l->code));
	*out = code;
	return 0;
}
