// SPDX-License-Identifier: Apache-2.0
// Between integers, float and double, with the C library's functions on top of it.
#include "bench.h"
#include <math.h>

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1);
	double x = 0.5;
	int64_t sum = 0;
	for (long i = 0; i < rounds; i++) {
		float f = (float)(i & 0xffff) * 0.25f;
		x = exp(-x) + log(1.0 + (double)f) * 0.01;
		sum += (int64_t)(x * 1024) + (int32_t)f + (int64_t)floor(x * 3) +
		       (int64_t)(fabs(sin((double)i)) < 0.5);
	}
	printf("%" PRId64 "\n", sum);
	return 0;
}
