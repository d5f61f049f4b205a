// SPDX-License-Identifier: Apache-2.0
// What compiled code calls: C functions with one convention. Arguments are in cpu_head.exec, the
// result goes to exec.args[0]; the pc is that of the instruction. false: cpu_head.fault is set.
#ifndef STRATA_JIT_SLOW_H
#define STRATA_JIT_SLOW_H

#include "interp/code.h"

typedef bool jit_slow_fn(void *cpu, const uint8_t *site); /* site: behind the call */

/* Behind the call for a load or store: which it is. With `group`, code wants to know whether the
 * bytes from args[0] + low to args[0] + high can be accessed directly: low and high (16 bits each)
 * follow, as the operand of an instruction that does nothing. */
struct jit_site {
	uint16_t pc_offset; /* of the instruction, in its page */
	uint16_t info;	    /* JIT_SITE() */
	uint32_t back;	    /* bytes back to the region's start, where the page's address is */
};
#define JIT_SITE(log2, group, write) ((log2) | (unsigned)(group) << 8 | (unsigned)(write) << 9)
enum { JIT_SITE_GROUP = 0xa9 };

enum jit_slow {
	JIT_SLOW_LOAD,	/* args[0] address; args[1] becomes the host base of the access's group, or
			   0; the pc is left to the function */
	JIT_SLOW_STORE, /* args[2] value; the same */
	JIT_SLOW_RMW,	/* args[0] address, [1] operand; info: bytes | op << 8 */
	JIT_SLOW_CMPXCHG, /* args[0] address, [1] expected, [2] new; info: bytes */
	JIT_SLOW_LOADR,	  /* args[0] address; info: bytes */
	JIT_SLOW_STOREC,  /* args[0] address, [1] value; info: bytes */
	JIT_SLOW_CALL,	  /* args[0..2]; info: number of the helper */
	JIT_SLOW_FP,	  /* args[0..2] bits; info: op | from << 8 | to << 16; fp_info: aux */
	JIT_SLOW_COUNT
};

extern jit_slow_fn *const jit_slow_fns[JIT_SLOW_COUNT];

#endif
