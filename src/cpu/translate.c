// SPDX-License-Identifier: Apache-2.0
// From a guest pc to code: the vCPU's jump table, the shared code cache, and at last lifting,
// optimising and lowering a block.
#include <inttypes.h>
#include <sched.h>

#include "base/log.h"
#include "cpu/internal.h"

enum { BLOCK_MAX_INSNS = 64, BLOCK_MAX_BYTES = BLOCK_MAX_INSNS * CODE_INSN_BYTES };

static uint8_t *page_of(const uint8_t *host)
{
	return align_down_ptr(host, GUEST_PAGE_BYTES);
}

static void protect_page(void *opaque, void *state)
{
	struct cpu_head *h = state;
	for (unsigned n = 0; n < h->tlb_count; n++)
		tlb_protect(&h->tlbs[n], opaque);
}

/* The first vCPU that comes revokes the others' direct stores and waits for it; those who come
 * meanwhile wait, serving such requests. */
void vcpu_protect_page(struct vcpu *v, uint8_t *page, uint8_t flag)
{
	_Atomic uint8_t *flags = code_cache_page_flags(v->group->cache, page);
	uint8_t old = atomic_load(flags);
	for (;;) {
		if (old & MEMORY_PAGE_PENDING) {
			vcpu_serve_requests(v);
			sched_yield();
			old = atomic_load(flags);
			continue;
		}
		/* RESERVED and WRITER: he who came between is about to take RESERVED away. */
		if ((old & flag) && (flag == MEMORY_PAGE_CODE || !(old & MEMORY_PAGE_WRITER)))
			return;
		uint8_t pending = (old | flag | MEMORY_PAGE_PENDING) & (uint8_t)~MEMORY_PAGE_WRITER;
		if (atomic_compare_exchange_weak(flags, &old, pending))
			break;
	}
	if (old & MEMORY_PAGE_WRITER)
		vcpu_run_on_each(
			v->group->vcpus, atomic_load(&v->group->count), protect_page, page);
	atomic_fetch_and(flags, (uint8_t)~MEMORY_PAGE_PENDING);
}

static void prepare_page(struct vcpu *v, uint8_t *page)
{
	if (v->head->flat)
		v->group->space.make_code(v->group->space.opaque, page);
	else
		vcpu_protect_page(v, page, MEMORY_PAGE_CODE);
}

/* The guest's bytes, read once: another CPU may be writing them. */
__attribute__((no_sanitize("thread"))) void vcpu_copy_code(
	uint8_t *to, const uint8_t *from, size_t n)
{
	typedef uint64_t unaligned __attribute__((aligned(1), may_alias));
	size_t i = 0;
	for (; i + 8 <= n; i += 8)
		*(unaligned *)(to + i) = *(const volatile unaligned *)(from + i);
	for (; i < n; i++)
		to[i] = ((const volatile uint8_t *)from)[i];
}

/* A lifter that broke a rule: the guest sees an access fault, the log the reason. */
static void refuse(struct vcpu *v, struct error *err)
{
	log_error("vcpu %u: code at 0x%" PRIx64 ": %s", v->id, v->head->pc, err->message);
	v->head->isa->access_fault(v->head, GVA(v->head->pc), ISA_EXEC);
}

/* Lifts and lowers the block at `host`. 0; -EAGAIN: it needs the next page; other: refused. */
static int lift(struct vcpu *v, const struct code_key *key, unsigned max_insns,
	struct interp_code **out, struct error *err)
{
	const struct isa *isa = v->head->isa;
	uint8_t code[BLOCK_MAX_BYTES + ISA_LIFT_AHEAD], next[CODE_INSN_BYTES];
	size_t bytes = GUEST_PAGE_BYTES - (size_t)(key->host - page_of(key->host));
	bytes = MIN(bytes, max_insns * isa->max_insn_bytes + ISA_LIFT_AHEAD);
	vcpu_copy_code(code, key->host, bytes);
	if (key->next_page)
		vcpu_copy_code(next, key->next_page, sizeof(next));

	struct ir_func f;
	size_t room = vcpu_debug_room(v->group, key->pc, bytes);
	int ret;
	for (;;) {
		arena_reset(&v->arena);
		ir_func_init(&f, &isa->target, &v->arena, key->pc);
		ret = isa->lift(&f, (uint16_t)key->flags, code, room, key->next_page ? next : NULL,
			key->next_page ? sizeof(next) : 0, max_insns);
		if (ret != -EAGAIN || room == bytes)
			break;
		/* A breakpoint inside the first instruction: it is never come to. */
		room = bytes;
		max_insns = 1;
	}
	if (ret == -EAGAIN)
		return ret;
	if (ret < 0)
		return error_errno(err, -ret, "lift");
	if (IR_CHECKED)
		ret = ir_verify(&f, err);
	/* With a compiler most of what is interpreted runs a few times: that does not pay. */
	if (ret >= 0 && !v->group->jit)
		ret = ir_optimise(&f, false, NULL, NULL, err);
	if (ret < 0)
		return error_wrap(err, ret, "lift");
	/* What ends in two pages is linked to nothing: it may outlive its page's other code. */
	const uint8_t *link_in = key->next_page ? NULL : page_of(key->host);
	return interp_lower(v->lowerer, &f, link_in, out, err);
}

/* Makes the block and adds it to the cache. NULL: cpu_head.fault is set, or the code has changed.
 */
static const struct interp_code *make_code(struct vcpu *v, struct code_key *key)
{
	struct error err _error_ = ERROR_INIT;
	unsigned max_insns = BLOCK_MAX_INSNS;
	for (;;) {
		struct interp_code *code;
		key->writes = code_cache_writes(v->group->cache, key);
		prepare_page(v, page_of(key->host));
		if (key->next_page)
			prepare_page(v, page_of(key->next_page));
		int ret = lift(v, key, max_insns, &code, &err);
		if (ret == -EAGAIN && !key->next_page) {
			const uint8_t *next = vcpu_fetch_next_page(v, key->pc);
			if (!next)
				return NULL;
			key->next_page = next;
			continue;
		}
		if (ret == -E2BIG && max_insns > 1) {
			max_insns /= 2;
			continue;
		}
		if (ret < 0) {
			if (ret == -EAGAIN)
				error_set(&err, EAGAIN, "lift wants more than two pages");
			refuse(v, &err);
			return NULL;
		}
		vcpu_count_event(&v->blocks_lifted);
		/* NULL when someone wrote to the page meanwhile. He may do so for ever, and others
		 * may want this CPU to stop: so it is not for this loop to try again. */
		return code_cache_add(v->group->cache, key, code);
	}
}

/* The block in the cache, when the page after it is still the one that it was made from. */
static const struct interp_code *cached(
	struct vcpu *v, struct code_key *key, const void **native, bool *fault)
{
	struct code_found found = code_cache_find(v->group->cache, key);
	*fault = false;
	*native = NULL;
	if (found.next_page) {
		key->next_page = vcpu_fetch_next_page(v, key->pc);
		*fault = !key->next_page;
		if (key->next_page != found.next_page)
			return NULL;
	}
	*native = found.native;
	return found.native ? NULL : found.code;
}

static struct interp_code *make_step(struct vcpu *v)
{
	struct error err _error_ = ERROR_INIT;
	struct cpu_head *h = v->head;
	struct code_key key = {.pc = h->pc, .flags = h->isa->translation_flags(h)};
	struct interp_code *code;
	key.host = vcpu_fetch_pointer(v, h->pc);
	if (!key.host)
		return NULL;
	int ret = lift(v, &key, 1, &code, &err);
	if (ret == -EAGAIN) {
		key.next_page = vcpu_fetch_next_page(v, h->pc);
		if (!key.next_page)
			return NULL;
		ret = lift(v, &key, 1, &code, &err);
	}
	if (ret < 0) {
		refuse(v, &err);
		return NULL;
	}
	return code;
}

struct interp_code *vcpu_make_step(struct vcpu *v)
{
	interp_lowerer_count(v->lowerer, 0); /* it is to run, however hot */
	struct interp_code *code = make_step(v);
	interp_lowerer_count(v->lowerer, v->group->jit ? v->group->hot : 0);
	return code;
}

const struct interp_jump *vcpu_find_code(struct vcpu *v)
{
	struct cpu_head *h = v->head;
	struct interp_jump *j = interp_jump_slot(v->jumps, h->pc);
	if (j->pc == h->pc && j->context == v->run.context)
		return j;
	if (vcpu_debug_break(v))
		return NULL;
	vcpu_count_event(&v->lookups_missed);
	struct code_key key = {.pc = h->pc, .flags = vcpu_code_flags(v)};
	uint32_t mapping = h->mapping_epoch;
	key.host = vcpu_fetch_pointer(v, h->pc);
	if (!key.host)
		return NULL;
	bool fault;
	const void *native;
	const struct interp_code *code = cached(v, &key, &native, &fault);
	if (fault)
		return NULL;
	if (!code && !native) {
		key.next_page = NULL;
		code = make_code(v, &key);
	}
	/* Code that is newer than the context must not get among blocks that are older: an old
	 * entry of the jump table would be linked to the new block, and outlive what it names.
	 * And while this CPU waited for others (prepare_page), it may have been told to forget
	 * the mapping by which the code was found. */
	if ((!code && !native) || vcpu_code_changed(v) || h->mapping_epoch != mapping)
		return NULL;
	*j = (struct interp_jump){.pc = h->pc,
		.context = v->run.context,
		.entry = code ? code->code : NULL,
		.native = native,
		.page = code && !key.next_page ? interp_page_tag(page_of(key.host)) : 0};
	return j;
}
