// SPDX-License-Identifier: Apache-2.0
// The CSRs: one row each, and the functions behind those that are more than a variable.
#include "isa/fpu.h"
#include "isa/rv64/internal.h"

/* --- floating point --- */
const struct rv64_fp_flag rv64_fp_flags[RV64_FP_FLAGS] = {
	{FE_INEXACT, 1},
	{FE_UNDERFLOW, 2},
	{FE_OVERFLOW, 4},
	{FE_DIVBYZERO, 8},
	{FE_INVALID, 16},
};

uint32_t rv64_fflags_from_host(uint32_t host)
{
	uint32_t flags = 0;
	for (unsigned n = 0; n < RV64_FP_FLAGS; n++)
		if (host & rv64_fp_flags[n].host)
			flags |= rv64_fp_flags[n].guest;
	return flags;
}
uint32_t rv64_fflags_to_host(uint32_t guest)
{
	uint32_t flags = 0;
	for (unsigned n = 0; n < RV64_FP_FLAGS; n++)
		if (guest & rv64_fp_flags[n].guest)
			flags |= rv64_fp_flags[n].host;
	return flags;
}
static uint64_t read_fflags(struct rv64_cpu *c)
{
	fpu_harvest(&c->head);
	return rv64_fflags_from_host(c->head.fp_flags);
}
void rv64_set_frm(struct rv64_cpu *c, uint32_t frm)
{
	c->frm = frm & 7;
	/* No code rounds with the other modes dynamically: see rv64_translation_flags(). */
	fpu_set_rounding(&c->head, c->frm <= IR_RM_NEAREST_AWAY ? c->frm : IR_RM_NEAREST_EVEN);
}
static void write_fflags(struct rv64_cpu *c, uint64_t v, uint64_t touched)
{
	fpu_set_flags(&c->head, rv64_fflags_to_host((uint32_t)v & 31));
}
static uint64_t read_frm(struct rv64_cpu *c)
{
	return c->frm;
}
static void write_frm(struct rv64_cpu *c, uint64_t v, uint64_t touched)
{
	rv64_set_frm(c, (uint32_t)v & 7);
}
static uint64_t read_fcsr(struct rv64_cpu *c)
{
	return read_fflags(c) | (uint64_t)c->frm << 5;
}
static void write_fcsr(struct rv64_cpu *c, uint64_t v, uint64_t touched)
{
	fpu_set_flags(&c->head, rv64_fflags_to_host((uint32_t)v & 31));
	rv64_set_frm(c, (uint32_t)v >> 5 & 7);
}

/* --- counters: one cycle is one instruction, or what is not counted takes a nanosecond --- */
uint64_t rv64_counter(const struct rv64_cpu *c)
{
	return c->head.counts_insns ? c->counter_base + c->head.insns_retired
				    : MAX(c->counter_base, rv64_time_ns(c));
}
void rv64_set_counter(struct rv64_cpu *c, uint64_t value)
{
	c->counter_base = value - (c->head.counts_insns ? c->head.insns_retired : 0);
}
static uint64_t read_insns(struct rv64_cpu *c)
{
	return rv64_counter(c);
}
static uint64_t read_time(struct rv64_cpu *c)
{
	return rv64_time(c);
}
static uint64_t read_zero(struct rv64_cpu *c)
{
	return 0;
}

/* --- supervisor --- */
uint64_t rv64_sstatus(const struct rv64_cpu *c)
{
	return c->sstatus | SSTATUS_UXL | (uint64_t)c->fs << SSTATUS_FS_SHIFT |
	       (c->fs == 3 ? SSTATUS_SD : 0);
}
static uint64_t read_sstatus(struct rv64_cpu *c)
{
	return rv64_sstatus(c);
}
static void write_sstatus(struct rv64_cpu *c, uint64_t v, uint64_t touched)
{
	uint64_t changed = c->sstatus ^ (v & SSTATUS_WRITABLE);
	c->sstatus = v & SSTATUS_WRITABLE;
	c->fs = (uint32_t)(v >> SSTATUS_FS_SHIFT) & 3;
	if (changed & SSTATUS_SUM)
		rv64_mmu_mode_changed(c);
	if (changed & SSTATUS_MXR)
		rv64_mmu_mxr_changed(c);
	rv64_check_interrupts(c);
}
static uint64_t read_sie(struct rv64_cpu *c)
{
	return c->sie;
}
static void write_sie(struct rv64_cpu *c, uint64_t v, uint64_t touched)
{
	c->sie = v & IRQ_ALL;
	rv64_check_interrupts(c);
}
static uint64_t read_sip(struct rv64_cpu *c)
{
	return rv64_sip(c);
}
static void write_sip(struct rv64_cpu *c, uint64_t v, uint64_t touched)
{
	/* Others may set lines meanwhile: only the bit that the guest means is touched. */
	uint64_t bit = IRQ_BIT(RV64_IRQ_SOFTWARE);
	if (!(touched & bit))
		return;
	if (v & bit)
		atomic_fetch_or(&c->sip, bit);
	else
		atomic_fetch_and(&c->sip, ~bit);
	rv64_check_interrupts(c);
}
static uint64_t read_stvec(struct rv64_cpu *c)
{
	return c->stvec;
}
static void write_stvec(struct rv64_cpu *c, uint64_t v, uint64_t touched)
{
	c->stvec = v & ~UINT64_C(2); /* direct and vectored; the rest is reserved */
}
static uint64_t read_scounteren(struct rv64_cpu *c)
{
	return c->scounteren;
}
static void write_scounteren(struct rv64_cpu *c, uint64_t v, uint64_t touched)
{
	c->scounteren = (uint32_t)v;
}
static uint64_t read_senvcfg(struct rv64_cpu *c)
{
	return c->senvcfg;
}
static void write_senvcfg(struct rv64_cpu *c, uint64_t v, uint64_t touched)
{
	uint64_t old = c->senvcfg;
	c->senvcfg = v & (SENVCFG_FIOM | SENVCFG_CBIE | SENVCFG_CBCFE | SENVCFG_CBZE);
	if ((c->senvcfg & SENVCFG_CBIE) == UINT64_C(2) << SENVCFG_CBIE_SHIFT) /* reserved */
		c->senvcfg = (c->senvcfg & ~SENVCFG_CBIE) | (old & SENVCFG_CBIE);
}
static uint64_t read_satp(struct rv64_cpu *c)
{
	return c->satp;
}
static void write_satp(struct rv64_cpu *c, uint64_t v, uint64_t touched)
{
	uint64_t mode = v >> SATP_MODE_SHIFT;
	if (mode == SATP_BARE || mode == SATP_SV39 || mode == SATP_SV48)
		rv64_mmu_set_satp(c, mode == SATP_BARE ? 0 : v);
}
static uint64_t read_stimecmp(struct rv64_cpu *c)
{
	return c->stimecmp;
}
static void write_stimecmp(struct rv64_cpu *c, uint64_t v, uint64_t touched)
{
	rv64_set_stimecmp(c, v);
}

/* --- the table, by number --- */
#define COUNTER (CSR_READ_ONLY | CSR_COUNTER)
#define HPM(n)                                                                                     \
	{                                                                                          \
		"hpmcounter" #n, 0xc00 + n, COUNTER, .read = read_zero                             \
	}
#define S_SLOT	(CSR_SUPERVISOR | CSR_SLOT)
#define S_EXITS (CSR_SUPERVISOR | CSR_EXITS)
static const struct rv64_csr csrs[] = {
	{"fflags", CSR_FFLAGS, CSR_FP, .read = read_fflags, .write = write_fflags},
	{"frm", CSR_FRM, CSR_FP | CSR_EXITS, .read = read_frm, .write = write_frm},
	{"fcsr", CSR_FCSR, CSR_FP | CSR_EXITS, .read = read_fcsr, .write = write_fcsr},
	{"sstatus", 0x100, S_EXITS, .read = read_sstatus, .write = write_sstatus},
	{"sie", 0x104, S_EXITS, .read = read_sie, .write = write_sie},
	{"stvec", 0x105, CSR_SUPERVISOR, .read = read_stvec, .write = write_stvec},
	{"scounteren", 0x106, CSR_SUPERVISOR, .read = read_scounteren, .write = write_scounteren},
	{"senvcfg", 0x10a, S_EXITS, .read = read_senvcfg, .write = write_senvcfg},
	{"sscratch", 0x140, S_SLOT, .slot = SLOT_SSCRATCH},
	{"sepc", 0x141, S_SLOT, .slot = SLOT_SEPC, .slot_clear = 1},
	{"scause", 0x142, S_SLOT, .slot = SLOT_SCAUSE},
	{"stval", 0x143, S_SLOT, .slot = SLOT_STVAL},
	{"sip", 0x144, S_EXITS, .read = read_sip, .write = write_sip},
	{"stimecmp", 0x14d, S_EXITS, .read = read_stimecmp, .write = write_stimecmp},
	{"satp", 0x180, S_EXITS, .read = read_satp, .write = write_satp},
	{"cycle", 0xc00, COUNTER | CSR_INSNS, .read = read_insns},
	{"time", 0xc01, COUNTER, .read = read_time},
	{"instret", 0xc02, COUNTER | CSR_INSNS, .read = read_insns},
	/* Zihpm: counters that count nothing. */
	HPM(3),
	HPM(4),
	HPM(5),
	HPM(6),
	HPM(7),
	HPM(8),
	HPM(9),
	HPM(10),
	HPM(11),
	HPM(12),
	HPM(13),
	HPM(14),
	HPM(15),
	HPM(16),
	HPM(17),
	HPM(18),
	HPM(19),
	HPM(20),
	HPM(21),
	HPM(22),
	HPM(23),
	HPM(24),
	HPM(25),
	HPM(26),
	HPM(27),
	HPM(28),
	HPM(29),
	HPM(30),
	HPM(31),
};

const struct rv64_csr *rv64_csr_at(unsigned n)
{
	return n < ARRAY_SIZE(csrs) ? &csrs[n] : NULL;
}

const struct rv64_csr *rv64_csr_find(unsigned number)
{
	size_t low = 0, high = ARRAY_SIZE(csrs);
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (csrs[mid].number == number)
			return &csrs[mid];
		if (csrs[mid].number < number)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* --- called from translated code; the lifter has checked existence and privilege --- */
static uint64_t access_csr(struct rv64_cpu *c, uint64_t what, uint64_t operand)
{
	const struct rv64_csr *csr = rv64_csr_find(what & 0xfff);
	uint64_t old = csr->read(c);
	if (!(what & CSR_CALL_WRITE))
		return old;
	switch (what >> 12 & 3) {
	case CSR_OP_SET:
		csr->write(c, old | operand, operand);
		break;
	case CSR_OP_CLEAR:
		csr->write(c, old & ~operand, operand);
		break;
	default:
		csr->write(c, operand, UINT64_MAX);
	}
	return old;
}

uint64_t rv64_helper_csr(void *cpu, uint64_t what, uint64_t operand, uint64_t insn)
{
	return access_csr(cpu, what, operand);
}

uint64_t rv64_helper_fcsr(void *cpu, uint64_t what, uint64_t operand, uint64_t insn)
{
	return access_csr(cpu, what, operand);
}

uint64_t rv64_helper_counter(void *cpu, uint64_t what, uint64_t insn, uint64_t unused)
{
	struct rv64_cpu *c = cpu;
	if (c->priv == RV64_USER && !(c->scounteren >> (what & 31) & 1)) {
		rv64_raise(c, RV64_CAUSE_ILLEGAL, insn);
		return 0;
	}
	return access_csr(c, what, 0);
}
