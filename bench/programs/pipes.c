// SPDX-License-Identifier: Apache-2.0
// A byte goes to another process and comes back, by pipes: two switches a round.
#include "bench.h"
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1), sum = 0;
	int there[2], back[2], status;
	unsigned char c;
	bench_check(!pipe(there) && !pipe(back), "pipe");
	pid_t child = fork();
	bench_check(child >= 0, "fork");
	if (!child) {
		close(there[1]);
		while (read(there[0], &c, 1) == 1) {
			c = (unsigned char)(c * 3 + 1);
			bench_check(write(back[1], &c, 1) == 1, "write");
		}
		_exit(0);
	}
	close(there[0]);
	c = 1;
	for (long i = 0; i < rounds; i++) {
		bench_check(write(there[1], &c, 1) == 1 && read(back[0], &c, 1) == 1, "pipe");
		sum += c;
	}
	close(there[1]);
	bench_check(waitpid(child, &status, 0) == child && !status, "child");
	printf("%ld\n", sum);
	return 0;
}
