// SPDX-License-Identifier: Apache-2.0
// Speed of the interpreter on small loops of RISC-V code: instructions per second of CPU time.
#include <inttypes.h>
#include <semaphore.h>
#include <stdio.h>
#include <time.h>

#include "cpu/vcpu.h"
#include "isa/rv64/rv64.h"

static const uint32_t alu[] = {
	0x04000437, // lui s0, 0x4000
	0x00000513, // addi a0, zero, 0
	0x00350513, // addi a0, a0, 3
	0x008545b3, // xor a1, a0, s0
	0x00a5863b, // addw a2, a1, a0
	0x00361693, // slli a3, a2, 0x3
	0x00d50533, // add a0, a0, a3
	0xfff40413, // addi s0, s0, -1
	0xfe0414e3, // bne s0, zero, 80000008
	0x00000073, // ecall
};
static const uint32_t mem[] = {
	0x02000437, // lui s0, 0x2000
	0x801005b7, // lui a1, 0x80100
	0x02059593, // slli a1, a1, 0x20
	0x0205d593, // srli a1, a1, 0x20
	0x7f847613, // andi a2, s0, 2040
	0x00c58633, // add a2, a1, a2
	0x00063683, // ld a3, 0(a2)
	0x008686b3, // add a3, a3, s0
	0x00d63023, // sd a3, 0(a2)
	0x00564703, // lbu a4, 5(a2)
	0xfff40413, // addi s0, s0, -1
	0xfe0412e3, // bne s0, zero, 80000010
	0x00000073, // ecall
};
static const uint32_t call[] = {
	0x02000437, // lui s0, 0x2000
	0x010000ef, // jal ra, 80000014
	0xfff40413, // addi s0, s0, -1
	0xfe041ce3, // bne s0, zero, 80000004
	0x00000073, // ecall
	0x00150513, // addi a0, a0, 1
	0x00008067, // jalr zero, 0(ra)
};
static const uint32_t fp[] = {
	0x01000437, // lui s0, 0x1000
	0xd2207553, // fcvt.d.l fa0, zero
	0xd22475d3, // fcvt.d.l fa1, s0
	0x02b57553, // fadd.d fa0, fa0, fa1
	0x12b57653, // fmul.d fa2, fa0, fa1
	0x0aa676d3, // fsub.d fa3, fa2, fa0
	0x6ab57743, // fmadd.d fa4, fa0, fa1, fa3
	0xfff40413, // addi s0, s0, -1
	0xfe0416e3, // bne s0, zero, 8000000c
	0x00000073, // ecall
};

static const struct {
	const char *name;
	const uint32_t *code;
	size_t bytes;
} loops[] = {
	{"alu", alu, sizeof(alu)},
	{"memory", mem, sizeof(mem)},
	{"call and return", call, sizeof(call)},
	{"floating point", fp, sizeof(fp)},
};

enum { RAM_BYTES = 16 << 20, CODE = 0x80000000u };

/* Of the process: its main thread only waits. */
static uint64_t cpu_time_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* The loops end with an ecall. */
static void firmware_call(void *opaque, struct vcpu *v, void *state)
{
	vcpu_park(v);
	sem_post(opaque);
}

static int run(unsigned n, struct error *err)
{
	struct memory *memory;
	struct vcpu_group *group;
	struct vcpu *v;
	struct vcpu_stats stats;
	sem_t ended;
	sem_init(&ended, 0, 0);
	struct vcpu_callbacks callbacks = {.opaque = &ended, .firmware_call = firmware_call};
	if (memory_new(&memory, err) < 0 || memory_add_ram(memory, GPA(CODE), RAM_BYTES, err) < 0 ||
		vcpu_group_new(&group, &rv64_isa, memory, &callbacks, err) < 0 ||
		vcpu_new(group, 0, &v, err) < 0 || vcpu_start(v, err) < 0)
		return -1;
	memory_write(memory, GPA(CODE), loops[n].code, loops[n].bytes);
	struct rv64_cpu *cpu = vcpu_state(v);
	rv64_reset(cpu, CODE, 0, 0);
	cpu->fs = 3; /* floating point is on */
	uint64_t start = cpu_time_ns();
	vcpu_resume(v);
	sem_wait(&ended);
	uint64_t ns = cpu_time_ns() - start;
	vcpu_park_wait(v);
	vcpu_stats(v, &stats);
	printf("%-16s %12" PRIu64 " instructions  %6.3f s  %7.1f million a second\n", loops[n].name,
		stats.insns, (double)ns / 1e9, (double)stats.insns * 1e3 / (double)ns);
	vcpu_group_free(group);
	memory_free(memory);
	sem_destroy(&ended);
	return 0;
}

int main(void)
{
	struct error err _error_ = ERROR_INIT;
	for (unsigned n = 0; n < ARRAY_SIZE(loops); n++) {
		if (run(n, &err) < 0) {
			fprintf(stderr, "interp_loop: %s\n", err.message);
			return 1;
		}
	}
	return 0;
}
