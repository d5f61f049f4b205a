// SPDX-License-Identifier: Apache-2.0
// The vCPU's loop.
#include "cpu/internal.h"
#include "isa/fpu.h"

/* Entries of the jump table hold while nothing they rest on has changed: the mappings (one number
 * per address space, so that switching back finds them again), the code cache, and the flags that
 * code is translated for. Cleared before a number that is cut short could come round. */
enum { CODE_BITS = 23, MAPPING_BITS = 24, FLAG_BITS = 16 };

/* Of the host's stack, for return addresses: 4,000 guest calls deep. More are forgotten. */
enum { RETURN_STACK_BYTES = 32 << 10 };

static uint64_t low_bits(uint64_t v, unsigned bits)
{
	return v & ((UINT64_C(1) << bits) - 1);
}

static void update_context(struct vcpu *v)
{
	struct cpu_head *h = v->head;
	uint64_t code = code_cache_epoch(v->group->cache), mapping = h->mapping_epoch;
	/* Whoever drops blocks raises the epoch and then looks at ours: one of the two sees the
	 * other's, or blocks that this vCPU still knows would be freed while it counts as idle. */
	for (uint64_t seen = code;; code = seen) {
		atomic_store(&v->code_epoch, code);
		seen = code_cache_epoch(v->group->cache);
		if (seen == code)
			break;
	}
	uint64_t high = code >> CODE_BITS << 32 | mapping >> MAPPING_BITS;
	if (high != v->context_high) {
		memset(v->jumps, 0, INTERP_JUMPS * sizeof(*v->jumps));
		memset(cpu_jumps(h->isa, h), 0, CPU_JUMPS * sizeof(struct cpu_jump));
		v->context_high = high;
	}
	/* The top bit: a context is never that of a cleared entry. */
	v->run.context =
		UINT64_C(1) << 63 | low_bits(code, CODE_BITS) << (MAPPING_BITS + FLAG_BITS) |
		low_bits(mapping, MAPPING_BITS) << FLAG_BITS | h->isa->translation_flags(h);
	atomic_store(&h->exec.context, v->run.context);
}

/* Compiled code may run again. Before attention is looked at: who wants it sets that first. */
static void allow_compiled(struct vcpu *v)
{
	struct cpu_head *h = v->head;
	uintptr_t limit = (uintptr_t)__builtin_frame_address(0) - RETURN_STACK_BYTES;
	if (atomic_load(&h->exec.context) != v->run.context)
		atomic_store(&h->exec.context, v->run.context);
	if (atomic_load(&h->exec.stack_limit) != limit)
		atomic_store(&h->exec.stack_limit, limit);
}

static enum interp_exit interpret(struct vcpu *v, const struct interp_jump *j)
{
	vcpu_count_event(&v->blocks_run);
	return v->head->flat ? interp_run_flat(&v->run, j->entry) : interp_run(&v->run, j->entry);
}

/* Compiled code for head->pc, as far as the vCPU knows. An edge that led here is linked to it. */
static const void *find_native(struct vcpu *v)
{
	struct cpu_head *h = v->head;
	const void *code = jit_jump_find(h->isa, h, h->pc, v->run.context);
	if (!code) { /* others have taken its places in the table */
		const struct interp_jump *known = interp_jump_slot(v->jumps, h->pc);
		if (known->pc == h->pc && known->context == v->run.context)
			code = known->native;
		if (!code)
			return NULL;
		vcpu_know_native(v, h->pc, code);
	}
	struct jit_link *link = h->exec.link;
	if (link && (link->cell || link->pc == h->pc))
		code_cache_link(v->group->cache, link, h->pc, vcpu_code_flags(v));
	return code;
}

/* Why code was left. */
static void count_exit(struct vcpu *v, enum interp_exit exit)
{
	_Atomic uint64_t *const counters[] = {[INTERP_MISS] = &v->exits_lookup,
		[INTERP_HOT] = &v->exits_hot,
		[INTERP_EXIT] = &v->exits_instruction,
		[INTERP_ATTENTION] = &v->exits_attention,
		[INTERP_FAULT] = &v->exits_fault};
	vcpu_count_event(counters[exit]);
}

/* Runs code until something but the next block is to be looked at. What is linked is not freed
 * before this CPU passes update_context(). */
static void run_blocks(struct vcpu *v)
{
	struct cpu_head *h = v->head;
	enum interp_exit exit;
	v->run.link = NULL;
	h->exec.link = NULL;
	fpu_enter(h);
	do {
		allow_compiled(v);
		if (atomic_load(&h->attention))
			break;
		const void *native = v->group->jit ? find_native(v) : NULL;
		h->exec.link = NULL;
		if (native) {
			v->run.link = NULL;
			vcpu_count_event(&v->regions_run);
			exit = jit_run(v->group->jit, h, native);
			count_exit(v, exit);
			continue;
		}
		uint64_t *link = v->run.link;
		const struct interp_jump *j = vcpu_find_code(v);
		if (!j)
			break;
		if (j->native) { /* found on the way */
			exit = INTERP_HOT;
			v->run.link = NULL;
			continue;
		}
		if (link)
			interp_link(link, j);
		exit = interpret(v, j);
		count_exit(v, exit);
		if (exit == INTERP_HOT)
			v->run.link = NULL; /* of some earlier edge */
		if (exit == INTERP_HOT && !vcpu_hot_code(v) && h->fault.pending)
			break; /* its page is mapped no more */
	} while ((exit == INTERP_MISS || exit == INTERP_HOT) && !vcpu_code_changed(v));
	fpu_leave(h);
}

void vcpu_run(struct vcpu *v)
{
	struct cpu_head *h = v->head;
	const struct isa *isa = h->isa;
	if (!vcpu_debug_steps(v))
		return;
	do {
		if (isa->interrupt(h))
			vcpu_count_event(&v->interrupts);
		update_context(v);
		run_blocks(v);
		if (h->fault.pending)
			vcpu_take_fault(v);
	} while (!v->wait_wanted && !atomic_load(&h->attention));
}

void vcpu_execute(struct vcpu *v)
{
	struct cpu_head *h = v->head;
	v->executing = true;
	do {
		update_context(v);
		run_blocks(v);
	} while (!h->fault.pending && !atomic_load(&h->attention));
	v->executing = false;
	atomic_store_explicit(&v->code_epoch, CODE_EPOCH_IDLE, memory_order_release);
}
