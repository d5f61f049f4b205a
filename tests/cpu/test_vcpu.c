// SPDX-License-Identifier: Apache-2.0
// The translating back end with a made-up CPU (mini.h): faults, pages, code that changes, devices,
// several CPUs.
#include <pthread.h>
#include <unistd.h>

#include "mini.h"
#include "tap.h"

enum { MAX_CPUS = 4, RAM_PAGES = 64, LAST_CALL = 0, POKE_CALL = 1 };
#define DEVICE UINT64_C(0x10000000)
#define HALT   0x3f000 /* virtual: where faults go */

struct machine {
	struct memory *memory;
	struct vcpu_group *group;
	struct vcpu *cpus[MAX_CPUS];
	unsigned count;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned finished;
	uint64_t device_value;
	unsigned device_bytes;
	uint64_t poked;
};

static void poke(void *opaque, void *state)
{
	struct machine *m = opaque;
	(void)state;
	__atomic_fetch_add(&m->poked, 1, __ATOMIC_RELAXED);
}

static void firmware_call(void *opaque, struct vcpu *v, void *state)
{
	struct machine *m = opaque;
	struct mini *cpu = state;
	if (cpu->call == POKE_CALL) { /* every CPU, itself included, does something */
		if (vcpu_id(v) & 1) {
			vcpu_run_on_each(m->cpus, m->count, poke, m);
			return;
		}
		for (unsigned n = 0; n < m->count; n++)
			vcpu_run_on(m->cpus[n], poke, m);
		return;
	}
	vcpu_park(v);
	pthread_mutex_lock(&m->lock);
	m->finished++;
	pthread_cond_signal(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

static bool mmio_read(void *opaque, gpa_t addr, unsigned bytes, uint64_t *value)
{
	struct machine *m = opaque;
	if (addr.v - DEVICE >= 16)
		return false;
	m->device_bytes = bytes;
	*value = m->device_value + (addr.v - DEVICE);
	return true;
}
static bool mmio_write(void *opaque, gpa_t addr, unsigned bytes, uint64_t value)
{
	struct machine *m = opaque;
	if (addr.v - DEVICE >= 16)
		return false;
	m->device_bytes = bytes;
	m->device_value = value;
	return true;
}

static struct mini *state_of(struct machine *m, unsigned n)
{
	return vcpu_state(m->cpus[n]);
}

/* Virtual page n is RAM page n, page 62 the device, page 63 (HALT) ends the program. */
static void machine_init(struct machine *m, unsigned cpus)
{
	*m = (struct machine){.count = cpus};
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
	struct vcpu_callbacks cb = {m, mmio_read, mmio_write, firmware_call};
	memory_new(&m->memory, NULL);
	memory_add_ram(m->memory, GPA(0), RAM_PAGES * GUEST_PAGE_BYTES, NULL);
	setenv("STRATA_COUNT", "1", true);
	vcpu_group_new(&m->group, &mini_isa, m->memory, &cb, NULL);
	struct mini_insn halt = {.op = MINI_CALL, .imm = LAST_CALL};
	memory_write(m->memory, GPA(HALT), &halt, sizeof(halt));
	for (unsigned n = 0; n < cpus; n++) {
		vcpu_new(m->group, n, &m->cpus[n], NULL);
		struct mini *s = state_of(m, n);
		for (unsigned p = 0; p < MINI_PAGES; p++)
			s->pages[p] =
				(struct mini_page){(uint64_t)p * GUEST_PAGE_BYTES, true, true};
		s->pages[62].gpa = DEVICE;
		s->vector = HALT;
	}
}
static void machine_done(struct machine *m)
{
	vcpu_group_free(m->group);
	memory_free(m->memory);
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->changed);
}

static void put_code(struct machine *m, uint64_t gpa, const struct mini_insn *code, size_t bytes)
{
	memory_write(m->memory, GPA(gpa), code, bytes);
}
#define CODE(m, gpa, ...)                                                                          \
	do {                                                                                       \
		const struct mini_insn code_[] = {__VA_ARGS__};                                    \
		put_code((m), (gpa), code_, sizeof(code_));                                        \
	} while (0)
#define I(o, ...)                                                                                  \
	{                                                                                          \
		.op = MINI_##o, __VA_ARGS__                                                        \
	}
#define END I(CALL, .imm = LAST_CALL)

/* Starts all CPUs at pc (CPU n has n in r7) and waits until they have called the firmware. */
static void run_to_end(struct machine *m, uint64_t pc)
{
	m->finished = 0;
	for (unsigned n = 0; n < m->count; n++) {
		state_of(m, n)->head.pc = pc;
		state_of(m, n)->r[7] = n;
	}
	for (unsigned n = 0; n < m->count; n++)
		vcpu_resume(m->cpus[n]);
	pthread_mutex_lock(&m->lock);
	while (m->finished < m->count)
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
	for (unsigned n = 0; n < m->count; n++)
		vcpu_park_wait(m->cpus[n]);
}
static void start(struct machine *m)
{
	for (unsigned n = 0; n < m->count; n++)
		CHECK_EQ(vcpu_start(m->cpus[n], NULL), 0);
}

static void loops_and_counts(void)
{
	struct machine m;
	machine_init(&m, 1);
	start(&m);
	CODE(&m, 0x1000, I(LI, .d = 1, .imm = 1000), I(LI, .d = 2), I(LI, .d = 3),
		I(ADDI, .d = 2, .a = 2, .imm = 7), I(ADDI, .d = 1, .a = 1, .imm = -1),
		I(BNE, .a = 1, .b = 3, .imm = -16), END);
	run_to_end(&m, 0x1000);
	struct vcpu_stats stats;
	vcpu_stats(m.cpus[0], &stats);
	CHECK_EQ(state_of(&m, 0)->r[2], UINT64_C(7000));
	CHECK_EQ(stats.insns, (3 + 3 * 1000 + 1));
	CHECK(stats.blocks_lifted <= 3);
	machine_done(&m);
}

static void faults_are_precise(void)
{
	struct machine m;
	machine_init(&m, 1);
	state_of(&m, 0)->pages[20].present = false;
	state_of(&m, 0)->pages[21].writable = false;
	start(&m);
	CODE(&m, 0x1000, I(LI, .d = 1, .imm = 1), I(LI, .d = 4, .imm = 20 * 4096 + 8),
		I(ADDI, .d = 1, .a = 1, .imm = 1), I(LD, .d = 1, .a = 4, .imm = 16),
		I(LI, .d = 1, .imm = 99), END);
	run_to_end(&m, 0x1000);
	struct mini *s = state_of(&m, 0);
	CHECK_EQ(s->r[1], UINT64_C(2));
	CHECK_EQ(s->fault_pc, UINT64_C(0x1018));
	CHECK_EQ(s->fault_cause, MINI_FAULT_PAGE);
	CHECK_EQ(s->fault_value, UINT64_C(20 * 4096 + 24));
	/* a store to a page that can only be read */
	CODE(&m, 0x2000, I(LI, .d = 4, .imm = 21 * 4096), I(LD, .d = 1, .a = 4),
		I(ST, .a = 4, .b = 4), END);
	run_to_end(&m, 0x2000);
	CHECK_EQ(s->fault_pc, UINT64_C(0x2010));
	CHECK_EQ(s->r[1], UINT64_C(0));
	/* code on a page that is not there, and no code at all */
	CODE(&m, 0x3000, I(LI, .d = 4, .imm = 20 * 4096), I(JR, .d = 5, .a = 4));
	run_to_end(&m, 0x3000);
	CHECK_EQ(s->fault_pc, UINT64_C(20 * 4096));
	CHECK_EQ(s->r[5], UINT64_C(0x3010));
	CODE(&m, 0x3000, I(TRAP));
	run_to_end(&m, 0x3000);
	CHECK_EQ(s->fault_cause, MINI_FAULT_TRAP);
	machine_done(&m);
}

static void accesses_across_pages(void)
{
	struct machine m;
	machine_init(&m, 1);
	struct mini *s = state_of(&m, 0);
	s->pages[10].gpa = 30 * 4096; /* neighbours in virtual memory only */
	s->pages[11].gpa = 20 * 4096;
	s->pages[13].present = false;
	start(&m);
	uint64_t v = UINT64_C(0x1122334455667788);
	memory_write(m.memory, GPA(30 * 4096 + 4093), &v, 3);
	memory_write(m.memory, GPA(20 * 4096), (char *)&v + 3, 5);
	CODE(&m, 0x1000, I(LI, .d = 4, .imm = 10 * 4096 + 4093), I(LD, .d = 1, .a = 4),
		I(ADDI, .d = 2, .a = 1, .imm = 1), I(ST, .a = 4, .b = 2), END);
	run_to_end(&m, 0x1000);
	CHECK_EQ(s->r[1], v);
	v = 0;
	memory_read(m.memory, GPA(30 * 4096 + 4093), &v, 3);
	memory_read(m.memory, GPA(20 * 4096), (char *)&v + 3, 5);
	CHECK_EQ(v, UINT64_C(0x1122334455667789));
	/* the second page is missing: nothing is stored in the first */
	CODE(&m, 0x2000, I(LI, .d = 4, .imm = 12 * 4096 + 4092), I(LI, .d = 1, .imm = -1),
		I(ST, .a = 4, .b = 1), END);
	run_to_end(&m, 0x2000);
	CHECK_EQ(s->fault_pc, UINT64_C(0x2010));
	CHECK_EQ(s->fault_value, UINT64_C(13 * 4096));
	v = 1;
	memory_read(m.memory, GPA(12 * 4096 + 4092), &v, 4);
	CHECK_EQ(v, UINT64_C(0));
	machine_done(&m);
}

static void devices(void)
{
	struct machine m;
	machine_init(&m, 1);
	m.device_value = 40;
	start(&m);
	CODE(&m, 0x1000, I(LI, .d = 4, .imm = 62 * 4096), I(LW, .d = 1, .a = 4, .imm = 4),
		I(ST, .a = 4, .b = 1, .imm = 8), I(LD, .d = 2, .a = 4), END);
	run_to_end(&m, 0x1000);
	struct mini *s = state_of(&m, 0);
	CHECK_EQ(s->r[1], UINT64_C(44));
	CHECK_EQ(s->r[2], UINT64_C(44));
	CHECK_EQ(m.device_bytes, 8u);
	CHECK_EQ(s->fault_cause, UINT64_C(0));
	/* nobody there; misaligned; atomic; across into RAM */
	static const struct mini_insn bad[] = {I(LD, .d = 1, .a = 4, .imm = 16),
		I(SW, .a = 4, .b = 1, .imm = 2), I(AMOADD, .d = 1, .a = 4, .b = 1),
		I(LD, .d = 1, .a = 4, .imm = -4)};
	for (unsigned n = 0; n < ARRAY_SIZE(bad); n++) {
		s->fault_cause = 0;
		CODE(&m, 0x2000, I(LI, .d = 4, .imm = 62 * 4096), bad[n], END);
		run_to_end(&m, 0x2000);
		CHECK_EQ(s->fault_cause, MINI_FAULT_ACCESS);
		CHECK_EQ(s->fault_pc, UINT64_C(0x2008));
	}
	CODE(&m, 0x2000, I(LI, .d = 4, .imm = 0x5004), I(AMOADD, .d = 1, .a = 4, .b = 1), END);
	run_to_end(&m, 0x2000);
	CHECK_EQ(s->fault_cause, MINI_FAULT_ALIGN);
	machine_done(&m);
}

/* A function is rewritten and called again and again; sometimes its page is the caller's. */
static void code_that_changes(void)
{
	for (unsigned same_page = 0; same_page < 2; same_page++) {
		struct machine m;
		uint64_t f = same_page ? 0x1800 : 0x9000;
		machine_init(&m, 1);
		start(&m);
		/* r1 counts down from 200; the function's immediate, at f + 4, becomes r1 */
		CODE(&m, 0x1000, I(LI, .d = 1, .imm = 200), I(LI, .d = 2), I(LI, .d = 6),
			I(LI, .d = 4, .imm = (int32_t)f), I(SW, .a = 4, .b = 1, .imm = 4),
			I(FENCE_I), I(JR, .d = 5, .a = 4), I(ADD, .d = 2, .a = 2, .b = 3),
			I(ADDI, .d = 1, .a = 1, .imm = -1), I(BNE, .a = 1, .b = 6, .imm = -40),
			END);
		CODE(&m, f, I(LI, .d = 3, .imm = -1), I(JR, .d = 0, .a = 5));
		run_to_end(&m, 0x1000);
		CHECK_EQ(state_of(&m, 0)->r[2], UINT64_C(200 * 201 / 2));
		machine_done(&m);
	}
}

static void code_across_pages(void)
{
	struct machine m;
	machine_init(&m, 1);
	struct mini *s = state_of(&m, 0);
	start(&m);
	/* LI r3 with its immediate on the next page */
	struct mini_insn li = I(LI, .d = 3, .imm = 5);
	memory_write(m.memory, GPA(0x4ffc), &li, sizeof(li));
	CODE(&m, 0x5004, END);
	/* and a jump to it, which is linked to what may be linked to */
	CODE(&m, 0x4000, I(LI, .d = 3, .imm = 0), I(J, .imm = 0x4ffc - 0x4008));
	for (unsigned n = 0; n < 4; n++) {
		run_to_end(&m, 0x4000);
		CHECK_EQ(s->r[3], UINT64_C(5));
	}
	/* the second page changes: a store by a device */
	int32_t six = 6;
	memory_write(m.memory, GPA(0x5000), &six, sizeof(six));
	run_to_end(&m, 0x4000);
	CHECK_EQ(s->r[3], UINT64_C(6));
	/* another page is mapped there */
	int32_t seven = 7;
	memory_write(m.memory, GPA(0x7000), &seven, sizeof(seven));
	CODE(&m, 0x7004, END);
	s->pages[5].gpa = 0x7000;
	tlb_flush(&s->tlb);
	cpu_use_tlb(&s->head, &s->tlb);
	s->head.mapping_epoch++;
	run_to_end(&m, 0x4000);
	CHECK_EQ(s->r[3], UINT64_C(7));
	/* none is */
	s->pages[5].present = false;
	tlb_flush(&s->tlb);
	cpu_use_tlb(&s->head, &s->tlb);
	s->head.mapping_epoch++;
	run_to_end(&m, 0x4000);
	CHECK_EQ(s->fault_pc, UINT64_C(0x4ffc));
	CHECK_EQ(s->fault_value, UINT64_C(0x5000));
	machine_done(&m);
}

/* Neighbours in virtual memory that are one page: an instruction's end is its page's beginning. */
static void code_across_one_page_mapped_twice(void)
{
	struct machine m;
	machine_init(&m, 1);
	struct mini *s = state_of(&m, 0);
	s->pages[5].gpa = 0x4000;
	start(&m);
	struct mini_insn li = I(LI, .d = 3);
	memory_write(m.memory, GPA(0x4ffc), &li, 4);
	CODE(&m, 0x4004, END);
	for (int32_t n = 0; n < 4; n++) {
		memory_write(m.memory, GPA(0x4000), &n, sizeof(n));
		run_to_end(&m, 0x4ffc);
		CHECK_EQ(s->r[3], (uint64_t)n);
		CODE(&m, 0x4800, I(LI, .d = 3, .imm = n + 50), END); /* more blocks of the page */
		run_to_end(&m, 0x4800);
		CHECK_EQ(s->r[3], (uint64_t)n + 50);
	}
	machine_done(&m);
}

/* A page is mapped elsewhere without a fence: its old code may still be run by address, but what
 * the new page holds must not be linked to it, or it would outlive it. */
static void links_stay_in_one_host_page(void)
{
	enum { OLD = 0x4000, NEW = 0x6000, TIMES = 300 };
	struct machine m;
	machine_init(&m, 1);
	struct mini *s = state_of(&m, 0);
	start(&m);
	CODE(&m, OLD + 0x100, I(LI, .d = 3, .imm = 1), I(JR, .a = 5));
	CODE(&m, NEW + 0x100, I(LI, .d = 3, .imm = 2), I(JR, .a = 5));
	CODE(&m, NEW + 0x200, I(J, .imm = -0x100));
	for (int32_t n = 0; n < 2; n++)
		CODE(&m, 0x1000 + 0x100 * (uint64_t)n, I(LI, .d = 1, .imm = TIMES), I(LI, .d = 6),
			I(LI, .d = 4, .imm = 0x5100 + 0x100 * n), I(JR, .d = 5, .a = 4),
			I(ADDI, .d = 1, .a = 1, .imm = -1), I(BNE, .a = 1, .b = 6, .imm = -16),
			END);
	s->pages[5].gpa = OLD;
	run_to_end(&m, 0x1000);
	CHECK_EQ(s->r[3], UINT64_C(1));
	s->pages[5].gpa = NEW;
	tlb_flush_page(&s->tlb, GVA(0x5000)); /* as when another page takes its place */
	run_to_end(&m, 0x1100);
	CODE(&m, OLD + 0x100, I(LI, .d = 3, .imm = 3), I(JR, .a = 5));
	run_to_end(&m, 0x1100);
	CHECK_EQ(s->r[3], UINT64_C(2));
	machine_done(&m);
}

/* CPU 0 rewrites a function and says so; CPU 1 fences, calls it and answers with what it returned.
 */
static void code_changed_by_another_cpu(void)
{
	enum { ROUNDS = 300 };
	struct machine m;
	machine_init(&m, 2);
	start(&m);
	CODE(&m, 0x1000, I(LI, .d = 6),
		I(BNE, .a = 7, .b = 6, .imm = 0x1000 - 8), /* CPU 1: 0x2000 */
		I(LI, .d = 4, .imm = 0x9000), I(LI, .d = 2, .imm = 0xa000),
		I(LI, .d = 1, .imm = ROUNDS),
		/* 0x1028 */ I(SW, .a = 4, .b = 1, .imm = 4),
		I(ST, .a = 2, .b = 1), /* code, then the word */
		/* 0x1038 */ I(LD, .d = 3, .a = 2, .imm = 8),
		I(BNE, .a = 3, .b = 1, .imm = -8), /* answer */
		I(ADDI, .d = 1, .a = 1, .imm = -1), I(BNE, .a = 1, .b = 6, .imm = -40), END);
	CODE(&m, 0x2000, I(LI, .d = 4, .imm = 0x9000), I(LI, .d = 2, .imm = 0xa000),
		I(LI, .d = 1, .imm = ROUNDS), I(LI, .d = 6),
		/* 0x2020 */ I(LD, .d = 3, .a = 2), I(BNE, .a = 3, .b = 1, .imm = -8), I(FENCE_I),
		I(JR, .d = 5, .a = 4), I(ST, .a = 2, .b = 3, .imm = 8),
		I(ADDI, .d = 1, .a = 1, .imm = -1), I(BNE, .a = 1, .b = 6, .imm = -48), END);
	CODE(&m, 0x9000, I(LI, .d = 3, .imm = -1), I(JR, .d = 0, .a = 5));
	run_to_end(&m, 0x1000);
	CHECK_EQ(state_of(&m, 0)->r[1], UINT64_C(0));
	CHECK_EQ(state_of(&m, 1)->r[1], UINT64_C(0));
	CHECK_EQ(state_of(&m, 1)->r[3], UINT64_C(1));
	machine_done(&m);
}

static void atomics(void)
{
	enum { ROUNDS = 20000 };
	struct machine m;
	machine_init(&m, MAX_CPUS);
	start(&m);
	CODE(&m, 0x1000, I(LI, .d = 4, .imm = 0xa000), I(LI, .d = 1, .imm = ROUNDS),
		I(LI, .d = 2, .imm = 3), I(LI, .d = 6),
		/* 0x1020 */ I(AMOADD, .d = 3, .a = 4, .b = 2),
		/* 0x1028 */ I(LR, .d = 3, .a = 4, .imm = 64), I(ADDI, .d = 3, .a = 3, .imm = 1),
		I(SC, .d = 3, .a = 4, .b = 3, .imm = 64), I(BNE, .a = 3, .b = 6, .imm = -24),
		I(ADDI, .d = 1, .a = 1, .imm = -1), I(BNE, .a = 1, .b = 6, .imm = -48), END);
	run_to_end(&m, 0x1000);
	uint64_t sums[9];
	memory_read(m.memory, GPA(0xa000), sums, sizeof(sums));
	CHECK_EQ(sums[0], UINT64_C(3) * ROUNDS * MAX_CPUS);
	CHECK_EQ(sums[8], UINT64_C(1) * ROUNDS * MAX_CPUS);
	machine_done(&m);
}

static void requests_between_cpus(void)
{
	enum { ROUNDS = 100 };
	struct machine m;
	machine_init(&m, MAX_CPUS);
	start(&m);
	CODE(&m, 0x1000, I(LI, .d = 1, .imm = ROUNDS), I(LI, .d = 6), I(CALL, .imm = POKE_CALL),
		I(ADDI, .d = 1, .a = 1, .imm = -1), I(BNE, .a = 1, .b = 6, .imm = -16), END);
	run_to_end(&m, 0x1000);
	CHECK_EQ(__atomic_load_n(&m.poked, __ATOMIC_RELAXED),
		UINT64_C(1) * ROUNDS * MAX_CPUS * MAX_CPUS);
	machine_done(&m);
}

/* Loops of each kind of jump: they must stop for a request and to be parked, however hot. */
static void loops_can_be_stopped(void)
{
	enum { KINDS = 7 };
	struct machine m;
	machine_init(&m, 1);
	start(&m);
	/* to itself */
	CODE(&m, 0x1000, I(LI, .d = 1, .imm = 1), I(LI, .d = 2), I(BNE, .a = 1, .b = 2, .imm = 0));
	/* through a register */
	CODE(&m, 0x2000, I(LI, .d = 1, .imm = 0x2008), I(JR, .d = 2, .a = 1));
	/* to another page and back; through registers */
	CODE(&m, 0x3000, I(LI, .d = 1, .imm = 1), I(LI, .d = 2),
		I(BNE, .a = 1, .b = 2, .imm = 0x1000), END);
	CODE(&m, 0x4000, END, END, I(BNE, .a = 1, .b = 2, .imm = -0x1000), END);
	CODE(&m, 0x5000, I(LI, .d = 1, .imm = 0x6000), I(LI, .d = 2, .imm = 0x5010),
		I(JR, .d = 3, .a = 1));
	CODE(&m, 0x6000, I(JR, .d = 3, .a = 2));
	/* several blocks of a page, the way back in the middle */
	CODE(&m, 0x7000, I(LI, .d = 1, .imm = 1), I(LI, .d = 2),
		/* 0x7010 */ I(ADDI, .d = 3, .a = 3, .imm = 1), I(BNE, .a = 1, .b = 2, .imm = 24),
		/* 0x7020 */ I(ADDI, .d = 3, .a = 3, .imm = 1), I(BNE, .a = 1, .b = 2, .imm = -24),
		/* 0x7030 */ I(ADDI, .d = 3, .a = 3, .imm = 1), I(BNE, .a = 1, .b = 2, .imm = -24),
		END);
	/* without a condition: to itself, and by way of a block further on */
	CODE(&m, 0x8000, I(ADDI, .d = 3, .a = 3, .imm = 1), I(J, .imm = -8));
	CODE(&m, 0x9000, I(ADDI, .d = 3, .a = 3, .imm = 1), I(J, .imm = 24), END, END,
		/* 0x9020 */ I(J, .imm = -32));
	static const uint64_t pcs[KINDS] = {0x1000, 0x2000, 0x3000, 0x5000, 0x7000, 0x8000, 0x9000};
	for (unsigned n = 0; n < 4 * KINDS; n++) {
		state_of(&m, 0)->head.pc = pcs[n % KINDS];
		vcpu_resume(m.cpus[0]);
		usleep(500);
		vcpu_run_on(m.cpus[0], poke, &m);
		usleep(500);
		vcpu_park(m.cpus[0]);
		vcpu_park_wait(m.cpus[0]);
		CHECK(vcpu_is_parked(m.cpus[0]));
	}
	CHECK_EQ(__atomic_load_n(&m.poked, __ATOMIC_RELAXED), UINT64_C(4) * KINDS);
	vcpu_resume(m.cpus[0]); /* and freed while it runs */
	machine_done(&m);
}

static void note_thread(void *opaque, void *state)
{
	(void)state;
	*(pthread_t *)opaque = pthread_self();
}

/* Its thread never parked: it is busy all the same, and nobody else may touch its state. */
static void resumed_before_it_started(void)
{
	struct machine m;
	pthread_t where = pthread_self();
	machine_init(&m, 1);
	CODE(&m, 0x1000, I(LI, .d = 1, .imm = 1), I(LI, .d = 2), I(BNE, .a = 1, .b = 2, .imm = 0));
	state_of(&m, 0)->head.pc = 0x1000;
	vcpu_resume(m.cpus[0]);
	start(&m);
	struct vcpu_stats stats = {0};
	while (!stats.insns) {
		usleep(100);
		vcpu_stats(m.cpus[0], &stats);
	}
	vcpu_run_on(m.cpus[0], note_thread, &where);
	CHECK(!pthread_equal(where, pthread_self()));
	machine_done(&m);
}

static void waiting_and_timer(void)
{
	struct machine m;
	machine_init(&m, 1);
	start(&m);
	struct mini *s = state_of(&m, 0);
	CODE(&m, 0x1000, I(WAIT), END);
	uint64_t begin = clock_monotonic_ns();
	s->head.env->set_timer(s->head.env->opaque, begin + 20 * NS_PER_SEC / 1000);
	run_to_end(&m, 0x1000);
	uint64_t took = clock_monotonic_ns() - begin;
	CHECK(took >= 20 * NS_PER_SEC / 1000);
	CHECK(took < NS_PER_SEC);
	CHECK_EQ(s->interrupts, UINT64_C(1));
	/* a line, from outside */
	m.finished = 0;
	s->head.pc = 0x1000;
	vcpu_resume(m.cpus[0]);
	usleep(2000);
	vcpu_set_irq(m.cpus[0], 0, true);
	pthread_mutex_lock(&m.lock);
	while (!m.finished)
		pthread_cond_wait(&m.changed, &m.lock);
	pthread_mutex_unlock(&m.lock);
	vcpu_park_wait(m.cpus[0]);
	CHECK_EQ(s->interrupts, UINT64_C(2));
	machine_done(&m);
}

int main(void)
{
	RUN(loops_and_counts);
	RUN(faults_are_precise);
	RUN(accesses_across_pages);
	RUN(devices);
	RUN(code_that_changes);
	RUN(code_across_pages);
	RUN(code_across_one_page_mapped_twice);
	RUN(links_stay_in_one_host_page);
	RUN(code_changed_by_another_cpu);
	RUN(atomics);
	RUN(requests_between_cpus);
	RUN(loops_can_be_stopped);
	RUN(resumed_before_it_started);
	RUN(waiting_and_timer);
	return tap_done();
}
