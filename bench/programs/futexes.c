// SPDX-License-Identifier: Apache-2.0
// Two threads take turns, by mutex and condition variable: futexes, switches of threads.
#include "bench.h"
#include <pthread.h>
#include <sched.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static long rounds, turn, sum;

static void *play(void *arg)
{
	long me = arg != NULL;
	pthread_mutex_lock(&mutex);
	for (long i = 0; i < rounds; i++) {
		while (turn % 2 != me)
			pthread_cond_wait(&turned, &mutex);
		sum = sum * 3 + me + i;
		turn++;
		pthread_cond_signal(&turned);
	}
	pthread_mutex_unlock(&mutex);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t other;
	cpu_set_t one;
	rounds = bench_count(argc, argv, 1);
	/* On one CPU: what two CPUs take to wake each other is the host's affair. */
	CPU_ZERO(&one);
	CPU_SET((unsigned)sched_getcpu(), &one);
	bench_check(!sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
	bench_check(!pthread_create(&other, NULL, play, &turn), "pthread_create");
	play(NULL);
	pthread_join(other, NULL);
	printf("%ld\n", sum);
	return 0;
}
