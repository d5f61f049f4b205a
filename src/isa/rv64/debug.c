// SPDX-License-Identifier: Apache-2.0
// What a debugger sees of a hart. Register numbers: x0 to x31, pc, f0 to f31, the CSRs in order of
// their own numbers, the privilege mode.
#include "isa/rv64/internal.h"

enum { REG_X = 0, REG_PC = 32, REG_F = 33, REG_CSR = 65 };
enum { CSR_HPM3 = 0xc03, CSR_HPM31 = 0xc1f };

/* Counters that count nothing would fill the screen. */
static bool is_shown(const struct rv64_csr *csr)
{
	return csr->number < CSR_HPM3 || csr->number > CSR_HPM31;
}

/* The CSR that is the n-th shown; NULL: there are fewer, and *count is how many. */
static const struct rv64_csr *shown_csr(unsigned n, unsigned *count)
{
	const struct rv64_csr *csr;
	*count = 0;
	for (unsigned i = 0; (csr = rv64_csr_at(i)); i++)
		if (is_shown(csr) && (*count)++ == n)
			return csr;
	return NULL;
}

static bool is_fp(const struct rv64_csr *csr)
{
	return csr->number <= CSR_FCSR;
}

/* --- the description --- */

static void begin_feature(struct strbuf *out, const char *name)
{
	strbuf_addf(out, "<feature name=\"org.gnu.gdb.riscv.%s\">\n", name);
}

static void add_register(struct strbuf *out, const char *name, unsigned bits, const char *type,
	const char *group, unsigned number)
{
	strbuf_addf(out,
		"<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" group=\"%s\" regnum=\"%u\"/>\n", name,
		bits, type, group, number);
}

static void add_csrs(struct strbuf *out, bool fp)
{
	const struct rv64_csr *csr;
	unsigned count;
	for (unsigned n = 0; (csr = shown_csr(n, &count)); n++)
		if (is_fp(csr) == fp)
			add_register(out, csr->name, fp ? 32 : 64, "int", fp ? "float" : "csr",
				REG_CSR + n);
}

static void describe(struct strbuf *out)
{
	unsigned csr_count;
	shown_csr(UINT32_MAX, &csr_count);
	strbuf_adds(out, "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
			 "<target version=\"1.0\">\n<architecture>riscv:rv64</architecture>\n");
	begin_feature(out, "cpu");
	for (unsigned n = 0; n < 32; n++)
		add_register(out, rv64_x_names[n], 64,
			n == 1		   ? "code_ptr"
			: n >= 2 && n <= 4 ? "data_ptr"
					   : "int",
			"general", REG_X + n);
	add_register(out, "pc", 64, "code_ptr", "general", REG_PC);
	strbuf_adds(out, "</feature>\n");
	begin_feature(out, "fpu");
	strbuf_adds(out, "<union id=\"riscv_double\"><field name=\"float\" type=\"ieee_single\"/>"
			 "<field name=\"double\" type=\"ieee_double\"/></union>\n");
	for (unsigned n = 0; n < 32; n++)
		add_register(out, rv64_f_names[n], 64, "riscv_double", "float", REG_F + n);
	add_csrs(out, true);
	strbuf_adds(out, "</feature>\n");
	begin_feature(out, "csr");
	add_csrs(out, false);
	strbuf_adds(out, "</feature>\n");
	begin_feature(out, "virtual");
	add_register(out, "priv", 64, "int", "general", REG_CSR + csr_count);
	strbuf_adds(out, "</feature>\n</target>\n");
}

/* --- reading and writing --- */

/* The flags and the mode are in memory while the hart stands: the FPU is the caller's. */
static uint64_t read_csr(struct rv64_cpu *c, const struct rv64_csr *csr)
{
	uint32_t flags = rv64_fflags_from_host(c->head.fp_flags);
	switch (csr->number) {
	case CSR_FFLAGS:
		return flags;
	case CSR_FCSR:
		return flags | c->frm << 5;
	default:
		break;
	}
	if (!(csr->flags & CSR_SLOT))
		return csr->read(c);
	uint64_t v;
	memcpy(&v, (char *)c + rv64_slots[csr->slot].offset, sizeof(v));
	return v;
}

static bool write_csr(struct rv64_cpu *c, const struct rv64_csr *csr, uint64_t v)
{
	switch (csr->number) {
	case CSR_FCSR:
		rv64_set_frm(c, (uint32_t)v >> 5 & 7);
		c->head.fp_flags = rv64_fflags_to_host((uint32_t)v & 31);
		return true;
	case CSR_FFLAGS:
		c->head.fp_flags = rv64_fflags_to_host((uint32_t)v & 31);
		return true;
	default:
		break;
	}
	if (csr->flags & CSR_SLOT) {
		v &= ~csr->slot_clear;
		memcpy((char *)c + rv64_slots[csr->slot].offset, &v, sizeof(v));
		return true;
	}
	if (!csr->write)
		return false;
	csr->write(c, v, UINT64_MAX);
	return true;
}

static unsigned read_register(void *cpu, unsigned number, uint8_t *out)
{
	struct rv64_cpu *c = cpu;
	unsigned csr_count;
	const struct rv64_csr *csr =
		number < REG_CSR ? NULL : shown_csr(number - REG_CSR, &csr_count);
	uint64_t v;
	if (number < REG_PC)
		v = c->x[number];
	else if (number == REG_PC)
		v = c->head.pc;
	else if (number < REG_CSR)
		v = c->f[number - REG_F];
	else if (csr)
		v = read_csr(c, csr);
	else if (number == REG_CSR + csr_count)
		v = c->priv;
	else
		return 0;
	store_le64(out, v);
	return csr && is_fp(csr) ? 4 : 8;
}

static bool write_register(void *cpu, unsigned number, const uint8_t *bytes)
{
	struct rv64_cpu *c = cpu;
	unsigned csr_count;
	const struct rv64_csr *csr =
		number < REG_CSR ? NULL : shown_csr(number - REG_CSR, &csr_count);
	if (csr)
		return write_csr(c, csr, is_fp(csr) ? load_le32(bytes) : load_le64(bytes));
	uint64_t v = load_le64(bytes);
	if (number < REG_PC) {
		c->x[number] = number ? v : 0;
	} else if (number == REG_PC) {
		c->head.pc = v & ~UINT64_C(1);
	} else if (number < REG_CSR) {
		c->f[number - REG_F] = v;
		if (c->fs) /* or the guest's kernel would not save it */
			c->fs = 3;
	} else if (number == REG_CSR + csr_count) {
		c->priv = v & 1;
		rv64_mmu_mode_changed(c);
		rv64_check_interrupts(c);
	} else {
		return false;
	}
	return true;
}

static void time_stood(void *cpu, uint64_t ns)
{
	struct rv64_cpu *c = cpu;
	c->time_offset -= ns / (NS_PER_SEC / RV64_TIMEBASE_HZ);
	rv64_set_stimecmp(c, c->stimecmp);
}

const struct isa_debug rv64_debug = {
	.describe = describe,
	.read = read_register,
	.write = write_register,
	.probe = rv64_probe,
	.time_stood = time_stood,
};
