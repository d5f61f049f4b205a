// SPDX-License-Identifier: Apache-2.0
// Signals. The host's handler only notes what has come and blocks the rest; the thread delivers it
// between two blocks, where the guest's registers are exact. What the guest does not handle stays
// with the host's kernel: default actions and statuses are its own.
#include <ucontext.h>
#include <unistd.h>

#include "mem/flat.h"
#include "user/internal.h"

__thread struct user_thread *user_self;

enum { SIGSET_BYTES = 8 };
enum { GUEST_SA_RESTORER = 0x04000000 };
/* Never blocked: the engine needs them. */
#define ENGINE_SIGNALS (user_bit(SIGSEGV) | user_bit(SIGBUS))
#define UNBLOCKABLE    (user_bit(SIGKILL) | user_bit(SIGSTOP))

/* struct sigaction as x86-64's kernel has it. */
struct host_action {
	void *handler;
	uint64_t flags;
	void *restorer;
	uint64_t mask;
};

extern const char user_restorer[];
__asm__(".text\n"
	".globl user_restorer\n"
	".hidden user_restorer\n"
	"	nop\n" /* unwinders look up the address before this one */
	"user_restorer:\n"
	"	mov $15, %eax\n"
	"	syscall\n");

/* --- masks --- */
static void set_host_mask(uint64_t mask)
{
	mask &= ~ENGINE_SIGNALS;
	USER_CALL(SYS_rt_sigprocmask, SIG_SETMASK, (uintptr_t)&mask, 0, SIGSET_BYTES);
}

void user_signals_block(void)
{
	set_host_mask(UINT64_MAX);
}

void user_signals_unblock(struct user_thread *t)
{
	set_host_mask(t->mask);
}

/* --- the host's handlers --- */
static void leave_blocked(ucontext_t *u)
{
	uint64_t all = ~ENGINE_SIGNALS;
	memcpy(&u->uc_sigmask, &all, sizeof(all));
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	struct user_thread *t = user_self;
	ucontext_t *u = context;
	greg_t *pc = &u->uc_mcontext.gregs[REG_RIP];
	if (!t || t->signalled) /* a thread that is not the guest's (yet, any more) */
		return;
	t->waiting = *info;
	t->waiting.si_signo = sig;
	atomic_store(&t->signalled, 1);
	cpu_want_attention(&t->cpu->head);
	*pc = (greg_t)user_host_rewind((uintptr_t)*pc);
	leave_blocked(u);
}

/* A fault of ours is none of the guest's: the process ends as it should. */
static void host_fault(int sig)
{
	struct host_action dfl = {.handler = SIG_DFL};
	USER_CALL(SYS_rt_sigaction, sig, (uintptr_t)&dfl, 0, SIGSET_BYTES);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	struct user_thread *t = user_self;
	int code = errno;
	if (info->si_code <= 0) { /* somebody sent it */
		if (t && ((t->mask & user_bit(sig)) || t->signalled)) {
			t->held |= user_bit(sig);
			t->held_info[sig == SIGBUS] = *info;
		} else {
			on_signal(sig, info, context);
		}
		return;
	}
	if (!t) {
		host_fault(sig);
		return;
	}
	uint64_t addr = (uintptr_t)info->si_addr;
	if (sig == SIGSEGV && info->si_code == SEGV_ACCERR) {
		/* Two threads may write at once: then one of them finds the page writable. That it
		 * should find it so again and again, and the host refuse, is another matter. */
		bool changed, written = user_map_written(&t->process->map, addr, &changed);
		t->retries = t->retried_addr == addr && !changed ? t->retries + 1 : 0;
		t->retried_addr = addr;
		if (written && t->retries < 1000) {
			errno = code;
			return;
		}
	}
	t->refused = *info;
	if (!vcpu_host_fault(t->vcpu, context, info->si_code == SI_KERNEL ? FLAT_NO_ADDRESS : addr))
		host_fault(sig);
	errno = code;
}

static int set_host_action(int sig, void *handler, uint64_t guest_flags)
{
	struct host_action a = {.handler = handler,
		.flags = SA_SIGINFO | SA_RESTART | GUEST_SA_RESTORER |
			 (guest_flags & (SA_NOCLDSTOP | SA_NOCLDWAIT)),
		.restorer = (void *)(uintptr_t)user_restorer,
		.mask = ~ENGINE_SIGNALS};
	if ((uintptr_t)handler == (uintptr_t)on_fault)
		a.mask = 0;
	return (int)USER_CALL(SYS_rt_sigaction, sig, (uintptr_t)&a, 0, SIGSET_BYTES);
}

static bool is_engines(int sig)
{
	return ENGINE_SIGNALS & user_bit(sig);
}

void user_signals_init(struct user_process *p)
{
	struct host_action old;
	pthread_mutex_init(&p->actions.lock, NULL);
	for (int sig = 1; sig <= USER_SIGNALS; sig++) {
		if (USER_CALL(SYS_rt_sigaction, sig, 0, (uintptr_t)&old, SIGSET_BYTES) < 0)
			continue;
		/* Handlers do not survive an exec: there is only "ignored" to inherit. */
		p->actions.of[sig].handler = old.handler == SIG_IGN ? (uintptr_t)SIG_IGN : 0;
		if (is_engines(sig))
			set_host_action(sig, (void *)(uintptr_t)on_fault, 0);
	}
}

/* --- delivery --- */
void user_die(int sig)
{
	struct host_action dfl = {.handler = SIG_DFL};
	uint64_t all_but = ~user_bit(sig);
	USER_CALL(SYS_rt_sigaction, sig, (uintptr_t)&dfl, 0, SIGSET_BYTES);
	USER_CALL(SYS_rt_sigprocmask, SIG_SETMASK, (uintptr_t)&all_but, 0, SIGSET_BYTES);
	for (;;) {
		USER_CALL(SYS_tgkill, getpid(), USER_CALL(SYS_gettid), sig);
		USER_CALL(SYS_exit_group, 128 + sig);
	}
}

static bool default_is_to_ignore(int sig)
{
	return sig == SIGCHLD || sig == SIGCONT || sig == SIGURG || sig == SIGWINCH;
}

/* Enters the handler, if there is one. forced: the guest's own fault, which nothing can put off. */
static void deliver(struct user_thread *t, const siginfo_t *info, bool forced)
{
	int sig = info->si_signo;
	pthread_mutex_lock(&t->actions->lock);
	struct user_action *slot = &t->actions->of[sig], action = *slot;
	bool handled = action.handler > 1 && !(forced && (t->mask & user_bit(sig)));
	if (handled && (action.flags & SA_RESETHAND)) {
		slot->handler = 0;
		if (!is_engines(sig)) /* the next one is the kernel's */
			set_host_action(sig, NULL, 0);
	}
	pthread_mutex_unlock(&t->actions->lock);
	if (UNLIKELY(t->process->options->strace))
		user_trace_signal(info);
	if (!handled) {
		bool ignored =
			action.handler == 1 || (!action.handler && default_is_to_ignore(sig));
		if (forced || (!ignored && is_engines(sig)))
			user_die(sig);
		/* The guest gave up its handler since it came: the kernel's turn. */
		if (!ignored)
			USER_CALL(SYS_tgkill, getpid(), USER_CALL(SYS_gettid), sig);
		return;
	}
	/* An interrupted system call: the pc is still there. */
	if (!forced && t->cpu->head.fault.pending &&
		t->cpu->head.fault.cause == RV64_CAUSE_ECALL_USER) {
		t->cpu->head.fault.pending = false;
		if (!(action.flags & SA_RESTART)) {
			t->cpu->x[10] = (uint64_t)-EINTR;
			t->cpu->head.pc += 4;
		}
	}
	if (!user_frame_push(t, sig, info, &action))
		user_die(SIGSEGV);
	t->mask |= action.mask & ~UNBLOCKABLE;
	if (!(action.flags & SA_NODEFER))
		t->mask |= user_bit(sig);
}

static void deliver_held(struct user_thread *t)
{
	for (int n = 0; n < 2; n++) {
		int sig = n ? SIGBUS : SIGSEGV;
		if (!(t->held & ~t->mask & user_bit(sig)))
			continue;
		t->held &= ~user_bit(sig);
		deliver(t, &t->held_info[n], false);
	}
}

void user_signals_deliver(struct user_thread *t)
{
	/* Opening the mask may let in the next one at once. */
	while (atomic_load(&t->signalled)) {
		siginfo_t info = t->waiting;
		deliver(t, &info, false);
		atomic_store(&t->signalled, 0);
		user_signals_unblock(t);
	}
	if (t->held & ~t->mask)
		deliver_held(t);
	t->cpu->head.fault.pending = false;
}

void user_signal_raise(struct user_thread *t, int sig, int code, uint64_t addr)
{
	siginfo_t info = {.si_signo = sig, .si_code = code};
	info.si_addr = user_ptr(addr);
	uint64_t mask = t->mask;
	deliver(t, &info, true);
	if (t->mask != mask && !atomic_load(&t->signalled))
		user_signals_unblock(t);
}

/* --- exec: an ignored SIGSEGV is inherited, so the host must know --- */
void user_signals_before_exec(struct user_thread *t)
{
	for (int sig = 1; sig <= USER_SIGNALS; sig++)
		if (is_engines(sig) && t->actions->of[sig].handler == 1) {
			struct host_action ignore = {.handler = SIG_IGN};
			USER_CALL(SYS_rt_sigaction, sig, (uintptr_t)&ignore, 0, SIGSET_BYTES);
		}
	/* They may be blocked, too. */
	USER_CALL(SYS_rt_sigprocmask, SIG_SETMASK, (uintptr_t)&t->mask, 0, SIGSET_BYTES);
}

void user_signals_after_exec(struct user_thread *t)
{
	for (int sig = 1; sig <= USER_SIGNALS; sig++)
		if (is_engines(sig))
			set_host_action(sig, (void *)(uintptr_t)on_fault, 0);
	if (!atomic_load(&t->signalled))
		user_signals_unblock(t);
}

void user_signals_clear(struct user_thread *t)
{
	for (int sig = 1; sig <= USER_SIGNALS; sig++) {
		if (t->actions->of[sig].handler <= 1)
			continue;
		t->actions->of[sig] = (struct user_action){0};
		if (!is_engines(sig))
			set_host_action(sig, NULL, 0);
	}
}

/* --- system calls --- */
int64_t user_rt_sigaction(struct user_thread *t, const uint64_t a[6])
{
	int sig = (int)a[0];
	struct user_action new, old;
	if (a[3] != SIGSET_BYTES || sig < 1 || sig > USER_SIGNALS ||
		(a[1] && (UNBLOCKABLE & user_bit(sig))))
		return -EINVAL;
	if (a[1] && user_read(a[1], &new, sizeof(new)) < 0)
		return -EFAULT;
	pthread_mutex_lock(&t->actions->lock);
	old = t->actions->of[sig];
	int64_t r = 0;
	if (a[1]) {
		t->actions->of[sig] = new;
		void *handler = new.handler > 1 ? (void *)(uintptr_t)on_signal
						: (void *)(uintptr_t) new.handler;
		if (!is_engines(sig))
			r = set_host_action(sig, handler, new.flags);
	}
	pthread_mutex_unlock(&t->actions->lock);
	if (!r && a[2] && user_write(a[2], &old, sizeof(old)) < 0)
		return -EFAULT;
	return r;
}

int64_t user_rt_sigprocmask(struct user_thread *t, const uint64_t a[6])
{
	uint64_t set, old = t->mask;
	if (a[3] != SIGSET_BYTES)
		return -EINVAL;
	if (a[1]) {
		if (user_read(a[1], &set, sizeof(set)) < 0)
			return -EFAULT;
		if (a[0] > SIG_SETMASK)
			return -EINVAL;
		/* What has come under the old mask goes first. */
		uint64_t mask = a[0] == SIG_BLOCK     ? old | set
				: a[0] == SIG_UNBLOCK ? old & ~set
						      : set;
		user_signals_block();
		if (atomic_load(&t->signalled))
			return USER_AGAIN;
		t->mask = mask & ~UNBLOCKABLE;
		user_signals_unblock(t);
	}
	return a[2] ? user_write(a[2], &old, sizeof(old)) : 0;
}

int64_t user_rt_sigsuspend(struct user_thread *t, const uint64_t a[6])
{
	uint64_t set;
	if (a[1] != SIGSET_BYTES)
		return -EINVAL;
	if (user_read(a[0], &set, sizeof(set)) < 0)
		return -EFAULT;
	set &= ~ENGINE_SIGNALS;
	return USER_HOST(t, SYS_rt_sigsuspend, (uintptr_t)&set, SIGSET_BYTES);
}

int64_t user_rt_sigpending(struct user_thread *t, const uint64_t a[6])
{
	uint64_t set;
	if (a[1] > SIGSET_BYTES)
		return -EINVAL;
	int64_t r = USER_CALL(SYS_rt_sigpending, (uintptr_t)&set, SIGSET_BYTES);
	if (r < 0)
		return r;
	set = (set & t->mask) | t->held;
	return user_write(a[0], &set, a[1]);
}

int64_t user_sigaltstack(struct user_thread *t, const uint64_t a[6])
{
	enum { GUEST_MINSIGSTKSZ = 2048 };
	struct {
		uint64_t sp;
		uint32_t flags, pad;
		uint64_t size;
	} new, old = {t->altstack.sp, t->altstack.flags, 0, t->altstack.size};
	bool on = t->cpu->x[2] - t->altstack.sp < t->altstack.size;
	old.flags = !t->altstack.size ? SS_DISABLE : t->altstack.flags | (on ? SS_ONSTACK : 0);
	if (a[0]) {
		if (user_read(a[0], &new, sizeof(new)) < 0)
			return -EFAULT;
		if (on && !(t->altstack.flags & (1u << 31)))
			return -EPERM;
		uint32_t mode = new.flags & ~(1u << 31); /* SS_AUTODISARM */
		if (mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK)
			return -EINVAL;
		if (mode == SS_DISABLE)
			new.sp = new.size = 0;
		else if (new.size < GUEST_MINSIGSTKSZ)
			return -ENOMEM;
		t->altstack.sp = new.sp;
		t->altstack.size = new.size;
		t->altstack.flags = new.flags &(1u << 31);
	}
	return a[1] ? user_write(a[1], &old, sizeof(old)) : 0;
}

int64_t user_rt_sigreturn(struct user_thread *t, const uint64_t a[6])
{
	user_signals_block();
	if (atomic_load(&t->signalled)) /* the mask of the frame may forbid it */
		return USER_AGAIN;
	if (user_frame_pop(t) < 0)
		user_signal_raise(t, SIGSEGV, SI_KERNEL, 0);
	user_signals_unblock(t);
	return USER_NO_RESULT;
}
