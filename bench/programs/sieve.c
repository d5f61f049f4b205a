// SPDX-License-Identifier: Apache-2.0
// The sieve of Eratosthenes over 8 MB: stores with all strides, more pages than a small TLB holds.
#include "bench.h"

enum { LIMIT = 8 << 20 };

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1), count = 0;
	uint8_t *composite = bench_alloc(LIMIT);
	for (long r = 0; r < rounds; r++) {
		memset(composite, 0, LIMIT);
		for (long i = 2; i * i < LIMIT; i++)
			if (!composite[i])
				for (long j = i * i; j < LIMIT; j += i)
					composite[j] = 1;
		for (long i = 2; i < LIMIT; i++)
			count += !composite[i];
	}
	printf("%ld\n", count);
	return 0;
}
