// SPDX-License-Identifier: Apache-2.0
// The vCPU's loop.
#include "cpu/internal.h"
#include "isa/fpu.h"

/* Entries of the jump table hold while nothing they rest on has changed: the mappings (one number
 * per address space, so that switching back finds them again), the code cache, and the flags that
 * code is translated for. Cleared before a number that is cut short could come round. */
enum { CODE_BITS = 23, MAPPING_BITS = 24, FLAG_BITS = 16 };

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
		v->context_high = high;
	}
	/* The top bit: a context is never that of a cleared entry. */
	v->run.context =
		UINT64_C(1) << 63 | low_bits(code, CODE_BITS) << (MAPPING_BITS + FLAG_BITS) |
		low_bits(mapping, MAPPING_BITS) << FLAG_BITS | h->isa->translation_flags(h);
}

/* Runs blocks until something but the next block is to be looked at. */
static void run_blocks(struct vcpu *v)
{
	struct cpu_head *h = v->head;
	enum interp_exit exit;
	v->run.link = NULL;
	fpu_enter(h);
	do {
		uint64_t *link = v->run.link;
		const struct interp_jump *j = vcpu_find_code(v);
		if (!j)
			break;
		/* The block with the link is not freed before this CPU passes update_context(). */
		if (link && j->linkable)
			interp_link(link, j->entry);
		vcpu_count_event(&v->blocks_run);
		exit = h->flat ? interp_run_flat(&v->run, j->entry) : interp_run(&v->run, j->entry);
	} while (exit == INTERP_MISS && !vcpu_code_changed(v));
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
