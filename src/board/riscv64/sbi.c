// SPDX-License-Identifier: Apache-2.0
#include "board/riscv64/sbi.h"

#include "isa/rv64/rv64.h"

enum {
	EXT_LEGACY_PUTCHAR = 0x01,
	EXT_LEGACY_GETCHAR = 0x02,
	EXT_LEGACY_SHUTDOWN = 0x08,
	EXT_BASE = 0x10,
	EXT_TIME = 0x54494d45,
	EXT_IPI = 0x735049,
	EXT_RFENCE = 0x52464e43,
	EXT_HSM = 0x48534d,
	EXT_SRST = 0x53525354,
	EXT_DBCN = 0x4442434e,
};

enum {
	SPEC_VERSION = 2 << 24, /* 2.0 */
	IMPL_ID = 0x53545241,	/* unassigned: "STRA" */
	IMPL_VERSION = 0x00010000,
};

typedef struct sbi_result sbi_fn(struct sbi *call);

static struct sbi_result sbi_base(struct sbi *call);

static struct sbi_result sbi_time(struct sbi *call)
{
	if (call->function != 0)
		return SBI_FAIL(SBI_ERR_NOT_SUPPORTED);
	rv64_set_stimecmp(call->cpu, call->arg[0]);
	return SBI_OK(0);
}

static struct sbi_result sbi_ipi(struct sbi *call)
{
	uint64_t harts;
	if (call->function != 0)
		return SBI_FAIL(SBI_ERR_NOT_SUPPORTED);
	int r = sbi_hart_mask(call->machine, call->arg[0], call->arg[1], &harts);
	if (r < 0)
		return SBI_FAIL(r);
	sbi_for_each_hart(i, harts)
		vcpu_set_irq(call->machine->harts[i].vcpu, RV64_IRQ_SOFTWARE, true);
	return SBI_OK(0);
}

/* The calling hart parks itself: it takes no step after the machine's end. */
static struct sbi_result end_machine(struct sbi *call, enum board_end how)
{
	struct riscv_machine *m = call->machine;
	vcpu_park(m->harts[call->hart].vcpu);
	m->ended(m->opaque, how);
	return SBI_OK(0);
}

static struct sbi_result sbi_srst(struct sbi *call)
{
	enum { SHUTDOWN, COLD_REBOOT, WARM_REBOOT, VENDOR_TYPES = 0xf0000000 };
	enum { NO_REASON, SYSTEM_FAILURE, IMPL_REASONS = 0xe0000000 };
	uint32_t type = (uint32_t)call->arg[0], reason = (uint32_t)call->arg[1];
	if (call->function != 0)
		return SBI_FAIL(SBI_ERR_NOT_SUPPORTED);
	if (type >= VENDOR_TYPES)
		return SBI_FAIL(SBI_ERR_NOT_SUPPORTED);
	if (type > WARM_REBOOT || (reason > SYSTEM_FAILURE && reason < IMPL_REASONS))
		return SBI_FAIL(SBI_ERR_INVALID_PARAM);
	if (reason == SYSTEM_FAILURE)
		return end_machine(call, BOARD_FAILURE);
	return end_machine(call, type == SHUTDOWN ? BOARD_POWEROFF : BOARD_REBOOT);
}

static struct sbi_result sbi_legacy_shutdown(struct sbi *call)
{
	return end_machine(call, BOARD_POWEROFF);
}

static const struct extension {
	uint32_t id;
	sbi_fn *fn;
} extensions[] = {
	{EXT_BASE, sbi_base},
	{EXT_TIME, sbi_time},
	{EXT_IPI, sbi_ipi},
	{EXT_RFENCE, sbi_rfence},
	{EXT_HSM, sbi_hsm},
	{EXT_SRST, sbi_srst},
	{EXT_DBCN, sbi_dbcn},
	{EXT_LEGACY_PUTCHAR, sbi_legacy_putchar},
	{EXT_LEGACY_GETCHAR, sbi_legacy_getchar},
	{EXT_LEGACY_SHUTDOWN, sbi_legacy_shutdown},
};

static sbi_fn *find(uint64_t id)
{
	for (size_t i = 0; i < ARRAY_SIZE(extensions); i++) {
		if (extensions[i].id == id)
			return extensions[i].fn;
	}
	return NULL;
}

/* Chapter 4. */
static struct sbi_result sbi_base(struct sbi *call)
{
	enum { SPEC, ID, VERSION, PROBE, MVENDORID, MARCHID, MIMPID };
	switch (call->function) {
	case SPEC:
		return SBI_OK(SPEC_VERSION);
	case ID:
		return SBI_OK(IMPL_ID);
	case VERSION:
		return SBI_OK(IMPL_VERSION);
	case PROBE:
		return SBI_OK(find(call->arg[0]) != NULL);
	case MVENDORID: /* zero: not a commercial implementation */
	case MARCHID:
	case MIMPID:
		return SBI_OK(0);
	default:
		return SBI_FAIL(SBI_ERR_NOT_SUPPORTED);
	}
}

int sbi_hart_mask(const struct riscv_machine *m, uint64_t mask, uint64_t base, uint64_t *out)
{
	uint64_t all = m->cpus == 64 ? ~UINT64_C(0) : (UINT64_C(1) << m->cpus) - 1;
	if (base == ~UINT64_C(0)) { /* the mask is ignored */
		*out = all;
		return 0;
	}
	if (!mask) {
		*out = 0;
		return 0;
	}
	if (base >= m->cpus || (mask << base) >> base != mask || (mask << base) & ~all)
		return SBI_ERR_INVALID_PARAM;
	*out = mask << base;
	return 0;
}

void sbi_call(struct riscv_machine *m, struct vcpu *v, struct rv64_cpu *cpu)
{
	uint64_t id = rv64_arg(cpu, 7);
	struct sbi call = {
		.machine = m, .hart = vcpu_id(v), .cpu = cpu, .function = rv64_arg(cpu, 6)};
	for (unsigned i = 0; i < ARRAY_SIZE(call.arg); i++)
		call.arg[i] = rv64_arg(cpu, i);
	hsm_hart_is_awake(m, call.hart);
	sbi_fn *fn = find(id);
	struct sbi_result r = fn ? fn(&call) : SBI_FAIL(SBI_ERR_NOT_SUPPORTED);
	if (call.no_return)
		return;
	/* Legacy calls (chapter 5) have one result and keep a1. */
	bool legacy = id < EXT_BASE && fn;
	rv64_set_result(cpu, (uint64_t)r.error, legacy ? call.arg[1] : r.value);
}
