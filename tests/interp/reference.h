// SPDX-License-Identifier: Apache-2.0
// The meaning of IR, executed one instruction after another with no cleverness: what the optimiser
// and the interpreter are compared with. Written apart from them, on 128-bit integers.
#ifndef STRATA_TESTS_REFERENCE_H
#define STRATA_TESTS_REFERENCE_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ir/range.h"
#include "isa/isa.h"

struct reference {
	char *cpu; /* the CPU's state; reservation and fault are in its head */
	/* Memory is the bytes at addresses [base, base + size); anything else faults. */
	uint8_t *memory;
	uint64_t base, size;
	const struct ir_target *target;
};

enum reference_end { REF_GOTO, REF_EXIT, REF_FAULT };

typedef __int128 i128;

static inline i128 ref_signed(uint64_t v, unsigned bits)
{
	i128 m = (i128)1 << bits;
	i128 x = (i128)v % m;
	return x >= m / 2 ? x - m : x;
}
static inline i128 ref_unsigned(uint64_t v, unsigned bits)
{
	return (i128)v % ((i128)1 << bits);
}

static inline i128 ref_floor_shift(i128 v, unsigned n)
{
	i128 d = (i128)1 << n;
	return v >= 0 ? v / d : -((-v + d - 1) / d);
}

static inline uint64_t ref_binary(unsigned op, unsigned bits, uint64_t a, uint64_t b)
{
	i128 ua = ref_unsigned(a, bits), ub = ref_unsigned(b, bits);
	i128 sa = ref_signed(a, bits), sb = ref_signed(b, bits);
	unsigned n = (unsigned)(ub % bits);
	uint64_t r = 0;
	switch (op) {
	case IR_ADD:
		return (uint64_t)(ua + ub);
	case IR_SUB:
		return (uint64_t)(ua - ub);
	case IR_MUL:
		for (unsigned i = 0; i < bits; i++)
			if (b >> i & 1)
				r += a << i;
		return r;
	case IR_MULHU:
	case IR_MULHS:
	case IR_MULHSU: {
		/* from the unsigned product, corrected for signs */
		unsigned __int128 p = (unsigned __int128)ua * (unsigned __int128)ub;
		uint64_t high = (uint64_t)(p >> bits);
		if (op != IR_MULHU && sa < 0)
			high -= (uint64_t)ub;
		if (op == IR_MULHS && sb < 0)
			high -= (uint64_t)ua;
		return high;
	}
	case IR_DIVU:
		return ub ? (uint64_t)(ua / ub) : UINT64_MAX;
	case IR_REMU:
		return ub ? (uint64_t)(ua % ub) : a;
	case IR_DIVS:
		return ub ? (uint64_t)(sa / sb) : UINT64_MAX;
	case IR_REMS:
		return ub ? (uint64_t)(sa % sb) : a;
	case IR_AND:
		return a & b;
	case IR_OR:
		return a | b;
	case IR_XOR:
		return (a | b) & ~(a & b);
	case IR_ANDN:
		return a & ~b;
	case IR_SHL:
		return (uint64_t)((unsigned __int128)ua << n);
	case IR_SHR:
		return (uint64_t)(ua / ((i128)1 << n));
	case IR_SAR:
		return (uint64_t)ref_floor_shift(sa, n);
	case IR_ROTR:
		n = (bits - n) % bits;
		__attribute__((fallthrough));
	case IR_ROTL:
		for (unsigned i = 0; i < bits; i++)
			r |= (a >> i & 1) << ((i + n) % bits);
		return r;
	case IR_EQ:
		return ua == ub;
	case IR_NE:
		return ua != ub;
	case IR_LTS:
		return sa < sb;
	case IR_LTU:
		return ua < ub;
	case IR_GES:
		return sa >= sb;
	case IR_GEU:
		return ua >= ub;
	default:
		return 0;
	}
}

static inline uint64_t ref_unary(unsigned op, unsigned bits, uint64_t a)
{
	uint64_t r = 0;
	switch (op) {
	case IR_NOT:
		return a ^ UINT64_MAX;
	case IR_NEG:
		return 0 - a;
	case IR_CLZ:
		while (r < bits && !(a >> (bits - 1 - r) & 1))
			r++;
		return r;
	case IR_CTZ:
		while (r < bits && !(a >> r & 1))
			r++;
		return r;
	case IR_POPCNT:
		for (unsigned i = 0; i < bits; i++)
			r += a >> i & 1;
		return r;
	case IR_BSWAP:
		for (unsigned i = 0; i < bits; i += 8)
			r |= (a >> i & 0xff) << (bits - 8 - i);
		return r;
	case IR_ORCB:
		for (unsigned i = 0; i < bits; i += 8)
			if (a >> i & 0xff)
				r |= UINT64_C(0xff) << i;
		return r;
	case IR_SEXT:
		return (uint64_t)ref_signed(a, bits);
	default:
		return a; /* zext, trunc, bitcast, of a value that is cut to its type */
	}
}

static inline uint64_t ref_rmw(unsigned op, unsigned bits, uint64_t old, uint64_t b)
{
	switch (op) {
	case IR_RMW_SWAP:
		return b;
	case IR_RMW_ADD:
		return old + b;
	case IR_RMW_AND:
		return old & b;
	case IR_RMW_OR:
		return old | b;
	case IR_RMW_XOR:
		return old ^ b;
	case IR_RMW_MIN:
		return ref_signed(old, bits) < ref_signed(b, bits) ? old : b;
	case IR_RMW_MAX:
		return ref_signed(old, bits) > ref_signed(b, bits) ? old : b;
	case IR_RMW_MINU:
		return ref_unsigned(old, bits) < ref_unsigned(b, bits) ? old : b;
	default:
		return ref_unsigned(old, bits) > ref_unsigned(b, bits) ? old : b;
	}
}

/* Memory ops: false: fault. */
static inline bool ref_memory(struct reference *m, const struct ir_ins *i, unsigned bytes,
	uint64_t addr, uint64_t b, uint64_t c, uint64_t *value)
{
	struct cpu_head *h = (struct cpu_head *)m->cpu;
	bool atomic = i->op != IR_LOAD && i->op != IR_STORE;
	bool aligned = atomic || (i->aux & IR_MEM_ALIGNED);
	if (addr < m->base || addr + bytes > m->base + m->size || (aligned && addr % bytes)) {
		h->fault.pending = true;
		h->fault.cause = 1;
		h->fault.value = addr;
		if (i->op == IR_LOADR)
			h->reservation.host = NULL;
		return false;
	}
	uint8_t *p = m->memory + (addr - m->base);
	uint64_t old = 0, new = b;
	memcpy(&old, p, bytes);
	bool write = i->op != IR_LOAD && i->op != IR_LOADR;
	*value = old;
	switch (i->op) {
	case IR_RMW:
		new = ref_rmw(i->aux, 8 * bytes, old, b);
		break;
	case IR_CMPXCHG:
		new = c;
		write = old == b;
		break;
	case IR_LOADR:
		h->reservation.host = p;
		h->reservation.value = old;
		h->reservation.bytes = (uint8_t)bytes;
		break;
	case IR_STOREC:
		write = h->reservation.host == p && h->reservation.bytes == bytes &&
			h->reservation.value == old;
		*value = !write;
		h->reservation.host = NULL;
		break;
	default:
		break;
	}
	if (write)
		memcpy(p, &new, bytes);
	return true;
}

/* What is claimed of the value's upper bits must hold for the one that it has. */
static inline void ref_check_range(const struct ir_func *f, ir_ref r, uint64_t value)
{
	unsigned bits = 8 * ir_type_bytes((enum ir_type)f->ins[r].type);
	struct ir_range known = ir_range(f, r);
	bool sign = known.sign >= 1 && known.sign <= bits &&
		    (i128)1 << (bits - known.sign) > ref_signed(value, bits) &&
		    -((i128)1 << (bits - known.sign)) <= ref_signed(value, bits);
	bool zero = known.zero <= bits && (i128)value < (i128)1 << (bits - known.zero);
	if (sign && zero)
		return;
	printf("# %%%u is %#" PRIx64 ", claimed: %u equal bits, %u zeros\n", r, value, known.sign,
		known.zero);
	fflush(stdout);
	abort();
}

/* Runs f from a block. *pc is where it goes, or the faulting instruction. Values are kept cut to
 * their types. No floating point but moves. */
static inline enum reference_end ref_run_from(
	struct reference *m, const struct ir_func *f, unsigned block, uint64_t *pc)
{
	static uint64_t v[1 << 16];
	struct cpu_head *h = (struct cpu_head *)m->cpu;
	uint64_t insn_pc = f->blocks[block].pc;
	for (ir_ref r = f->blocks[block].first;; r++) {
		const struct ir_ins *i = &f->ins[r];
		uint64_t a = i->a == IR_NONE ? 0 : v[i->a], b = i->b == IR_NONE ? 0 : v[i->b];
		uint64_t c = i->c == IR_NONE ? 0 : v[i->c];
		enum ir_type ta = i->a == IR_NONE ? IR_VOID : f->ins[i->a].type;
		unsigned bits = 8 * ir_type_bytes(ta), to = i->type;
		switch (i->op) {
		case IR_NOP:
		case IR_FENCE:
		case IR_PAUSE:
			break;
		case IR_INSN:
			insn_pc = i->imm;
			break;
		case IR_CONST:
			v[r] = i->imm;
			break;
		case IR_GET:
			v[r] = 0;
			memcpy(&v[r], m->cpu + m->target->slots[i->aux].offset, ir_type_bytes(to));
			break;
		case IR_PUT:
			memcpy(m->cpu + m->target->slots[i->aux].offset, &a, ir_type_bytes(ta));
			break;
		case IR_SELECT:
			v[r] = a ? b : c;
			break;
		case IR_LOAD:
		case IR_STORE:
		case IR_RMW:
		case IR_CMPXCHG:
		case IR_LOADR:
		case IR_STOREC: {
			enum ir_type t =
				i->op == IR_STORE || i->op == IR_STOREC ? f->ins[i->b].type : to;
			if (!ref_memory(m, i, ir_type_bytes(t), a, b, c, &v[r])) {
				*pc = insn_pc;
				return REF_FAULT;
			}
			break;
		}
		case IR_CALL:
			h->pc = insn_pc;
			v[r] = m->target->helpers[i->imm].fn(m->cpu, a, b, c);
			if (h->fault.pending) {
				*pc = insn_pc;
				return REF_FAULT;
			}
			break;
		case IR_JUMP:
			r = f->blocks[i->imm].first - 1;
			continue;
		case IR_BRANCH:
			r = f->blocks[a ? (uint32_t)i->imm : i->imm >> 32].first - 1;
			continue;
		case IR_GOTO:
			*pc = a;
			return REF_GOTO;
		case IR_GOTO_IF:
			*pc = a ? b : c;
			return REF_GOTO;
		case IR_EXIT:
			*pc = a;
			return REF_EXIT;
		case IR_TRAP:
			h->fault.pending = true;
			h->fault.cause = i->imm;
			h->fault.value = a;
			*pc = insn_pc;
			return REF_FAULT;
		default:
			v[r] = ir_ops[i->op].nargs == 2 ? ref_binary(i->op, bits, a, b)
							: ref_unary(i->op, bits, a);
			break;
		}
		v[r] &= ir_type_mask(to);
		if ((ir_ops[i->op].flags & IR_PURE) && ir_type_is_int((enum ir_type)to))
			ref_check_range(f, r, v[r]);
	}
}

static inline enum reference_end ref_run(struct reference *m, const struct ir_func *f, uint64_t *pc)
{
	return ref_run_from(m, f, 0, pc);
}

#endif
