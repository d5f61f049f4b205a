// SPDX-License-Identifier: Apache-2.0
// A matrix of 16 MB turned about its diagonal: every store on another page. And words that lie
// across two aligned ones.
#include "bench.h"

enum { SIDE = 2048, PACKED = 1 << 20 };

struct __attribute__((packed)) packed_word {
	uint8_t tag;
	uint32_t word;
	uint64_t wide;
};

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1);
	uint32_t(*a)[SIDE] = bench_alloc(sizeof(uint32_t[SIDE][SIDE]));
	uint32_t(*b)[SIDE] = bench_alloc(sizeof(uint32_t[SIDE][SIDE]));
	struct packed_word *p = bench_alloc(PACKED * sizeof(*p));
	uint64_t sum = 0;
	for (uint32_t i = 0; i < SIDE * SIDE; i++)
		a[0][i] = i * 2654435761u;
	for (long r = 0; r < rounds; r++) {
		for (int i = 0; i < SIDE; i++)
			for (int j = 0; j < SIDE; j++)
				b[j][i] = a[i][j] + (uint32_t)r;
		for (int i = 0; i < PACKED; i++) {
			p[i].word += b[0][i];
			p[i].wide += p[i].word;
		}
		sum += b[r % SIDE][5] + p[r * 77 % PACKED].wide;
	}
	printf("%" PRIu64 "\n", sum);
	return 0;
}
