// SPDX-License-Identifier: Apache-2.0
// What compiled code calls: C functions with one convention. Arguments are in cpu_head.exec, the
// result goes to exec.args[0]; the pc is that of the instruction. false: cpu_head.fault is set.
#ifndef STRATA_JIT_SLOW_H
#define STRATA_JIT_SLOW_H

#include "interp/code.h"

typedef bool jit_slow_fn(void *cpu);

enum jit_slow {
	JIT_SLOW_LOAD,	/* args[0] address; info: JIT_ACCESS(); args[1] becomes the host base of the
			   access's group, or 0 */
	JIT_SLOW_STORE, /* args[2] value; the same */
	JIT_SLOW_RMW,	/* args[0] address, [1] operand; info: bytes | op << 8 */
	JIT_SLOW_CMPXCHG, /* args[0] address, [1] expected, [2] new; info: bytes */
	JIT_SLOW_LOADR,	  /* args[0] address; info: bytes */
	JIT_SLOW_STOREC,  /* args[0] address, [1] value; info: bytes */
	JIT_SLOW_CALL,	  /* args[0..2]; info: number of the helper */
	JIT_SLOW_FP,	  /* args[0..2] bits; info: op | from << 8 | to << 16; fp_info: aux */
	JIT_SLOW_COUNT
};

/* An access of 2^log2 bytes at args[0]; with `group`, code wants to know whether the bytes from
 * base + low to base + high, where the access is at base + at, can be accessed directly. */
#define JIT_ACCESS(log2, group, write) ((log2) | (group) << 8 | (write) << 9)

extern jit_slow_fn *const jit_slow_fns[JIT_SLOW_COUNT];

#endif
