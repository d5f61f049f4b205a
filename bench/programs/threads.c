// SPDX-License-Identifier: Apache-2.0
// The same sum by one thread or several: threads N_THREADS ROUNDS. Integers and floating point.
#include "bench.h"
#include <pthread.h>

enum { PIECES = 64, LEN = 4096 };

static long rounds;
static int next_piece;
static double result[PIECES];

static double piece(int p)
{
	static _Thread_local double a[LEN];
	uint64_t seed = (uint64_t)p + 1;
	double sum = 0;
	for (long r = 0; r < rounds; r++) {
		for (int i = 0; i < LEN; i++)
			a[i] = (double)(bench_random(&seed) >> 44);
		for (int i = 1; i < LEN; i++)
			sum += a[i] * 0.5 - a[i - 1] * 0.25;
	}
	return sum;
}

static void *work(void *arg)
{
	for (int p; (p = __atomic_fetch_add(&next_piece, 1, __ATOMIC_RELAXED)) < PIECES;)
		result[p] = piece(p);
	return arg;
}

int main(int argc, char **argv)
{
	long n = bench_count(argc, argv, 1);
	pthread_t *t = bench_alloc((size_t)n * sizeof(*t));
	double sum = 0;
	rounds = bench_count(argc, argv, 2);
	for (long i = 1; i < n; i++)
		bench_check(!pthread_create(&t[i], NULL, work, NULL), "pthread_create");
	work(NULL);
	for (long i = 1; i < n; i++)
		pthread_join(t[i], NULL);
	for (int p = 0; p < PIECES; p++)
		sum += result[p];
	printf("%.1f\n", sum);
	return 0;
}
