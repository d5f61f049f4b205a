// SPDX-License-Identifier: Apache-2.0
// Powers modulo a 64-bit number, greatest common divisors: the high half of products, divisions.
#include "bench.h"

/* Montgomery's product modulo the odd `m`; `inverse` is -1/m modulo 2^64, m is below 2^63. */
static uint64_t product(uint64_t a, uint64_t b, uint64_t m, uint64_t inverse)
{
	__uint128_t t = (__uint128_t)a * b;
	__uint128_t u = (__uint128_t)((uint64_t)t * inverse) * m;
	uint64_t r = (uint64_t)((t + u) >> 64);
	return r >= m ? r - m : r;
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t r = a % b;
		a = b;
		b = r;
	}
	return a;
}

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1);
	uint64_t seed = 99, sum = 0;
	for (long i = 0; i < rounds; i++) {
		uint64_t m = bench_random(&seed) >> 2 | 1, inverse = m, r = 1 + (uint64_t)i, base;
		for (int k = 0; k < 5; k++)
			inverse *= 2 - m * inverse;
		base = bench_random(&seed) % m;
		for (uint64_t e = bench_random(&seed); e; e >>= 1) {
			if (e & 1)
				r = product(r, base, m, -inverse);
			base = product(base, base, m, -inverse);
		}
		sum += r + gcd(r, m);
	}
	printf("%" PRIu64 "\n", sum);
	return 0;
}
