// SPDX-License-Identifier: Apache-2.0
// What programs that run in the machine instead of a kernel have in common: the harts' entry, SBI
// calls, reports on the debug console.
#ifndef STRATA_TESTS_GUEST_H
#define STRATA_TESTS_GUEST_H

typedef unsigned long u64;
typedef unsigned int u32;
typedef unsigned char u8;

enum {
	BASE = 0x10,
	TIME = 0x54494d45,
	IPI = 0x735049,
	RFENCE = 0x52464e43,
	HSM = 0x48534d,
	SRST = 0x53525354,
	DBCN = 0x4442434e,
};
enum {
	FAILED = -1,
	NOT_SUPPORTED = -2,
	INVALID_PARAM = -3,
	INVALID_ADDRESS = -5,
	ALREADY_AVAILABLE = -6,
};
enum { HARTS = 4, STACK = 4096 }; /* at most so many */
enum { STARTED = 0, STOPPED = 1, SUSPENDED = 4 };
#define ALL (~0UL)

/* Every hart enters here: a0 is its number, a1 the function to run (the first hart's: main). */
__asm__(".section .text.start, \"ax\"\n"
	".globl _start\n"
	"_start:\n"
	"	la t0, stacks\n"
	"	addi t1, a0, 1\n"
	"	slli t1, t1, 12\n"
	"	add sp, t0, t1\n"
	"	bnez a0, 1f\n"
	"	la a1, main\n"
	"1:	mv t0, a1\n"
	"	jalr t0\n"
	"2:	wfi\n"
	"	j 2b\n"
	".globl entry\n"
	"entry:\n"
	"	la t0, stacks\n"
	"	addi t1, a0, 1\n"
	"	slli t1, t1, 12\n"
	"	add sp, t0, t1\n"
	"	jalr a1\n"
	"	j 2b\n"
	".previous\n");
u8 stacks[HARTS][STACK] __attribute__((aligned(16)));
void entry(void);
void main(u64 hart);

struct ret {
	long error;
	u64 value;
};

static inline struct ret sbi(u64 ext, u64 fn, u64 x0, u64 x1, u64 x2, u64 x3, u64 x4)
{
	register u64 a0 __asm__("a0") = x0;
	register u64 a1 __asm__("a1") = x1;
	register u64 a2 __asm__("a2") = x2;
	register u64 a3 __asm__("a3") = x3;
	register u64 a4 __asm__("a4") = x4;
	register u64 a6 __asm__("a6") = fn;
	register u64 a7 __asm__("a7") = ext;
	__asm__ volatile("ecall"
			 : "+r"(a0), "+r"(a1)
			 : "r"(a2), "r"(a3), "r"(a4), "r"(a6), "r"(a7)
			 : "memory");
	return (struct ret){(long)a0, a1};
}

static inline u64 length(const char *s)
{
	u64 n = 0;
	while (s[n])
		n++;
	return n;
}
static inline void print(const char *s)
{
	u64 left = length(s);
	while (left) {
		struct ret r = sbi(DBCN, 0, left, (u64)s, 0, 0, 0);
		s += r.value;
		left -= r.value;
	}
}
static inline void print_number(long v)
{
	char buf[24], *p = buf + sizeof(buf);
	u64 n = v < 0 ? (u64)-v : (u64)v;
	*--p = 0;
	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	if (v < 0)
		*--p = '-';
	print(p);
}

static inline void want(const char *what, long got, long expected)
{
	print(got == expected ? "ok - " : "not ok - ");
	print(what);
	if (got != expected) {
		print(": got ");
		print_number(got);
		print(", wanted ");
		print_number(expected);
	}
	print("\n");
}

static inline long error(u64 ext, u64 fn, u64 x0, u64 x1, u64 x2, u64 x3)
{
	return sbi(ext, fn, x0, x1, x2, x3, 0).error;
}
static inline long value(u64 ext, u64 fn, u64 x0)
{
	return (long)sbi(ext, fn, x0, 0, 0, 0, 0).value;
}

#define csr_read(csr)                                                                              \
	({                                                                                         \
		u64 v_;                                                                            \
		__asm__ volatile("csrr %0, " #csr : "=r"(v_)::"memory");                           \
		v_;                                                                                \
	})
#define csr_clear(csr, bits) __asm__ volatile("csrc " #csr ", %0" ::"r"((u64)(bits)) : "memory")
#define csr_write(csr, bits) __asm__ volatile("csrw " #csr ", %0" ::"r"((u64)(bits)) : "memory")

static inline u64 now(void)
{
	return csr_read(time);
}

static volatile u64 seen[HARTS];
static volatile u64 go;

static inline void wait_for(volatile u64 *what, u64 expected)
{
	u64 start = now();
	while (*what != expected && now() - start < 50000000)
		;
}

static inline void wait_stopped(u64 hart)
{
	u64 start = now();
	while (value(HSM, 2, hart) != STOPPED && now() - start < 50000000)
		;
	want("stopped", value(HSM, 2, hart), STOPPED);
}

#endif
