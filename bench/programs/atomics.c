// SPDX-License-Identifier: Apache-2.0
// Two threads on the same words: fetch-and-add, compare-and-swap, exchange, a mutex.
#include "bench.h"
#include <pthread.h>

static _Atomic uint64_t added, swapped, bits;
static uint64_t guarded;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long rounds;

static void *work(void *arg)
{
	for (long i = 0; i < rounds; i++) {
		added += (uint64_t)i;
		uint64_t old = swapped;
		while (!__atomic_compare_exchange_n(
			&swapped, &old, old + 3, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
		bits |= UINT64_C(1) << (i % 64);
		if (i % 8 == 0) {
			pthread_mutex_lock(&mutex);
			guarded++;
			pthread_mutex_unlock(&mutex);
		}
	}
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t other;
	rounds = bench_count(argc, argv, 1);
	bench_check(!pthread_create(&other, NULL, work, NULL), "pthread_create");
	work(NULL);
	pthread_join(other, NULL);
	printf("%" PRIu64 " %" PRIu64 " %" PRIx64 " %" PRIu64 "\n", added, swapped, bits, guarded);
	return 0;
}
