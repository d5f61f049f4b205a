// SPDX-License-Identifier: Apache-2.0
// Code that another thread changes behind a call that has not come back yet.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RISCV_FLUSH_ICACHE = 259, ROUNDS = 30, WARM = 80 };

extern uint32_t site[];
volatile long entered, flag;
struct result {
	long value, flag;
};
struct result caller(void);

/* The leaf says that it is there, takes its time, looks at the flag, and returns. */
__asm__(".option push\n.option norvc\n.option norelax\n"
	".p2align 12\n.globl caller, site\n"
	"caller: addi sp, sp, -16\n sd ra, 0(sp)\n call leaf\n"
	"site: li a0, 1\n ld ra, 0(sp)\n addi sp, sp, 16\n ret\n"
	".p2align 12\n"
	"leaf: la t2, entered\n li t3, 1\n sd t3, 0(t2)\n la t2, flag\n"
	".rept 12000\n fdiv.d ft0, ft0, ft1, rmm\n.endr\n"
	"ld a1, 0(t2)\n fence r, rw\n ret\n"
	".p2align 12\n.option pop\n");

static void *patch(void *insn)
{
	while (!entered)
		;
	*(volatile uint32_t *)site = (uint32_t)(uintptr_t)insn;
	syscall(RISCV_FLUSH_ICACHE, 0, 0, 0); /* of all threads */
	__sync_synchronize();
	flag = 1;
	return NULL;
}

int main(void)
{
	int old = 0;
	mprotect((void *)((uintptr_t)site & -4096ul), 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
	caller();
	for (int k = 0; k < ROUNDS; k++) {
		long want = k & 1 ? 1 : 2;
		pthread_t thread;
		for (int n = 0; n < WARM; n++)
			caller();
		flag = entered = 0;
		pthread_create(&thread, NULL, patch, (void *)(uintptr_t)(0x513u | want << 20));
		usleep(1000);
		struct result r = caller();
		pthread_join(thread, NULL);
		old += r.flag && r.value != want;
	}
	printf("old code was run %d times\n", old);
	return 0;
}
