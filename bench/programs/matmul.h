// SPDX-License-Identifier: Apache-2.0
// The product of two square matrices of REAL; small whole numbers, so that sums are exact.
#include "bench.h"

enum { SIDE = 128 };

static REAL a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];

static void multiply(void)
{
	memset(c, 0, sizeof(c));
	for (int i = 0; i < SIDE; i++)
		for (int k = 0; k < SIDE; k++)
			for (int j = 0; j < SIDE; j++)
				c[i][j] += a[i][k] * b[k][j];
}

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1);
	double sum = 0;
	for (int i = 0; i < SIDE; i++)
		for (int j = 0; j < SIDE; j++) {
			a[i][j] = (REAL)((i * 7 + j * 3) % 11 - 5);
			b[i][j] = (REAL)((i * 5 + j) % 13 - 6);
		}
	for (long r = 0; r < rounds; r++) {
		multiply();
		a[r % SIDE][r % 7] = (REAL)(r % 5);
		sum += (double)c[r % SIDE][(r * 3) % SIDE];
	}
	printf("%.1f\n", sum);
	return 0;
}
