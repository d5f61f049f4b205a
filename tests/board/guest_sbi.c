// SPDX-License-Identifier: Apache-2.0
// Runs inside the machine, in supervisor mode, instead of a kernel: checks the SBI calls, the
// interrupt controller and the start and stop of harts, and reports on the debug console.
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
enum { HARTS = 4, STACK = 4096 };
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

static struct ret sbi(u64 ext, u64 fn, u64 x0, u64 x1, u64 x2, u64 x3, u64 x4)
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

static u64 length(const char *s)
{
	u64 n = 0;
	while (s[n])
		n++;
	return n;
}
static void print(const char *s)
{
	u64 left = length(s);
	while (left) {
		struct ret r = sbi(DBCN, 0, left, (u64)s, 0, 0, 0);
		s += r.value;
		left -= r.value;
	}
}
static void print_number(long v)
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

static void want(const char *what, long got, long expected)
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

static long error(u64 ext, u64 fn, u64 x0, u64 x1, u64 x2, u64 x3)
{
	return sbi(ext, fn, x0, x1, x2, x3, 0).error;
}
static long value(u64 ext, u64 fn, u64 x0)
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

static u64 now(void)
{
	return csr_read(time);
}

static void test_base(void)
{
	want("specification version", value(BASE, 0, 0), 2 << 24);
	want("probe time", value(BASE, 3, TIME), 1);
	want("probe debug console", value(BASE, 3, DBCN), 1);
	want("probe nothing", value(BASE, 3, 0x12345678), 0);
	want("probe beyond 32 bits", value(BASE, 3, 0x100000000 + TIME), 0);
	want("mvendorid", value(BASE, 4, 0), 0);
	want("unknown base function", error(BASE, 99, 0, 0, 0, 0), NOT_SUPPORTED);
	want("unknown extension", error(0x99999, 0, 0, 0, 0, 0), NOT_SUPPORTED);
}

static void test_time(void)
{
	csr_write(sie, 0);
	u64 start = now(), deadline = start + 500000; /* 50 ms */
	want("set timer", error(TIME, 0, deadline, 0, 0, 0), 0);
	want("timer not yet", csr_read(sip) >> 5 & 1, 0);
	while (!(csr_read(sip) >> 5 & 1) && now() - start < 10000000)
		;
	want("timer pending", csr_read(sip) >> 5 & 1, 1);
	want("not early", now() >= deadline, 1);
	csr_write(sie, 1 << 5);
	__asm__ volatile("wfi"); /* falls through */
	error(TIME, 0, ALL, 0, 0, 0);
	want("timer cleared", csr_read(sip) >> 5 & 1, 0);
	want("unknown function", error(TIME, 1, 0, 0, 0, 0), NOT_SUPPORTED);
	csr_write(sie, 0);
}

static volatile u64 seen[HARTS];
static volatile u64 go;

static void wait_for(volatile u64 *what, u64 expected)
{
	u64 start = now();
	while (*what != expected && now() - start < 50000000)
		;
}

static void hart_waits_for_ipi(u64 hart)
{
	csr_write(sie, 1 << 1);
	seen[hart] = 1;
	while (!(csr_read(sip) & 2))
		__asm__ volatile("wfi");
	csr_clear(sip, 2);
	seen[hart] = 2;
	sbi(HSM, 1, 0, 0, 0, 0, 0);
	seen[hart] = 99; /* a stop does not return */
}

static void wait_stopped(u64 hart)
{
	u64 start = now();
	while (value(HSM, 2, hart) != STOPPED && now() - start < 50000000)
		;
	want("stopped", value(HSM, 2, hart), STOPPED);
}

static void test_harts(void)
{
	want("own status", value(HSM, 2, 0), STARTED);
	want("other's status", value(HSM, 2, 1), STOPPED);
	want("status of none", error(HSM, 2, HARTS, 0, 0, 0), INVALID_PARAM);
	want("start none", error(HSM, 0, HARTS, (u64)entry, 0, 0), INVALID_PARAM);
	want("start nowhere", error(HSM, 0, 1, 0x1000, 0, 0), INVALID_ADDRESS);
	want("start odd", error(HSM, 0, 1, (u64)entry + 1, 0, 0), INVALID_ADDRESS);
	want("start itself", error(HSM, 0, 0, (u64)entry, 0, 0), ALREADY_AVAILABLE);
	for (int round = 0; round < 20; round++) {
		for (u64 h = 1; h < HARTS; h++) {
			seen[h] = 0;
			if (error(HSM, 0, h, (u64)entry, (u64)hart_waits_for_ipi, 0))
				want("start", 1, 0);
		}
		for (u64 h = 1; h < HARTS; h++)
			wait_for(&seen[h], 1);
		if (error(IPI, 0, 7, 1, 0, 0))
			want("send", 1, 0);
		for (u64 h = 1; h < HARTS; h++) {
			wait_for(&seen[h], 2);
			if (round % 10 == 0) {
				want("interrupt received", (long)seen[h], 2);
				wait_stopped(h);
			}
			while (value(HSM, 2, h) != STOPPED)
				;
		}
	}
	want("started twice", 0, 0);
	want("IPI to none", error(IPI, 0, 1, HARTS, 0, 0), INVALID_PARAM);
	want("IPI to too many", error(IPI, 0, 0x1f, 0, 0, 0), INVALID_PARAM);
	want("IPI to an overflow", error(IPI, 0, 1UL << 63, 2, 0, 0), INVALID_PARAM);
	want("IPI to no harts", error(IPI, 0, 0, 1000, 0, 0), 0);
	want("IPI to itself", error(IPI, 0, 1, 0, 0, 0), 0);
	want("pending", csr_read(sip) & 2, 2);
	csr_clear(sip, 2);
	want("cleared", csr_read(sip) & 2, 0);
	want("suspend reserved", error(HSM, 3, 1, 0, 0, 0), INVALID_PARAM);
	want("suspend platform", error(HSM, 3, 0x10000000, 0, 0, 0), NOT_SUPPORTED);
	want("suspend wide", error(HSM, 3, 1UL << 32, 0, 0, 0), INVALID_PARAM);
	want("suspend to nowhere", error(HSM, 3, 0x80000000, 16, 0, 0), INVALID_ADDRESS);
	want("no such function", error(HSM, 9, 0, 0, 0, 0), NOT_SUPPORTED);
}

static void hart_woke(u64 hart)
{
	csr_clear(sip, 2);
	seen[hart] = 3;
	while (go)
		;
	sbi(HSM, 1, 0, 0, 0, 0, 0);
}

/* Sleeps until an IPI comes, twice: as it was, and to begin at entry again. */
static void hart_suspends(u64 hart)
{
	csr_write(sie, 2);
	sbi(HSM, 3, 0, 0, 0, 0, 0);
	seen[hart] = 1; /* awake; without a call since */
	while (!go)
		;
	csr_clear(sip, 2);
	seen[hart] = 2;
	sbi(HSM, 3, 0x80000000, (u64)entry, (u64)hart_woke, 0, 0);
	seen[hart] = 99;
}

static void wait_status(const char *what, u64 hart, long expected)
{
	u64 start = now();
	while (value(HSM, 2, hart) != expected && now() - start < 50000000)
		;
	want(what, value(HSM, 2, hart), expected);
}

static void test_status_of_the_suspended(void)
{
	go = seen[1] = 0;
	want("start", error(HSM, 0, 1, (u64)entry, (u64)hart_suspends, 0), 0);
	wait_status("suspended", 1, SUSPENDED);
	want("start a suspended hart", error(HSM, 0, 1, (u64)entry, 0, 0), ALREADY_AVAILABLE);
	want("still suspended", value(HSM, 2, 1), SUSPENDED);
	error(IPI, 0, 1, 1, 0, 0);
	wait_for(&seen[1], 1);
	want("awake", value(HSM, 2, 1), STARTED);
	go = 1;
	wait_for(&seen[1], 2);
	wait_status("suspended for good", 1, SUSPENDED);
	error(IPI, 0, 1, 1, 0, 0);
	wait_for(&seen[1], 3);
	want("woke at its entry", (long)seen[1], 3);
	want("awake again", value(HSM, 2, 1), STARTED);
	go = 0;
	wait_stopped(1);
}

static void test_suspend(void)
{
	csr_write(sie, 1 << 5);
	u64 start = now();
	error(TIME, 0, start + 50000, 0, 0, 0);
	want("suspend", error(HSM, 3, 0, 0, 0, 0), 0);
	want("slept", now() - start >= 49000, 1);
	error(TIME, 0, ALL, 0, 0, 0);
	csr_write(sie, 0);
}

/* All fence all at once: nobody may wait for ever. */
static void fence_storm(u64 hart)
{
	seen[hart] = 1;
	while (!go)
		;
	for (int i = 0; i < 300; i++) {
		error(RFENCE, 1, 0, ALL, (u64)i << 12, 4096);
		error(RFENCE, 0, 0, ALL, 0, 0);
		sbi(RFENCE, 2, 0xf, 0, 0, ALL, 7);
	}
	seen[hart] = 2;
	if (hart)
		sbi(HSM, 1, 0, 0, 0, 0, 0);
}

static void test_fences(void)
{
	want("fence one's own", error(RFENCE, 0, 1, 0, 0, 0), 0);
	want("fence stopped harts", error(RFENCE, 1, 0xf, 0, 0, 0), 0);
	want("fence none", error(RFENCE, 1, 1, 64, 0, 0), INVALID_PARAM);
	want("fence a wrapping range", error(RFENCE, 1, 1, 0, ALL - 10, 4096), INVALID_ADDRESS);
	want("hypervisor fence", error(RFENCE, 3, 1, 0, 0, 0), NOT_SUPPORTED);
	go = 0;
	for (u64 h = 1; h < HARTS; h++) {
		seen[h] = 0;
		want("start", error(HSM, 0, h, (u64)entry, (u64)fence_storm, 0), 0);
	}
	for (u64 h = 1; h < HARTS; h++)
		wait_for(&seen[h], 1);
	go = 1;
	fence_storm(0);
	for (u64 h = 1; h < HARTS; h++) {
		wait_for(&seen[h], 2);
		want("fence storm survived", (long)seen[h], 2);
		wait_stopped(h);
	}
}

static void test_console(void)
{
	static char buf[64];
	want("write from nowhere", error(DBCN, 0, 4, 0x1000, 0, 0), INVALID_PARAM);
	want("write beyond memory", error(DBCN, 0, ALL, (u64)buf, 0, 0), INVALID_PARAM);
	want("write with a high half", error(DBCN, 0, 1, (u64)buf, 1, 0), INVALID_PARAM);
	want("read to nowhere", error(DBCN, 1, 4, 0x1000, 0, 0), INVALID_PARAM);
	want("write a byte", error(DBCN, 2, '#', 0, 0, 0), 0);
	print("\n");
	print("ready for input\n");
	u64 got = 0, start = now();
	while (got < 5 && now() - start < 50000000) {
		struct ret r = sbi(DBCN, 1, sizeof(buf) - got, (u64)buf + got, 0, 0, 0);
		got += r.value;
	}
	want("bytes read", (long)got, 5);
	want("what was read", buf[0] == 'h' && buf[4] == 'o', 1);
}

static volatile u32 *reg32(u64 addr)
{
	return (volatile u32 *)addr;
}
static volatile u8 *uart(u64 reg)
{
	return (volatile u8 *)(0x10000000 + reg);
}

static void test_external_interrupt(void)
{
	const u64 plic = 0x0c000000;
	*reg32(plic + 4 * 10) = 1;
	*reg32(plic + 0x2000) = 1u << 10;
	*reg32(plic + 0x200000) = 0;
	want("no interrupt yet", csr_read(sip) >> 9 & 1, 0);
	*uart(1) = 2; /* transmitter empty */
	want("external interrupt pending", csr_read(sip) >> 9 & 1, 1);
	csr_write(sie, 1 << 9);
	__asm__ volatile("wfi");
	want("claimed", (long)*reg32(plic + 0x200004), 10);
	want("taken back", csr_read(sip) >> 9 & 1, 0);
	want("the port's reason", *uart(2) & 0xf, 2);
	*uart(1) = 0;
	*reg32(plic + 0x200004) = 10;
	want("completed", csr_read(sip) >> 9 & 1, 0);
	csr_write(sie, 0);
}

static void test_reset_errors(void)
{
	want("reserved type", error(SRST, 0, 3, 0, 0, 0), INVALID_PARAM);
	want("vendor's type", error(SRST, 0, 0xf0000000, 0, 0, 0), NOT_SUPPORTED);
	want("reserved reason", error(SRST, 0, 0, 2, 0, 0), INVALID_PARAM);
	want("no such function", error(SRST, 1, 0, 0, 0, 0), NOT_SUPPORTED);
}

void main(u64 hart)
{
	(void)hart;
	test_base();
	test_time();
	test_harts();
	test_suspend();
	test_status_of_the_suspended();
	test_fences();
	test_console();
	test_external_interrupt();
	test_reset_errors();
	print("done\n");
	error(SRST, 0, 0, 0, 0, 0);
	print("not ok - running after poweroff\n");
}
