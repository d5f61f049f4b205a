// SPDX-License-Identifier: Apache-2.0
// The handlers: one function, entered once per run, that goes from label to label.
//
// Guest memory is accessed through volatile lvalues: one host instruction of the access's width,
// which is single-copy atomic when aligned, and x86's order is at least as strong as any guest's
// plain order. exec_flat.c is this file once more, for CPUs with cpu_head.flat: an access is then
// one instruction at the guest's address. The sanitizers are told nothing about it: races on guest
// memory are the guest's.
#include "interp/code.h"
#include "isa/fpu.h"
#include "mem/flat.h"

/* Handlers are a table of macros, aligned by hand. */
// clang-format off
#if defined(__clang__)
#define NO_SANITIZE __attribute__((no_sanitize("thread", "alignment", "float-divide-by-zero")))
#else
#define NO_SANITIZE                                                                                \
	__attribute__((no_sanitize_thread, no_sanitize("alignment"),                               \
		no_sanitize("float-divide-by-zero"), optimize("no-gcse", "no-crossjumping")))
#endif

/* Operands of the operation at ip. */
#define OPERAND(n) (((const uint16_t *)(ip + 1))[n])
#define D          OPERAND(0)
#define A          OPERAND(1)
#define B          OPERAND(2)
#define C          OPERAND(3)
#define REG(type, offset) (*(type *)(cpu + (offset)))
#define IMM        ip[2]

#define GO()    goto *(const void *)(uintptr_t)*ip
#define NEXT(n)                                                                                    \
	do {                                                                                       \
		ip += (n);                                                                         \
		GO();                                                                              \
	} while (0)

#define TYPES(bits)                                                                                \
	typedef uint##bits##_t U __attribute__((unused));                                          \
	typedef int##bits##_t S __attribute__((unused));                                           \
	enum { W = bits }

/* --- integers --- */
#define BINARY_RR(id, bits, expr)                                                                  \
	L_##id##_##bits : {                                                                        \
		TYPES(bits);                                                                       \
		U a = REG(U, A), b = REG(U, B);                                                    \
		REG(U, D) = (U)(expr);                                                             \
		NEXT(2);                                                                           \
	}
#define BINARY_RI(id, bits, expr)                                                                  \
	L_##id##_##bits##_IMM : {                                                                  \
		TYPES(bits);                                                                       \
		U a = REG(U, A), b = (U)IMM;                                                       \
		REG(U, D) = (U)(expr);                                                             \
		NEXT(3);                                                                           \
	}
#define BINARY(id, expr)                                                                           \
	BINARY_RR(id, 8, expr)                                                                     \
	BINARY_RR(id, 16, expr)                                                                    \
	BINARY_RR(id, 32, expr)                                                                    \
	BINARY_RR(id, 64, expr)                                                                    \
	BINARY_RI(id, 32, expr)                                                                    \
	BINARY_RI(id, 64, expr)                                                                    \
	L_##id##_32_SEXT : {                                                                       \
		TYPES(32);                                                                         \
		U a = REG(U, A), b = REG(U, B);                                                    \
		REG(int64_t, D) = (S)(U)(expr);                                                    \
		NEXT(2);                                                                           \
	}                                                                                          \
	L_##id##_32_SEXT_IMM : {                                                                   \
		TYPES(32);                                                                         \
		U a = REG(U, A), b = (U)IMM;                                                       \
		REG(int64_t, D) = (S)(U)(expr);                                                    \
		NEXT(3);                                                                           \
	}

#define COMPARE_RR(id, bits, expr)                                                                 \
	L_##id##_##bits : {                                                                        \
		TYPES(bits);                                                                       \
		U a = REG(U, A), b = REG(U, B);                                                    \
		REG(uint64_t, D) = (expr);                                                         \
		NEXT(2);                                                                           \
	}
#define COMPARE_RI(id, bits, expr)                                                                 \
	L_##id##_##bits##_IMM : {                                                                  \
		TYPES(bits);                                                                       \
		U a = REG(U, A), b = (U)IMM;                                                       \
		REG(uint64_t, D) = (expr);                                                         \
		NEXT(3);                                                                           \
	}
/* Leaves by the edge at words n, n + 1. */
#define LEAVE(n)                                                                                   \
	do {                                                                                       \
		h->insns_retired += C;                                                             \
		ip += (n);                                                                         \
		if (UNLIKELY(atomic_load_explicit(&h->attention, memory_order_relaxed)))           \
			goto stop;                                                                 \
		uint64_t to_ = __atomic_load_n(ip + 1, __ATOMIC_ACQUIRE);                          \
		if (UNLIKELY(to_ & 1))                                                             \
			goto unlinked;                                                             \
		ip = (const uint64_t *)(uintptr_t)to_;                                             \
		GO();                                                                              \
	} while (0)
/* The edge at words 2, 3 when true, else the one at words 4, 5. */
#define LEAVE_IF(cond)                                                                             \
	do {                                                                                       \
		if (cond)                                                                          \
			LEAVE(2);                                                                  \
		LEAVE(4);                                                                          \
	} while (0)
#define BRANCHES(id, bits, expr)                                                                   \
	L_BR_##id##_##bits : {                                                                     \
		TYPES(bits);                                                                       \
		U a = REG(U, A), b = REG(U, B);                                                    \
		LEAVE_IF(expr);                                                                     \
	}                                                                                          \
	L_BR_##id##_##bits##_IMM : {                                                               \
		TYPES(bits);                                                                       \
		U a = REG(U, A), b = (U)ip[6];                                                     \
		LEAVE_IF(expr);                                                                     \
	}
#define COMPARE(id, expr)                                                                          \
	COMPARE_RR(id, 8, expr)                                                                    \
	COMPARE_RR(id, 16, expr)                                                                   \
	COMPARE_RR(id, 32, expr)                                                                   \
	COMPARE_RR(id, 64, expr)                                                                   \
	COMPARE_RI(id, 32, expr)                                                                   \
	COMPARE_RI(id, 64, expr)                                                                   \
	BRANCHES(id, 32, expr)                                                                     \
	BRANCHES(id, 64, expr)

#define UNARY_R(id, bits, expr)                                                                    \
	L_##id##_##bits : {                                                                        \
		TYPES(bits);                                                                       \
		U a = REG(U, A);                                                                   \
		REG(U, D) = (U)(expr);                                                             \
		NEXT(2);                                                                           \
	}
#define UNARY(id, expr)                                                                            \
	UNARY_R(id, 8, expr)                                                                       \
	UNARY_R(id, 16, expr)                                                                      \
	UNARY_R(id, 32, expr)                                                                      \
	UNARY_R(id, 64, expr)

#define EXTEND(from, to)                                                                           \
	L_ZEXT_##from##_##to : {                                                                   \
		REG(uint##to##_t, D) = REG(uint##from##_t, A);                                     \
		NEXT(2);                                                                           \
	}                                                                                          \
	L_SEXT_##from##_##to : {                                                                   \
		REG(int##to##_t, D) = REG(int##from##_t, A);                                       \
		NEXT(2);                                                                           \
	}

#define MOVES(bits)                                                                                \
	L_MOV_##bits : {                                                                           \
		REG(uint##bits##_t, D) = REG(uint##bits##_t, A);                                   \
		NEXT(2);                                                                           \
	}                                                                                          \
	L_SET_##bits : {                                                                           \
		REG(uint##bits##_t, D) = (uint##bits##_t)IMM;                                      \
		NEXT(3);                                                                           \
	}                                                                                          \
	L_SELECT_##bits : {                                                                        \
		REG(uint##bits##_t, D) = REG(uint64_t, C) ? REG(uint##bits##_t, A)                 \
							  : REG(uint##bits##_t, B);                \
		NEXT(2);                                                                           \
	}

/* --- memory --- */
#define GUEST(bits, p) (*(volatile guest##bits *)(p))
typedef uint8_t guest8;
typedef uint16_t guest16 __attribute__((aligned(1)));
typedef uint32_t guest32 __attribute__((aligned(1)));
typedef uint64_t guest64 __attribute__((aligned(1)));

/* ACCESS: the access itself, of `bits` at `addr`, to or from v. */
#ifdef INTERP_FLAT
#define LOAD_ACCESS(bits)  FLAT_LOAD(bits, v, addr, refused)
#define STORE_ACCESS(bits) FLAT_STORE(bits, v, addr, refused)
#else
#define LOAD_ACCESS(bits)                                                                          \
	const void *p = tlb_read(h->tlb, addr, bits / 8);                                          \
	if (LIKELY(p)) {                                                                           \
		v = GUEST(bits, p);                                                                \
	} else {                                                                                   \
		struct interp_result r = interp_load_slow(cpu, addr, bits / 8, 0);                 \
		if (UNLIKELY(!r.ok))                                                               \
			goto fault;                                                                \
		v = (uint##bits##_t)r.value;                                                       \
	}
#define STORE_ACCESS(bits)                                                                         \
	void *p = tlb_write(h->tlb, addr, bits / 8);                                               \
	if (LIKELY(p))                                                                             \
		GUEST(bits, p) = v;                                                                \
	else if (UNLIKELY(!interp_store_slow(cpu, addr, bits / 8, 0, v)))                          \
		goto fault
#endif
#define LOAD(name, bits, from, to)                                                                 \
	L_##name : {                                                                               \
		uint64_t addr = REG(uint64_t, A) + IMM;                                            \
		uint##bits##_t v;                                                                  \
		LOAD_ACCESS(bits);                                                                 \
		REG(to, D) = (from)v;                                                              \
		NEXT(4);                                                                           \
	}
#define STORE(bits)                                                                                \
	L_ST_##bits : {                                                                            \
		uint64_t addr = REG(uint64_t, A) + IMM;                                            \
		uint##bits##_t v = REG(uint##bits##_t, B);                                         \
		STORE_ACCESS(bits);                                                                \
		NEXT(4);                                                                           \
	}

/* --- floating point --- */
#define FP_CALL(from, to)                                                                          \
	L_FP_##from##_##to : {                                                                     \
		interp_fp_fn *fn = (interp_fp_fn *)(uintptr_t)IMM;                                 \
		REG(uint##to##_t, D) = (uint##to##_t)fn(h, (unsigned)ip[3], REG(uint##from##_t, A), \
			REG(uint##from##_t, B), REG(uint##from##_t, C));                           \
		NEXT(4);                                                                           \
	}
/* On the host's FPU when it is in the right mode: lower.c chooses these for the dynamic mode and
 * default NaNs, and the mode "away" is not the host's. The operands are those of FP_CALL. */
#define FP_HOST(id, bits, type, oper, nan)                                                         \
	L_##id##_##bits : {                                                                        \
		if (UNLIKELY(h->fp_rounding == IR_RM_NEAREST_AWAY))                                \
			goto L_FP_##bits##_##bits;                                                 \
		type v = REG(type, A) oper REG(type, B);                                           \
		if (LIKELY(v == v))                                                                \
			REG(type, D) = v;                                                          \
		else                                                                               \
			REG(uint##bits##_t, D) = nan;                                              \
		NEXT(4);                                                                           \
	}
#define FP_HOST_BOTH(id, oper)                                                                     \
	FP_HOST(id, 32, float, oper, UINT32_C(0x7fc00000))                                         \
	FP_HOST(id, 64, double, oper, UINT64_C(0x7ff8000000000000))

#ifndef INTERP_FLAT
struct interp_result interp_load_slow(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags)
{
	struct cpu_head *h = cpu;
	struct interp_result r = {0};
	r.ok = h->env->load(cpu, addr, bytes, mem_flags, &r.value);
	return r;
}

bool interp_store_slow(void *cpu, uint64_t addr, unsigned bytes, unsigned mem_flags, uint64_t value)
{
	struct cpu_head *h = cpu;
	return h->env->store(cpu, addr, bytes, mem_flags, value);
}
#endif

static void fence(unsigned kinds)
{
	/* The host reorders a store with a later load, and nothing else. */
	if (kinds & IR_FENCE_WR)
		_mm_mfence();
	else
		__asm__ volatile("" ::: "memory");
}

/* With run NULL: hands out the handlers' addresses. */
NO_SANITIZE static enum interp_exit execute(struct interp_run *run, const uint64_t *entry,
	const void *const **handlers)
{
	static const void *const labels[INTERP_HANDLER_COUNT] = {
#define H(id) &&L_##id,
		INTERP_HANDLERS(H)
#undef H
	};
	if (!run) {
		*handlers = labels;
		return INTERP_EXIT;
	}
	register char *cpu = run->cpu;
	register const uint64_t *ip = entry;
#define h ((struct cpu_head *)cpu)
	GO();

	INTERP_BINARY(BINARY)
	INTERP_COMPARE(COMPARE)
	INTERP_UNARY(UNARY)
	INTERP_EXTEND(EXTEND)
	MOVES(8) MOVES(16) MOVES(32) MOVES(64)

	LOAD(LD_8, 8, uint8_t, uint8_t)
	LOAD(LD_16, 16, uint16_t, uint16_t)
	LOAD(LD_32, 32, uint32_t, uint32_t)
	LOAD(LD_64, 64, uint64_t, uint64_t)
	LOAD(LD_8_ZEXT, 8, uint8_t, uint64_t)
	LOAD(LD_16_ZEXT, 16, uint16_t, uint64_t)
	LOAD(LD_32_ZEXT, 32, uint32_t, uint64_t)
	LOAD(LD_8_SEXT, 8, int8_t, int64_t)
	LOAD(LD_16_SEXT, 16, int16_t, int64_t)
	LOAD(LD_32_SEXT, 32, int32_t, int64_t)
	STORE(8) STORE(16) STORE(32) STORE(64)

	/* Accesses that must be aligned; rare. */
L_LD_ALIGNED : {
	struct interp_result r =
		interp_load_slow(cpu, REG(uint64_t, A) + IMM, OPERAND(3), IR_MEM_ALIGNED);
	if (UNLIKELY(!r.ok))
		goto fault;
	memcpy(cpu + D, &r.value, OPERAND(3));
	NEXT(4);
}
L_ST_ALIGNED : {
	uint64_t v = 0;
	memcpy(&v, cpu + B, OPERAND(3));
	if (UNLIKELY(!interp_store_slow(cpu, REG(uint64_t, A) + IMM, OPERAND(3), IR_MEM_ALIGNED, v)))
		goto fault;
	NEXT(4);
}

	/* Atomics: word 2 is the width in bytes (and the operation in bits 8 up), word 3 the pc. */
	struct interp_result result;
L_RMW:
	result = interp_rmw(cpu, REG(uint64_t, A), (enum ir_rmw)(IMM >> 8), IMM & 0xff,
		REG(uint64_t, B));
	goto atomic_done;
L_CMPXCHG:
	result = interp_cmpxchg(cpu, REG(uint64_t, A), IMM & 0xff, REG(uint64_t, B), REG(uint64_t, C));
	goto atomic_done;
L_LOADR:
	result = interp_load_reserved(cpu, REG(uint64_t, A), IMM & 0xff);
atomic_done:
	if (UNLIKELY(!result.ok))
		goto fault;
	if ((IMM & 0xff) == 4)
		REG(uint32_t, D) = (uint32_t)result.value;
	else
		REG(uint64_t, D) = result.value;
	NEXT(4);
L_STOREC:
	result = interp_store_conditional(cpu, REG(uint64_t, A), IMM & 0xff, REG(uint64_t, B));
	if (UNLIKELY(!result.ok))
		goto fault;
	REG(uint64_t, D) = result.value;
	NEXT(4);
L_FENCE:
	fence((unsigned)IMM);
	NEXT(3);
L_PAUSE:
	_mm_pause();
	NEXT(2);

	FP_CALL(32, 32) FP_CALL(32, 64) FP_CALL(64, 32) FP_CALL(64, 64)
	FP_HOST_BOTH(FADD, +)
	FP_HOST_BOTH(FSUB, -)
	FP_HOST_BOTH(FMUL, *)
	FP_HOST_BOTH(FDIV, /)

L_FFLAGS:
	fpu_harvest(h);
	REG(uint64_t, D) = h->fp_flags & FE_ALL_EXCEPT;
	NEXT(2);
L_FFLAGS_SET:
	fpu_set_flags(h, (uint32_t)REG(uint64_t, A) & FE_ALL_EXCEPT);
	NEXT(2);

	/* word 2: the function, word 3: pc */
L_CALL : {
	ir_helper_fn *fn = (ir_helper_fn *)(uintptr_t)IMM;
	h->pc = ip[3];
	uint64_t a = REG(uint64_t, A), b = REG(uint64_t, B), c = REG(uint64_t, C);
	uint64_t v = fn(cpu, a, b, c);
	REG(uint64_t, D) = v;
	NEXT(4);
}
L_CALL_FAULT : {
	ir_helper_fn *fn = (ir_helper_fn *)(uintptr_t)IMM;
	h->pc = ip[3];
	uint64_t a = REG(uint64_t, A), b = REG(uint64_t, B), c = REG(uint64_t, C);
	uint64_t v = fn(cpu, a, b, c);
	if (UNLIKELY(h->fault.pending))
		goto fault;
	REG(uint64_t, D) = v;
	NEXT(4);
}

	/* word 1: how often yet, 2: pc. Racing CPUs lose a count, no more. */
L_COUNT : {
	int64_t left = __atomic_load_n((int64_t *)(uintptr_t)(ip + 1), __ATOMIC_RELAXED) - 1;
	__atomic_store_n((int64_t *)(uintptr_t)(ip + 1), left, __ATOMIC_RELAXED);
	if (UNLIKELY(left <= 0)) {
		h->pc = ip[2];
		return INTERP_HOT;
	}
	NEXT(3);
}

	/* Inside a function: word 2 (and 3) is a distance in words, then the pc of the block for when
	 * it must stop there. */
L_JUMP:
	h->insns_retired += C;
	if (UNLIKELY(atomic_load_explicit(&h->attention, memory_order_relaxed))) {
		h->pc = ip[3];
		return INTERP_ATTENTION;
	}
	ip += (int64_t)IMM;
	GO();
L_BRANCH : {
	h->insns_retired += C;
	int side = REG(uint64_t, A) ? 2 : 4;
	if (UNLIKELY(atomic_load_explicit(&h->attention, memory_order_relaxed))) {
		h->pc = ip[side + 1];
		return INTERP_ATTENTION;
	}
	ip += (int64_t)ip[side];
	GO();
}

L_BR_NZ:
	LEAVE_IF(REG(uint64_t, A));
L_GOTO:
	LEAVE(2);
stop: /* ip is at an edge */
	h->pc = *ip;
	return INTERP_ATTENTION;
unlinked:
	h->pc = *ip;
	run->link = ip[1] == INTERP_NO_LINK ? NULL : (uint64_t *)(uintptr_t)(ip + 1);
	goto lookup;
L_GOTO_REG:
	h->insns_retired += C;
	h->pc = REG(uint64_t, A);
	run->link = NULL;
	if (UNLIKELY(atomic_load_explicit(&h->attention, memory_order_relaxed)))
		return INTERP_ATTENTION;
lookup : {
	const struct interp_jump *j = interp_jump_slot(run->jumps, h->pc);
	if (UNLIKELY(j->pc != h->pc || j->context != run->context || j->native))
		return INTERP_MISS;
	if (run->link)
		interp_link(run->link, j);
	ip = j->entry;
	GO();
}

L_EXIT:
	h->insns_retired += C;
	h->pc = REG(uint64_t, A);
	return INTERP_EXIT;
L_TRAP: /* word 2: cause, word 3: pc */
	h->insns_retired += C;
	h->fault.pending = true;
	h->fault.cause = IMM;
	h->fault.value = REG(uint64_t, A);
	goto fault;
#ifdef INTERP_FLAT
refused: /* the host refused the load or store at ip, and set the fault */
	if (h->fault.value == FLAT_NO_ADDRESS)
		h->fault.value = REG(uint64_t, A) + IMM;
#endif
fault:
	h->pc = ip[3];
	return INTERP_FAULT;
#undef h
}

#ifdef INTERP_FLAT
#define HANDLERS interp_handlers_flat
#define RUN      interp_run_flat
#else
#define HANDLERS interp_handlers
#define RUN      interp_run
#endif
const void *const *HANDLERS(void)
{
	const void *const *handlers;
	execute(NULL, NULL, &handlers);
	return handlers;
}

enum interp_exit RUN(struct interp_run *run, const uint64_t *entry)
{
	run->link = NULL;
	return execute(run, entry, NULL);
}
