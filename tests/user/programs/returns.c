// SPDX-License-Identifier: Apache-2.0
// Returns that are not where the last call was, and more of them than anybody keeps: deep
// recursion, longjmp, coroutines, signal handlers that jump away, code that only calls and returns.
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define APART __attribute__((noinline, noclone))

/* --- deeper than the host's stack --- */
APART static uint64_t deep(uint64_t n)
{
	return n ? n ^ 3 * deep(n - 1) : 7;
}
APART static uint64_t odd(uint64_t n);
APART static uint64_t even(uint64_t n)
{
	return n ? 1 + odd(n - 1) : 0;
}
APART static uint64_t odd(uint64_t n)
{
	return n ? 2 + even(n - 1) : 0;
}
static void *deep_thread(void *arg)
{
	for (int k = 0; k < 3; k++)
		printf("%lu %lu\n", deep(1000000 + k), even(900000 + k));
	return NULL;
}
static void recursion(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 20);
	if (pthread_create(&thread, &attr, deep_thread, NULL) == 0)
		pthread_join(thread, NULL);
}

/* --- over many returns --- */
static jmp_buf out;
APART static uint64_t down(uint64_t n, uint64_t leave)
{
	if (n == leave)
		longjmp(out, (int)(leave + 1));
	return n ? n + down(n - 1, leave) : 1;
}
APART static uint64_t caught(uint64_t depth, uint64_t n)
{
	uint64_t r = 0;
	if (depth)
		return 5 * caught(depth - 1, n) + 1;
	for (volatile unsigned k = 0; k < 50; k++) {
		int from = setjmp(out);
		r += from ? (uint64_t)from : down(n, (k * 7) % (n + 10));
	}
	return r;
}

/* --- two stacks by turns, at different depths --- */
static ucontext_t home, other;
static uint64_t stack[1 << 15], passed;
APART static void give(uint64_t depth)
{
	if (depth)
		give(depth - 1);
	else
		swapcontext(&other, &home);
	passed = 3 * passed + depth;
}
static void coroutine(void)
{
	for (uint64_t n = 0;; n++)
		give(n % 37);
}
APART static void take(uint64_t depth)
{
	if (depth)
		take(depth - 1);
	else
		swapcontext(&home, &other);
	passed = 5 * passed + depth;
}
static void coroutines(void)
{
	getcontext(&other);
	other.uc_stack.ss_sp = stack;
	other.uc_stack.ss_size = sizeof(stack);
	makecontext(&other, coroutine, 0);
	for (uint64_t n = 0; n < 3000; n++)
		take(n % 23);
	printf("%lu\n", passed);
}

/* --- signals --- */
static sigjmp_buf away;
static volatile unsigned signals;
static void on(int s)
{
	if (++signals % 2)
		siglongjmp(away, 1);
}
APART static uint64_t fib(uint64_t n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
static void interrupted(void)
{
	struct itimerval every = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
	signal(SIGALRM, on);
	volatile unsigned bad = 0;
	sigsetjmp(away, 1);
	if (!signals)
		setitimer(ITIMER_REAL, &every, NULL);
	while (signals < 100)
		bad += fib(18) != 2584;
	setitimer(ITIMER_REAL, &never, NULL);
	printf("%u wrong\n", bad);
}

/* --- a pointer that leads here and there, and to nothing --- */
static uint64_t here(uint64_t n)
{
	return n + 1;
}
static uint64_t there(uint64_t n)
{
	return 3 * n;
}
static uint64_t (*volatile pointer)(uint64_t);
APART static uint64_t through(uint64_t n)
{
	return pointer(n) ^ 5;
}
static void nowhere(int s)
{
	siglongjmp(away, 1);
}
static void pointers(void)
{
	volatile uint64_t r = 0, refused = 0;
	signal(SIGSEGV, nowhere);
	for (volatile unsigned n = 0; n < 3000; n++) {
		if (sigsetjmp(away, 1)) {
			refused++;
			continue;
		}
		pointer = n % 7 == 3 ? NULL : n < 500 || n % 11 ? here : there;
		r = through(r);
	}
	printf("%lu, %lu refused\n", r, refused);
}

/* Each function calls the next one twice: nothing goes back, and it lasts for years. */
__asm__(".macro twice from, to\n"
	"f\\from: addi sp, sp, -16\n sd ra, 0(sp)\n call f\\to\n call f\\to\n"
	"ld ra, 0(sp)\n addi sp, sp, 16\n ret\n.endm\n"
	".macro twice10 a, b\n"
	"twice \\a\\()0, \\a\\()1\n twice \\a\\()1, \\a\\()2\n twice \\a\\()2, \\a\\()3\n"
	"twice \\a\\()3, \\a\\()4\n twice \\a\\()4, \\a\\()5\n twice \\a\\()5, \\a\\()6\n"
	"twice \\a\\()6, \\a\\()7\n twice \\a\\()7, \\a\\()8\n twice \\a\\()8, \\a\\()9\n"
	"twice \\a\\()9, \\b\\()0\n.endm\n"
	"twice10 1, 2\n twice10 2, 3\n twice10 3, 4\n twice10 4, 5\n twice10 5, 6\n twice10 6, 7\n"
	"f70: ret\n");
extern void f10(void) __asm__("f10");
static void stop(int s)
{
	static const char text[] = "stopped\n";
	write(1, text, sizeof(text) - 1);
	_exit(3);
}

int main(void)
{
	recursion();
	for (uint64_t depth = 0; depth < 60; depth += 7)
		printf("%lu\n", caught(depth, 40 + depth));
	coroutines();
	interrupted();
	pointers();
	fflush(stdout);
	struct itimerval soon = {{0, 0}, {0, 200000}};
	signal(SIGALRM, stop);
	setitimer(ITIMER_REAL, &soon, NULL);
	f10();
	return 0;
}
