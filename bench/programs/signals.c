// SPDX-License-Identifier: Apache-2.0
// Signals to itself with a handler, and every fourth one by a fault that the handler mends.
#include "bench.h"
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

static volatile sig_atomic_t seen, faults;
static char *page;

static void on_signal(int signal)
{
	seen++;
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	if ((char *)info->si_addr != page + 8 || mprotect(page, PAGE, PROT_READ | PROT_WRITE))
		_exit(3);
	faults++;
}

int main(int argc, char **argv)
{
	long rounds = bench_count(argc, argv, 1);
	struct sigaction usr1 = {.sa_handler = on_signal};
	struct sigaction segv = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	bench_check(
		!sigaction(SIGUSR1, &usr1, NULL) && !sigaction(SIGSEGV, &segv, NULL), "sigaction");
	page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bench_check(page != MAP_FAILED, "mmap");
	for (long i = 0; i < rounds; i++) {
		bench_check(!kill(getpid(), SIGUSR1), "kill");
		if (i % 4 == 0) {
			bench_check(!mprotect(page, PAGE, PROT_READ), "mprotect");
			*(volatile char *)(page + 8) = 1;
		}
	}
	printf("%d %d\n", (int)seen, (int)faults);
	return 0;
}
