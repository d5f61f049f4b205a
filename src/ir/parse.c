// SPDX-License-Identifier: Apache-2.0
// Reads the text form (print.c), for tests. Instructions are appended as they stand, unfolded.
#include <ctype.h>
#include <inttypes.h>

#include "base/vec.h"
#include "ir/text.h"

struct name {
	uint32_t number; /* after the % */
	ir_ref ref;
};

struct parser {
	struct ir_func *f;
	const char *p;
	unsigned line;
	struct error *err;
	VEC(struct name) names;
	VEC(struct ir_ins) ins;
	VEC(struct ir_block) blocks;
};

static int fail(struct parser *ps, const char *what, const char *word)
{
	return error_set(ps->err, EINVAL, "ir: line %u: %s '%s'", ps->line, what, word);
}

/* The next word of the line, or false at its end. */
static bool word(struct parser *ps, char *out, size_t size)
{
	while (*ps->p == ' ' || *ps->p == '\t' || *ps->p == ',')
		ps->p++;
	size_t n = 0;
	while (*ps->p && !isspace((unsigned char)*ps->p) && *ps->p != ',' && *ps->p != '#') {
		if (n + 1 < size)
			out[n++] = *ps->p;
		ps->p++;
	}
	out[n] = 0;
	return n > 0;
}

static void skip_line(struct parser *ps)
{
	while (*ps->p && *ps->p != '\n')
		ps->p++;
	if (*ps->p)
		ps->p++;
	ps->line++;
}

static bool number(const char *s, uint64_t *out)
{
	char *end;
	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	*out = strtoull(s, &end, 0);
	return !*end && !errno;
}

static int find_op(const char *s)
{
	for (int i = 0; i < IR_OP_COUNT; i++)
		if (!strcmp(ir_ops[i].name, s))
			return i;
	return -1;
}

static int find_type(const char *s)
{
	for (int i = 0; i < IR_TYPE_COUNT; i++)
		if (!strcmp(ir_type_name((enum ir_type)i), s))
			return i;
	return -1;
}

static int parse_value(struct parser *ps, const char *w, struct ir_ins *i)
{
	ir_ref *args[3] = {&i->a, &i->b, &i->c};
	uint64_t v;
	if (!number(w + 1, &v))
		return fail(ps, "bad value", w);
	for (unsigned n = 0; n < 3; n++) {
		if (*args[n] != IR_NONE)
			continue;
		/* The latest definition of the name. */
		for (size_t k = ps->names.len; k-- > 0;) {
			if (ps->names.items[k].number == v) {
				*args[n] = ps->names.items[k].ref;
				return 0;
			}
		}
		return fail(ps, "undefined value", w);
	}
	return fail(ps, "a fourth argument", w);
}

static int parse_slot(struct parser *ps, const char *w, struct ir_ins *i)
{
	const struct ir_target *t = ps->f->target;
	for (unsigned n = 0; n < t->slot_count; n++) {
		if (!strcmp(t->slots[n].name, w + 1)) {
			i->aux = (uint16_t)n;
			return 0;
		}
	}
	return fail(ps, "unknown slot", w);
}

static int parse_helper(struct parser *ps, const char *w, struct ir_ins *i)
{
	const struct ir_target *t = ps->f->target;
	for (unsigned n = 0; n < t->helper_count; n++) {
		if (!strcmp(t->helpers[n].name, w + 1)) {
			i->imm = n;
			return 0;
		}
	}
	return fail(ps, "unknown helper", w);
}

/* key=value, a plain number, or a word of the op's aux. */
static int parse_attribute(struct parser *ps, char *w, struct ir_ins *i)
{
	uint64_t v;
	char *eq = strchr(w, '=');
	if (number(eq ? eq + 1 : w, &v)) {
		if (eq && !strncmp(w, "bytes", 5))
			i->aux = (uint16_t)v;
		else if (eq && !strncmp(w, "else", 4))
			i->imm |= v << 32;
		else
			i->imm = v;
		return 0;
	}
	for (const struct ir_word *a = ir_aux_words(i->op); a->name; a++) {
		if (!strcmp(a->name, w)) {
			i->aux = (uint16_t)((i->aux & ~a->mask) | a->value);
			return 0;
		}
	}
	return fail(ps, "unknown attribute", w);
}

static int parse_ins(struct parser *ps, char *w, size_t size)
{
	struct ir_ins i = {.a = IR_NONE, .b = IR_NONE, .c = IR_NONE};
	uint64_t name = UINT64_MAX;
	if (w[0] == '%') {
		if (!number(w + 1, &name) || name > UINT32_MAX)
			return fail(ps, "bad value", w);
		if (!word(ps, w, size) || strcmp(w, "=") || !word(ps, w, size))
			return fail(ps, "expected '=' and an op at", w);
	}
	int op = find_op(w);
	if (op < 0)
		return fail(ps, "unknown op", w);
	i.op = (uint8_t)op;
	if (name != UINT64_MAX) {
		int type = word(ps, w, size) ? find_type(w) : -1;
		if (type < 0)
			return fail(ps, "unknown type", w);
		i.type = (uint8_t)type;
	}
	int ret = 0;
	while (!ret && word(ps, w, size)) {
		if (w[0] == '%')
			ret = parse_value(ps, w, &i);
		else if (w[0] == '@')
			ret = parse_slot(ps, w, &i);
		else if (w[0] == '$')
			ret = parse_helper(ps, w, &i);
		else
			ret = parse_attribute(ps, w, &i);
	}
	if (ret)
		return ret;
	if (name != UINT64_MAX)
		vec_push(&ps->names, (struct name){(uint32_t)name, (ir_ref)ps->ins.len});
	vec_push(&ps->ins, i);
	return 0;
}

static int parse_line(struct parser *ps)
{
	char w[64];
	if (!word(ps, w, sizeof(w)))
		return 0;
	if (!strcmp(w, "block")) {
		struct ir_block b = {.first = (ir_ref)ps->ins.len};
		if (!word(ps, w, sizeof(w)) || !word(ps, w, sizeof(w)) || strcmp(w, "pc") ||
			!word(ps, w, sizeof(w)) || !number(w, &b.pc))
			return fail(ps, "expected 'block N pc ADDRESS' at", w);
		vec_push(&ps->blocks, b);
		return 0;
	}
	if (!ps->blocks.len)
		return fail(ps, "instruction outside a block:", w);
	return parse_ins(ps, w, sizeof(w));
}

static void *copy_out(struct arena *a, const void *items, size_t bytes)
{
	void *p = arena_alloc(a, bytes ? bytes : 1);
	if (bytes)
		memcpy(p, items, bytes);
	return p;
}

int ir_parse(struct ir_func *f, const char *text, struct error *err)
{
	struct parser ps = {.f = f, .p = text, .line = 1, .err = err};
	int ret = 0;
	for (; !ret && *ps.p; skip_line(&ps))
		ret = parse_line(&ps);
	if (!ret) {
		for (size_t n = 0; n < ps.blocks.len; n++)
			ps.blocks.items[n].end = n + 1 < ps.blocks.len
							 ? ps.blocks.items[n + 1].first
							 : (ir_ref)ps.ins.len;
		f->ins = copy_out(f->arena, ps.ins.items, ps.ins.len * sizeof(*ps.ins.items));
		f->len = f->cap = (ir_ref)ps.ins.len;
		f->blocks = copy_out(
			f->arena, ps.blocks.items, ps.blocks.len * sizeof(*ps.blocks.items));
		f->block_count = f->block_cap = (unsigned)ps.blocks.len;
		f->open = false;
		if (ps.blocks.len)
			f->pc = f->blocks[0].pc;
	}
	vec_done(&ps.names);
	vec_done(&ps.ins);
	vec_done(&ps.blocks);
	return ret;
}
