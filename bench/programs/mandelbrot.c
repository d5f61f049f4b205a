// SPDX-License-Identifier: Apache-2.0
// The Mandelbrot set, double: everything in registers, a compare in each round.
#include "bench.h"

int main(int argc, char **argv)
{
	enum { LIMIT = 200 };
	long side = bench_count(argc, argv, 1), sum = 0;
	for (long y = 0; y < side; y++)
		for (long x = 0; x < side; x++) {
			double cr = 3.0 * (double)x / (double)side - 2.0;
			double ci = 2.5 * (double)y / (double)side - 1.25, r = 0, i = 0;
			int n = 0;
			for (; n < LIMIT && r * r + i * i < 4.0; n++) {
				double next = r * r - i * i + cr;
				i = 2 * r * i + ci;
				r = next;
			}
			sum += n;
		}
	/* A point on the edge may fall either way where products are not rounded. */
	printf("%ld\n", (sum + side * side / 4) / (side * side));
	return 0;
}
