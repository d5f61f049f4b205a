// SPDX-License-Identifier: Apache-2.0
// Guest atomics are host atomics, sequentially consistent.
#include "interp/code.h"

static void *host_address(struct cpu_head *h, uint64_t addr, unsigned bytes, bool write)
{
	void *p = NULL;
	if (LIKELY(!(addr & (bytes - 1))))
		p = write ? tlb_write(h->tlb, addr, bytes) : tlb_read(h->tlb, addr, bytes);
	return p ? p : h->env->atomic(h, addr, bytes, write);
}

/* min and max have no host instruction. */
#define DEFINE_MINMAX(name, type, better)                                                          \
	static type name(type *p, type b)                                                          \
	{                                                                                          \
		type old = __atomic_load_n(p, __ATOMIC_SEQ_CST);                                   \
		while (!__atomic_compare_exchange_n(p, &old, b better old ? b : old, true,         \
			__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))                                       \
			;                                                                          \
		return old;                                                                        \
	}
#define DEFINE_RMW(bits)                                                                           \
	DEFINE_MINMAX(min_s##bits, int##bits##_t, <)                                               \
	DEFINE_MINMAX(max_s##bits, int##bits##_t, >)                                               \
	DEFINE_MINMAX(min_u##bits, uint##bits##_t, <)                                              \
	DEFINE_MINMAX(max_u##bits, uint##bits##_t, >)                                              \
	static uint##bits##_t rmw_##bits(void *host, enum ir_rmw op, uint##bits##_t b)             \
	{                                                                                          \
		uint##bits##_t *p = host;                                                          \
		switch (op) {                                                                      \
		case IR_RMW_SWAP:                                                                  \
			return __atomic_exchange_n(p, b, __ATOMIC_SEQ_CST);                        \
		case IR_RMW_ADD:                                                                   \
			return __atomic_fetch_add(p, b, __ATOMIC_SEQ_CST);                         \
		case IR_RMW_AND:                                                                   \
			return __atomic_fetch_and(p, b, __ATOMIC_SEQ_CST);                         \
		case IR_RMW_OR:                                                                    \
			return __atomic_fetch_or(p, b, __ATOMIC_SEQ_CST);                          \
		case IR_RMW_XOR:                                                                   \
			return __atomic_fetch_xor(p, b, __ATOMIC_SEQ_CST);                         \
		case IR_RMW_MIN:                                                                   \
			return (uint##bits##_t)min_s##bits(host, (int##bits##_t)b);                \
		case IR_RMW_MAX:                                                                   \
			return (uint##bits##_t)max_s##bits(host, (int##bits##_t)b);                \
		case IR_RMW_MINU:                                                                  \
			return min_u##bits(p, b);                                                  \
		case IR_RMW_MAXU:                                                                  \
			return max_u##bits(p, b);                                                  \
		case IR_RMW_COUNT:                                                                 \
			break;                                                                     \
		}                                                                                  \
		return 0;                                                                          \
	}
DEFINE_RMW(32)
DEFINE_RMW(64)

struct interp_result interp_rmw(
	void *cpu, uint64_t addr, enum ir_rmw op, unsigned bytes, uint64_t b)
{
	struct cpu_head *h = cpu;
	if (h->flat)
		return interp_rmw_flat(h, addr, op, bytes, b);
	void *p = host_address(cpu, addr, bytes, true);
	if (!p)
		return (struct interp_result){0, false};
	uint64_t old = bytes == 4 ? rmw_32(p, op, (uint32_t)b) : rmw_64(p, op, b);
	return (struct interp_result){old, true};
}

bool interp_compare_exchange(void *p, unsigned bytes, uint64_t *expected, uint64_t desired)
{
	if (bytes == 4) {
		uint32_t e = (uint32_t)*expected;
		bool done = __atomic_compare_exchange_n((uint32_t *)p, &e, (uint32_t)desired, false,
			__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		*expected = e;
		return done;
	}
	return __atomic_compare_exchange_n(
		(uint64_t *)p, expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

struct interp_result interp_cmpxchg(
	void *cpu, uint64_t addr, unsigned bytes, uint64_t expected, uint64_t desired)
{
	struct cpu_head *h = cpu;
	if (h->flat)
		return interp_cmpxchg_flat(h, addr, bytes, expected, desired);
	void *p = host_address(cpu, addr, bytes, true);
	if (!p)
		return (struct interp_result){0, false};
	interp_compare_exchange(p, bytes, &expected, desired);
	return (struct interp_result){expected, true};
}

struct interp_result interp_load_reserved(void *cpu, uint64_t addr, unsigned bytes)
{
	struct cpu_head *h = cpu;
	if (h->flat)
		return interp_load_reserved_flat(h, addr, bytes);
	cpu_forget_reservation(h);
	void *p = host_address(h, addr, bytes, false);
	if (!p)
		return (struct interp_result){0, false};
	uint64_t v = bytes == 4 ? __atomic_load_n((uint32_t *)p, __ATOMIC_SEQ_CST)
				: __atomic_load_n((uint64_t *)p, __ATOMIC_SEQ_CST);
	h->reservation.host = p;
	h->reservation.value = v;
	h->reservation.bytes = (uint8_t)bytes;
	h->reservation.addr = GVA(addr);
	return (struct interp_result){v, true};
}

/* Succeeds when memory still holds what the load-reserved read there. That is exact when nothing
 * else was read or written in between: then both happen now. For other sequences lifters use
 * env.load_reserved. */
struct interp_result interp_store_conditional(void *cpu, uint64_t addr, unsigned bytes, uint64_t v)
{
	struct cpu_head *h = cpu;
	if (h->flat)
		return interp_store_conditional_flat(h, addr, bytes, v);
	if (UNLIKELY(atomic_load_explicit(&h->reservation.watched, memory_order_relaxed))) {
		bool stored;
		bool ok = h->env->store_conditional(h, addr, bytes, v, &stored);
		return (struct interp_result){!stored, ok};
	}
	/* The access must be allowed even when the reservation is gone: it faults first. */
	void *p = host_address(h, addr, bytes, true);
	if (!p)
		return (struct interp_result){0, false};
	bool mine = h->reservation.host == p && h->reservation.bytes == bytes;
	uint64_t expected = h->reservation.value;
	h->reservation.host = NULL;
	bool done = mine && interp_compare_exchange(p, bytes, &expected, v);
	return (struct interp_result){!done, true};
}
