// SPDX-License-Identifier: Apache-2.0
// Quicksort of 64-bit numbers: compares and branches that nobody predicts.
#include "bench.h"

enum { LEN = 100000, SMALL = 12 };

static void insertion(uint64_t *a, long n)
{
	for (long i = 1; i < n; i++) {
		uint64_t v = a[i];
		long j = i;
		for (; j > 0 && a[j - 1] > v; j--)
			a[j] = a[j - 1];
		a[j] = v;
	}
}

static void sort(uint64_t *a, long n)
{
	while (n > SMALL) {
		uint64_t pivot = a[n / 2];
		long i = 0, j = n - 1;
		while (i <= j) {
			while (a[i] < pivot)
				i++;
			while (a[j] > pivot)
				j--;
			if (i <= j) {
				uint64_t t = a[i];
				a[i++] = a[j];
				a[j--] = t;
			}
		}
		sort(a, j + 1);
		a += i;
		n -= i;
	}
	insertion(a, n);
}

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1);
	uint64_t *a = bench_alloc(LEN * sizeof(*a)), seed = 42, sum = 0;
	for (long r = 0; r < rounds; r++) {
		for (long i = 0; i < LEN; i++)
			a[i] = bench_random(&seed);
		sort(a, LEN);
		for (long i = 1; i < LEN; i++)
			bench_check(a[i - 1] <= a[i], "order");
		sum += a[LEN / 3];
	}
	printf("%" PRIu64 "\n", sum);
	return 0;
}
