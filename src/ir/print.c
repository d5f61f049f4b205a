// SPDX-License-Identifier: Apache-2.0
// The text form, one instruction a line, which parse.c reads back:
//
//     block 0 pc 0x1000
//       insn pc=0x1000 bytes=4
//       %1 = get i64 @a0
//       %2 = load i32 %1 aligned acquire
//       put @a1 %2
//       goto %3 call
#include <inttypes.h>

#include "ir/text.h"

static const struct ir_word mem_words[] = {
	{"acquire", IR_MEM_ACQUIRE, IR_MEM_ACQUIRE},
	{"release", IR_MEM_RELEASE, IR_MEM_RELEASE},
	{"aligned", IR_MEM_ALIGNED, IR_MEM_ALIGNED},
	{0},
};
static const struct ir_word rmw_words[] = {
	{"swap", 0xff, IR_RMW_SWAP},
	{"add", 0xff, IR_RMW_ADD},
	{"and", 0xff, IR_RMW_AND},
	{"or", 0xff, IR_RMW_OR},
	{"xor", 0xff, IR_RMW_XOR},
	{"min", 0xff, IR_RMW_MIN},
	{"max", 0xff, IR_RMW_MAX},
	{"minu", 0xff, IR_RMW_MINU},
	{"maxu", 0xff, IR_RMW_MAXU},
	{0},
};
static const struct ir_word fence_words[] = {
	{"rr", IR_FENCE_RR, IR_FENCE_RR},
	{"rw", IR_FENCE_RW, IR_FENCE_RW},
	{"wr", IR_FENCE_WR, IR_FENCE_WR},
	{"ww", IR_FENCE_WW, IR_FENCE_WW},
	{0},
};
static const struct ir_word fp_words[] = {
	{"even", IR_RM_MASK, IR_RM_NEAREST_EVEN},
	{"zero", IR_RM_MASK, IR_RM_ZERO},
	{"down", IR_RM_MASK, IR_RM_DOWN},
	{"up", IR_RM_MASK, IR_RM_UP},
	{"away", IR_RM_MASK, IR_RM_NEAREST_AWAY},
	{"dynamic", IR_RM_MASK, IR_RM_DYNAMIC},
	{"default_nan", IR_FP_DEFAULT_NAN, IR_FP_DEFAULT_NAN},
	{"unsigned", IR_FP_UNSIGNED, IR_FP_UNSIGNED},
	{"saturate", IR_FP_SATURATE, IR_FP_SATURATE},
	{"signaling", IR_FP_SIGNALING, IR_FP_SIGNALING},
	{0},
};
static const struct ir_word jump_words[] = {
	{"call", 0xff, IR_JUMP_CALL},
	{"return", 0xff, IR_JUMP_RETURN},
	{"steady", 0xff, IR_JUMP_STEADY},
	{0},
};
static const struct ir_word no_words[] = {{0}};

const struct ir_word *ir_aux_words(unsigned op)
{
	switch (op) {
	case IR_LOAD:
	case IR_STORE:
	case IR_LOADR:
	case IR_STOREC:
		return mem_words;
	case IR_RMW:
		return rmw_words;
	case IR_FENCE:
		return fence_words;
	case IR_GOTO:
		return jump_words;
	default:
		return ir_ops[op].flags & IR_FP ? fp_words : no_words;
	}
}

static void print_imm(const struct ir_func *f, const struct ir_ins *i, struct strbuf *out)
{
	switch (i->op) {
	case IR_CONST:
		strbuf_addf(out, " 0x%" PRIx64, i->imm);
		break;
	case IR_INSN:
		strbuf_addf(out, " pc=0x%" PRIx64 " bytes=%u", i->imm, i->aux);
		break;
	case IR_GOTO:
		if (i->aux == IR_JUMP_CALL)
			strbuf_addf(out, " return=0x%" PRIx64, i->imm);
		break;
	case IR_TRAP:
		strbuf_addf(out, " cause=0x%" PRIx64, i->imm);
		break;
	case IR_JUMP:
		strbuf_addf(out, " block=%" PRIu64, i->imm);
		break;
	case IR_BRANCH:
		strbuf_addf(out, " block=%" PRIu32 " else=%" PRIu32, (uint32_t)i->imm,
			(uint32_t)(i->imm >> 32));
		break;
	case IR_CALL:
		if (i->imm < f->target->helper_count)
			strbuf_addf(out, " $%s", f->target->helpers[i->imm].name);
		break;
	default:
		break;
	}
}

static void print_ins(const struct ir_func *f, ir_ref r, struct strbuf *out)
{
	const struct ir_ins *i = ir_at(f, r);
	if (i->op >= IR_OP_COUNT || i->type >= IR_TYPE_COUNT) {
		strbuf_addf(out, "  # broken instruction %" PRIu32 "\n", r);
		return;
	}
	strbuf_adds(out, "  ");
	if (i->type != IR_VOID)
		strbuf_addf(out, "%%%" PRIu32 " = ", r);
	strbuf_adds(out, ir_ops[i->op].name);
	if (i->type != IR_VOID)
		strbuf_addf(out, " %s", ir_type_name(i->type));
	if ((ir_ops[i->op].flags & IR_SLOT) && i->aux < f->target->slot_count)
		strbuf_addf(out, " @%s", f->target->slots[i->aux].name);
	const ir_ref args[3] = {i->a, i->b, i->c};
	for (unsigned n = 0; n < 3; n++)
		if (args[n] != IR_NONE)
			strbuf_addf(out, " %%%" PRIu32, args[n]);
	print_imm(f, i, out);
	for (const struct ir_word *w = ir_aux_words(i->op); w->name; w++)
		if ((i->aux & w->mask) == w->value)
			strbuf_addf(out, " %s", w->name);
	strbuf_addc(out, '\n');
}

void ir_print(const struct ir_func *f, struct strbuf *out)
{
	for (unsigned n = 0; n < f->block_count; n++) {
		const struct ir_block *b = &f->blocks[n];
		strbuf_addf(out, "block %u pc 0x%" PRIx64 "\n", n, b->pc);
		ir_ref end = f->open && n == f->block_count - 1 ? f->len : b->end;
		for (ir_ref r = b->first; r < end; r++)
			print_ins(f, r, out);
	}
}
