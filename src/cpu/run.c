// SPDX-License-Identifier: Apache-2.0
// The vCPU's loop.
#include "cpu/internal.h"
#include "isa/fpu.h"

/* Entries of the jump table hold while nothing they rest on has changed: the mappings, the code
 * cache, and the flags that code is translated for. Two counters that only grow have a sum that
 * changes when one of them does. */
static void update_context(struct vcpu *v)
{
	struct cpu_head *h = v->head;
	uint64_t epoch = code_cache_epoch(v->group->cache);
	atomic_store_explicit(&v->code_epoch, epoch, memory_order_release);
	epoch += h->mapping_epoch;
	if (epoch >> 30 != v->context_epoch >> 30) /* before 32 bits of it come round */
		memset(v->jumps, 0, INTERP_JUMPS * sizeof(*v->jumps));
	v->context_epoch = epoch;
	v->run.context = (epoch + 1) << 32 | h->isa->translation_flags(h);
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
		exit = interp_run(&v->run, j->entry);
	} while (exit == INTERP_MISS && !vcpu_code_changed(v));
	fpu_leave(h);
}

void vcpu_run(struct vcpu *v)
{
	struct cpu_head *h = v->head;
	const struct isa *isa = h->isa;
	do {
		if (h->fault.pending) {
			vcpu_count_event(&v->exceptions);
			isa->deliver(h);
		}
		if (isa->interrupt(h))
			vcpu_count_event(&v->interrupts);
		update_context(v);
		run_blocks(v);
	} while (!v->wait_wanted && !atomic_load(&h->attention));
}
