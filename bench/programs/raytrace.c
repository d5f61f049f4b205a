// SPDX-License-Identifier: Apache-2.0
// Rays against spheres, float: small structures by value, square roots, compares and branches.
#include "bench.h"
#include <math.h>

enum { SPHERES = 16, BOUNCES = 4 };

struct vec {
	float x, y, z;
};
struct sphere {
	struct vec centre;
	float radius, shine;
};

static struct sphere scene[SPHERES];

static struct vec along(struct vec a, float t, struct vec b)
{
	return (struct vec){a.x + t * b.x, a.y + t * b.y, a.z + t * b.z};
}
static float dot(struct vec a, struct vec b)
{
	return a.x * b.x + a.y * b.y + a.z * b.z;
}
static struct vec unit(struct vec a)
{
	return along((struct vec){0, 0, 0}, 1 / sqrtf(dot(a, a)), a);
}

static const struct sphere *nearest(struct vec from, struct vec to, float *distance)
{
	const struct sphere *found = NULL;
	for (int i = 0; i < SPHERES; i++) {
		struct vec d = along(scene[i].centre, -1, from);
		float b = dot(d, to);
		float under = b * b - dot(d, d) + scene[i].radius * scene[i].radius;
		if (under < 0)
			continue;
		float t = b - sqrtf(under);
		if (t > 1e-3f && t < *distance) {
			*distance = t;
			found = &scene[i];
		}
	}
	return found;
}

static float light(struct vec from, struct vec to)
{
	float sum = 0, weight = 1;
	for (int bounce = 0; bounce < BOUNCES; bounce++) {
		float t = 1e30f;
		const struct sphere *s = nearest(from, to, &t);
		if (!s)
			return sum + weight * (0.5f + 0.5f * to.y);
		from = along(from, t, to);
		struct vec normal = unit(along(from, -1, s->centre));
		sum += weight * (1 - s->shine) * fmaxf(normal.y, 0);
		weight *= s->shine;
		to = along(to, -2 * dot(normal, to), normal);
	}
	return sum;
}

int main(int argc, char **argv)
{
	long side = bench_count(argc, argv, 1);
	double sum = 0;
	for (int i = 0; i < SPHERES; i++)
		scene[i] = (struct sphere){
			{(float)(i % 4) * 2 - 3, (float)(i / 4) * 2 - 3, 8 + (float)(i * 5 % 7)},
			0.5f + (float)(i % 3) * 0.4f, 0.3f + (float)(i % 5) * 0.1f};
	for (long y = 0; y < side; y++)
		for (long x = 0; x < side; x++)
			sum += light((struct vec){0, 0, 0},
				unit((struct vec){(float)(x * 2 - side) / (float)side,
					(float)(side - y * 2) / (float)side, 1}));
	printf("%.2f\n", sum / (double)(side * side));
	return 0;
}
