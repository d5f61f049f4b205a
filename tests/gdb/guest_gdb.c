// SPDX-License-Identifier: Apache-2.0
// Runs in the machine, in supervisor mode, instead of a kernel, for a debugger to look at: two
// harts that count, virtual memory, floating point. Switches the machine off once a debugger has
// set `finish`.
typedef unsigned long u64;
typedef unsigned int u32;

enum { HSM = 0x48534d, SRST = 0x53525354, DBCN = 0x4442434e };
enum { STACK_BYTES = 4096, GIGAPAGE_LEAF = 0xcf /* V R W X, A D */ };
/* Virtual addresses: memory as it is, and once more 1 GiB higher. */
#define RAM   0x80000000UL
#define ALIAS 0x40000000UL

/* Every hart enters here: a0 is its number, a1 the function to run (the first hart's: main). */
__asm__(".section .text.start, \"ax\"\n"
	".globl _start\n"
	"_start:\n"
	"	la t0, stacks\n"
	"	addi t1, a0, 1\n"
	"	slli t1, t1, 12\n"
	"	add sp, t0, t1\n"
	"	li t1, 0x2000\n"
	"	csrs sstatus, t1\n"
	"	bnez a0, 1f\n"
	"	la a1, main\n"
	"1:	jr a1\n"
	".globl known_code\n"
	"known_code:\n" /* instructions of both lengths, for steps */
	"	li t0, 1\n"
	"	addi t0, t0, 1000\n"
	"	nop\n"
	"known_end:\n"
	"	ret\n");

__attribute__((aligned(4096))) char stacks[2 * STACK_BYTES];
__attribute__((aligned(4096))) u64 root[512];
volatile u64 counters[2], watched, watched_too, finish;
volatile double value = 1.5;
void known_code(void);
void _start(void);

static long sbi(u64 extension, u64 function, u64 a, u64 b, u64 c)
{
	register u64 a0 __asm__("a0") = a;
	register u64 a1 __asm__("a1") = b;
	register u64 a2 __asm__("a2") = c;
	register u64 a6 __asm__("a6") = function;
	register u64 a7 __asm__("a7") = extension;
	__asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
	return (long)a0;
}

static void say(const char *text)
{
	u64 n = 0;
	while (text[n])
		n++;
	sbi(DBCN, 0, n, (u64)text, 0);
}

__attribute__((noinline)) void store(u64 n)
{
	watched = n;
}

__attribute__((noinline)) u64 load(void)
{
	return watched_too;
}

__attribute__((noinline)) double multiply(double a)
{
	return a * 2.0;
}

__attribute__((noinline)) void second_loop(void)
{
	counters[1]++;
}

void second(void)
{
	for (;;)
		second_loop();
}

void main(void)
{
	root[2] = RAM >> 2 | GIGAPAGE_LEAF;
	root[3] = RAM >> 2 | GIGAPAGE_LEAF;
	__asm__ volatile("csrw satp, %0; sfence.vma" ::"r"(8UL << 60 | (u64)root >> 12) : "memory");
	sbi(HSM, 0, 1, (u64)_start, (u64)second);
	say("ready\n");
	for (u64 n = 0; !finish; n++) {
		counters[0] = n;
		store(n);
		known_code();
		value = multiply(value) / 2.0;
		(*(volatile u64 *)((u64)&watched_too + ALIAS))++;
		load();
	}
	say("goodbye\n");
	sbi(SRST, 0, 0, 0, 0);
}
