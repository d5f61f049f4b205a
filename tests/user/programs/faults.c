// SPDX-License-Identifier: Apache-2.0
// Signals that the program's own instructions raise: number, code and address; registers in the
// handler's context; a handler on an alternate stack.
#define _GNU_SOURCE
#include <fenv.h>
#include <setjmp.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf out;
static volatile int sig, code;
static void *volatile addr;

static void leave(int s, siginfo_t *i, void *context)
{
	sig = s;
	code = i->si_code;
	addr = i->si_addr;
	siglongjmp(out, 1);
}

#define TRY(what, ...)                                                                             \
	do {                                                                                       \
		if (!sigsetjmp(out, 1))                                                            \
			__VA_ARGS__;                                                               \
		printf("%s: %d %d\n", what, sig, code);                                            \
		sig = code = 0;                                                                    \
	} while (0)

static uint64_t seen_a0, seen_pc;
static double seen_fa0;
static unsigned seen_fcsr;

/* Looks at the registers, changes some, and goes on behind the instruction. */
static void look(int s, siginfo_t *i, void *context)
{
	ucontext_t *u = context;
	seen_pc = u->uc_mcontext.__gregs[REG_PC];
	seen_a0 = u->uc_mcontext.__gregs[REG_A0];
	memcpy(&seen_fa0, &u->uc_mcontext.__fpregs.__d.__f[10], sizeof(seen_fa0));
	seen_fcsr = u->uc_mcontext.__fpregs.__d.__fcsr;
	u->uc_mcontext.__gregs[REG_A0] = 4711;
	u->uc_mcontext.__fpregs.__d.__fcsr = 0x21;
	u->uc_mcontext.__gregs[REG_PC] += 4;
	double d = 0.5 * (double)s; /* the handler uses registers of its own */
	__asm__ volatile("fadd.d fa0, %0, %0" ::"f"(d) : "fa0");
}

static void registers(void)
{
	unsigned fcsr;
	uint64_t pc;
	fesetround(FE_TONEAREST);
	feclearexcept(FE_ALL_EXCEPT);
	register uint64_t a0 __asm__("a0") = 0x123456789abcdef0;
	register double fa0 __asm__("fa0") = 2.75;
	__asm__ volatile("fsflags zero\n"
			 "la %2, 1f\n"
			 "1: .word 0xffffffff\n"
			 "frcsr %3\n"
			 : "+r"(a0), "+f"(fa0), "=&r"(pc), "=&r"(fcsr));
	printf("registers: %d %llx %g %x; %llu %g %x\n", seen_pc == pc, (unsigned long long)seen_a0,
		seen_fa0, seen_fcsr, (unsigned long long)a0, fa0, fcsr);
	fesetround(FE_TONEAREST);
}

static void overflow(int s, siginfo_t *i, void *context)
{
	static const char text[] = "stack overflow handled\n";
	write(1, text, sizeof(text) - 1);
	siglongjmp(out, 1);
}

static int deep(int n)
{
	volatile char room[4096];
	room[0] = (char)n;
	return n > 1 << 20 ? 0 : deep(n + 1) + room[0];
}

int main(void)
{
	struct sigaction sa = {.sa_sigaction = leave, .sa_flags = SA_SIGINFO};
	const int all[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
	setvbuf(stdout, NULL, _IONBF, 0);
	for (unsigned n = 0; n < 4; n++)
		sigaction(all[n], &sa, NULL);

	volatile char *p = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TRY("store to nothing", *(volatile int *)0x1234 = 1);
	printf("address %p\n", addr);
	TRY("load from nothing", (void)*(volatile double *)0x888);
	printf("address %p\n", addr);
	TRY("store to read-only", p[5] = 1);
	printf("address %d\n", (volatile char *)addr == p + 5);
	mprotect((void *)p, 4096, PROT_NONE);
	TRY("load from nothing allowed", (void)p[7]);
	TRY("non-canonical load", (void)*(volatile int *)0xdead000000000010);
	TRY("across pages", (void)*(volatile uint64_t *)(p + 4092));
	TRY("jump to data", ((void (*)(void))(p + 4096))());
	printf("address %d\n", (volatile char *)addr == p + 4096);
	TRY("jump to nothing", ((void (*)(void))0x4000)());
	TRY("illegal", __asm__ volatile(".word 0"));
	TRY("breakpoint", __asm__ volatile("ebreak"));
	FILE *f = tmpfile();
	volatile char *end = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(f), 0);
	TRY("behind the file's end", (void)*end);
	printf("address %d\n", (volatile char *)addr == end);
	TRY("atomic on read-only", __atomic_fetch_add((int *)main, 1, __ATOMIC_SEQ_CST));
	TRY("atomic on nothing", __atomic_fetch_or((int *)0x2000, 1, __ATOMIC_SEQ_CST));
	TRY("load-reserved from nothing",
		__atomic_compare_exchange_n((int *)0x3000, &(int){0}, 1, 0, 5, 5));

	sa.sa_sigaction = look;
	sigaction(SIGILL, &sa, NULL);
	registers();

	stack_t alt = {.ss_sp = malloc(65536), .ss_size = 65536}, old;
	sigaltstack(&alt, NULL);
	sa.sa_sigaction = overflow;
	sa.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigaction(SIGSEGV, &sa, NULL);
	if (!sigsetjmp(out, 1))
		deep(0);
	sigaltstack(NULL, &old);
	printf("alternate stack %d %zu\n", old.ss_flags, old.ss_size);
	fflush(stdout);
	signal(SIGSEGV, SIG_DFL);
	*(volatile int *)0 = 0;
}
