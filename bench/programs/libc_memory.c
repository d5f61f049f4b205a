// SPDX-License-Identifier: Apache-2.0
// memcpy, memset, memcmp, memchr and strlen of the C library, short and long, aligned and not.
#include "bench.h"

enum { LEN = 1 << 16 };

int main(int argc, char **argv)
{
	static const size_t sizes[] = {7, 33, 260, 4000, 30000};
	long rounds = bench_count(argc, argv, 1);
	char *from = bench_alloc(LEN), *to = bench_alloc(LEN);
	size_t sum = 0;
	for (size_t i = 0; i < LEN; i++)
		from[i] = (char)(1 + i % 255);
	for (long r = 0; r < rounds; r++)
		for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
			size_t n = sizes[s], skew = (size_t)(r * 3 + (long)s) % 16;
			for (size_t done = 0; done < 60000; done += n + 200) {
				char *end = to + skew + n;
				memcpy(to + skew, from + (size_t)(r % 8), n);
				*end = 0;
				sum += strlen(to + skew);
				sum += (size_t)memcmp(to + skew, from + (size_t)(r % 8), n) == 0;
				sum += memchr(to + skew, 0, n + 1) == end;
				memset(to + skew, (int)(r & 0x7f) + 1, n / 2);
			}
		}
	printf("%zu\n", sum);
	return 0;
}
