// SPDX-License-Identifier: Apache-2.0
// spawn ROUNDS AT_ONCE PROGRAM ARGS…: runs the program so many times, so many of them at a time.
#include "bench.h"
#include <fcntl.h>
#include <errno.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1), at_once = bench_count(argc, argv, 2);
	long started = 0, ended = 0;
	posix_spawn_file_actions_t actions;
	if (argc < 4)
		return 2;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	while (ended < rounds) {
		if (started < rounds && started - ended < at_once) {
			pid_t child;
			errno = posix_spawn(&child, argv[3], &actions, NULL, argv + 3, environ);
			bench_check(!errno, argv[3]);
			started++;
			continue;
		}
		int status;
		bench_check(waitpid(-1, &status, 0) > 0, "wait");
		if (status) {
			fprintf(stderr, "%s: status %#x\n", argv[3], (unsigned)status);
			return 1;
		}
		ended++;
	}
	printf("%ld\n", ended);
	return 0;
}
