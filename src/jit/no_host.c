// SPDX-License-Identifier: Apache-2.0
// A host without an emitter: jit_host_check() says so, and nothing else here is ever called.
#include "jit/internal.h"

int jit_host_check(struct error *err)
{
	return error_set(err, ENOTSUP,
		"jit: no compiler for this host's architecture: guest code is interpreted, which "
		"is slower");
}

void jit_emit_common(struct jit *j)
{
	(void)j;
}

int jit_emit(struct jit *j, const struct ir_func *f, unsigned entries, uint8_t *at, size_t room,
	struct jit_region *region, struct error *err)
{
	(void)j, (void)f, (void)entries, (void)at, (void)room, (void)region;
	return jit_host_check(err);
}

const uint8_t *jit_fault_address(const void *ucontext)
{
	(void)ucontext;
	return NULL;
}

void jit_leave_faulted(const struct jit *j, void *cpu, uint64_t pc, void *ucontext)
{
	(void)j, (void)cpu, (void)pc, (void)ucontext;
}

void jit_patch_jump(uint8_t *jump, const uint8_t *target)
{
	(void)jump, (void)target;
}
