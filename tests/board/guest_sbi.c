// SPDX-License-Identifier: Apache-2.0
// Runs inside the machine, in supervisor mode, instead of a kernel: checks the SBI calls, the
// interrupt controller and the start and stop of harts, and reports on the debug console.
#include "guest.h"

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
