// SPDX-License-Identifier: Apache-2.0
// Lifts a basic block: fetches, decodes and calls each instruction's body.
#include "isa/rv64/lift.h"

uint16_t rv64_translation_flags(const void *cpu)
{
	const struct rv64_cpu *c = cpu;
	uint32_t flags = 0;
	if (c->priv == RV64_SUPERVISOR)
		flags |= FLAG_SUPERVISOR;
	else
		flags |= ((c->senvcfg & SENVCFG_CBIE) ? FLAG_CBIE : 0) |
			 ((c->senvcfg & SENVCFG_CBCFE) ? FLAG_CBCFE : 0) |
			 ((c->senvcfg & SENVCFG_CBZE) ? FLAG_CBZE : 0);
	if (c->fs) {
		enum frm_class frm = c->frm < IR_RM_NEAREST_AWAY    ? FRM_COMMON
				     : c->frm == IR_RM_NEAREST_AWAY ? FRM_RMM
								    : FRM_RESERVED;
		/* In a machine FS changes all the time: code that makes it dirty again costs less
		 * than code for both. */
		flags |= (c->head.flat ? 3u : 2u) << FLAG_FS_SHIFT | (uint32_t)frm
									     << FLAG_FRM_SHIFT;
	}
	return (uint16_t)flags;
}

/* The bytes that a block may be lifted from: the rest of a page, and perhaps the next one. */
struct code {
	const uint8_t *here, *next;
	size_t here_bytes, next_bytes;
};

/* Reads the instruction at `at`: its length, or 0 when the code does not have all of it. */
static unsigned fetch(const struct code *code, size_t at, uint32_t *w)
{
	if (code->here_bytes < at + 2)
		return 0;
	*w = load_le16(code->here + at);
	if ((*w & 3) != 3)
		return 2;
	if (code->here_bytes >= at + 4)
		*w |= (uint32_t)load_le16(code->here + at + 2) << 16;
	else if (code->here_bytes == at + 2 && code->next && code->next_bytes >= 2)
		*w |= (uint32_t)load_le16(code->next) << 16;
	else
		return 0;
	return 4;
}

/* An instruction counter is exact when its reader is a block of its own. */
static bool counts_insns(const struct rv64_insn *i)
{
	if (i->row < RV64_CSRRW || i->row > RV64_CSRRCI)
		return false;
	const struct rv64_csr *csr = rv64_csr_find((unsigned)i->imm);
	return csr && (csr->flags & CSR_INSNS);
}

int rv64_lift(struct ir_func *f, uint16_t flags, const uint8_t *bytes, size_t byte_count,
	const uint8_t *next, size_t next_count, unsigned max_insns)
{
	const struct code code = {bytes, next, byte_count, next_count};
	struct rv64_lift l = {.f = f, .pc = f->pc, .flags = flags};
	l.fs_dirty = (l.flags >> FLAG_FS_SHIFT & 3) == 3;

	size_t at = 0;
	unsigned insns = 0;
	ir_block_begin(f, f->pc);
	while (!l.ended && insns < max_insns && at < byte_count) {
		uint32_t w;
		if (!fetch(&code, at, &w)) {
			if (!insns)
				return -EAGAIN;
			break;
		}
		struct rv64_insn i;
		bool legal = rv64_decode(w, &i), alone = legal && counts_insns(&i);
		if (alone && insns)
			break;
		ir_insn(f, l.pc, i.bytes);
		l.ahead_bytes = byte_count - MIN(byte_count, at + i.bytes);
		l.ahead = bytes + byte_count - l.ahead_bytes;
		if (legal)
			rv64_rows[i.row].lift(&l, &i);
		else
			end_illegal(&l, &i);
		insns++;
		at += i.bytes;
		l.pc += i.bytes;
		if (alone)
			break;
	}
	if (!l.ended)
		ir_goto(f, k64(&l, l.pc), IR_JUMP_PLAIN);
	f->bytes = (uint32_t)at;
	f->insns = insns;
	return 0;
}
