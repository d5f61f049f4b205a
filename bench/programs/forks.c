// SPDX-License-Identifier: Apache-2.0
// fork and wait; the child writes to some pages that it shares with its parent, and ends.
#include "bench.h"
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES = 256, PAGE = 4096 };

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1), sum = 0;
	char *memory = bench_alloc(PAGES * PAGE);
	memset(memory, 1, PAGES * PAGE);
	for (long i = 0; i < rounds; i++) {
		int status;
		pid_t child = fork();
		bench_check(child >= 0, "fork");
		if (!child) {
			for (int p = 0; p < PAGES; p += 16)
				memory[p * PAGE] = (char)i;
			_exit((int)(i % 100));
		}
		bench_check(waitpid(child, &status, 0) == child && WIFEXITED(status), "wait");
		sum += WEXITSTATUS(status) + memory[0];
	}
	printf("%ld\n", sum);
	return 0;
}
