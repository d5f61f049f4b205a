// SPDX-License-Identifier: Apache-2.0
// Breakpoints, watchpoints, steps and holding, with a made-up CPU (mini.h).
#include <pthread.h>
#include <unistd.h>

#include "cpu/debug.h"
#include "mini.h"
#include "tap.h"

enum { CPUS = 2, RAM_PAGES = 64, OWNER = 1, OTHER = 2 };
#define VECTOR UINT64_C(0x30000)
#define CODE   UINT64_C(0x1000)
#define DATA   UINT64_C(0x8000)

/* One machine at a time: made by setup(). */
static struct memory *memory;
static struct vcpu_group *group;
static struct vcpu *cpus[CPUS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned stops; /* reported and not waited for yet */

static void on_stopped(void *opaque, struct vcpu *v)
{
	pthread_mutex_lock(&lock);
	stops++;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

/* The guest's end counts as a stop. */
static void firmware_call(void *opaque, struct vcpu *v, void *state)
{
	vcpu_park(v);
	on_stopped(NULL, v);
}

static struct mini *state(unsigned n)
{
	return vcpu_state(cpus[n]);
}

static void setup(void)
{
	const struct vcpu_callbacks cb = {.firmware_call = firmware_call};
	memory_new(&memory, NULL);
	memory_add_ram(memory, GPA(0), RAM_PAGES * GUEST_PAGE_BYTES, NULL);
	vcpu_group_new(&group, &mini_isa, memory, &cb, NULL);
	vcpu_debug_listen(group, on_stopped, NULL);
	const struct mini_insn end = {.op = MINI_CALL};
	memory_write(memory, GPA(VECTOR), &end, sizeof(end));
	stops = 0;
	for (unsigned n = 0; n < CPUS; n++) {
		vcpu_new(group, n, &cpus[n], NULL);
		for (unsigned p = 0; p < MINI_PAGES; p++)
			state(n)->pages[p] =
				(struct mini_page){(uint64_t)p * GUEST_PAGE_BYTES, true, true};
		state(n)->vector = VECTOR;
		state(n)->head.pc = CODE;
		CHECK_EQ(vcpu_start(cpus[n], NULL), 0);
		vcpu_debug_hold(cpus[n]);
		vcpu_resume(cpus[n]); /* held: it does not run yet */
	}
}
static void teardown(void)
{
	vcpu_group_free(group);
	memory_free(memory);
}

#define PUT(gpa, ...)                                                                              \
	do {                                                                                       \
		const struct mini_insn code_[] = {__VA_ARGS__};                                    \
		memory_write(memory, GPA(gpa), code_, sizeof(code_));                              \
	} while (0)
#define I(o, ...)                                                                                  \
	{                                                                                          \
		.op = MINI_##o, __VA_ARGS__                                                        \
	}
#define END I(CALL)

/* r1 from 5 to 0, r2 counts; the loop is at CODE + 16, its middle at CODE + 24. */
static void put_loop(void)
{
	PUT(CODE, I(LI, .d = 1, .imm = 5), I(LI, .d = 2), I(ADDI, .d = 2, .a = 2, .imm = 1),
		I(ADDI, .d = 1, .a = 1, .imm = -1), I(BNE, .a = 1, .b = 3, .imm = -16), END);
}

static void go(unsigned n, bool step)
{
	vcpu_debug_release(cpus[n], step);
	pthread_mutex_lock(&lock);
	while (!stops)
		pthread_cond_wait(&changed, &lock);
	stops--;
	pthread_mutex_unlock(&lock);
	vcpu_debug_hold(cpus[n]);
	vcpu_debug_wait(cpus[n]);
}

static enum vcpu_stop_reason reason(unsigned n)
{
	struct vcpu_stop s;
	return vcpu_debug_take_stop(cpus[n], &s) ? s.reason : VCPU_STOP_NONE;
}

static void expect_stop(unsigned n, enum vcpu_stop_reason why, uint64_t pc)
{
	CHECK_EQ((int)reason(n), (int)why);
	CHECK_EQ(state(n)->head.pc, pc);
}

/* It ran to the firmware call at the end. */
static void expect_end(unsigned n)
{
	CHECK_EQ((int)reason(n), (int)VCPU_STOP_NONE);
	vcpu_park_wait(cpus[n]);
}

static void restart(unsigned n)
{
	state(n)->head.pc = CODE;
	vcpu_resume(cpus[n]); /* the end parked it */
}

static void breakpoints(void)
{
	setup();
	put_loop();
	go(0, false); /* the whole loop is translated before anybody asks for a breakpoint */
	expect_end(0);
	CHECK_EQ(state(0)->r[2], UINT64_C(5));
	CHECK_EQ(vcpu_debug_set_breakpoint(group, CODE + 24, OWNER, true), 0);
	CHECK_EQ(vcpu_debug_set_breakpoint(group, CODE + 24, OTHER, true), 0);
	CHECK(vcpu_debug_is_breakpoint(group, CODE + 24));
	CHECK(!vcpu_debug_is_breakpoint(group, CODE + 16));
	CHECK_EQ(vcpu_debug_room(group, CODE, 100), UINT64_C(24));
	CHECK_EQ(vcpu_debug_room(group, CODE + 24, 100), UINT64_C(100));
	restart(0);
	for (uint64_t i = 1; i <= 3; i++) {
		go(0, false);
		expect_stop(0, VCPU_STOP_BREAKPOINT, CODE + 24);
		CHECK_EQ(state(0)->r[2], i);
		CHECK_EQ(state(0)->r[1], 6 - i);
	}
	/* it stays while one owner wants it */
	CHECK_EQ(vcpu_debug_set_breakpoint(group, CODE + 24, OWNER, false), 0);
	go(0, false);
	expect_stop(0, VCPU_STOP_BREAKPOINT, CODE + 24);
	CHECK_EQ(vcpu_debug_set_breakpoint(group, CODE + 24, OTHER, false), 0);
	CHECK(!vcpu_debug_is_breakpoint(group, CODE + 24));
	go(0, false);
	expect_end(0);
	CHECK_EQ(state(0)->r[2], UINT64_C(5));
	teardown();
}

static void odd_breakpoints(void)
{
	setup();
	put_loop();
	CHECK_EQ(vcpu_debug_set_breakpoint(group, CODE + 1, OWNER, true), -EINVAL);
	/* in the middle of instructions: these are never come to */
	CHECK_EQ(vcpu_debug_set_breakpoint(group, CODE + 4, OWNER, true), 0);
	CHECK_EQ(vcpu_debug_set_breakpoint(group, CODE + 28, OWNER, true), 0);
	go(0, false);
	expect_end(0);
	CHECK_EQ(state(0)->r[2], UINT64_C(5));
	vcpu_debug_clear(group);
	CHECK(!vcpu_debug_is_breakpoint(group, CODE + 4));
	int r = 0;
	for (uint64_t i = 0; i < VCPU_BREAKPOINTS_MAX && !r; i++)
		r = vcpu_debug_set_breakpoint(group, 0x100000 - 4 * i, OWNER, true);
	CHECK_EQ(r, 0);
	CHECK_EQ(vcpu_debug_set_breakpoint(group, 0x200000, OWNER, true), -ENOSPC);
	CHECK_EQ(vcpu_debug_set_breakpoint(group, 0x100000, OTHER, true), 0);
	CHECK(vcpu_debug_is_breakpoint(group, 0x100000 - 4000));
	teardown();
}

static void steps(void)
{
	setup();
	state(0)->pages[20].present = false;
	/* the third instruction lies on two pages; then a wait, a fault */
	PUT(0x1fec, I(LI, .d = 1, .imm = 7), I(LI, .d = 4, .imm = 20 * 4096),
		I(ADDI, .d = 1, .a = 1, .imm = 1), I(WAIT), I(LD, .d = 1, .a = 4), END);
	state(0)->head.pc = 0x1fec;
	CHECK_EQ(vcpu_debug_set_breakpoint(group, 0x1fec, OWNER, true), 0);
	vcpu_set_irq(cpus[0], 0, true);
	for (unsigned i = 1; i <= 4; i++) {
		go(0, true);
		expect_stop(0, VCPU_STOP_STEPPED, 0x1fec + 8 * i);
	}
	CHECK_EQ(state(0)->r[1], UINT64_C(8));
	CHECK_EQ(state(0)->interrupts, UINT64_C(0)); /* none is taken in a step */
	go(0, true);
	expect_stop(0, VCPU_STOP_STEPPED, VECTOR);
	CHECK_EQ(state(0)->fault_pc, UINT64_C(0x1fec + 32));
	CHECK_EQ(state(0)->r[1], UINT64_C(8));
	go(0, false);
	expect_end(0);
	CHECK_EQ(state(0)->interrupts, UINT64_C(1));
	teardown();
}

static uint64_t data(uint64_t gpa)
{
	uint64_t v = 0;
	memory_read(memory, GPA(gpa), &v, sizeof(v));
	return v;
}

static void watchpoints(void)
{
	setup();
	/* a neighbour, an access that reaches into the watched bytes, a load of them */
	PUT(CODE, I(LI, .d = 4, .imm = DATA), I(LI, .d = 1, .imm = 9), I(ST, .a = 4, .b = 1),
		I(ST, .a = 4, .b = 1, .imm = 12), I(LD, .d = 2, .a = 4, .imm = 16),
		I(AMOADD, .d = 3, .a = 4, .b = 1, .imm = 16), END);
	go(0, false); /* the TLB has the page for loads and stores */
	expect_end(0);
	CHECK_EQ(data(DATA + 12), UINT64_C(0x900000009));
	PUT(DATA + 12, I(TRAP));
	CHECK_EQ(vcpu_debug_set_watchpoint(group, DATA + 16, 4, VCPU_WATCH_WRITE, OWNER, true), 0);
	struct vcpu_stop s;
	restart(0);
	go(0, false);
	CHECK_EQ(vcpu_debug_take_stop(cpus[0], &s), true);
	CHECK_EQ((int)s.reason, (int)VCPU_STOP_WATCHPOINT);
	CHECK_EQ(s.addr, DATA + 16);
	CHECK_EQ(s.owners, (unsigned)OWNER);
	CHECK_EQ(state(0)->head.pc, CODE + 24);
	CHECK_EQ(data(DATA + 12), UINT64_C(0)); /* before it is written */
	CHECK_EQ(state(0)->fault_cause, UINT64_C(0));
	go(0, false); /* that store passes, the load is not watched, the next is an atomic */
	expect_stop(0, VCPU_STOP_WATCHPOINT, CODE + 40);
	CHECK_EQ(data(DATA + 12), UINT64_C(9));
	go(0, true);
	expect_stop(0, VCPU_STOP_STEPPED, CODE + 48);
	CHECK_EQ(vcpu_debug_set_watchpoint(group, DATA + 16, 4, VCPU_WATCH_READ, OWNER, true), 0);
	CHECK_EQ(vcpu_debug_set_watchpoint(group, DATA + 16, 4, VCPU_WATCH_WRITE, OWNER, false), 0);
	state(0)->head.pc = CODE;
	go(0, false);
	expect_stop(0, VCPU_STOP_WATCHPOINT, CODE + 32);
	go(0, false);
	expect_stop(0, VCPU_STOP_WATCHPOINT, CODE + 40); /* an atomic reads too */
	/* a breakpoint, then the watchpoint of the same instruction */
	CHECK_EQ(vcpu_debug_set_breakpoint(group, CODE + 32, OWNER, true), 0);
	state(0)->head.pc = CODE;
	go(0, false);
	expect_stop(0, VCPU_STOP_BREAKPOINT, CODE + 32);
	go(0, false);
	expect_stop(0, VCPU_STOP_WATCHPOINT, CODE + 32);
	go(0, false);
	expect_stop(0, VCPU_STOP_WATCHPOINT, CODE + 40);
	CHECK_EQ(vcpu_debug_set_breakpoint(group, CODE + 32, OWNER, false), 0);
	/* a step comes to a watchpoint and does not go over it */
	state(0)->head.pc = CODE + 32;
	go(0, true);
	expect_stop(0, VCPU_STOP_WATCHPOINT, CODE + 32);
	go(0, true);
	expect_stop(0, VCPU_STOP_STEPPED, CODE + 40);
	vcpu_debug_clear(group);
	go(0, false);
	expect_end(0);
	teardown();
}

static void watchpoint_limits(void)
{
	setup();
	CHECK_EQ(vcpu_debug_set_watchpoint(group, 0, 0, VCPU_WATCH_READ, OWNER, true), -EINVAL);
	CHECK_EQ(vcpu_debug_set_watchpoint(group, 0, 4, 0, OWNER, true), -EINVAL);
	CHECK_EQ(vcpu_debug_set_watchpoint(group, UINT64_MAX, 2, VCPU_WATCH_READ, OWNER, true),
		-EINVAL);
	CHECK_EQ(vcpu_debug_set_watchpoint(
			 group, 0, UINT64_C(1) << 40, VCPU_WATCH_READ, OWNER, true),
		-EINVAL);
	int r = 0;
	for (uint64_t i = 0; i < VCPU_WATCHPOINTS_MAX; i++)
		r |= vcpu_debug_set_watchpoint(group, i, 1, VCPU_WATCH_READ, OWNER, true);
	CHECK_EQ(r, 0);
	CHECK_EQ(vcpu_debug_set_watchpoint(group, 99, 1, VCPU_WATCH_READ, OWNER, true), -ENOSPC);
	CHECK_EQ(vcpu_debug_set_watchpoint(group, 3, 1, VCPU_WATCH_READ, OWNER, true), 0);
	teardown();
}

/* Both come to the breakpoint; the debugger hears of one and lets both go on: the other's stop is
 * found again. */
static void a_stop_that_nobody_took(void)
{
	setup();
	put_loop();
	CHECK_EQ(vcpu_debug_set_breakpoint(group, CODE + 40, OWNER, true), 0);
	for (unsigned n = 0; n < CPUS; n++)
		go(n, false);
	expect_stop(0, VCPU_STOP_BREAKPOINT, CODE + 40);
	go(0, false);
	expect_end(0);
	go(1, false);
	expect_stop(1, VCPU_STOP_BREAKPOINT, CODE + 40);
	go(1, false);
	expect_end(1);
	teardown();
}

static void holding(void)
{
	setup();
	PUT(CODE, I(LI, .d = 1, .imm = 1), I(ADDI, .d = 2, .a = 2, .imm = 1),
		I(BNE, .a = 1, .b = 3, .imm = -8));
	CHECK_EQ(state(0)->r[2], UINT64_C(0));
	uint64_t before[CPUS] = {0};
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned n = 0; n < CPUS; n++)
			vcpu_debug_release(cpus[n], false);
		usleep(100);
		for (unsigned n = 0; n < CPUS; n++)
			vcpu_debug_hold(cpus[n]);
		for (unsigned n = 0; n < CPUS; n++)
			vcpu_debug_wait(cpus[n]);
		for (unsigned n = 0; n < CPUS; n++)
			before[n] = state(n)->r[2];
		/* one alone */
		vcpu_debug_release(cpus[1], false);
		usleep(100);
		vcpu_debug_hold(cpus[1]);
		vcpu_debug_wait(cpus[1]);
		CHECK_EQ(state(0)->r[2], before[0]);
		CHECK_EQ((int)reason(1), (int)VCPU_STOP_NONE);
	}
	CHECK(state(0)->r[2] && state(1)->r[2]);
	/* parked and held are two things */
	vcpu_park(cpus[0]);
	vcpu_debug_release(cpus[0], false);
	vcpu_park_wait(cpus[0]);
	CHECK_EQ(state(0)->r[2], before[0]);
	teardown();
}

int main(void)
{
	RUN(breakpoints);
	RUN(odd_breakpoints);
	RUN(steps);
	RUN(watchpoints);
	RUN(watchpoint_limits);
	RUN(a_stop_that_nobody_took);
	RUN(holding);
	return tap_done();
}
