// SPDX-License-Identifier: Apache-2.0
// Remote fences (SBI 2.0, chapter 8): done when the call returns.
#include "board/riscv64/sbi.h"
#include "isa/rv64/rv64.h"

enum { FENCE_I, SFENCE_VMA, SFENCE_VMA_ASID };

struct fence {
	uint64_t start, bytes, asid;
};

static void do_fence_i(void *opaque, void *state)
{
	struct rv64_cpu *c = state;
	c->head.env->code_fence(c->head.env->opaque);
}

static void do_fence_vma(void *opaque, void *state)
{
	const struct fence *f = opaque;
	rv64_fence_vma(state, f->start, f->bytes, f->asid);
}

struct sbi_result sbi_rfence(struct sbi *call)
{
	struct riscv_machine *m = call->machine;
	struct fence f = {call->arg[2], call->arg[3], RV64_ALL_ASIDS};
	uint64_t harts, end;
	if (call->function > SFENCE_VMA_ASID) /* the others are for hypervisors */
		return SBI_FAIL(SBI_ERR_NOT_SUPPORTED);
	int r = sbi_hart_mask(m, call->arg[0], call->arg[1], &harts);
	if (r < 0)
		return SBI_FAIL(r);
	if (call->function == SFENCE_VMA_ASID)
		f.asid = call->arg[4] & 0xffff;
	if (f.bytes == UINT64_MAX || (!f.start && !f.bytes))
		f = (struct fence){0, UINT64_MAX, f.asid};
	else if (call->function != FENCE_I && f.bytes && add_overflows(f.start, f.bytes - 1, &end))
		return SBI_FAIL(SBI_ERR_INVALID_ADDRESS);
	/* Harts that are stopped have nothing to forget: a start begins afresh. vcpu_run_on()
	 * serves them all the same. */
	struct vcpu *vcpus[64];
	unsigned count = 0;
	sbi_for_each_hart(i, harts) vcpus[count++] = m->harts[i].vcpu;
	vcpu_run_on_each(vcpus, count, call->function == FENCE_I ? do_fence_i : do_fence_vma, &f);
	return SBI_OK(0);
}
