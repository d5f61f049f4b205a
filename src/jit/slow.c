// SPDX-License-Identifier: Apache-2.0
#include "jit/slow.h"

#define HEAD struct cpu_head *h = cpu

/* The host address that stands for guest address 0 in the page of the group, or 0: the bytes from
 * first to last (inclusive) are not directly accessible. */
static uint64_t group_base(struct cpu_head *h, uint64_t first, uint64_t last, bool write)
{
	struct tlb_entry *e = tlb_slot(h->tlb, first);
	uint64_t tag = write ? e->write : e->read;
	return align_down(last, GUEST_PAGE_BYTES) == tag ? e->addend : 0;
}

/* A struct jit_site; which instruction it is becomes the pc. */
static struct jit_site read_site(struct cpu_head *h, const uint8_t *at)
{
	struct jit_site site;
	uint64_t page;
	memcpy(&site, at, sizeof(site));
	memcpy(&page, at - site.back, sizeof(page));
	h->pc = page + site.pc_offset;
	return site;
}

static void answer_group(
	struct cpu_head *h, const struct jit_site *site, const uint8_t *at, uint64_t addr)
{
	int16_t range[2];
	h->exec.args[1] = 0;
	if (!(site->info & 1 << 8))
		return;
	memcpy(range, at + sizeof(*site) + 1, sizeof(range));
	h->exec.args[1] = group_base(
		h, addr + (uint64_t)range[0], addr + (uint64_t)range[1], site->info >> 9 & 1);
}

static bool slow_load(void *cpu, const uint8_t *at)
{
	HEAD;
	struct jit_site site = read_site(h, at);
	uint64_t addr = h->exec.args[0];
	if (!h->env->load(cpu, addr, 1u << (site.info & 7), 0, &h->exec.args[0]))
		return false;
	answer_group(h, &site, at, addr);
	return true;
}

static bool slow_store(void *cpu, const uint8_t *at)
{
	HEAD;
	struct jit_site site = read_site(h, at);
	uint64_t addr = h->exec.args[0];
	if (!h->env->store(cpu, addr, 1u << (site.info & 7), 0, h->exec.args[2]))
		return false;
	answer_group(h, &site, at, addr);
	return true;
}

static bool finish(struct cpu_head *h, struct interp_result r)
{
	h->exec.args[0] = r.value;
	return r.ok;
}

static bool slow_rmw(void *cpu, const uint8_t *at)
{
	HEAD;
	return finish(h, interp_rmw(cpu, h->exec.args[0], (enum ir_rmw)(h->exec.info >> 8),
				 h->exec.info & 0xff, h->exec.args[1]));
}

static bool slow_cmpxchg(void *cpu, const uint8_t *at)
{
	HEAD;
	return finish(h, interp_cmpxchg(cpu, h->exec.args[0], h->exec.info & 0xff, h->exec.args[1],
				 h->exec.args[2]));
}

static bool slow_loadr(void *cpu, const uint8_t *at)
{
	HEAD;
	return finish(h, interp_load_reserved(cpu, h->exec.args[0], h->exec.info & 0xff));
}

static bool slow_storec(void *cpu, const uint8_t *at)
{
	HEAD;
	return finish(h, interp_store_conditional(
				 cpu, h->exec.args[0], h->exec.info & 0xff, h->exec.args[1]));
}

static bool slow_call(void *cpu, const uint8_t *at)
{
	HEAD;
	const struct ir_helper *helper = &h->isa->target.helpers[h->exec.info];
	uint64_t v = helper->fn(cpu, h->exec.args[0], h->exec.args[1], h->exec.args[2]);
	h->exec.args[0] = v;
	return !(helper->flags & IR_HELPER_FAULT) || !h->fault.pending;
}

static bool slow_fp(void *cpu, const uint8_t *at)
{
	HEAD;
	uint32_t info = h->exec.info;
	interp_fp_fn *fn = interp_fp((enum ir_op)(info & 0xff), (enum ir_type)(info >> 8 & 0xff),
		(enum ir_type)(info >> 16));
	h->exec.args[0] = fn(h, h->exec.fp_info, h->exec.args[0], h->exec.args[1], h->exec.args[2]);
	return true;
}

jit_slow_fn *const jit_slow_fns[JIT_SLOW_COUNT] = {
	[JIT_SLOW_LOAD] = slow_load,
	[JIT_SLOW_STORE] = slow_store,
	[JIT_SLOW_RMW] = slow_rmw,
	[JIT_SLOW_CMPXCHG] = slow_cmpxchg,
	[JIT_SLOW_LOADR] = slow_loadr,
	[JIT_SLOW_STOREC] = slow_storec,
	[JIT_SLOW_CALL] = slow_call,
	[JIT_SLOW_FP] = slow_fp,
};
