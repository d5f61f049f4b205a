// SPDX-License-Identifier: Apache-2.0
// Runs inside the machine, in supervisor mode: all harts run hot code at once, on shared counters,
// on functions that one of them rewrites, under page tables that one of them changes; and a tight
// loop is to be interrupted in time.
#include "guest.h"

enum { ROUNDS = 100000, CHANGES = 60, TICKS = 100, PAGE = 4096 };
#define MS 10000UL /* of the clock, 10 MHz */

static u64 harts;	/* that there are */
static u64 others_mask; /* all but hart 0 */

static void stop_hart(u64 hart)
{
	seen[hart] = 2;
	sbi(HSM, 1, 0, 0, 0, 0, 0);
}

/* Runs fn on all harts; hart 0 runs it last, when the others have begun. */
static void on_all(void (*fn)(u64 hart), void (*first)(u64 hart))
{
	go = 0;
	for (u64 h = 1; h < harts; h++) {
		seen[h] = 0;
		if (error(HSM, 0, h, (u64)entry, (u64)fn, 0))
			want("start", 1, 0);
	}
	for (u64 h = 1; h < harts; h++)
		wait_for(&seen[h], 1);
	go = 1;
	first(0);
	for (u64 h = 1; h < harts; h++) {
		u64 start = now();
		while (value(HSM, 2, h) != STOPPED && now() - start < 30000 * MS)
			;
		if (value(HSM, 2, h) != STOPPED)
			want("a hart stops", 0, 1);
	}
}

/* --- counters --- */
static struct {
	u64 added __attribute__((aligned(64)));
	u64 reserved_added __attribute__((aligned(64)));
	u32 word_added __attribute__((aligned(64)));
	u64 lock __attribute__((aligned(64)));
	u64 locked; /* changed under the lock alone */
	u64 bits __attribute__((aligned(64)));
	u64 most __attribute__((aligned(64)));
	u64 exchanged __attribute__((aligned(64)));
} shared;
static volatile u64 bad_bits[HARTS], exchanged_out[HARTS];

static void count_loop(u64 hart)
{
	u64 own = 1UL << hart, out = 0;
	for (u64 n = 1; n <= ROUNDS; n++) {
		u64 old, failed;
		__asm__ volatile("amoadd.d zero, %1, (%0)" ::"r"(&shared.added), "r"(n) : "memory");
		__asm__ volatile("amoadd.w zero, %1, (%0)" ::"r"(&shared.word_added), "r"(1)
				 : "memory");
		__asm__ volatile("1: lr.d %0, (%2)\n"
				 "addi %0, %0, 1\n"
				 "sc.d %1, %0, (%2)\n"
				 "bnez %1, 1b"
				 : "=&r"(old), "=&r"(failed)
				 : "r"(&shared.reserved_added)
				 : "memory");
		__asm__ volatile("amoor.d.aqrl %0, %2, (%1)"
				 : "=r"(old)
				 : "r"(&shared.bits), "r"(own)
				 : "memory");
		bad_bits[hart] += (old & own) != 0;
		__asm__ volatile("amoand.d.aqrl %0, %2, (%1)"
				 : "=r"(old)
				 : "r"(&shared.bits), "r"(~own)
				 : "memory");
		bad_bits[hart] += (old & own) == 0;
		__asm__ volatile("amomaxu.d zero, %1, (%0)" ::"r"(&shared.most), "r"(n * 8 + hart)
				 : "memory");
		__asm__ volatile("amoswap.d %0, %2, (%1)"
				 : "=r"(old)
				 : "r"(&shared.exchanged), "r"(n)
				 : "memory");
		out += old - n;
		if (n % 16)
			continue;
		__asm__ volatile("1: amoswap.d.aq %0, %2, (%1)\n"
				 "bnez %0, 1b"
				 : "=&r"(old)
				 : "r"(&shared.lock), "r"(1)
				 : "memory");
		shared.locked++;
		__asm__ volatile("amoswap.d.rl zero, zero, (%0)" ::"r"(&shared.lock) : "memory");
	}
	exchanged_out[hart] = out;
}

static void counting_hart(u64 hart)
{
	seen[hart] = 1;
	while (!go)
		;
	count_loop(hart);
	stop_hart(hart);
}

static void test_counters(void)
{
	on_all(counting_hart, count_loop);
	u64 bad = 0, out = shared.exchanged;
	for (u64 h = 0; h < harts; h++) {
		bad += bad_bits[h];
		out += exchanged_out[h];
	}
	u64 triangle = (u64)ROUNDS * (ROUNDS + 1) / 2;
	want("amoadd.d", (long)shared.added, (long)(harts * triangle));
	want("amoadd.w", (long)shared.word_added, (long)(harts * ROUNDS));
	want("lr.d, sc.d", (long)shared.reserved_added, (long)(harts * ROUNDS));
	want("under a lock", (long)shared.locked, (long)(harts * (ROUNDS / 16)));
	want("own bits", (long)bad, 0);
	want("amomaxu.d", (long)shared.most, (long)(8UL * ROUNDS + harts - 1));
	want("amoswap.d loses nothing", (long)out, 0);
}

/* --- a function that is rewritten: "li a0, n; ret" --- */
static u32 function[PAGE / 4] __attribute__((aligned(PAGE)));
static volatile u64 generation, misses[HARTS], noticed[HARTS];

/* Until all have seen the generation, and a little longer, so that what they run is hot. */
static void wait_noticed(u64 n)
{
	for (u64 h = 1; h < harts; h++) {
		u64 start = now();
		while (noticed[h] < n && now() - start < 10000 * MS)
			;
	}
	for (volatile int i = 0; i < 2000; i++)
		;
}

static void write_function(u64 n)
{
	((volatile u32 *)function)[0] = (u32)(n << 20 | 0x513); /* addi a0, zero, n */
	((volatile u32 *)function)[1] = 0x8067;
	__asm__ volatile("fence rw, rw; fence.i" ::: "memory");
}

static void calling_hart(u64 hart)
{
	u64 (*call)(void) = (u64(*)(void))function;
	seen[hart] = 1;
	while (!go)
		;
	for (;;) {
		u64 before = generation;
		__asm__ volatile("fence r, rw" ::: "memory");
		u64 got = call();
		__asm__ volatile("fence rw, r" ::: "memory");
		u64 after = generation;
		/* What is told to all has been seen by all; the next may be seen early. */
		misses[hart] += got < before || got > after + 1;
		noticed[hart] = before;
		if (before == CHANGES)
			break;
	}
	stop_hart(hart);
}

static void rewrite(u64 hart)
{
	(void)hart;
	for (u64 n = 1; n <= CHANGES; n++) {
		write_function(n);
		sbi(RFENCE, 0, others_mask, 0, 0, 0, 0);
		__asm__ volatile("fence rw, w" ::: "memory");
		generation = n;
		wait_noticed(n);
	}
}

static void test_code(void)
{
	generation = 0;
	for (u64 h = 0; h < HARTS; h++)
		noticed[h] = 0;
	write_function(0);
	sbi(RFENCE, 0, others_mask, 0, 0, 0, 0);
	on_all(calling_hart, rewrite);
	for (u64 h = 1; h < harts; h++) {
		want("calls of a function that is rewritten", (long)misses[h], 0);
		want("the last is called", (long)noticed[h], CHANGES);
	}
}

/* --- page tables --- */
#define WINDOW		 0x40000000UL /* two pages: code, data */
#define PTE(addr, flags) (((u64)(addr) >> 12 << 10) | (flags) | 1)
static u64 root[512] __attribute__((aligned(PAGE))), middle[512] __attribute__((aligned(PAGE))),
	leaf[512] __attribute__((aligned(PAGE)));
static u32 code[2][PAGE / 4] __attribute__((aligned(PAGE)));
static u64 data[2][PAGE / 8] __attribute__((aligned(PAGE)));
static volatile u64 wrong_code[HARTS], wrong_data[HARTS];

static void translate(void)
{
	__asm__ volatile("csrw satp, %0; sfence.vma" ::"r"(8UL << 60 | (u64)root >> 12) : "memory");
}

static void map(u64 n)
{
	leaf[0] = PTE(code[n & 1], 0xca); /* dirty, accessed, executable, readable */
	leaf[1] = PTE(data[n & 1], 0xc6);
	__asm__ volatile("fence rw, rw; sfence.vma" ::: "memory");
}

/* The generation is odd while the mapping changes. */
static void looking_hart(u64 hart)
{
	u64 (*call)(void) = (u64(*)(void))WINDOW;
	volatile u64 *word = (volatile u64 *)(WINDOW + PAGE);
	translate();
	seen[hart] = 1;
	while (!go)
		;
	for (;;) {
		u64 before = generation;
		__asm__ volatile("fence r, rw" ::: "memory");
		u64 from_code = call(), from_data = *word;
		word[8 + 8 * hart]++;
		__asm__ volatile("fence rw, r" ::: "memory");
		if (before == generation && !(before & 1)) {
			wrong_code[hart] += from_code != (before >> 1 & 1);
			wrong_data[hart] += from_data != (before >> 1 & 1);
			noticed[hart] = before;
		}
		if (before == 2 * CHANGES)
			break;
	}
	stop_hart(hart);
}

static void remap(u64 hart)
{
	(void)hart;
	for (u64 n = 1; n <= CHANGES; n++) {
		generation = 2 * n - 1;
		__asm__ volatile("fence w, rw" ::: "memory");
		map(n);
		sbi(RFENCE, 1, others_mask, 0, WINDOW, n & 2 ? 2 * PAGE : ALL, 0);
		__asm__ volatile("fence rw, w" ::: "memory");
		generation = 2 * n;
		wait_noticed(2 * n);
	}
}

static void test_page_tables(void)
{
	generation = 0;
	for (u64 h = 0; h < HARTS; h++)
		noticed[h] = 0;
	for (u64 n = 0; n < 512; n++)
		root[n] = n == WINDOW >> 30 ? PTE(middle, 0) : PTE(n << 30, 0xce);
	middle[0] = PTE(leaf, 0);
	for (u64 n = 0; n < 2; n++) {
		data[n][0] = n;
		code[n][0] = (u32)(n << 20 | 0x513);
		code[n][1] = 0x8067;
	}
	map(0);
	__asm__ volatile("fence.i" ::: "memory");
	sbi(RFENCE, 0, others_mask, 0, 0, 0, 0);
	on_all(looking_hart, remap);
	for (u64 h = 1; h < harts; h++) {
		want("code where it is mapped", (long)wrong_code[h], 0);
		want("data where it is mapped", (long)wrong_data[h], 0);
		want("the last is looked at", (long)noticed[h], 2 * CHANGES);
	}
}

/* --- a tight loop is interrupted --- */
static volatile u64 ticks, deadline, late, ipis;

static void __attribute__((interrupt("supervisor"), aligned(4))) on_interrupt(void)
{
	u64 cause = csr_read(scause);
	if (cause == (1UL << 63 | 5)) {
		u64 by = now() - deadline;
		late = by > late ? by : late;
		ticks++;
		deadline = ticks < TICKS ? now() + MS : ALL;
		register u64 a0 __asm__("a0") = deadline;
		register u64 a6 __asm__("a6") = 0;
		register u64 a7 __asm__("a7") = TIME;
		__asm__ volatile("ecall" : "+r"(a0) : "r"(a6), "r"(a7) : "a1", "memory");
	} else if (cause == (1UL << 63 | 1)) {
		csr_clear(sip, 2);
		ipis++;
	} else {
		want("interrupt", (long)cause, 0);
		sbi(SRST, 0, 0, 0, 0, 0, 0);
	}
}

/* Nothing here but registers, and a counter that one of these interrupts raises. */
static u64 spin_until(volatile u64 *counter, u64 wanted)
{
	u64 turns = 0, at, start = now();
	do {
		__asm__ volatile("li %1, 100000\n"
				 "1: addi %1, %1, -1\n"
				 "bnez %1, 1b\n"
				 "addi %0, %0, 1"
				 : "+r"(turns), "=&r"(at));
	} while (*counter < wanted && now() - start < 20000 * MS);
	return turns;
}

static void test_timer(void)
{
	csr_write(stvec, on_interrupt);
	csr_write(sie, 1 << 5);
	ticks = late = 0;
	deadline = now() + MS;
	error(TIME, 0, deadline, 0, 0, 0);
	__asm__ volatile("csrsi sstatus, 2" ::: "memory");
	spin_until(&ticks, TICKS);
	__asm__ volatile("csrci sstatus, 2" ::: "memory");
	want("ticks", (long)ticks, TICKS);
	want("the latest was in time", late < 1000 * MS, 1);
	print("# latest tick, microseconds: ");
	print_number((long)(late / 10));
	print("\n");
}

static void spinning_hart(u64 hart)
{
	csr_write(stvec, on_interrupt);
	csr_write(sie, 2);
	__asm__ volatile("csrsi sstatus, 2" ::: "memory");
	seen[hart] = 1;
	spin_until(&ipis, 100);
	__asm__ volatile("csrci sstatus, 2" ::: "memory");
	stop_hart(hart);
}

static void send_ipis(u64 hart)
{
	(void)hart;
	for (u64 n = 1; n <= 100; n++) {
		sbi(IPI, 0, 2, 0, 0, 0, 0);
		wait_for(&ipis, n);
	}
}

static void test_ipis(void)
{
	u64 all = harts;
	harts = 2;
	ipis = 0;
	on_all(spinning_hart, send_ipis);
	want("interrupts between harts", (long)ipis, 100);
	harts = all;
}

void main(u64 hart)
{
	(void)hart;
	while (harts < HARTS && error(HSM, 2, harts, 0, 0, 0) != INVALID_PARAM)
		harts++;
	others_mask = (1UL << harts) - 2;
	want("there are others", harts > 1, 1);
	static const struct {
		const char *name;
		void (*fn)(void);
	} tests[] = {{"timer", test_timer}, {"interrupts", test_ipis}, {"counters", test_counters},
		{"code", test_code}, {"page tables", test_page_tables}};
	for (u64 n = 0; n < sizeof(tests) / sizeof(tests[0]); n++) {
		u64 start = now();
		tests[n].fn();
		print("# ms: ");
		print_number((long)((now() - start) / MS));
		print(" ");
		print(tests[n].name);
		print("\n");
	}
	error(SRST, 0, 0, 0, 0, 0);
	print("not ok - running after poweroff\n");
}
