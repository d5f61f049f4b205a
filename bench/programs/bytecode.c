// SPDX-License-Identifier: Apache-2.0
// A small interpreter of bytecode with computed goto: indirect jumps with history.
#include "bench.h"

enum { PUSH, LOAD, STORE, ADD, SUB, MUL, AND, XOR, SHR, LESS, JUMP_IF, JUMP, HALT };

/* Operands follow in the next byte; locals: 0 i, 1 sum, 2 limit, 3 seed. */
static const uint8_t program[] = {
	PUSH, 0, STORE, 0, PUSH, 0, STORE, 1, PUSH, 1, STORE, 3,	      /* 0 */
	LOAD, 3, PUSH, 109, MUL, PUSH, 89, ADD, STORE, 3,		      /* 12: the loop */
	LOAD, 3, PUSH, 7, SHR, PUSH, 1, AND, JUMP_IF, 42,		      /* 22 */
	LOAD, 1, LOAD, 3, ADD, STORE, 1, JUMP, 49,			      /* 32 */
	HALT,								      /* 41 */
	LOAD, 1, LOAD, 0, XOR, STORE, 1,				      /* 42 */
	LOAD, 0, PUSH, 1, ADD, STORE, 0, LOAD, 0, LOAD, 2, LESS, JUMP_IF, 12, /* 49 */
	LOAD, 1, PUSH, 3, SUB, HALT,					      /* 63 */
};

static __attribute__((noinline)) int64_t run(const uint8_t *code, int64_t limit)
{
	static const void *const labels[] = {&&push, &&load, &&store, &&add, &&sub, &&mul, &&and,
		&&xor, &&shr, &&less, &&jump_if, &&jump, &&halt};
	int64_t stack[16], local[4] = {0, 0, limit, 0}, *sp = stack;
	const uint8_t *pc = code;
#define NEXT goto *labels[*pc++]
#define BINARY(name, expression)                                                                   \
	name : {                                                                                   \
		uint64_t b = (uint64_t)sp[-1], a = (uint64_t)sp[-2];                               \
		sp--;                                                                              \
		sp[-1] = (int64_t)(expression);                                                    \
		NEXT;                                                                              \
	}
	NEXT;
push:
	*sp++ = *pc++;
	NEXT;
load:
	*sp++ = local[*pc++];
	NEXT;
store:
	local[*pc++] = *--sp;
	NEXT;
	BINARY(add, a + b)
	BINARY(sub, a - b)
	BINARY(mul, a * b)
	BINARY(and, a & b)
	BINARY(xor, a ^ b)
	BINARY(shr, a >> (b & 63))
	BINARY(less, (int64_t)a < (int64_t)b)
jump_if:
	pc = *--sp ? code + *pc : pc + 1;
	NEXT;
jump:
	pc = code + *pc;
	NEXT;
halt:
	return sp > stack ? sp[-1] : -1;
}

int main(int argc, char **argv)
{
	printf("%" PRId64 "\n", run(program, bench_count(argc, argv, 1)));
	return 0;
}
