// SPDX-License-Identifier: Apache-2.0
// open, fstat, pread, lseek, close of a file, stat of names that are and are not there.
#include "bench.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1), sum = 0;
	const char *path = argc > 2 ? argv[2] : argv[0];
	for (long i = 0; i < rounds; i++) {
		struct stat st;
		unsigned char block[512];
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		bench_check(fd >= 0 && !fstat(fd, &st), path);
		off_t at = i * 512 % (st.st_size - 512);
		bench_check(pread(fd, block, sizeof(block), at) == (ssize_t)sizeof(block), path);
		sum += block[i % 512] + lseek(fd, 0, SEEK_END) % 7;
		bench_check(!close(fd), "close");
		sum += !stat(path, &st) - stat("/bench/data/is not there", &st);
	}
	printf("%ld\n", sum);
	return 0;
}
