// SPDX-License-Identifier: Apache-2.0
// What the files of this folder share. docs/process-mode.md explains the whole.
#ifndef STRATA_USER_INTERNAL_H
#define STRATA_USER_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/vec.h"
#include "cpu/vcpu.h"
#include "isa/rv64/rv64.h"
#include "user/map.h"
#include "user/user.h"

/* Results of a system call that are no results. */
enum {
	USER_RESTART = -512,   /* a signal ended it: deliver that, then SA_RESTART decides */
	USER_AGAIN = -513,     /* a signal came before it began: deliver that, then call */
	USER_NO_RESULT = -514, /* the registers are as they shall be */
};

/* struct sigaction as riscv64's kernel has it: no restorer. */
struct user_action {
	uint64_t handler, flags, mask;
};
enum { USER_SIGNALS = 64 };
struct user_actions {
	pthread_mutex_t lock;
	struct user_action of[USER_SIGNALS + 1];
};

struct user_process {
	const struct user_options *options;
	struct user_map map;
	struct vcpu_group *group;
	struct user_actions actions;
	char *exe;	 /* host path of the program, owned */
	char *exe_guest; /* the same, as the guest sees it, owned */
	char *root;	 /* absolute, without a slash at its end; NULL: none. Owned */
	size_t root_len;
	int root_fd;	    /* -1: none */
	uint64_t sigreturn; /* guest address of the code that returns from a handler */
	uint64_t args_start, args_end, auxv_start, auxv_end, stack_start, stack_end;
	/* Limits that are kept but not applied: they would be ours. Index: RLIMIT_*. */
	struct {
		bool set;
		uint64_t soft, hard;
	} limits[16];
	pthread_mutex_t lock; /* what follows */
	VEC(struct vcpu *) free_vcpus;
	unsigned next_vcpu_id;
	_Atomic unsigned threads;
	bool threaded; /* there were other threads: they may hold locks that fork() alone knows */
	int self_fd;   /* the executable of this process once the guest may change its root; -1 */
	_Atomic uint64_t unknown[8]; /* bits of system calls that were complained about */
};

/* A path below the root that was walked, by its hash, and the file that it led to. */
struct user_seen {
	uint64_t path, dev, ino;
};
enum { USER_SEEN = 64 };

/* A guest thread, on a host thread of its own. That thread owns all of it. */
struct user_thread {
	struct user_process *process;
	struct vcpu *vcpu;
	struct rv64_cpu *cpu;
	struct user_actions *actions; /* the process's, but for the child of a vfork */
	bool leader;		      /* runs on the process's first thread */
	bool vforked;		      /* another process, in its parent's memory */
	bool ended;
	uint64_t mask; /* blocked signals, as the guest wants it */
	struct user_seen seen[USER_SEEN];
	struct {
		uint64_t sp, size;
		uint32_t flags;
	} altstack;
	uint64_t clear_tid; /* set_tid_address */
	uint64_t robust_list;

	/* Written by the signal handler: one signal that waits for delivery. While it does, the
	 * host blocks all others for this thread. */
	_Atomic uint32_t signalled;
	siginfo_t waiting;
	/* SIGSEGV or SIGBUS that somebody sent while the guest blocks it (the host never does). */
	uint64_t held;
	siginfo_t held_info[2];
	/* The host's last refusal of a guest access. */
	siginfo_t refused;
	uint64_t retried_addr;
	unsigned retries;
};

/* The thread that this host thread runs. */
extern __thread struct user_thread *user_self;

static inline uint64_t user_bit(int sig)
{
	return UINT64_C(1) << (sig - 1);
}

/* --- thread.c --- */
struct user_thread *user_thread_new(struct user_process *p, struct error *err);
void user_thread_run(struct user_thread *t); /* until the thread ends itself */
int64_t user_clone(struct user_thread *t, uint64_t flags, uint64_t stack, uint64_t parent_tid,
	uint64_t tls, uint64_t child_tid, int exit_signal, uint64_t pidfd);
int64_t user_clone3(struct user_thread *t, const uint64_t a[6]);
void user_thread_exit(struct user_thread *t, int status);
void user_keep_self(struct user_process *p); /* the guest's root is about to change: sets self_fd */
void user_print_stats(const struct user_process *p);	     /* if --stats asks; on stderr */
_Noreturn void user_exit(struct user_thread *t, int status); /* exit_group */

/* --- host.c: system calls of ours on behalf of the guest --- */
/* May block: a signal that the guest must see ends it with USER_AGAIN, USER_RESTART or -EINTR. */
int64_t user_host(struct user_thread *t, long nr, const uint64_t a[6]);
#define USER_HOST(t, nr, ...) user_host((t), (nr), (const uint64_t[6]){__VA_ARGS__})
/* Never blocks for long; -errno. */
int64_t user_call(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);
#define USER_CALL_(nr, a, b, c, d, e, f, ...)                                                      \
	user_call((nr), (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), \
		(uint64_t)(f))
#define USER_CALL(...) USER_CALL_(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
/* [signal handler] The host's pc, moved out of a system call that has not begun or would begin
 * again. */
uintptr_t user_host_rewind(uintptr_t pc);

/* Guest memory; -EFAULT. */
static inline void *user_ptr(uint64_t addr)
{
	return (void *)(uintptr_t)addr;
}
int user_read(uint64_t from, void *to, size_t bytes);
int user_write(uint64_t to, const void *from, size_t bytes);
/* A path or the like: the string's length, -EFAULT or -ENAMETOOLONG. */
int user_read_string(uint64_t from, char *to, size_t cap);

/* --- signal.c, frame.c --- */
void user_signals_init(struct user_process *p);
/* Before the thread runs guest code: whatever waits is delivered. */
void user_signals_deliver(struct user_thread *t);
/* Blocks all but what the engine itself needs / as the guest wants it. */
void user_signals_block(void);
void user_signals_unblock(struct user_thread *t);
/* The guest's own doing: a fault, a trap. */
void user_signal_raise(struct user_thread *t, int sig, int code, uint64_t addr);
/* Ends the process as an unhandled signal does. */
_Noreturn void user_die(int sig);
void user_signals_before_exec(struct user_thread *t);
void user_signals_after_exec(struct user_thread *t); /* it failed */
/* All handled signals get their default action (CLONE_CLEAR_SIGHAND). */
void user_signals_clear(struct user_thread *t);
int64_t user_rt_sigaction(struct user_thread *t, const uint64_t a[6]);
int64_t user_rt_sigprocmask(struct user_thread *t, const uint64_t a[6]);
int64_t user_rt_sigsuspend(struct user_thread *t, const uint64_t a[6]);
int64_t user_sigaltstack(struct user_thread *t, const uint64_t a[6]);
int64_t user_rt_sigreturn(struct user_thread *t, const uint64_t a[6]);
int64_t user_rt_sigpending(struct user_thread *t, const uint64_t a[6]);
/* frame.c: the handler's frame on the guest's stack. False: there is no room. */
bool user_frame_push(
	struct user_thread *t, int sig, const siginfo_t *info, const struct user_action *action);
int user_frame_pop(struct user_thread *t);

/* --- syscalls.c --- */
void user_syscall(struct user_thread *t);

/* strace.c: that a signal enters its handler */
void user_trace_signal(const siginfo_t *info);

/* --- path.c --- */
enum user_path_flag { USER_PATH_NOFOLLOW = 1, USER_PATH_EMPTY = 2 };
struct user_path {
	int dirfd;
	uint64_t addr;		 /* of the path, for the host's system call */
	char text[PATH_MAX + 1]; /* when it had to be changed */
};
/* What the host shall be given for a path of the guest. 0 or -errno. */
int user_path(
	struct user_thread *t, int dirfd, uint64_t addr, unsigned flags, struct user_path *out);
/* One name, and not "..": nothing but a link can lead elsewhere. */
bool user_path_is_plain(const char *path);
/* Opens what is there already, in one walk: the descriptor, -ENOENT (an absolute path that the root
 * has not: the host's file of that name counts), the host's wish to begin again, or USER_NO_RESULT:
 * ask user_path(). With O_PATH, a descriptor that other threads can see for a moment. */
int64_t user_path_open(struct user_thread *t, int dirfd, const char *path, uint64_t flags);
/* lstat() in the same way, with the same results. */
int64_t user_path_stat(struct user_thread *t, int dirfd, const char *path, struct stat *st);
/* The same for a string of ours; out->text is always set. */
int user_path_text(
	struct user_process *p, int dirfd, const char *path, unsigned flags, struct user_path *out);
/* A path of the host as the guest sees it: cut to start at the root. */
const char *user_path_to_guest(const struct user_process *p, const char *path);

/* --- load.c --- */
/* What to execute: follows `#!` lines. */
struct user_program {
	int fd;		     /* of the ELF file; owned, -1: none */
	char *path;	     /* its host path; owned */
	char *guest_path;    /* as the guest sees it; owned */
	VEC(char *) args;    /* in place of the first words of argv; owned */
	unsigned args_taken; /* how many words of argv those replace */
	bool native;	     /* for the host's own architecture */
};
int user_program_find(struct user_process *p, int dirfd, const char *path, unsigned flags,
	struct user_program *out, struct error *err);
void user_program_done(struct user_program *g);
/* Maps the program, makes its stack, and sets the CPU's state. */
int user_load(struct user_thread *t, const struct user_program *g, char **argv, char **envp,
	struct error *err);

/* --- exec.c --- */
int64_t user_execve(struct user_thread *t, const uint64_t a[6]);
int64_t user_execveat(struct user_thread *t, const uint64_t a[6]);

/* --- proc.c --- */
/* Files of /proc that tell about us instead of the guest. USER_NO_RESULT: not one of them. */
int64_t user_proc_open(struct user_thread *t, const char *path, int flags);
int64_t user_proc_readlink(struct user_thread *t, const char *path, uint64_t buf, uint64_t bytes);
/* `path` if it is /proc/self/… or the like: what is behind the process's directory, else NULL. */
const char *user_proc_self(const char *path);

#endif
