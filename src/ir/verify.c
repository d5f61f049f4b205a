// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>

#include "ir/ir.h"

/* An instruction in its function and block, for messages. */
struct place {
	const struct ir_func *f;
	const struct ir_block *block;
	ir_ref at;
	struct error *err;
};

static int broken(const struct place *p, const char *rule)
{
	return error_set(p->err, EBADMSG, "ir: %%%" PRIu32 " (%s): %s", p->at,
		p->f->ins[p->at].op < IR_OP_COUNT ? ir_ops[p->f->ins[p->at].op].name : "?", rule);
}

static bool type_matches(char letter, enum ir_type t, enum ir_type result, enum ir_type before)
{
	switch (letter) {
	case 'v':
		return t == IR_VOID;
	case 'I':
		return ir_type_is_int(t);
	case 'W':
		return t == IR_I32 || t == IR_I64;
	case 'L':
		return t == IR_I64;
	case 'F':
		return ir_type_is_float(t);
	case 'X':
		return t != IR_VOID;
	case 'T':
		return t == result;
	case '=':
		return t == before;
	default:
		return false;
	}
}

static int check_args(const struct place *p, const struct ir_ins *i)
{
	const struct ir_op_info *info = &ir_ops[i->op];
	const ir_ref args[3] = {i->a, i->b, i->c};
	unsigned wanted = info->nargs;
	if (i->op == IR_CALL) {
		if (i->imm >= p->f->target->helper_count)
			return broken(p, "no such helper");
		wanted = p->f->target->helpers[i->imm].nargs;
	}
	enum ir_type before = IR_VOID;
	if (!type_matches(info->sig[0], i->type, i->type, before))
		return broken(p, "result type");
	for (unsigned n = 0; n < 3; n++) {
		if (n >= wanted) {
			if (args[n] != IR_NONE)
				return broken(p, "too many arguments");
			continue;
		}
		if (args[n] == IR_NONE)
			return broken(p, "an argument is missing");
		if (args[n] >= p->at)
			return broken(p, "an argument is defined later");
		if (args[n] < p->block->first)
			return broken(p, "an argument is of another block");
		enum ir_type t = p->f->ins[args[n]].type;
		if (t == IR_VOID || !type_matches(info->sig[2 + n], t, i->type, before))
			return broken(p, "argument type");
		before = t;
	}
	return 0;
}

/* What the signature cannot say. */
static int check_special(const struct place *p, const struct ir_ins *i)
{
	const struct ir_func *f = p->f;
	const struct ir_target *t = f->target;
	switch (i->op) {
	case IR_CONST:
		if (i->imm & ~ir_type_mask(i->type))
			return broken(p, "constant wider than its type");
		break;
	case IR_GET:
	case IR_PUT: {
		if (i->aux >= t->slot_count)
			return broken(p, "no such slot");
		enum ir_type type = i->op == IR_GET ? i->type : f->ins[i->a].type;
		if (type != t->slots[i->aux].type)
			return broken(p, "type is not the slot's");
		break;
	}
	case IR_ZEXT:
	case IR_SEXT:
		if (ir_type_bytes(i->type) <= ir_type_bytes(f->ins[i->a].type))
			return broken(p, "does not widen");
		break;
	case IR_TRUNC:
		if (ir_type_bytes(i->type) >= ir_type_bytes(f->ins[i->a].type))
			return broken(p, "does not narrow");
		break;
	case IR_BSWAP:
		if (i->type == IR_I8)
			return broken(p, "has one byte");
		break;
	case IR_F2F:
		if (i->type == f->ins[i->a].type)
			return broken(p, "does not convert");
		break;
	case IR_BITCAST:
		if (ir_type_bytes(i->type) != ir_type_bytes(f->ins[i->a].type))
			return broken(p, "widths differ");
		break;
	case IR_RMW:
		if (i->aux >= IR_RMW_COUNT)
			return broken(p, "no such operation");
		break;
	case IR_GOTO:
		if (i->aux > IR_JUMP_STEADY)
			return broken(p, "no such kind of jump");
		break;
	case IR_GOTO_IF:
		if (!ir_is_const(f, i->b) || !ir_is_const(f, i->c))
			return broken(p, "a target is not constant");
		break;
	case IR_JUMP:
		if (i->imm >= f->block_count)
			return broken(p, "no such block");
		break;
	case IR_BRANCH:
		if ((uint32_t)i->imm >= f->block_count || i->imm >> 32 >= f->block_count)
			return broken(p, "no such block");
		break;
	default:
		break;
	}
	unsigned rm = i->aux & IR_RM_MASK;
	if ((ir_ops[i->op].flags & IR_FP) && rm > IR_RM_NEAREST_AWAY && rm != IR_RM_DYNAMIC)
		return broken(p, "no such rounding mode");
	return 0;
}

static int check_block(const struct ir_func *f, const struct ir_block *b, struct error *err)
{
	for (ir_ref r = b->first; r < b->end; r++) {
		struct place p = {f, b, r, err};
		const struct ir_ins *i = ir_at(f, r);
		if (i->op >= IR_OP_COUNT || i->type >= IR_TYPE_COUNT)
			return broken(&p, "no such op or type");
		int ret = check_args(&p, i);
		if (!ret)
			ret = check_special(&p, i);
		if (ret)
			return ret;
		bool last = r == b->end - 1;
		if (last != !!(ir_ops[i->op].flags & IR_TERM))
			return broken(&p, last ? "block does not end" : "ends inside a block");
	}
	return 0;
}

int ir_verify(const struct ir_func *f, struct error *err)
{
	if (f->open)
		return error_set(err, EBADMSG, "ir: the last block is open");
	if (!f->block_count)
		return error_set(err, EBADMSG, "ir: no block");
	ir_ref next = 0;
	for (unsigned n = 0; n < f->block_count; n++) {
		const struct ir_block *b = &f->blocks[n];
		if (b->first != next || b->end <= b->first || b->end > f->len)
			return error_set(err, EBADMSG, "ir: block %u does not follow", n);
		next = b->end;
		int ret = check_block(f, b, err);
		if (ret)
			return ret;
	}
	if (next != f->len)
		return error_set(err, EBADMSG, "ir: instructions after the last block");
	return 0;
}
