// SPDX-License-Identifier: Apache-2.0
// The work of small C programs: records copied, strings compared and built, numbers printed and
// parsed, little functions called.
#include "bench.h"

struct record {
	struct record *next;
	int kind, value;
	char name[40];
};

static __attribute__((noinline)) int classify(const char *s)
{
	int vowels = 0;
	for (; *s; s++)
		switch (*s) {
		case 'a':
		case 'e':
		case 'i':
		case 'o':
		case 'u':
			vowels++;
			break;
		case '0' ... '9':
			vowels += 2;
			break;
		default:
			break;
		}
	return vowels;
}

static __attribute__((noinline)) void step(struct record *r, struct record *other, long i)
{
	snprintf(r->name, sizeof(r->name), "record %ld of %s", i % 1000, i & 1 ? "odd" : "even");
	*other = *r;
	other->name[0] = i & 2 ? 'r' : 'R';
	r->kind = strcmp(r->name, other->name);
	r->kind = r->kind > 0 ? 1 : r->kind < 0 ? -1 : 0;
	r->value += classify(other->name) + (int)strtol(other->name + 7, NULL, 10) + r->kind;
}

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1);
	struct record *a = bench_alloc(sizeof(*a)), *b = bench_alloc(sizeof(*b));
	a->next = b;
	b->next = a;
	for (long i = 0; i < rounds; i++, a = a->next)
		step(a, a->next, i);
	printf("%d %d %s\n", a->value, b->value, a->name);
	return 0;
}
