// SPDX-License-Identifier: Apache-2.0
// Memory of a flat guest: its addresses are this process's own, and any access may fault. Each
// access that the host may refuse is one instruction with an entry in a table: where to go on when
// it faults. The handler of SIGSEGV and SIGBUS looks the entry up. A good access pays nothing.
#ifndef STRATA_MEM_FLAT_H
#define STRATA_MEM_FLAT_H

#include "base/base.h"

/* The address of a fault that the host does not tell (x86-64: a non-canonical one). */
#define FLAT_NO_ADDRESS UINT64_MAX

/* [any thread, async-signal-safe] Where the access at host address pc goes on when it is refused,
 * or 0: there is none there. */
uintptr_t flat_landing(uintptr_t pc);

/* Copies between guest and host memory. False: a part was refused, and perhaps another part copied.
 */
bool flat_copy(void *to, const void *from, size_t bytes);
/* Bytes of the string with its NUL, copied to `to`; cap + 1: it is longer than that; 0: refused. */
size_t flat_copy_string(char *to, uint64_t from, size_t cap);

#define FLAT_ENTRY(landing)                                                                        \
	".pushsection strata_landings,\"a\"\n"                                                     \
	".balign 4\n"                                                                              \
	".long 1b - .\n"                                                                           \
	".long %l[" #landing "] - .\n"                                                             \
	".popsection\n"

/* The width's suffix and register operand. */
#define FLAT_SUFFIX_8	"b"
#define FLAT_SUFFIX_16	"w"
#define FLAT_SUFFIX_32	"l"
#define FLAT_SUFFIX_64	"q"
#define FLAT_OPERAND_8	"%b[v]"
#define FLAT_OPERAND_16 "%w[v]"
#define FLAT_OPERAND_32 "%k[v]"
#define FLAT_OPERAND_64 "%q[v]"

/* v = the `bits` at addr; or goes to the label. The empty asm: GCC before 12.4 may lose an output
 * of asm goto otherwise (its bug 113921). */
#define FLAT_LOAD(bits, v_, addr_, landing)                                                        \
	do {                                                                                       \
		__asm__ volatile goto("1: mov" FLAT_SUFFIX_##bits " (%[p]), " FLAT_OPERAND_##bits  \
				      "\n" FLAT_ENTRY(landing)                                     \
				      : [v] "=q"(v_)                                               \
				      : [p] "r"(addr_)                                             \
				      : "memory"                                                   \
				      : landing);                                                  \
		__asm__ volatile("");                                                              \
	} while (0)
#define FLAT_STORE(bits, v_, addr_, landing)                                                       \
	__asm__ volatile goto("1: mov" FLAT_SUFFIX_##bits " " FLAT_OPERAND_##bits                  \
			      ", (%[p])\n" FLAT_ENTRY(landing)                                     \
			      :                                                                    \
			      : [v] "q"(v_), [p] "r"(addr_)                                        \
			      : "memory"                                                           \
			      : landing)
/* v and memory change places; v is what memory had before the addition of v. */
#define FLAT_READ_WRITE(insn, bits, v_, addr_, landing)                                            \
	do {                                                                                       \
		__asm__ volatile goto("1: " insn FLAT_SUFFIX_##bits " " FLAT_OPERAND_##bits        \
				      ", (%[p])\n" FLAT_ENTRY(landing)                             \
				      : [v] "+q"(v_)                                               \
				      : [p] "r"(addr_)                                             \
				      : "memory", "cc"                                             \
				      : landing);                                                  \
		__asm__ volatile("");                                                              \
	} while (0)
#define FLAT_SWAP(bits, v, addr, landing) FLAT_READ_WRITE("xchg", bits, v, addr, landing)
#define FLAT_ADD(bits, v, addr, landing)  FLAT_READ_WRITE("lock xadd", bits, v, addr, landing)
/* expected becomes what memory had; it was changed to v when that is the same. */
#define FLAT_COMPARE_SWAP(bits, expected_, v_, addr_, landing)                                     \
	do {                                                                                       \
		__asm__ volatile goto("1: lock cmpxchg" FLAT_SUFFIX_##bits " " FLAT_OPERAND_##bits \
				      ", (%[p])\n" FLAT_ENTRY(landing)                             \
				      : "+a"(expected_)                                            \
				      : [v] "q"(v_), [p] "r"(addr_)                                \
				      : "memory", "cc"                                             \
				      : landing);                                                  \
		__asm__ volatile("");                                                              \
	} while (0)

#endif
