// SPDX-License-Identifier: Apache-2.0
// The atomics of atomic.c for CPUs with cpu_head.flat: the host may refuse each.
#include "interp/code.h"
#include "mem/flat.h"

static const struct interp_result failed = {0, false};

/* The host has set the fault. */
static struct interp_result refused_at(struct cpu_head *h, uint64_t addr)
{
	if (h->fault.value == FLAT_NO_ADDRESS)
		h->fault.value = addr;
	return failed;
}

/* What a read-modify-write that x86 has no instruction for stores. */
#define DEFINE_RMW(bits)                                                                           \
	static uint##bits##_t combined_##bits(                                                     \
		enum ir_rmw op, uint##bits##_t old, uint##bits##_t b)                              \
	{                                                                                          \
		int##bits##_t sold = (int##bits##_t)old, sb = (int##bits##_t)b;                    \
		switch (op) {                                                                      \
		case IR_RMW_AND:                                                                   \
			return old & b;                                                            \
		case IR_RMW_OR:                                                                    \
			return old | b;                                                            \
		case IR_RMW_XOR:                                                                   \
			return old ^ b;                                                            \
		case IR_RMW_MIN:                                                                   \
			return sb < sold ? b : old;                                                \
		case IR_RMW_MAX:                                                                   \
			return sb > sold ? b : old;                                                \
		case IR_RMW_MINU:                                                                  \
			return MIN(b, old);                                                        \
		case IR_RMW_MAXU:                                                                  \
			return MAX(b, old);                                                        \
		default:                                                                           \
			return b;                                                                  \
		}                                                                                  \
	}                                                                                          \
	static struct interp_result rmw_##bits(                                                    \
		struct cpu_head *h, uint64_t addr, enum ir_rmw op, uint##bits##_t b)               \
	{                                                                                          \
		uint##bits##_t v = b, seen;                                                        \
		if (op == IR_RMW_SWAP) {                                                           \
			FLAT_SWAP(bits, v, addr, refused);                                         \
			return (struct interp_result){v, true};                                    \
		}                                                                                  \
		if (op == IR_RMW_ADD) {                                                            \
			FLAT_ADD(bits, v, addr, refused);                                          \
			return (struct interp_result){v, true};                                    \
		}                                                                                  \
		FLAT_LOAD(bits, seen, addr, refused_load);                                         \
		for (;;) {                                                                         \
			uint##bits##_t expected = seen;                                            \
			v = combined_##bits(op, seen, b);                                          \
			FLAT_COMPARE_SWAP(bits, seen, v, addr, refused);                           \
			if (seen == expected)                                                      \
				return (struct interp_result){seen, true};                         \
		}                                                                                  \
	refused_load: /* to the guest it is the store that was refused */                          \
		h->isa->access_fault(h, GVA(h->fault.value), ISA_WRITE);                           \
	refused:                                                                                   \
		return refused_at(h, addr);                                                        \
	}
DEFINE_RMW(32)
DEFINE_RMW(64)

static bool aligned(struct cpu_head *h, uint64_t addr, unsigned bytes, enum isa_access access)
{
	if (LIKELY(!(addr & (bytes - 1))))
		return true;
	h->isa->misaligned_fault(h, GVA(addr), access);
	return false;
}

struct interp_result interp_rmw_flat(
	struct cpu_head *h, uint64_t addr, enum ir_rmw op, unsigned bytes, uint64_t b)
{
	if (!aligned(h, addr, bytes, ISA_WRITE))
		return failed;
	return bytes == 4 ? rmw_32(h, addr, op, (uint32_t)b) : rmw_64(h, addr, op, b);
}

struct interp_result interp_cmpxchg_flat(
	struct cpu_head *h, uint64_t addr, unsigned bytes, uint64_t expected, uint64_t desired)
{
	if (!aligned(h, addr, bytes, ISA_WRITE))
		return failed;
	if (bytes == 4) {
		uint32_t e = (uint32_t)expected;
		FLAT_COMPARE_SWAP(32, e, (uint32_t)desired, addr, refused);
		return (struct interp_result){e, true};
	}
	FLAT_COMPARE_SWAP(64, expected, desired, addr, refused);
	return (struct interp_result){expected, true};
refused:
	return refused_at(h, addr);
}

struct interp_result interp_load_reserved_flat(struct cpu_head *h, uint64_t addr, unsigned bytes)
{
	uint64_t v;
	uint32_t word;
	cpu_forget_reservation(h);
	if (!aligned(h, addr, bytes, ISA_READ))
		return failed;
	if (bytes == 4) {
		FLAT_LOAD(32, word, addr, refused);
		v = word;
	} else {
		FLAT_LOAD(64, v, addr, refused);
	}
	h->reservation.host = (void *)(uintptr_t)addr;
	h->reservation.value = v;
	h->reservation.bytes = (uint8_t)bytes;
	h->reservation.addr = GVA(addr);
	return (struct interp_result){v, true};
refused:
	return refused_at(h, addr);
}

struct interp_result interp_store_conditional_flat(
	struct cpu_head *h, uint64_t addr, unsigned bytes, uint64_t v)
{
	if (!aligned(h, addr, bytes, ISA_WRITE))
		return failed;
	bool mine = h->reservation.host == (void *)(uintptr_t)addr && h->reservation.bytes == bytes;
	uint64_t expected = h->reservation.value;
	h->reservation.host = NULL;
	if (!mine)
		return (struct interp_result){1, true};
	struct interp_result old = interp_cmpxchg_flat(h, addr, bytes, expected, v);
	return old.ok ? (struct interp_result){old.value != expected, true} : failed;
}
