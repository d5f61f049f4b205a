// SPDX-License-Identifier: Apache-2.0
// Supervisor-mode tests, run by test_system.c at 0x80000000 with 4 MiB of RAM and nothing else.
// Calls of the test: a7 = 1: a check failed (a0 line, a1 got, a2 wanted); 2: the test named at a0
// begins; 3: the end; 4: the firmware raises line a0.
//
// Traps: the handler keeps scause, sepc, stval, sstatus in s2 to s5 and goes on at s11, in supervisor
// mode with interrupts off.

#define BEGIN(name) .section .rodata; 77: .asciz name; .text; la a0, 77b; li a7, 2; ecall; jal plain
#define CHECK(reg, value) mv a1, reg; li a2, value; li a0, __LINE__; jal check
#define CHECK_AT(reg, label) mv a1, reg; la a2, label; li a0, __LINE__; jal check
/* insn, expected to trap (or not: NONE) */
#define NONE -1
#define TRAP(cause, ...) la s11, 99f; li s2, NONE; 98: __VA_ARGS__; 99: CHECK(s2, cause)
#define TRAP_AT(cause, value, ...) TRAP(cause, __VA_ARGS__); CHECK_AT(s3, 98b); CHECK(s4, value)

#define FETCH_ACCESS 1
#define ILLEGAL 2
#define BREAKPOINT 3
#define LOAD_MISALIGNED 4
#define LOAD_ACCESS 5
#define STORE_MISALIGNED 6
#define STORE_ACCESS 7
#define ECALL_USER 8
#define FETCH_PAGE 12
#define LOAD_PAGE 13
#define STORE_PAGE 15
#define INTERRUPT (1 << 63)

#define SIE (1 << 1)
#define SPIE (1 << 5)
#define SPP (1 << 8)
#define FS (3 << 13)
#define SUM (1 << 18)
#define MXR (1 << 19)

/* Page tables and pages, physical. VA 1 GiB is where tests map: L1 holds 2 MiB each, L0 4 KiB. */
#define ROOT 0x80100000
#define L1   0x80101000
#define L0   0x80102000
#define ROOT4 0x80103000
#define ROOT_B 0x80104000
#define L1_B 0x80105000
#define L0_B 0x80106000
#define PAGE 0x80120000 /* 64 KiB aligned; 16 pages */
#define VA(n) (0x40000000 + (n) * 4096)
#define V 1
#define R 2
#define W 4
#define X 8
#define U 16
#define G 32
#define A 64
#define D 128
#define RW (V | R | W | A | D)
#define PTE(pa, flags) (((pa) >> 12 << 10) | (flags))
#define SET(table, n, pte) li t0, (table) + 8 * (n); li t1, pte; sd t1, 0(t0); sfence.vma
#define MAP(n, pte) SET(L0, n, pte)
#define ENTRY(reg, table, n) li reg, (table) + 8 * (n); ld reg, 0(reg)
#define SV39(root, asid) ((8 << 60) | ((asid) << 44) | ((root) >> 12))
#define SV48(root, asid) ((9 << 60) | ((asid) << 44) | ((root) >> 12))

	.text
	.globl	_start
_start:
	la	t0, handler
	csrw	stvec, t0
	j	tests

	.balign	4
handler:
	csrr	s2, scause
	csrr	s3, sepc
	csrr	s4, stval
	csrr	s5, sstatus
	csrw	sepc, s11
	li	s6, SPP
	csrs	sstatus, s6
	li	s6, SPIE
	csrc	sstatus, s6
	sret

check:
	beq	a1, a2, 1f
	li	a7, 1
	ecall
1:	ret

/* Everything off: no translation, no interrupts, FS off. */
plain:
	csrw	satp, zero
	sfence.vma
	csrw	sie, zero
	csrci	sip, 2
	li	t0, -1
	csrw	stimecmp, t0
	li	t0, SUM | MXR | FS | SIE
	csrc	sstatus, t0
	csrw	senvcfg, zero
	csrw	scounteren, zero
	la	t0, handler
	csrw	stvec, t0
	ret

/* Sv39 with the first GiB of RAM mapped as itself, supervisor only. */
translated:
	SET(ROOT, 2, PTE(0x80000000, RW | X | G))
	SET(ROOT, 1, PTE(L1, V))
	SET(L1, 0, PTE(L0, V))
	li	t0, SV39(ROOT, 0)
	csrw	satp, t0
	sfence.vma
	ret

/* Runs the code at a3 in user mode until it traps; then goes on at s11. */
user:
	li	t0, SPP
	csrc	sstatus, t0
	csrw	sepc, a3
	sret
#define USER_TRAP(cause, label) la s11, 97f; la a3, label; j user; 97: CHECK(s2, cause); \
	CHECK_AT(s3, label); li t0, SPP; and t0, t0, s5; CHECK(t0, 0)

tests:
	BEGIN("illegal instructions and CSRs")
	TRAP_AT(ILLEGAL, 0x0000, .2byte 0x0000)
	TRAP_AT(ILLEGAL, 0xffffffff, .4byte 0xffffffff)
	TRAP_AT(ILLEGAL, 0x30200073, mret)
	TRAP_AT(ILLEGAL, 0x30002373, csrr t1, mstatus)
	TRAP_AT(ILLEGAL, 0x60002373, csrr t1, 0x600)
	TRAP_AT(ILLEGAL, 0xc0101073, csrw time, zero)
	TRAP_AT(ILLEGAL, 0xc0131373, csrrw t1, time, t1)
	TRAP(NONE, csrrs t1, time, zero)
	TRAP(NONE, csrr t1, hpmcounter3)
	TRAP_AT(ILLEGAL, 0x15002373, csrr t1, 0x150)
	la	s11, 1f
	li	s2, NONE
2:	ebreak
1:	CHECK(s2, BREAKPOINT)
	CHECK_AT(s3, 2b)
	CHECK_AT(s4, 2b)

	BEGIN("CSR fields")
	li	t0, -1
	csrw	sstatus, t0
	csrr	t1, sstatus
	li	t0, SIE
	csrc	sstatus, t0
	CHECK(t1, 0x80000002000c6122)
	csrw	sstatus, zero
	csrr	t1, sstatus
	CHECK(t1, 0x200000000)
	li	t0, -1
	csrw	sie, t0
	csrr	t1, sie
	csrw	sie, zero
	CHECK(t1, 0x222)
	csrw	sepc, t0
	csrr	t1, sepc
	CHECK(t1, -2)
	csrw	senvcfg, t0
	csrr	t1, senvcfg
	CHECK(t1, 0xf1)
	li	t0, 0x20
	csrw	senvcfg, t0
	csrr	t1, senvcfg
	CHECK(t1, 0x30)
	li	t0, 10 << 60
	csrw	satp, t0
	csrr	t1, satp
	CHECK(t1, 0)
	li	t0, -1
	csrw	scause, t0
	csrr	t1, scause
	CHECK(t1, -1)
	csrrw	t1, sscratch, t0
	csrrsi	t1, sscratch, 1
	CHECK(t1, -1)
	csrrci	t1, sscratch, 3
	csrr	t1, sscratch
	CHECK(t1, -4)

	BEGIN("floating-point state")
	TRAP(ILLEGAL, fadd.d fa0, fa0, fa0)
	TRAP(ILLEGAL, fld fa0, 0(sp))
	TRAP(ILLEGAL, csrr t1, fcsr)
	TRAP(ILLEGAL, csrr t1, fflags)
	TRAP(ILLEGAL, csrw fflags, zero)
	li	t0, 1 << 13
	csrs	sstatus, t0
	fmv.x.d	t1, fa0
	csrr	t1, sstatus
	CHECK(t1, 0x200002020)
	fmv.d.x	fa0, zero
	csrr	t1, sstatus
	CHECK(t1, 0x8000000200006020)
	csrwi	frm, 5
	TRAP(ILLEGAL, fadd.d fa0, fa0, fa0)
	TRAP(NONE, fadd.d fa0, fa0, fa0, rne)
	csrwi	frm, 0
	TRAP(ILLEGAL, .4byte 0x02a55553 /* fadd.d with rm = 5 */)

	BEGIN("what the random programs cannot ask qemu")
	li	t0, 0x8000000000000000
	ctzw	t1, t0
	CHECK(t1, 32)
	li	t0, 7
	li	t1, 0
	.4byte	0x0e62d3b3 /* czero.eqz t2, t0, t1 */
	CHECK(t2, 0)
	.4byte	0x0e62f3b3 /* czero.nez t2, t0, t1 */
	CHECK(t2, 7)
	TRAP(NONE, .4byte 0x00d00073 /* wrs.nto */)
	TRAP(NONE, .4byte 0x01d00073 /* wrs.sto */)
	la	t0, scratch + 20
	li	t1, -1
	sd	t1, -28(t0)
	sd	t1, 20(t0)
	sd	t1, 44(t0)
	.4byte	0x0042a00f /* cbo.zero (t0) */
	ld	t1, 20(t0)
	CHECK(t1, 0)
	ld	t1, -28(t0)
	CHECK(t1, -1)
	ld	t1, 44(t0)
	CHECK(t1, -1)
	li	t0, 0x70000001
	TRAP_AT(STORE_ACCESS, 0x70000001, .4byte 0x0042a00f)
	TRAP(NONE, .4byte 0x0012a00f /* cbo.clean (t0): nothing there to be cleaned */)

	BEGIN("misaligned atomics")
	la	t0, scratch + 2
	TRAP(LOAD_MISALIGNED, lr.w t1, (t0))
	TRAP(STORE_MISALIGNED, sc.w t1, t1, (t0))
	TRAP(STORE_MISALIGNED, amoadd.w t1, t1, (t0))
	la	t0, scratch + 4
	TRAP(NONE, amoadd.w t1, t1, (t0))
	TRAP(STORE_MISALIGNED, amoadd.d t1, t1, (t0))

	BEGIN("nothing at an address")
	li	t0, 0x70000000
	TRAP_AT(LOAD_ACCESS, 0x70000000, lb t1, 0(t0))
	TRAP_AT(STORE_ACCESS, 0x70000008, sd t1, 8(t0))
	TRAP_AT(STORE_ACCESS, 0x70000000, amoadd.w t1, t1, (t0))
	la	s11, 1f
	jr	t0
1:	CHECK(s2, FETCH_ACCESS)
	CHECK(s3, 0x70000000)
	CHECK(s4, 0x70000000)

	BEGIN("counters")
	rdinstret t0
	nop
	nop
	rdinstret t1
	sub	t1, t1, t0
	CHECK(t1, 3)
	rdtime	t0
	rdtime	t1
	sltu	t1, t1, t0
	CHECK(t1, 0)

	BEGIN("user mode")
	USER_TRAP(ECALL_USER, u_ecall)
	USER_TRAP(ILLEGAL, u_csr)
	USER_TRAP(ILLEGAL, u_sret)
	USER_TRAP(ILLEGAL, u_wfi)
	USER_TRAP(ILLEGAL, u_sfence)
	USER_TRAP(ILLEGAL, u_time)
	CHECK(s4, 0xc0102373)
	USER_TRAP(ILLEGAL, u_cbo_zero)
	USER_TRAP(ILLEGAL, u_cbo_inval)
	USER_TRAP(ILLEGAL, u_cbo_flush)
	csrwi	scounteren, 2
	la	s11, 1f
	la	a3, u_time
	j	user
1:	CHECK(s2, ECALL_USER)
	li	t0, 0xf0
	csrw	senvcfg, t0
	la	t0, scratch
	la	s11, 1f
	la	a3, u_cbo_zero
	la	t2, scratch
	j	user
1:	CHECK(s2, ECALL_USER)

	BEGIN("sret")
	la	t0, 1f
	csrw	sepc, t0
	li	t0, SPP | SPIE
	csrs	sstatus, t0
	sret
1:	csrr	t1, sstatus
	csrci	sstatus, 2
	CHECK(t1, 0x200000022)
	la	t0, 1f
	csrw	sepc, t0
	li	t0, SPP
	csrs	sstatus, t0
	la	t2, scratch
	lr.d	t1, (t2)
	sret
1:	sc.d	t1, t1, (t2)
	CHECK(t1, 1) /* the reservation is gone */

	BEGIN("interrupts")
	li	s2, NONE
	csrsi	sip, 2
	csrwi	sie, 2
	csrr	t1, sip
	CHECK(t1, 2)
	nop
	CHECK(s2, NONE) /* SIE is off */
	la	s11, 1f
	csrsi	sstatus, 2
2:	j	2b
1:	CHECK(s2, INTERRUPT | 1)
	CHECK_AT(s3, 2b)
	CHECK(s4, 0)
	csrci	sip, 2
	/* vectored: interrupts spread, exceptions do not */
	la	t0, vectors
	ori	t0, t0, 1
	csrw	stvec, t0
	la	s11, 1f
	li	s7, 0
	csrsi	sip, 2
	csrsi	sstatus, 2
	nop
1:	CHECK(s7, 1)
	csrci	sip, 2
	la	s11, 1f
	ebreak
1:	CHECK(s7, 100)
	/* the order: external, software, timer */
	csrw	stimecmp, zero
	csrsi	sip, 2
	li	a0, 9
	li	a7, 4
	ecall
	li	t0, 0x222
	csrw	sie, t0
	csrr	t1, sip
	CHECK(t1, 0x222)
	la	s11, 1f
	csrsi	sstatus, 2
	nop
1:	CHECK(s7, 9)
	li	a0, 9 + 64
	li	a7, 4
	ecall
	la	s11, 1f
	csrsi	sstatus, 2
	nop
1:	CHECK(s7, 1)
	csrci	sip, 2
	la	s11, 1f
	csrsi	sstatus, 2
	nop
1:	CHECK(s7, 5)
	li	t0, -1
	csrw	stimecmp, t0
	csrr	t1, sip
	CHECK(t1, 0)

	BEGIN("timer and waiting")
	rdtime	t0
	li	t1, 1000000 /* 100 ms: a busy host may take some of it before the next check */
	add	t2, t0, t1
	csrw	stimecmp, t2
	csrr	t1, sip
	CHECK(t1, 0)
	li	t1, 0x20
	csrw	sie, t1
	wfi /* with SIE off it only waits */
	rdtime	t1
	sltu	t1, t1, t2
	CHECK(t1, 0)
	csrr	t1, sip
	CHECK(t1, 0x20)
	la	s11, 1f
	csrsi	sstatus, 2
	nop
1:	CHECK(s2, INTERRUPT | 5)

	BEGIN("code that changes")
	la	t0, changing
	jalr	t0
	CHECK(a0, 1)
	li	t1, 0x00200513 /* li a0, 2 */
	la	t0, changing
	sw	t1, 0(t0)
	fence.i
	jalr	t0
	CHECK(a0, 2)

	BEGIN("page faults")
	jal	translated
	li	s8, VA(1)
	MAP(1, 0)
	TRAP_AT(LOAD_PAGE, VA(1) + 8, ld t1, 8(s8))
	TRAP_AT(STORE_PAGE, VA(1) + 8, sd t1, 8(s8))
	TRAP_AT(STORE_PAGE, VA(1), amoadd.d t1, t1, (s8))
	TRAP_AT(LOAD_PAGE, VA(1), lr.d t1, (s8))
	TRAP_AT(STORE_PAGE, VA(1), .4byte 0x001c200f /* cbo.clean (s8) */)
	la	s11, 1f
	jr	s8
1:	CHECK(s2, FETCH_PAGE)
	CHECK(s3, VA(1))
	CHECK(s4, VA(1))
	MAP(1, PTE(PAGE, V | R | A))
	TRAP(NONE, ld t1, 8(s8))
	TRAP_AT(STORE_PAGE, VA(1), sd t1, 0(s8))
	TRAP(FETCH_PAGE, jr s8)
	MAP(1, PTE(PAGE, V | W | A | D)) /* reserved */
	TRAP(LOAD_PAGE, ld t1, 8(s8))
	MAP(1, PTE(PAGE, V | X | A))
	TRAP(LOAD_PAGE, ld t1, 8(s8))
	li	t0, MXR
	csrs	sstatus, t0
	TRAP(NONE, ld t1, 8(s8))
	TRAP(STORE_PAGE, sd t1, 8(s8))
	li	t0, MXR
	csrc	sstatus, t0
	TRAP(LOAD_PAGE, ld t1, 8(s8))
	/* not canonical; a table or a page where there is no RAM */
	li	t0, 1 << 39
	TRAP_AT(LOAD_PAGE, 1 << 39, ld t1, 0(t0))
	li	t0, VA(1) | (1 << 63)
	TRAP(LOAD_PAGE, ld t1, 0(t0))
	SET(ROOT, 3, PTE(0x70000000, V))
	li	t0, 0xc0000000
	TRAP_AT(LOAD_ACCESS, 0xc0000000, ld t1, 0(t0))
	TRAP(STORE_ACCESS, sd t1, 0(t0))
	TRAP(FETCH_ACCESS, jr t0)
	SET(ROOT, 3, 0)
	MAP(1, PTE(0x70000000, RW))
	TRAP_AT(LOAD_ACCESS, VA(1), ld t1, 0(s8))

	/* The function is first met while FS is dirty already. Later it runs when FS is clean. */
	BEGIN("code that was first run with dirty registers makes clean ones dirty")
	li	t0, FS
	csrc	sstatus, t0
	li	t0, 2 << 13
	csrs	sstatus, t0
	fmv.d.x	fa0, zero
	jal	uses_f
	li	t0, 1 << 13
	csrc	sstatus, t0
	jal	uses_f
	csrr	t1, sstatus
	li	t0, FS
	and	t1, t1, t0
	CHECK(t1, FS)

	BEGIN("flags that are written make clean registers dirty")
	li	t0, FS
	csrc	sstatus, t0
	li	t0, 1 << 13
	csrs	sstatus, t0
	csrr	t1, fflags
	csrr	t1, sstatus
	li	t0, FS
	and	t1, t1, t0
	CHECK(t1, 1 << 13)
	csrwi	fflags, 3
	csrr	t1, sstatus
	li	t0, FS
	and	t1, t1, t0
	CHECK(t1, FS)
	csrr	t1, fflags
	CHECK(t1, 3)

	BEGIN("user pages")
	jal	translated
	li	s8, VA(1)
	MAP(1, PTE(PAGE, RW | X | U))
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	TRAP(FETCH_PAGE, jr s8)
	li	t0, SUM
	csrs	sstatus, t0
	TRAP(NONE, ld t1, 0(s8))
	TRAP(NONE, sd t1, 0(s8))
	TRAP(FETCH_PAGE, jr s8)
	li	t0, SUM
	csrc	sstatus, t0
	TRAP(STORE_PAGE, sd t1, 0(s8))
	/* and from user mode: code at VA(2), the supervisor's page at VA(3) */
	la	t1, user_page
	srli	t1, t1, 2
	ori	t1, t1, V | R | X | U | A
	li	t0, L0 + 8 * 2
	sd	t1, 0(t0)
	MAP(3, PTE(PAGE + 4096, RW | X))
	la	s11, 1f
	li	a3, VA(2)
	li	s8, VA(1)
	j	user
1:	CHECK(s2, ECALL_USER)
	la	s11, 1f
	li	a3, VA(2)
	li	s8, VA(3)
	j	user
1:	CHECK(s2, LOAD_PAGE)
	CHECK(s3, VA(2))
	CHECK(s4, VA(3))
	la	s11, 1f
	li	a3, VA(3)
	j	user
1:	CHECK(s2, FETCH_PAGE)

	BEGIN("accessed and dirty bits")
	jal	translated
	li	s8, VA(1)
	MAP(1, PTE(PAGE, V | R | W))
	TRAP(NONE, ld t1, 0(s8))
	ENTRY(t1, L0, 1)
	CHECK(t1, PTE(PAGE, V | R | W | A))
	TRAP(NONE, sd t1, 0(s8))
	ENTRY(t1, L0, 1)
	CHECK(t1, PTE(PAGE, RW))
	MAP(1, PTE(PAGE, V | R | W))
	TRAP(NONE, amoadd.w t1, t1, (s8))
	ENTRY(t1, L0, 1)
	CHECK(t1, PTE(PAGE, RW))
	MAP(1, PTE(PAGE, V | R)) /* a refused access leaves them alone */
	TRAP(STORE_PAGE, sd t1, 0(s8))
	ENTRY(t1, L0, 1)
	CHECK(t1, PTE(PAGE, V | R))

	BEGIN("large pages")
	jal	translated
	li	t0, 0x80200000 + 0x12340
	li	t1, 77
	sd	t1, 0(t0)
	SET(L1, 1, PTE(0x80200000, RW))
	li	s8, 0x40200000 + 0x12340
	ld	t1, 0(s8)
	CHECK(t1, 77)
	/* one fence for an address of it is for all of it */
	li	t0, L1 + 8
	sd	zero, 0(t0)
	li	t0, 0x40200000
	sfence.vma t0
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	SET(L1, 1, PTE(0x80201000, RW)) /* misaligned */
	TRAP_AT(LOAD_PAGE, 0x40212340, ld t1, 0(s8))
	SET(ROOT, 3, PTE(0x80200000, RW))
	li	t0, 0xc0000000
	TRAP(LOAD_PAGE, ld t1, 0(t0))
	/* 1 GiB: the fence is for another part of it */
	SET(ROOT, 3, PTE(0x80000000, RW | G))
	li	s8, 0xc0200000 + 0x12340
	ld	t1, 0(s8)
	CHECK(t1, 77)
	li	t0, ROOT + 8 * 3
	sd	zero, 0(t0)
	li	t0, 0xc0400000
	sfence.vma t0
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	/* read here, written there: now it is dirty */
	SET(L1, 1, PTE(0x80200000, V | R | W))
	li	s8, 0x40200000
	ld	t1, 0(s8)
	ENTRY(t1, L1, 1)
	CHECK(t1, PTE(0x80200000, V | R | W | A))
	li	t0, 0x4000
	add	s8, s8, t0
	TRAP(NONE, sd zero, 0(s8))
	ENTRY(t1, L1, 1)
	CHECK(t1, PTE(0x80200000, RW))
	/* read only, and written in another place: the leaf as it is now counts */
	SET(L1, 1, PTE(0x80200000, V | R | A | D))
	ld	t1, 0(s8)
	TRAP(STORE_PAGE, sd zero, 0(s8))
	/* another address space knows nothing of this one's, but what is global */
	SET(L1, 1, PTE(0x80200000, RW))
	li	s8, 0x40200000 + 0x12340
	ld	t1, 0(s8)
	CHECK(t1, 77)
	li	t1, 88
	sd	t1, 0x400(s8)
	li	t0, L1 + 8
	li	t1, PTE(0x80200000 - 0x200000, RW)
	sd	t1, 0(t0)
	csrr	t2, satp
	li	t1, 5 << 44
	xor	t1, t1, t2
	csrw	satp, t1
	ld	t1, 0x400(s8)
	csrw	satp, t2
	sfence.vma
	xori	t1, t1, 88
	snez	t1, t1
	CHECK(t1, 1)
	/* nor does one that takes an old one's place: the first and the last two look */
	li	t4, 6
1:	li	t1, PTE(0x80200000, RW)
	li	t3, 0
	li	t5, 6
	beq	t4, t5, 2f
	li	t1, PTE(0x80200000 - 0x200000, RW)
	li	t3, 1
2:	li	t0, L1 + 8
	sd	t1, 0(t0)
	addi	t1, t4, 8
	slli	t1, t1, 44
	xor	t1, t1, t2
	csrw	satp, t1
	beq	t4, t5, 4f
	li	t5, 3
	bge	t4, t5, 5f
4:	ld	t1, 0x400(s8)
	xori	t1, t1, 88
	snez	t1, t1
	bne	t1, t3, 3f
5:	addi	t4, t4, -1
	bnez	t4, 1b
3:	csrw	satp, t2
	sfence.vma
	CHECK(t4, 0)
	/* global ones that a space has from another one, above all others and below: there too a
	 * fence for any address of them is for all of it */
	SET(ROOT, 3, PTE(0x80000000, RW | G))
	SET(L1, 3, PTE(0x80200000, RW | G))
	li	s8, 0xc0200000 + 0x12340
	li	s9, 0x40600000 + 0x12340
	ld	t1, 0(s8)
	ld	t1, 0(s9)
	li	t1, SV39(ROOT, 77)
	csrw	satp, t1
	ld	t1, 0(s8)
	CHECK(t1, 77)
	li	t0, ROOT + 8 * 3
	sd	zero, 0(t0)
	li	t0, 0xc0400000
	sfence.vma t0
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	ld	t1, 0(s9)
	CHECK(t1, 77)
	li	t0, L1 + 8 * 3
	sd	zero, 0(t0)
	li	t0, 0x40601000
	sfence.vma t0
	TRAP(LOAD_PAGE, ld t1, 0(s9))
	/* not even those are known in another mode, nor after it */
	SET(ROOT4, 0, PTE(ROOT_B, V))
	SET(ROOT_B, 2, PTE(0x80000000, RW | X | G))
	SET(ROOT_B, 3, 0)
	csrw	satp, t2
	SET(ROOT, 3, PTE(0x80000000, RW | G))
	ld	t1, 0(s8)
	CHECK(t1, 77)
	li	t1, SV48(ROOT4, 79)
	csrw	satp, t1
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	csrw	satp, t2
	ld	t1, 0(s8)
	CHECK(t1, 77)
	csrw	satp, zero
	li	t1, SV39(ROOT_B, 78)
	csrw	satp, t1
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	csrw	satp, t2
	SET(ROOT, 3, 0)

	BEGIN("NAPOT, memory types, reserved bits")
	jal	translated
	li	t0, PAGE + 0x5008
	li	t1, 55
	sd	t1, 0(t0)
	SET(L0, 16 + 5, PTE(PAGE + 0x8000, RW | (1 << 63)))
	li	s8, VA(16 + 5) + 8
	ld	t1, 0(s8)
	CHECK(t1, 55)
	SET(L0, 16 + 5, PTE(PAGE + 0x4000, RW | (1 << 63)))
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	SET(L1, 1, PTE(0x80208000, RW | (1 << 63)))
	li	s8, 0x40200000
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	li	s8, VA(1)
	MAP(1, PTE(PAGE, RW | (1 << 61)))
	TRAP(NONE, ld t1, 0(s8))
	MAP(1, PTE(PAGE, RW | (2 << 61)))
	TRAP(NONE, ld t1, 0(s8))
	MAP(1, PTE(PAGE, RW | (3 << 61)))
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	MAP(1, PTE(PAGE, RW | (1 << 54)))
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	MAP(1, PTE(PAGE, RW | (1 << 60)))
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	MAP(1, PTE(PAGE, RW))
	SET(L1, 0, PTE(L0, V | A))
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	SET(L1, 0, PTE(L0, V | (1 << 61)))
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	MAP(1, PTE(L0, V)) /* a table where none can be */
	SET(L1, 0, PTE(L0, V))
	TRAP(LOAD_PAGE, ld t1, 0(s8))

	BEGIN("across pages")
	jal	translated
	MAP(1, PTE(PAGE, RW))
	MAP(2, 0)
	li	s8, VA(2) - 3
	li	t1, 0x1111111111111111
	sd	t1, -8(s8)
	TRAP_AT(STORE_PAGE, VA(2), sd s8, 0(s8))
	ld	t1, -5(s8)
	CHECK(t1, 0x1111111111) /* nothing was stored: three bytes are 0 as before */
	lbu	t1, 0(s8)
	CHECK(t1, 0)
	TRAP_AT(LOAD_PAGE, VA(2), ld t1, 0(s8))
	MAP(2, PTE(PAGE + 0x3000, RW))
	li	t1, 0x1122334455667788
	TRAP(NONE, sd t1, 0(s8))
	TRAP(NONE, ld t1, 0(s8))
	CHECK(t1, 0x1122334455667788)
	li	t0, PAGE + 0x3000
	lw	t1, 0(t0)
	CHECK(t1, 0x22334455)
	/* an instruction of which the second half is missing */
	MAP(1, PTE(PAGE, RW | X))
	MAP(2, 0)
	li	t0, VA(1) + 0xffe
	li	t1, 0x13
	sh	t1, 0(t0)
	fence.i
	la	s11, 1f
	jr	t0
1:	CHECK(s2, FETCH_PAGE)
	CHECK(s3, VA(1) + 0xffe)
	CHECK(s4, VA(2))

	BEGIN("Sv48")
	jal	translated
	SET(ROOT4, 0, PTE(ROOT, V))
	SET(ROOT4, 256, PTE(ROOT, V))
	MAP(1, PTE(PAGE + 0x5000, RW))
	li	t0, SV48(ROOT4, 0)
	csrw	satp, t0
	sfence.vma
	li	s8, VA(1) + 8
	ld	t1, 0(s8)
	CHECK(t1, 55)
	li	s8, 0xffff800040001008
	ld	t1, 0(s8)
	CHECK(t1, 55)
	li	t0, 1 << 47
	TRAP(LOAD_PAGE, ld t1, 0(t0))
	SET(ROOT4, 1, PTE(0, RW | X)) /* a page of 512 GiB */
	li	t0, (1 << 39) + PAGE + 0x5008
	ld	t1, 0(t0)
	CHECK(t1, 55)

	BEGIN("address spaces")
	jal	translated
	li	t0, PAGE
	li	t1, 1
	sd	t1, 0(t0)
	li	t0, PAGE + 0x1000
	li	t1, 2
	sd	t1, 0(t0)
	MAP(1, PTE(PAGE, RW))
	SET(ROOT_B, 2, PTE(0x80000000, RW | X | G))
	SET(ROOT_B, 1, PTE(L1_B, V))
	SET(L1_B, 0, PTE(L0_B, V))
	SET(L0_B, 1, PTE(PAGE + 0x1000, RW))
	li	s8, VA(1)
	li	s9, SV39(ROOT, 1)
	li	s10, SV39(ROOT_B, 2)
	csrw	satp, s9
	ld	t1, 0(s8)
	CHECK(t1, 1)
	csrw	satp, s10
	ld	t1, 0(s8)
	CHECK(t1, 2)
	csrw	satp, s9
	ld	t1, 0(s8)
	CHECK(t1, 1)
	/* another space's mapping goes, this one's stays; four forms of the fence */
	li	t0, L0_B + 8
	sd	zero, 0(t0)
	li	t2, 2
	sfence.vma zero, t2
	csrw	satp, s10
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	SET(L0_B, 1, PTE(PAGE + 0x1000, RW))
	ld	t1, 0(s8)
	li	t0, L0_B + 8
	sd	zero, 0(t0)
	li	t2, 2
	sfence.vma s8, t2
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	SET(L0_B, 1, PTE(PAGE + 0x1000, RW))
	ld	t1, 0(s8)
	li	t0, L0_B + 8
	sd	zero, 0(t0)
	sfence.vma s8, zero
	TRAP(LOAD_PAGE, ld t1, 0(s8))
	jal	plain

	li	a7, 3
	ecall
	j	.

	.balign	4
vectors:
	j	.Lexception
	.org	vectors + 4
	j	.Lv1
	.org	vectors + 20
	j	.Lv5
	.org	vectors + 36
	j	.Lv9
.Lexception:
	li	s7, 100
	j	.Lback
.Lv1:	li	s7, 1
	j	.Lback
.Lv5:	li	s7, 5
	j	.Lback
.Lv9:	li	s7, 9
.Lback:	j	handler

changing:
	.option	push
	.option	norvc
	li	a0, 1
	ret
	.option	pop

uses_f:	fmv.d.x	fa1, zero
	ret

u_ecall:	ecall
u_csr:	csrr	t1, sstatus
u_sret:	sret
u_wfi:	wfi
u_sfence:	sfence.vma
	.option	push
	.option	norvc
u_time:	csrr	t1, time
	ecall
u_cbo_zero:	.4byte	0x0043a00f /* cbo.zero (t2) */
	ecall
u_cbo_inval:	.4byte	0x0003a00f
u_cbo_flush:	.4byte	0x0023a00f
	.option	pop

	.balign	4096
user_page:
	ld	t1, 0(s8)
	sd	t1, 0(s8)
	ecall

	.data
	.balign	64
	.skip	64
scratch:	.skip	192
