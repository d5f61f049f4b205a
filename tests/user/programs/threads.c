// SPDX-License-Identifier: Apache-2.0
// Threads: atomics, locks, thread-local storage, robust locks, many in turn, an end without main.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int counter;
static __thread int local = 5;

static void *add(void *arg)
{
	local += (int)(long)arg;
	for (int i = 0; i < 50000; i++) {
		__atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
		if (i % 1000 == 0)
			sched_yield();
	}
	return (void *)(long)local;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static int turn;

static void *ping(void *arg)
{
	for (int i = 0; i < 300; i++) {
		pthread_mutex_lock(&lock);
		while (turn != (int)(long)arg)
			pthread_cond_wait(&turned, &lock);
		turn = !turn;
		pthread_cond_signal(&turned);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static void *nothing(void *arg)
{
	return arg;
}

static pthread_mutex_t robust;
static void *die_with_lock(void *arg)
{
	pthread_mutex_lock(&robust);
	return NULL;
}

static void *sleeper(void *arg)
{
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
	for (;;)
		pause();
}

#ifndef FORKS
#define FORKS 4
#endif

static void *forker(void *arg)
{
	int status;
	if (fork() == 0)
		_exit(3);
	wait(&status);
	return (void *)(long)WEXITSTATUS(status);
}

static void *last(void *arg)
{
	usleep(50000);
	printf("last words\n");
	fflush(stdout);
	_exit(11);
}

int main(void)
{
	pthread_t t[8];
	void *value;
	long sum = 0;
	setvbuf(stdout, NULL, _IONBF, 0);
	for (long n = 0; n < 8; n++)
		pthread_create(&t[n], NULL, add, (void *)n);
	for (int n = 0; n < 8; n++) {
		pthread_join(t[n], &value);
		sum += (long)value;
	}
	printf("added %d, locals %ld, mine %d\n", counter, sum, local);
	pthread_create(&t[0], NULL, ping, (void *)0);
	pthread_create(&t[1], NULL, ping, (void *)1);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	printf("ping pong\n");
	for (long n = 0; n < 500; n++) {
		pthread_create(&t[0], NULL, nothing, (void *)n);
		pthread_join(t[0], &value);
		if ((long)value != n)
			printf("thread %ld is wrong\n", n);
	}
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attr);
	pthread_create(&t[0], NULL, die_with_lock, NULL);
	pthread_join(t[0], NULL);
	printf("owner dead: %d\n", pthread_mutex_lock(&robust) == EOWNERDEAD);
	pthread_create(&t[0], NULL, sleeper, NULL);
	pthread_cancel(t[0]);
	pthread_join(t[0], &value);
	printf("cancelled: %d\n", value == PTHREAD_CANCELED);
	for (int n = 0; n < FORKS; n++)
		pthread_create(&t[n], NULL, forker, NULL);
	for (sum = 0; sum < FORKS; sum++)
		pthread_join(t[sum], &value);
	printf("forked in threads: %ld\n", (long)value);
	pthread_create(&t[0], NULL, last, NULL);
	pthread_exit(NULL);
}
