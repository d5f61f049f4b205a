// SPDX-License-Identifier: Apache-2.0
// The first process of a benchmark's guest: says that userland is reached, and switches off. With
// an argument it stays, and does nothing.
#include <sys/reboot.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static const char said[] = "strata-bench: userland\n";
	ssize_t n = write(1, said, sizeof(said) - 1);
	(void)argv;
	while (argc > 1)
		pause();
	sync();
	return reboot(RB_POWER_OFF) < 0 || n < 0;
}
