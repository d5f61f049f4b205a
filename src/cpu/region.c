// SPDX-License-Identifier: Apache-2.0
// From a hot block to compiled code: a region is the block and what it leads to, within its page,
// as far as that has been run before and is not compiled yet. Each of its blocks may be entered:
// between blocks, the state is where any code expects it.
#include "base/log.h"
#include "cpu/internal.h"

enum {
	REGION_BLOCKS = 64,
	REGION_INSNS = 512,
	BLOCK_INSNS = 64,
	NOT_LIFTED = 0, /* of block_at; else a block's number + 1 */
	REFUSED = 0xff,
};

struct region {
	struct vcpu *v;
	struct code_key key; /* of the entry */
	uint64_t page;	     /* virtual address */
	struct ir_func f;
	unsigned insns;
	uint8_t code[GUEST_PAGE_BYTES];
	uint8_t block_at[GUEST_PAGE_BYTES];  /* by offset in the page */
	uint64_t pending[2 * REGION_BLOCKS]; /* addresses to be looked at */
	unsigned pending_count;
};

static bool in_page(const struct region *r, uint64_t pc)
{
	return pc - r->page < GUEST_PAGE_BYTES;
}

static void later(struct region *r, uint64_t pc)
{
	if (in_page(r, pc) && r->pending_count < ARRAY_SIZE(r->pending))
		r->pending[r->pending_count++] = pc;
}

/* Code that nobody has come to yet is left to the interpreter. */
static bool is_wanted(struct region *r, uint64_t pc)
{
	struct code_key key = code_key_at(&r->key, pc);
	struct code_found found = code_cache_find(r->v->group->cache, &key);
	return found.code && !found.native && !found.next_page;
}

static const struct ir_ins *last_ins(const struct ir_func *f, unsigned block)
{
	return &f->ins[f->blocks[block].end - 1];
}

/* Where a block goes on: taken sides later, the other side first. */
static void find_successors(struct region *r, const struct ir_ins *end)
{
	const struct ir_func *f = &r->f;
	if (end->op == IR_GOTO_IF) {
		later(r, f->ins[end->b].imm);
		later(r, f->ins[end->c].imm);
		return;
	}
	if (end->op != IR_GOTO)
		return;
	if (end->aux == IR_JUMP_CALL)
		later(r, end->imm);
	else if (ir_is_const(f, end->a))
		later(r, f->ins[end->a].imm);
}

static bool lift_block(struct region *r, uint64_t pc)
{
	const struct isa *isa = r->v->head->isa;
	size_t at = pc - r->page, room = GUEST_PAGE_BYTES - at;
	room = MIN(room, vcpu_debug_room(r->v->group, pc, room));
	r->f.pc = pc;
	int ret =
		isa->lift(&r->f, (uint16_t)r->key.flags, r->code + at, room, NULL, 0, BLOCK_INSNS);
	if (ret < 0) {
		/* The block was begun: it is taken back. */
		if (r->f.open) {
			r->f.block_count--;
			r->f.len = r->f.blocks[r->f.block_count].first;
			r->f.open = false;
		}
		r->block_at[at] = REFUSED;
		return false;
	}
	unsigned block = r->f.block_count - 1;
	r->block_at[at] = (uint8_t)(block + 1);
	r->insns += r->f.insns;
	find_successors(r, last_ins(&r->f, block));
	return true;
}

/* Everything that the pending addresses lead to. */
static void lift_all(struct region *r)
{
	while (r->pending_count && r->f.block_count < REGION_BLOCKS && r->insns < REGION_INSNS) {
		uint64_t pc = r->pending[--r->pending_count];
		if (r->block_at[pc - r->page] == NOT_LIFTED && is_wanted(r, pc) &&
			!vcpu_debug_is_breakpoint(r->v->group, pc))
			lift_block(r, pc);
	}
}

/* The block at pc, or one that leaves to it. */
static unsigned inner_block(struct region *r, uint64_t pc)
{
	uint8_t at = in_page(r, pc) ? r->block_at[pc - r->page] : NOT_LIFTED;
	if (at != NOT_LIFTED && at != REFUSED)
		return at - 1u;
	unsigned block = ir_block_begin(&r->f, pc);
	ir_goto(&r->f, ir_const(&r->f, IR_I64, pc), IR_JUMP_PLAIN);
	return block;
}

static bool is_inner(const struct region *r, uint64_t pc)
{
	uint8_t at = in_page(r, pc) ? r->block_at[pc - r->page] : NOT_LIFTED;
	return at != NOT_LIFTED && at != REFUSED;
}

/* Edges between the blocks become jumps inside the function. */
static void connect(struct region *r)
{
	struct ir_func *f = &r->f;
	unsigned lifted = f->block_count;
	for (unsigned n = 0; n < lifted; n++) {
		ir_ref at = f->blocks[n].end - 1;
		struct ir_ins end = f->ins[at];
		if (end.op == IR_GOTO && end.aux != IR_JUMP_CALL && ir_is_const(f, end.a) &&
			is_inner(r, f->ins[end.a].imm)) {
			f->ins[at] = (struct ir_ins){.op = IR_JUMP,
				.a = IR_NONE,
				.b = IR_NONE,
				.c = IR_NONE,
				.imm = inner_block(r, f->ins[end.a].imm)};
		} else if (end.op == IR_GOTO_IF &&
			   (is_inner(r, f->ins[end.b].imm) || is_inner(r, f->ins[end.c].imm))) {
			uint64_t yes = inner_block(r, f->ins[end.b].imm);
			uint64_t no = inner_block(r, f->ins[end.c].imm);
			f->ins[at] = (struct ir_ins){.op = IR_BRANCH,
				.a = end.a,
				.b = IR_NONE,
				.c = IR_NONE,
				.imm = yes | no << 32};
		}
	}
}

/* One instruction that ends in the next page. Nothing may lead to it but a look-up, which compares
 * that page. */
static int lift_straddler(struct region *r)
{
	const struct isa *isa = r->v->head->isa;
	uint8_t next[CODE_INSN_BYTES];
	size_t at = r->key.pc - r->page;
	vcpu_copy_code(next, r->key.next_page, sizeof(next));
	int ret = isa->lift(&r->f, (uint16_t)r->key.flags, r->code + at, GUEST_PAGE_BYTES - at,
		next, sizeof(next), 1);
	r->insns = r->f.insns;
	return ret;
}

static int lift_region(struct region *r, struct error *err)
{
	if (r->key.next_page) {
		int ret = lift_straddler(r);
		return ret < 0 ? error_errno(err, -ret, "region") : 0;
	}
	if (!lift_block(r, r->key.pc))
		return error_set(err, ENOTSUP, "region: nothing to begin with");
	lift_all(r);
	return 0;
}

static int compile(struct region *r, struct jit_region **out, struct error *err)
{
	struct vcpu *v = r->v;
	struct code_dump *dump = &v->group->dump;
	struct strbuf text _strbuf_ = STRBUF_INIT;
	arena_reset(&v->arena);
	ir_func_init(&r->f, &v->head->isa->target, &v->arena, r->key.pc);
	vcpu_copy_code(r->code, r->key.host - (r->key.pc - r->page), GUEST_PAGE_BYTES);
	int ret = lift_region(r, err);
	if (ret < 0)
		return ret;
	unsigned entries = r->f.block_count;
	connect(r);
	r->f.pc = r->key.pc;
	r->f.insns = r->insns;
	ret = IR_CHECKED ? ir_verify(&r->f, err) : 0;
	if (ret == 0)
		ret = ir_optimise(&r->f, false, dump->out ? &text : NULL, dump->stages, err);
	if (ret < 0)
		return error_wrap(err, ret, "region");
	ret = jit_compile(v->group->jit, &r->f, entries, out, err);
	if (ret == 0 && dump->out)
		code_dump_region(dump, r->key.pc, &text, (*out)->code, (*out)->bytes);
	return ret;
}

const void *vcpu_hot_code(struct vcpu *v)
{
	struct cpu_head *h = v->head;
	struct error err _error_ = ERROR_INIT;
	struct code_key key = {.pc = h->pc, .flags = vcpu_code_flags(v)};
	uint32_t mapping = h->mapping_epoch;
	key.host = vcpu_fetch_pointer(v, h->pc);
	if (!key.host)
		return NULL;
	struct code_found found = code_cache_find(v->group->cache, &key);
	if (found.next_page) {
		key.next_page = vcpu_fetch_next_page(v, key.pc);
		if (key.next_page != found.next_page)
			return NULL;
	}
	key.writes = code_cache_writes(v->group->cache, &key);
	if (!found.native && found.code) {
		struct region *r = xcalloc(1, sizeof(*r));
		struct jit_region *compiled = NULL;
		r->v = v;
		r->key = key;
		r->page = align_down(key.pc, GUEST_PAGE_BYTES);
		int ret = compile(r, &compiled, &err);
		free(r);
		if (ret == -ENOSPC) {
			interp_hot_after(found.code->code, CODE_HOT_AGAIN);
			code_cache_make_room(v->group->cache);
			return NULL;
		}
		if (ret < 0) {
			vcpu_count_event(&v->regions_refused);
			interp_never_hot(found.code->code);
			return NULL;
		}
		vcpu_count_event(&v->regions_compiled);
		if (!code_cache_add_region(v->group->cache, &key, compiled))
			interp_hot_after(found.code->code, CODE_HOT_AGAIN);
		/* The place may be another mapping's by now. */
		found = code_cache_find(v->group->cache, &key);
		if (found.next_page != key.next_page)
			return NULL;
	}
	/* As in vcpu_find_code(): nothing new among what is old. */
	if (!found.native || vcpu_code_changed(v) || h->mapping_epoch != mapping)
		return NULL;
	vcpu_know_native(v, key.pc, found.native);
	struct interp_jump *j = interp_jump_slot(v->jumps, key.pc);
	if (j->pc == key.pc && j->context == v->run.context)
		j->native = found.native;
	return found.native;
}
