// SPDX-License-Identifier: Apache-2.0
// Disassembler: spelled as GNU objdump does with -M no-aliases.
#include <inttypes.h>

#include "isa/rv64/internal.h"

static void add_fence_set(struct strbuf *out, unsigned set)
{
	static const char names[] = "wroi";
	if (!set)
		strbuf_adds(out, "unknown");
	for (unsigned bit = 4; bit-- > 0;)
		if (set >> bit & 1)
			strbuf_addc(out, names[bit]);
}

static void add_csr(struct strbuf *out, unsigned number)
{
	const struct rv64_csr *csr = rv64_csr_find(number);
	if (csr)
		strbuf_adds(out, csr->name);
	else
		strbuf_addf(out, "0x%x", number);
}

static void add_operand(struct strbuf *out, char what, const struct rv64_insn *i, uint64_t pc)
{
	static const char *const modes[7] = {
		"rne", "rtz", "rdn", "rup", "rmm", "unknown", "unknown"};
	switch (what) {
	case 'd':
		strbuf_adds(out, rv64_x_names[i->rd]);
		break;
	case 's':
		strbuf_adds(out, rv64_x_names[i->rs1]);
		break;
	case 't':
		strbuf_adds(out, rv64_x_names[i->rs2]);
		break;
	case 'D':
		strbuf_adds(out, rv64_f_names[i->rd]);
		break;
	case 'S':
		strbuf_adds(out, rv64_f_names[i->rs1]);
		break;
	case 'T':
		strbuf_adds(out, rv64_f_names[i->rs2]);
		break;
	case 'R':
		strbuf_adds(out, rv64_f_names[i->rs3]);
		break;
	case 'i':
		strbuf_addf(out, "%" PRId32, i->imm);
		break;
	case 'x':
		strbuf_addf(out, "0x%" PRIx32, (uint32_t)i->imm);
		break;
	case 'u':
		strbuf_addf(out, "0x%" PRIx32, (uint32_t)i->imm >> 12);
		break;
	case 'p':
		strbuf_addf(out, "0x%" PRIx64, pc + (uint64_t)(int64_t)i->imm);
		break;
	case 'c':
		add_csr(out, (unsigned)i->imm);
		break;
	case 'z':
		strbuf_addf(out, "%u", i->rs1);
		break;
	case 'm':
		if (i->rm != 7)
			strbuf_addf(out, ",%s", modes[i->rm]);
		break;
	case 'f':
		add_fence_set(out, (unsigned)i->imm >> 4 & 15);
		strbuf_addc(out, ',');
		add_fence_set(out, (unsigned)i->imm & 15);
		break;
	default:
		strbuf_addc(out, what);
	}
}

unsigned rv64_disassemble(const uint8_t *code, size_t bytes, uint64_t pc, struct strbuf *out)
{
	static const char *const order[4] = {"", ".rl", ".aq", ".aqrl"};
	if (bytes < 2)
		return 0;
	uint32_t w = load_le16(code);
	if ((w & 3) == 3) {
		if (bytes < 4)
			return 0;
		w = load_le32(code);
	}
	struct rv64_insn i;
	if (!rv64_decode(w, &i)) {
		strbuf_addf(out, i.bytes == 2 ? ".2byte\t0x%x" : ".4byte\t0x%x", i.raw);
		return i.bytes;
	}
	const struct rv64_row_info *row = &rv64_rows[i.row];
	const char *operands = row->operands;
	strbuf_adds(out, row->name);
	if (*operands == '.') {
		strbuf_adds(out, order[i.aqrl]);
		operands++;
	}
	if (*operands)
		strbuf_addc(out, '\t');
	for (; *operands; operands++)
		add_operand(out, *operands, &i, pc);
	return i.bytes;
}
