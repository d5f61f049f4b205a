// SPDX-License-Identifier: Apache-2.0
// struct isa of RISC-V: slots, helpers, initial and saved state, what is advertised.
#include <inttypes.h>

#include "isa/fpu.h"
#include "isa/rv64/internal.h"

// clang-format off
#define EACH_REGISTER(X)                                                                           \
	X(0)                                                                                       \
	X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16)     \
		X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29)      \
			X(30) X(31)
// clang-format on

#define CSR_FIELD(id, field) [SLOT_##id] = {#field, offsetof(struct rv64_cpu, field), IR_I64}
#define X_SLOT(n)	     [SLOT_X + n] = {"x" #n, offsetof(struct rv64_cpu, x) + 8 * n, IR_I64},
#define F_SLOT(n)	     [SLOT_F + n] = {"f" #n, offsetof(struct rv64_cpu, f) + 8 * n, IR_F64},
const struct ir_slot rv64_slots[SLOT_COUNT] = {
	EACH_REGISTER(X_SLOT)
		EACH_REGISTER(F_SLOT)[SLOT_FS] = {"fs", offsetof(struct rv64_cpu, fs), IR_I32},
	CSR_FIELD(SSCRATCH, sscratch),
	CSR_FIELD(SEPC, sepc),
	CSR_FIELD(SCAUSE, scause),
	CSR_FIELD(STVAL, stval),
};

/* What compilers use most: arguments, the stack, the first saved registers. */
static const uint16_t pinned[] = {SLOT_X + 15, SLOT_X + 2, SLOT_X + 14, SLOT_X + 10, SLOT_X + 8,
	SLOT_X + 13, SLOT_X + 11, SLOT_X + 12, SLOT_X + 9, SLOT_X + 16, SLOT_X + 17};

const struct ir_helper rv64_helpers[HELPER_COUNT] = {
#define X(id, name, nargs, flags) [HELPER_##id] = {#name, rv64_helper_##name, nargs, flags},
	HELPERS(X)
#undef X
};

const char *const rv64_x_names[32] = {"zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1",
	"a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8",
	"s9", "s10", "s11", "t3", "t4", "t5", "t6"};
const char *const rv64_f_names[32] = {"ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0",
	"fs1", "fa0", "fa1", "fa2", "fa3", "fa4", "fa5", "fa6", "fa7", "fs2", "fs3", "fs4", "fs5",
	"fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11"};

/* --- what is advertised --- */
// clang-format off
#define MULTI_LETTER(X)                                                                            \
	X(zicbom)                                                                                  \
	X(zicboz) X(zicntr) X(zicond) X(zicsr) X(zifencei) X(zihintpause) X(zihpm) X(zawrs) X(zba) \
		X(zbb) X(zbc) X(zbs) X(sstc) X(svadu) X(svnapot) X(svpbmt)
// clang-format on

const char *const rv64_extensions[] = {
	"i",
	"m",
	"a",
	"f",
	"d",
	"c",
#define X(name) #name,
	MULTI_LETTER(X)
#undef X
		NULL,
};

const char *rv64_isa_string(void)
{
	return "rv64imafdc"
#define X(name) "_" #name
		MULTI_LETTER(X)
#undef X
			;
}

/* --- initial state --- */
static void init(void *cpu, unsigned hart_id)
{
	struct rv64_cpu *c = cpu;
	c->hart_id = hart_id;
	for (unsigned n = 0; n < ARRAY_SIZE(c->tlbs) && !c->head.flat; n++)
		tlb_init(&c->tlbs[n]);
	rv64_reset(c, 0, hart_id, 0);
}

static void done(void *cpu)
{
	struct rv64_cpu *c = cpu;
	for (unsigned n = 0; n < ARRAY_SIZE(c->tlbs); n++)
		tlb_done(&c->tlbs[n]);
}

void rv64_reset(struct rv64_cpu *c, uint64_t pc, uint64_t hart_id, uint64_t opaque)
{
	memset(c->x, 0, sizeof(c->x));
	memset(c->f, 0, sizeof(c->f));
	c->priv = RV64_SUPERVISOR;
	c->fs = 0;
	/* As firmware leaves it: without an SBI PMU, Linux gives user mode the time through nobody
	 * else. */
	c->scounteren = 7;
	c->sstatus = c->sie = c->stvec = c->sscratch = c->sepc = c->scause = c->stval = 0;
	c->satp = c->senvcfg = 0;
	c->stimecmp = UINT64_MAX;
	/* The external line is the interrupt controller's: it stays as that has set it. */
	atomic_fetch_and(&c->sip, UINT64_C(1) << RV64_IRQ_EXTERNAL);
	rv64_set_frm(c, 0);
	fpu_set_flags(&c->head, 0);
	c->head.fault.pending = false;
	cpu_forget_reservation(&c->head);
	rv64_mmu_init(c);
	c->head.pc = pc;
	c->x[10] = hart_id;
	c->x[11] = opaque;
}

void rv64_reset_user(struct rv64_cpu *c, uint64_t pc, uint64_t sp)
{
	rv64_reset(c, pc, c->hart_id, 0);
	c->x[10] = 0;
	c->x[2] = sp;
	c->priv = RV64_USER;
	c->fs = 3;
	c->senvcfg = SENVCFG_CBCFE | SENVCFG_CBZE;
}

uint32_t rv64_fcsr(const struct rv64_cpu *c)
{
	return rv64_fflags_from_host(c->head.fp_flags) | c->frm << 5;
}

void rv64_set_fcsr(struct rv64_cpu *c, uint32_t fcsr)
{
	rv64_set_frm(c, fcsr >> 5 & 7);
	c->head.fp_flags = rv64_fflags_to_host(fcsr & 31);
}

/* --- saved state --- */

/* A stream may hold what no guest can write: make it something that a guest could have. */
static void settle(struct rv64_cpu *c, uint64_t sip, uint32_t fcsr, struct state *s)
{
	uint64_t mode = c->satp >> SATP_MODE_SHIFT;
	if (c->priv > RV64_SUPERVISOR || c->fs > 3 ||
		(mode != SATP_BARE && mode != SATP_SV39 && mode != SATP_SV48)) {
		state_fail(s, "hart %u: the saved state is not one of this CPU", c->hart_id);
		c->priv = RV64_SUPERVISOR;
		c->fs = 0;
		c->satp = 0;
	}
	c->x[0] = 0;
	c->sstatus &= SSTATUS_WRITABLE;
	c->sie &= IRQ_ALL;
	c->stvec &= ~UINT64_C(2);
	c->sepc &= ~UINT64_C(1);
	c->head.pc &= ~UINT64_C(1);
	atomic_store(&c->sip, sip & IRQ_ALL & ~IRQ_BIT(RV64_IRQ_TIMER));
	/* The flags go to memory only: this is not the vCPU's thread. */
	rv64_set_fcsr(c, fcsr);
	cpu_forget_reservation(&c->head);
	c->head.fault.pending = false;
	rv64_mmu_init(c);
	rv64_set_stimecmp(c, c->stimecmp); /* starts the timer, and sets its line */
	cpu_want_attention(&c->head);
}

static void visit(void *cpu, struct state *s)
{
	struct rv64_cpu *c = cpu;
	/* The timer's line follows from stimecmp and the time. */
	uint64_t sip = atomic_load(&c->sip) & ~IRQ_BIT(RV64_IRQ_TIMER);
	uint64_t counter = rv64_counter(c);
	uint32_t fcsr = rv64_fcsr(c);
	if (state_begin(s, "rv64", 1)) {
		state_u64(s, "pc", &c->head.pc);
		state_u64s(s, "x", c->x, 32);
		state_u64s(s, "f", c->f, 32);
		state_u32(s, "fcsr", &fcsr);
		state_u32(s, "priv", &c->priv);
		state_u32(s, "fs", &c->fs);
		state_u32(s, "scounteren", &c->scounteren);
		state_u64(s, "sstatus", &c->sstatus);
		state_u64(s, "sie", &c->sie);
		state_u64(s, "sip", &sip);
		state_u64(s, "stvec", &c->stvec);
		state_u64(s, "sscratch", &c->sscratch);
		state_u64(s, "sepc", &c->sepc);
		state_u64(s, "scause", &c->scause);
		state_u64(s, "stval", &c->stval);
		state_u64(s, "satp", &c->satp);
		state_u64(s, "senvcfg", &c->senvcfg);
		state_u64(s, "stimecmp", &c->stimecmp);
		state_u64(s, "instret", &counter);
		if (!state_saving(s)) {
			rv64_set_counter(c, counter);
			settle(c, sip, fcsr, s);
		}
	}
	state_end(s);
}

/* --- for people --- */
static void print(const void *cpu, struct strbuf *out)
{
	const struct rv64_cpu *c = cpu;
	strbuf_addf(out, "hart %u  %s mode  pc %016" PRIx64 "\n", c->hart_id,
		c->priv == RV64_USER ? "user" : "supervisor", c->head.pc);
	for (unsigned n = 0; n < 32; n++)
		strbuf_addf(out, "%4s %016" PRIx64 "%s", rv64_x_names[n], c->x[n],
			n % 4 == 3 ? "\n" : "  ");
	if (c->fs)
		for (unsigned n = 0; n < 32; n++)
			strbuf_addf(out, "%4s %016" PRIx64 "%s", rv64_f_names[n], c->f[n],
				n % 4 == 3 ? "\n" : "  ");
	strbuf_addf(out,
		"sstatus %016" PRIx64 "  satp %016" PRIx64 "  sie %03" PRIx64 "  sip %03" PRIx64
		"\n",
		rv64_sstatus(c), c->satp, c->sie, atomic_load(&c->sip));
	strbuf_addf(out, "scause %016" PRIx64 "  stval %016" PRIx64 "  sepc %016" PRIx64 "\n",
		c->scause, c->stval, c->sepc);
	strbuf_addf(out, "stvec %016" PRIx64 "  sscratch %016" PRIx64 "  frm %u\n", c->stvec,
		c->sscratch, c->frm);
}

const struct isa rv64_isa = {
	.name = "riscv64",
	.state_bytes = sizeof(struct rv64_cpu),
	.min_insn_bytes = 2,
	.max_insn_bytes = 4,
	.target =
		{
			.name = "riscv64",
			.slots = rv64_slots,
			.slot_count = SLOT_COUNT,
			.helpers = rv64_helpers,
			.helper_count = HELPER_COUNT,
			.pinned = pinned,
			.pinned_count = ARRAY_SIZE(pinned),
		},
	.init = init,
	.done = done,
	.lift = rv64_lift,
	.translation_flags = rv64_translation_flags,
	.translate = rv64_translate,
	.access_fault = rv64_access_fault,
	.misaligned_fault = rv64_misaligned_fault,
	.timer_line = RV64_IRQ_TIMER,
	.deliver = rv64_deliver,
	.interrupt = rv64_interrupt,
	.set_irq = rv64_set_irq,
	.wakes = rv64_wakes,
	.state = visit,
	.print = print,
	.disassemble = rv64_disassemble,
	.debug = &rv64_debug,
};
