// SPDX-License-Identifier: Apache-2.0
// Guest threads and processes. A guest thread is a host thread; a forked guest is a forked host
// process; the child of a vfork is a host process in the same memory, as the guest has it.
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mem/flat.h"
#include "user/internal.h"

enum { HOST_STACK_BYTES = 512 * 1024 };

/* --- vCPUs, kept for later threads --- */
static struct vcpu *take_vcpu(struct user_process *p, struct error *err)
{
	struct vcpu *v = NULL;
	pthread_mutex_lock(&p->lock);
	if (p->free_vcpus.len)
		v = vec_pop(&p->free_vcpus);
	else if (vcpu_new(p->group, p->next_vcpu_id, &v, err) == 0)
		p->next_vcpu_id++;
	pthread_mutex_unlock(&p->lock);
	return v;
}

struct user_thread *user_thread_new(struct user_process *p, struct error *err)
{
	struct vcpu *v = take_vcpu(p, err);
	if (!v)
		return NULL;
	struct user_thread *t = xcalloc(1, sizeof(*t));
	*t = (struct user_thread){
		.process = p, .vcpu = v, .cpu = vcpu_state(v), .actions = &p->actions};
	atomic_fetch_add(&p->threads, 1);
	return t;
}

static void thread_free(struct user_thread *t)
{
	struct user_process *p = t->process;
	pthread_mutex_lock(&p->lock);
	vec_push(&p->free_vcpus, t->vcpu);
	pthread_mutex_unlock(&p->lock);
	atomic_fetch_sub(&p->threads, 1);
	free(t);
}

/* --- the loop --- */
static void take_fault(struct user_thread *t)
{
	struct cpu_head *h = &t->cpu->head;
	uint64_t addr = h->fault.value;
	int code;
	h->fault.pending = false;
	switch (h->fault.cause) {
	case RV64_CAUSE_ILLEGAL:
		user_signal_raise(t, SIGILL, ILL_ILLOPC, h->pc);
		break;
	case RV64_CAUSE_BREAKPOINT:
		user_signal_raise(t, SIGTRAP, TRAP_BRKPT, h->pc);
		break;
	case RV64_CAUSE_LOAD_MISALIGNED:
	case RV64_CAUSE_STORE_MISALIGNED:
		user_signal_raise(t, SIGBUS, BUS_ADRALN, addr);
		break;
	case RV64_CAUSE_FETCH_ACCESS:
		code = user_map_page(&t->process->map, addr) ? SEGV_ACCERR : SEGV_MAPERR;
		user_signal_raise(t, SIGSEGV, code, addr);
		break;
	default: /* a load or store that the host refused */
		code = t->refused.si_code == SI_KERNEL ? SEGV_MAPERR : t->refused.si_code;
		user_signal_raise(t, t->refused.si_signo, code, addr);
	}
}

void user_thread_run(struct user_thread *t)
{
	struct cpu_head *h = &t->cpu->head;
	while (!t->ended) {
		if (UNLIKELY(atomic_load(&t->signalled) || t->held))
			user_signals_deliver(t);
		atomic_store(&h->attention, 0);
		if (UNLIKELY(atomic_load(&t->signalled)))
			continue;
		vcpu_execute(t->vcpu);
		if (!h->fault.pending)
			continue;
		if (h->fault.cause == RV64_CAUSE_ECALL_USER)
			user_syscall(t);
		else
			take_fault(t);
	}
}

/* --- ends --- */
static void wake(uint64_t addr)
{
	USER_CALL(SYS_futex, addr, FUTEX_WAKE, 1);
}

/* The kernel does this for host threads; ours outlive the guest's view of them a little. */
static void release_robust(uint64_t lock, uint32_t tid)
{
	uint32_t word, new;
	FLAT_LOAD(32, word, lock, refused);
	for (;;) {
		uint32_t seen = word;
		if ((word & FUTEX_TID_MASK) != tid)
			return;
		new = (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
		FLAT_COMPARE_SWAP(32, word, new, lock, refused);
		if (word == seen)
			break;
	}
	if (word & FUTEX_WAITERS)
		wake(lock);
refused:
	return;
}

static void release_robust_list(struct user_thread *t)
{
	enum { MOST = 2048 };
	struct robust_list_head head;
	uint32_t tid = (uint32_t)USER_CALL(SYS_gettid);
	if (!t->robust_list || user_read(t->robust_list, &head, sizeof(head)) < 0)
		return;
	uint64_t at = (uintptr_t)head.list.next & ~UINT64_C(1);
	for (unsigned n = 0; n < MOST && at != t->robust_list; n++) {
		uint64_t next;
		if (user_read(at, &next, sizeof(next)) < 0)
			break;
		if (at != ((uintptr_t)head.list_op_pending & ~UINT64_C(1)))
			release_robust(at + (uint64_t)head.futex_offset, tid);
		at = next & ~UINT64_C(1);
	}
	if (head.list_op_pending)
		release_robust(((uintptr_t)head.list_op_pending & ~UINT64_C(1)) +
				       (uint64_t)head.futex_offset,
			tid);
	USER_CALL(SYS_set_robust_list, 0, sizeof(head));
}

void user_exit(struct user_thread *t, int status)
{
	if (!t->vforked)
		user_print_stats(t->process);
	for (;;)
		USER_CALL(SYS_exit_group, status);
}

void user_thread_exit(struct user_thread *t, int status)
{
	static const uint32_t zero;
	user_signals_block();
	bool alone = t->vforked || atomic_load(&t->process->threads) == 1;
	if (!alone || !t->leader)
		release_robust_list(t);
	if (t->clear_tid && user_write(t->clear_tid, &zero, sizeof(zero)) == 0)
		wake(t->clear_tid);
	if (alone && (t->vforked || t->leader))
		user_exit(t, status);
	t->ended = true;
	if (t->leader) {
		user_self = NULL;
		thread_free(t);
		for (;;) /* the process lives on in its other threads */
			USER_CALL(SYS_exit, status);
	}
}

/* --- threads --- */
struct start {
	struct user_thread *thread;
	uint64_t unshare;
	sem_t started;
	pid_t tid;
	uint64_t settid[2]; /* where the guest wants to have it */
};

static void *thread_main(void *arg)
{
	struct start *s = arg;
	struct user_thread *t = s->thread;
	int32_t tid = (int32_t)USER_CALL(SYS_gettid);
	user_self = t;
	if (s->unshare)
		USER_CALL(SYS_unshare, s->unshare);
	/* Before anybody can see this thread end: the address may be that of clear_tid. */
	for (unsigned n = 0; n < ARRAY_SIZE(s->settid); n++)
		if (s->settid[n])
			user_write(s->settid[n], &tid, sizeof(tid));
	s->tid = tid;
	sem_post(&s->started); /* *s is gone */
	user_signals_unblock(t);
	user_thread_run(t);
	user_self = NULL;
	thread_free(t);
	return NULL;
}

/* The registers of a child. */
static void set_child(struct rv64_cpu *c, uint64_t flags, uint64_t stack, uint64_t tls)
{
	c->head.pc += 4;
	c->head.fault.pending = false;
	cpu_forget_reservation(&c->head);
	c->x[10] = 0;
	if (stack)
		c->x[2] = stack;
	if (flags & CLONE_SETTLS)
		c->x[4] = tls;
}

static void copy_cpu(struct rv64_cpu *to, const struct rv64_cpu *from, uint64_t sp)
{
	rv64_reset_user(to, from->head.pc, sp);
	memcpy(to->x, from->x, sizeof(to->x));
	memcpy(to->f, from->f, sizeof(to->f));
	rv64_set_fcsr(to, rv64_fcsr(from));
}

static int64_t new_thread(struct user_thread *t, uint64_t flags, uint64_t stack,
	uint64_t parent_tid, uint64_t tls, uint64_t child_tid)
{
	struct start s = {.unshare = (CLONE_FS | CLONE_FILES) & ~flags};
	struct user_thread *n = user_thread_new(t->process, NULL);
	if (!n)
		return -EAGAIN;
	copy_cpu(n->cpu, t->cpu, stack);
	set_child(n->cpu, flags, stack, tls);
	n->mask = t->mask;
	s.thread = n;
	if (flags & CLONE_CHILD_CLEARTID)
		n->clear_tid = child_tid;
	if (flags & CLONE_CHILD_SETTID)
		s.settid[0] = child_tid;
	if (flags & CLONE_PARENT_SETTID)
		s.settid[1] = parent_tid;
	sem_init(&s.started, 0, 0);
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, HOST_STACK_BYTES);
	pthread_t id;
	user_signals_block();
	t->process->threaded = true;
	int code = pthread_create(&id, &attr, thread_main, &s);
	pthread_attr_destroy(&attr);
	if (code)
		thread_free(n);
	else
		while (sem_wait(&s.started) < 0)
			;
	sem_destroy(&s.started);
	if (!atomic_load(&t->signalled))
		user_signals_unblock(t);
	return code ? -EAGAIN : s.tid;
}

/* --- processes --- */
static void in_child(
	struct user_thread *t, uint64_t flags, uint64_t stack, uint64_t tls, uint64_t child_tid)
{
	int32_t tid = (int32_t)USER_CALL(SYS_gettid);
	atomic_store(&t->signalled, 0);
	t->held = 0;
	t->robust_list = 0;
	t->clear_tid = flags & CLONE_CHILD_CLEARTID ? child_tid : 0;
	if (flags & CLONE_CHILD_SETTID)
		user_write(child_tid, &tid, sizeof(tid));
	set_child(t->cpu, flags, stack, tls);
	if (flags & CLONE_CLEAR_SIGHAND)
		user_signals_clear(t);
}

/* Only this thread lives on. */
static void forget_others(struct user_thread *t)
{
	struct user_process *p = t->process;
	vec_clear(&p->free_vcpus);
	for (unsigned id = 0; id < p->next_vcpu_id; id++)
		if (vcpu_get(p->group, id) != t->vcpu)
			vec_push(&p->free_vcpus, vcpu_get(p->group, id));
	atomic_store(&p->threads, 1);
	p->threaded = false;
	t->leader = true;
	if (t->vforked) {
		memcpy(p->actions.of, t->actions->of, sizeof(p->actions.of));
		t->actions = &p->actions;
		t->vforked = false;
	}
}

/* The raw call would leave the child the locks of malloc as other threads have them: fork() does
 * not. So a helper that fork() has made, which has no other threads, makes the child in the
 * parent's name. The guest may see the helper end. */
static int64_t clone_by_helper(uint64_t flags)
{
	int ends[2];
	int64_t pid = -EAGAIN;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid_t helper = fork();
	if (helper == 0) {
		pid = USER_CALL(SYS_clone, flags | CLONE_PARENT | SIGCHLD);
		if (pid) {
			USER_CALL(SYS_write, ends[1], (uintptr_t)&pid, sizeof(pid));
			USER_CALL(SYS_exit_group, 0);
		}
	} else if (helper < 0) {
		pid = -errno;
	}
	close(ends[1]);
	if (helper > 0) { /* when it is killed there is nothing to read */
		while (read(ends[0], &pid, sizeof(pid)) < 0 && errno == EINTR)
			;
		while (waitpid(helper, NULL, __WALL) < 0 && errno == EINTR)
			;
	}
	close(ends[0]);
	return pid;
}

/* Another thread that waits for any child may have taken this one: then it is gone, as an error. */
static int64_t open_pidfd(int64_t pid, uint64_t at)
{
	int32_t fd = (int32_t)USER_CALL(SYS_pidfd_open, pid);
	int r = fd < 0 ? fd : user_write(at, &fd, sizeof(fd));
	if (r == 0)
		return pid;
	if (fd >= 0)
		close(fd);
	kill((pid_t)pid, SIGKILL);
	waitpid((pid_t)pid, NULL, 0);
	return r;
}

/* fork(), or what only the kernel's own call can do. */
static int64_t fork_host(const struct user_process *p, uint64_t flags, int exit_signal)
{
	const uint64_t by_helper = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
				   CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_IO |
				   CLONE_UNTRACED;
	if (!flags && exit_signal == SIGCHLD) {
		pid_t pid = fork();
		return pid < 0 ? -errno : pid;
	}
	if (!p->threaded)
		return USER_CALL(SYS_clone, flags | (unsigned)exit_signal);
	return exit_signal != SIGCHLD || (flags & ~by_helper) ? -EINVAL : clone_by_helper(flags);
}

static int64_t fork_process(struct user_thread *t, uint64_t flags, uint64_t stack,
	uint64_t parent_tid, uint64_t tls, uint64_t child_tid, int exit_signal, uint64_t pidfd)
{
	const uint64_t ours = CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID |
			      CLONE_CHILD_CLEARTID | CLONE_SYSVSEM | CLONE_PIDFD |
			      CLONE_CLEAR_SIGHAND;
	struct user_process *p = t->process;
	user_signals_block();
	pthread_mutex_lock(&p->lock);
	pthread_mutex_lock(&t->actions->lock);
	pthread_mutex_lock(&p->map.lock);
	vcpu_group_fork_begin(p->group);
	int64_t pid = fork_host(p, flags & ~ours, exit_signal);
	vcpu_group_fork_end(p->group, pid == 0, t->vcpu);
	pthread_mutex_unlock(&p->map.lock);
	pthread_mutex_unlock(&t->actions->lock);
	pthread_mutex_unlock(&p->lock);
	if (pid > 0 && (flags & CLONE_PIDFD))
		pid = open_pidfd(pid, pidfd);
	if (pid == 0) {
		forget_others(t);
		in_child(t, flags, stack, tls, child_tid);
	} else if (pid > 0 && (flags & CLONE_PARENT_SETTID)) {
		int32_t tid = (int32_t)pid;
		user_write(parent_tid, &tid, sizeof(tid));
	}
	if (!atomic_load(&t->signalled))
		user_signals_unblock(t);
	return pid == 0 ? USER_NO_RESULT : pid;
}

struct vfork {
	struct user_thread *thread;
	uint64_t flags, stack, tls, child_tid;
};

static int vfork_main(void *arg)
{
	struct vfork *f = arg;
	struct user_thread *t = f->thread;
	in_child(t, f->flags, f->stack, f->tls, f->child_tid);
	user_signals_unblock(t);
	user_thread_run(t);
	user_exit(t, 0);
}

/* The child runs on this thread's vCPU and thread-local storage while this thread sleeps in the
 * kernel; what it changes of them is put back. Memory is the guest's to share. */
static int64_t vfork_process(struct user_thread *t, uint64_t flags, uint64_t stack,
	uint64_t parent_tid, uint64_t tls, uint64_t child_tid, int exit_signal, uint64_t pidfd)
{
	const uint64_t ours =
		CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
	const size_t cpu_bytes = offsetof(struct rv64_cpu, tlbs);
	uint8_t *host_stack = mmap(NULL, HOST_STACK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (host_stack == MAP_FAILED)
		return -ENOMEM;
	user_signals_block();
	struct user_thread saved = *t;
	void *saved_cpu = xmalloc(cpu_bytes);
	memcpy(saved_cpu, t->cpu, cpu_bytes);
	struct user_actions *actions = xmalloc(sizeof(*actions));
	pthread_mutex_lock(&t->actions->lock);
	memcpy(actions->of, t->actions->of, sizeof(actions->of));
	pthread_mutex_unlock(&t->actions->lock);
	pthread_mutex_init(&actions->lock, NULL);
	t->actions = actions;
	t->vforked = true;
	struct vfork f = {t, flags, stack, tls, child_tid};
	int host_flags = (int)(flags & ~(ours | CLONE_CLEAR_SIGHAND)) | exit_signal;
	int fd = -1;
	int pid = clone(vfork_main, host_stack + HOST_STACK_BYTES, host_flags, &f, &fd);
	int64_t r = pid < 0 ? -errno : pid;
	/* Signals stayed blocked: nobody but the child has touched these. */
	*t = saved;
	memcpy(t->cpu, saved_cpu, cpu_bytes);
	cpu_want_attention(&t->cpu->head);
	free(saved_cpu);
	free(actions);
	munmap(host_stack, HOST_STACK_BYTES);
	if (pid > 0 && (flags & CLONE_PARENT_SETTID)) {
		int32_t tid = pid;
		user_write(parent_tid, &tid, sizeof(tid));
	}
	if (pid > 0 && (flags & CLONE_PIDFD))
		user_write(pidfd, &fd, sizeof(fd));
	if (!atomic_load(&t->signalled))
		user_signals_unblock(t);
	return r;
}

int64_t user_clone(struct user_thread *t, uint64_t flags, uint64_t stack, uint64_t parent_tid,
	uint64_t tls, uint64_t child_tid, int exit_signal, uint64_t pidfd)
{
	const uint64_t shared = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;
	if ((flags & shared) == shared) {
		if (flags & (CLONE_VFORK | CLONE_PIDFD | CLONE_NEWUSER | CLONE_NEWPID))
			return -EINVAL;
		return new_thread(t, flags, stack, parent_tid, tls, child_tid);
	}
	if ((flags & CLONE_VM) && (flags & CLONE_VFORK) && !(flags & CLONE_SIGHAND))
		return vfork_process(
			t, flags, stack, parent_tid, tls, child_tid, exit_signal, pidfd);
	/* Memory or handlers shared by processes that run at once: nobody asks for it. */
	if (flags & (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD))
		return -EINVAL;
	return fork_process(t, flags, stack, parent_tid, tls, child_tid, exit_signal, pidfd);
}

int64_t user_clone3(struct user_thread *t, const uint64_t a[6])
{
	struct clone_args c = {0};
	size_t bytes = MIN(a[1], sizeof(c));
	if (a[1] < CLONE_ARGS_SIZE_VER0)
		return -EINVAL;
	if (user_read(a[0], &c, bytes) < 0)
		return -EFAULT;
	if (c.set_tid || (c.flags & (CLONE_INTO_CGROUP | CSIGNAL)) || c.exit_signal > CSIGNAL ||
		!!c.stack != !!c.stack_size)
		return -EINVAL;
	uint64_t stack = c.stack ? c.stack + c.stack_size : 0;
	if ((c.flags & (CLONE_PIDFD | CLONE_PARENT_SETTID)) ==
			(CLONE_PIDFD | CLONE_PARENT_SETTID) &&
		c.pidfd == c.parent_tid)
		return -EINVAL;
	return user_clone(t, c.flags, stack, c.parent_tid, c.tls, c.child_tid, (int)c.exit_signal,
		c.flags & CLONE_PIDFD ? c.pidfd : 0);
}
