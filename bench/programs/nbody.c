// SPDX-License-Identifier: Apache-2.0
// Five bodies under gravity, double: dependent multiplications, square roots, divisions.
#include "bench.h"
#include <math.h>

enum { BODIES = 5 };

static double at[BODIES][3] = {
	{0, 0, 0}, {4.8, -1.2, -0.1}, {8.3, 4.1, -0.4}, {12.9, -15.1, -0.2}, {15.4, -25.9, 0.2}};
static double speed[BODIES][3] = {
	{0, 0, 0}, {0.6, 2.8, 0}, {-1.0, 1.8, 0}, {1.1, 0.9, 0}, {1.0, 0.6, 0}};
static const double mass[BODIES] = {39.5, 0.038, 0.011, 0.0017, 0.002};

static void advance(double dt)
{
	for (int i = 0; i < BODIES; i++)
		for (int j = i + 1; j < BODIES; j++) {
			double d[3], square = 0;
			for (int k = 0; k < 3; k++) {
				d[k] = at[i][k] - at[j][k];
				square += d[k] * d[k];
			}
			double strength = dt / (square * sqrt(square));
			for (int k = 0; k < 3; k++) {
				speed[i][k] -= d[k] * mass[j] * strength;
				speed[j][k] += d[k] * mass[i] * strength;
			}
		}
	for (int i = 0; i < BODIES; i++)
		for (int k = 0; k < 3; k++)
			at[i][k] += dt * speed[i][k];
}

int main(int argc, char **argv)
{
	long steps = bench_count(argc, argv, 1);
	double sum = 0;
	for (long s = 0; s < steps; s++)
		advance(0.001);
	for (int i = 0; i < BODIES; i++)
		for (int k = 0; k < 3; k++)
			sum += at[i][k];
	printf("%.4f\n", sum);
	return 0;
}
