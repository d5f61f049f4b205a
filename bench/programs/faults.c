// SPDX-License-Identifier: Apache-2.0
// Memory mapped, touched page by page, made read-only, unmapped: page faults, TLB flushes.
#include "bench.h"
#include <sys/mman.h>

enum { PAGES = 512, PAGE = 4096 };

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1), sum = 0;
	for (long i = 0; i < rounds; i++) {
		signed char *m = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		bench_check(m != MAP_FAILED, "mmap");
		for (int p = 0; p < PAGES; p++)
			m[p * PAGE + i % PAGE] = (signed char)(p + 1);
		bench_check(!mprotect(m, PAGES / 2 * PAGE, PROT_READ), "mprotect");
		for (int p = 0; p < PAGES; p += 3)
			sum += m[p * PAGE + i % PAGE] + m[p * PAGE + (i + 1) % PAGE];
		bench_check(!munmap(m, PAGES * PAGE), "munmap");
	}
	printf("%ld\n", sum);
	return 0;
}
