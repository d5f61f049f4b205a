// SPDX-License-Identifier: Apache-2.0
// A hash table of 32 MB, open addressing: one random access after the other.
#include "bench.h"

enum { SLOTS = 1 << 21 };

struct slot {
	uint64_t key, value;
};

static struct slot *find(struct slot *t, uint64_t key)
{
	uint64_t at = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 43;
	while (t[at].key && t[at].key != key)
		at = (at + 1) & (SLOTS - 1);
	return &t[at];
}

int main(int argc, char **argv)
{
	long n = bench_count(argc, argv, 1);
	struct slot *t = bench_alloc(SLOTS * sizeof(*t));
	uint64_t seed = 11, sum = 0;
	for (long i = 0; i < n; i++) {
		uint64_t key = (bench_random(&seed) >> 44) + 1; /* at most half full */
		struct slot *s = find(t, key);
		s->key = key;
		s->value += (uint64_t)i;
		sum ^= find(t, key * 3 & 0xfffff)->value;
	}
	printf("%" PRIu64 "\n", sum);
	return 0;
}
