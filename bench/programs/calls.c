// SPDX-License-Identifier: Apache-2.0
// Objects with functions behind pointers, and a switch: indirect calls and jumps by table.
#include "bench.h"

struct shape {
	int64_t (*measure)(const struct shape *, int64_t);
	int64_t a, b;
};

static int64_t square(const struct shape *s, int64_t x)
{
	return s->a * s->a + x;
}
static int64_t rectangle(const struct shape *s, int64_t x)
{
	return s->a * s->b - x;
}
static int64_t mixed(const struct shape *s, int64_t x)
{
	switch (x & 7) {
	case 0:
		return s->a + x;
	case 1:
		return s->b - x;
	case 2:
		return s->a ^ x;
	case 3:
		return (s->b << 1) + x;
	case 4:
		return s->a * 3 - (x >> 2);
	case 5:
		return s->a - s->b;
	case 6:
		return x >> 3;
	default:
		return s->b & x;
	}
}
static int64_t (*const kinds[])(const struct shape *, int64_t) = {square, rectangle, mixed};

int main(int argc, char **argv)
{
	enum { SHAPES = 1024 };
	long rounds = bench_count(argc, argv, 1);
	struct shape *s = bench_alloc(SHAPES * sizeof(*s));
	uint64_t seed = 5;
	int64_t x = 0;
	for (int i = 0; i < SHAPES; i++) {
		uint64_t r = bench_random(&seed);
		s[i] = (struct shape){kinds[r % 3], (int64_t)(r >> 40), (int64_t)(r >> 50)};
	}
	for (long r = 0; r < rounds; r++)
		for (int i = 0; i < SHAPES; i++)
			x = s[i].measure(&s[i], x) & 0xffffffffffff;
	printf("%" PRId64 "\n", x);
	return 0;
}
