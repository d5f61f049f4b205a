// SPDX-License-Identifier: Apache-2.0
// The frame of a signal handler on the guest's stack, laid out as riscv64's kernel does
// (arch/riscv: struct rt_sigframe, struct ucontext, struct sigcontext).
#include "user/internal.h"

struct frame {
	uint8_t info[128]; /* siginfo_t: the same on all 64-bit architectures of Linux but a few */
	struct {
		uint64_t flags, link;
		struct {
			uint64_t sp;
			uint32_t flags, pad;
			uint64_t size;
		} stack;
		uint64_t mask;
		uint8_t unused[120];
		uint64_t align; /* sigcontext has 16 */
		uint64_t pc, x[31];
		uint64_t f[32];
		uint32_t fcsr;
		uint8_t q_rest[528 - 33 * 8 + 4 - 12];
		uint32_t reserved[3]; /* 0: no further state; magic 0, size 0 of the last record */
	} uc;
};
_Static_assert(sizeof(siginfo_t) == 128, "as the guest's");
_Static_assert(sizeof(struct frame) == 128 + 960, "as the kernel's");
_Static_assert(offsetof(struct frame, uc.pc) == 128 + 176, "as the kernel's");

enum { AUTODISARM = INT32_MIN };

bool user_frame_push(
	struct user_thread *t, int sig, const siginfo_t *info, const struct user_action *action)
{
	struct rv64_cpu *c = t->cpu;
	struct frame f = {0};
	uint64_t sp = c->x[2];
	bool on_alt = sp - t->altstack.sp < t->altstack.size;
	memcpy(f.info, info, sizeof(*info));
	f.uc.stack.sp = t->altstack.sp;
	f.uc.stack.size = t->altstack.size;
	f.uc.stack.flags =
		!t->altstack.size ? SS_DISABLE : t->altstack.flags | (on_alt ? SS_ONSTACK : 0);
	f.uc.mask = t->mask;
	f.uc.pc = c->head.pc;
	memcpy(f.uc.x, c->x + 1, sizeof(f.uc.x));
	memcpy(f.uc.f, c->f, sizeof(f.uc.f));
	f.uc.fcsr = rv64_fcsr(c);

	if ((action->flags & SA_ONSTACK) && t->altstack.size && !on_alt) {
		sp = t->altstack.sp + t->altstack.size;
	} else if (on_alt && sp - sizeof(f) - t->altstack.sp >= t->altstack.size) {
		return false; /* it has run out of the alternate stack */
	}
	sp = (sp - sizeof(f)) & ~UINT64_C(15);
	if (user_write(sp, &f, sizeof(f)) < 0)
		return false;
	if (t->altstack.flags & (uint32_t)AUTODISARM)
		memset(&t->altstack, 0, sizeof(t->altstack));
	cpu_forget_reservation(&c->head);
	c->x[1] = t->process->sigreturn;
	c->x[2] = sp;
	c->x[10] = (uint64_t)sig;
	c->x[11] = sp + offsetof(struct frame, info);
	c->x[12] = sp + offsetof(struct frame, uc);
	c->head.pc = action->handler;
	return true;
}

int user_frame_pop(struct user_thread *t)
{
	struct rv64_cpu *c = t->cpu;
	struct frame f;
	int r = user_read(c->x[2], &f, sizeof(f));
	if (r < 0)
		return r;
	if (f.uc.reserved[0] || f.uc.reserved[1] || f.uc.reserved[2])
		return -EINVAL;
	t->mask = f.uc.mask & ~(user_bit(SIGKILL) | user_bit(SIGSTOP));
	c->head.pc = f.uc.pc & ~UINT64_C(1);
	memcpy(c->x + 1, f.uc.x, sizeof(f.uc.x));
	memcpy(c->f, f.uc.f, sizeof(f.uc.f));
	rv64_set_fcsr(c, f.uc.fcsr);
	cpu_forget_reservation(&c->head);
	if (!(f.uc.stack.flags & SS_DISABLE)) {
		t->altstack.sp = f.uc.stack.sp;
		t->altstack.size = f.uc.stack.size;
		t->altstack.flags = f.uc.stack.flags & (uint32_t)AUTODISARM;
	}
	return 0;
}
