// SPDX-License-Identifier: Apache-2.0
// The fast Fourier transform there and back, double: strided loads and stores, sines.
#include "bench.h"
#include <math.h>

enum { LOG = 12, LEN = 1 << LOG };

static double re[LEN], im[LEN], cosine[LEN / 2], sine[LEN / 2];

static void transform(int back)
{
	for (unsigned i = 0, j = 0; i < LEN; i++) {
		if (i < j) {
			double r = re[i], m = im[i];
			re[i] = re[j];
			im[i] = im[j];
			re[j] = r;
			im[j] = m;
		}
		unsigned bit = LEN >> 1;
		for (; j & bit; bit >>= 1)
			j ^= bit;
		j |= bit;
	}
	for (int half = 1; half < LEN; half *= 2)
		for (int start = 0; start < LEN; start += 2 * half)
			for (int k = 0; k < half; k++) {
				double c = cosine[k * (LEN / 2 / half)];
				double s = sine[k * (LEN / 2 / half)] * (back ? 1 : -1);
				int p = start + k, q = p + half;
				double r = re[q] * c - im[q] * s, m = re[q] * s + im[q] * c;
				re[q] = re[p] - r;
				im[q] = im[p] - m;
				re[p] += r;
				im[p] += m;
			}
}

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1);
	double error = 0;
	for (int i = 0; i < LEN / 2; i++) {
		cosine[i] = cos(2 * M_PI * i / LEN);
		sine[i] = sin(2 * M_PI * i / LEN);
	}
	for (int i = 0; i < LEN; i++)
		re[i] = i % 17;
	for (long r = 0; r < rounds; r++) {
		transform(0);
		transform(1);
		for (int i = 0; i < LEN; i++) {
			re[i] /= LEN;
			im[i] /= LEN;
		}
	}
	for (int i = 0; i < LEN; i++)
		error += fabs(re[i] - i % 17) + fabs(im[i]);
	printf("%s %.5f\n", error < 1e-3 ? "right" : "wrong", re[33]);
	return 0;
}
