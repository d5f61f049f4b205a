// SPDX-License-Identifier: Apache-2.0
// Queens on a board by bits: short loops, recursion, logic.
#include "bench.h"

static long solve(unsigned all, unsigned columns, unsigned left, unsigned right)
{
	long found = 0;
	if (columns == all)
		return 1;
	for (unsigned free = all & ~(columns | left | right); free;) {
		unsigned bit = free & -free;
		free ^= bit;
		found += solve(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
	}
	return found;
}

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1), found = 0;
	for (long i = 0; i < rounds; i++)
		found = found * 7 + solve((1u << (9 + i % 2)) - 1, 0, 0, 0);
	printf("%ld\n", found);
	return 0;
}
