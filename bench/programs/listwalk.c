// SPDX-License-Identifier: Apache-2.0
// A linked list of 16 MB in random order: each load waits for the one before.
#include "bench.h"

enum { NODES = 1 << 18 };

struct node {
	struct node *next;
	uint64_t value[7];
};

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1);
	struct node *nodes = bench_alloc(NODES * sizeof(*nodes));
	uint32_t *order = bench_alloc(NODES * sizeof(*order));
	uint64_t seed = 3, sum = 0;
	for (uint32_t i = 0; i < NODES; i++)
		order[i] = i;
	for (uint32_t i = NODES - 1; i; i--) {
		uint32_t j = (uint32_t)(bench_random(&seed) % (i + 1)), t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
	for (uint32_t i = 0; i < NODES; i++) {
		nodes[order[i]].next = &nodes[order[(i + 1) % NODES]];
		nodes[order[i]].value[i % 7] = i;
	}
	for (long r = 0; r < rounds; r++) {
		const struct node *n = nodes;
		for (uint32_t i = 0; i < NODES; i++, n = n->next)
			sum = sum * 5 + n->value[0];
	}
	printf("%" PRIu64 "\n", sum);
	return 0;
}
