// SPDX-License-Identifier: Apache-2.0
// The spectral norm of an endless matrix, double: conversions from integers, divisions.
#include "bench.h"
#include <math.h>

enum { SIDE = 160 };

static double element(int i, int j)
{
	return 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1);
}

static void times(const double *v, double *out, int transposed)
{
	for (int i = 0; i < SIDE; i++) {
		double sum = 0;
		for (int j = 0; j < SIDE; j++)
			sum += (transposed ? element(j, i) : element(i, j)) * v[j];
		out[i] = sum;
	}
}

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1);
	double u[SIDE], v[SIDE], t[SIDE], uv, vv, sum = 0;
	for (int i = 0; i < SIDE; i++)
		u[i] = 1;
	for (long r = 0; r < rounds; r++) {
		times(u, t, 0);
		times(t, v, 1);
		times(v, t, 0);
		times(t, u, 1);
		uv = vv = 0;
		for (int i = 0; i < SIDE; i++) {
			uv += u[i] * v[i];
			vv += v[i] * v[i];
		}
		sum += sqrt(uv / vv);
		for (int i = 0; i < SIDE; i++)
			u[i] /= v[0]; /* it would grow without end */
	}
	printf("%.4f\n", sum / (double)rounds);
	return 0;
}
