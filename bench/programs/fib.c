// SPDX-License-Identifier: Apache-2.0
// Recursive Fibonacci numbers: calls, returns, the stack.
#include "bench.h"

static __attribute__((noinline, optimize("no-optimize-sibling-calls"))) uint64_t fib(unsigned n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1);
	uint64_t sum = 0;
	for (long i = 0; i < rounds; i++)
		sum = sum * 3 + fib(25 + (unsigned)(i & 1));
	printf("%" PRIu64 "\n", sum);
	return 0;
}
