// SPDX-License-Identifier: Apache-2.0
// What the programs of the benchmark share: the first argument is how much work to do, and what
// they print is a function of that alone, so that every machine must print the same.
#ifndef BENCH_H
#define BENCH_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The amount of work: argument `index`, at least 1. */
static inline long bench_count(int argc, char **argv, int index)
{
	long n = argc > index ? atol(argv[index]) : 0;
	if (n < 1) {
		fprintf(stderr, "%s: how much work?\n", argv[0]);
		exit(2);
	}
	return n;
}

static inline void *bench_alloc(size_t bytes)
{
	void *p = calloc(1, bytes);
	if (!p) {
		fprintf(stderr, "no memory\n");
		exit(2);
	}
	return p;
}

static inline void bench_check(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

/* xorshift64*; never 0 when *state is not. */
static inline uint64_t bench_random(uint64_t *state)
{
	uint64_t x = *state;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

#endif
