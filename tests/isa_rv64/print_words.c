// SPDX-License-Identifier: Apache-2.0
// Prints the disassembly of the little-endian 32-bit words on stdin, a line each. The n-th word
// lies at address 4 * n. For decode_oracle.py.
#include <stdio.h>

#include "isa/rv64/rv64.h"

int main(void)
{
	uint8_t word[4];
	struct strbuf out = STRBUF_INIT;
	for (uint64_t pc = 0; fread(word, sizeof(word), 1, stdin) == 1; pc += 4) {
		strbuf_clear(&out);
		rv64_isa.disassemble(word, sizeof(word), pc, &out);
		puts(out.data);
	}
	strbuf_done(&out);
	return 0;
}
