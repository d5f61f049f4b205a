// SPDX-License-Identifier: Apache-2.0
// Binary trees built, counted and freed: malloc and free, pointers.
#include "bench.h"

struct tree {
	struct tree *left, *right;
};

static struct tree *build(int depth)
{
	struct tree *t = malloc(sizeof(*t));
	bench_check(t != NULL, "malloc");
	t->left = depth ? build(depth - 1) : NULL;
	t->right = depth ? build(depth - 1) : NULL;
	return t;
}

static long count(const struct tree *t)
{
	return t ? 1 + count(t->left) + count(t->right) : 0;
}

static void drop(struct tree *t)
{
	if (!t)
		return;
	drop(t->left);
	drop(t->right);
	free(t);
}

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1), sum = 0;
	struct tree *stays = build(16);
	for (long r = 0; r < rounds; r++) {
		struct tree *t = build(10 + (int)(r % 6));
		sum += count(t);
		drop(t);
	}
	printf("%ld %ld\n", sum, count(stays));
	drop(stays);
	return 0;
}
