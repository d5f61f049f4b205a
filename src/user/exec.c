// SPDX-License-Identifier: Apache-2.0
// execve: a program of the guest's becomes a new run of this executable; a program of the host's
// runs natively.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "user/internal.h"

/* The kernel's own limit on one string and on all is checked by the kernel. */
enum { WORDS_MAX = 1 << 20 };
struct words {
	const char **items;
	size_t len, cap;
};

/* Pointers to the guest's strings: they are pointers of ours. */
static int read_words(uint64_t from, struct words *out)
{
	if (!from)
		return 0;
	for (;;) {
		uint64_t at;
		if (user_read(from, &at, sizeof(at)) < 0)
			return -EFAULT;
		if (!at)
			return 0;
		if (out->len >= WORDS_MAX)
			return -E2BIG;
		vec_push(out, (const char *)user_ptr(at));
		from += sizeof(at);
	}
}

static int64_t host_exec(
	struct user_thread *t, const char *path, struct words *argv, struct words *envp)
{
	struct user_process *p = t->process;
	vec_push(argv, NULL);
	vec_push(envp, NULL);
	user_signals_block();
	if (atomic_load(&t->signalled))
		return USER_AGAIN;
	user_signals_before_exec(t);
	if (!path && p->self_fd >= 0) /* the next one takes it over */
		fcntl(p->self_fd, F_SETFD, 0);
	int64_t r;
	if (path)
		r = USER_CALL(SYS_execve, (uintptr_t)path, (uintptr_t)argv->items,
			(uintptr_t)envp->items);
	else if (p->self_fd >= 0)
		r = USER_CALL(SYS_execveat, p->self_fd, (uintptr_t) "", (uintptr_t)argv->items,
			(uintptr_t)envp->items, AT_EMPTY_PATH);
	else
		r = USER_CALL(SYS_execve, (uintptr_t) "/proc/self/exe", (uintptr_t)argv->items,
			(uintptr_t)envp->items);
	if (!path && p->self_fd >= 0)
		fcntl(p->self_fd, F_SETFD, FD_CLOEXEC);
	user_signals_after_exec(t);
	return r;
}

/* path: as the guest names it. */
static int64_t exec_program(struct user_thread *t, int dirfd, const char *path, unsigned flags,
	struct words *argv, struct words *envp)
{
	struct user_process *p = t->process;
	struct user_program g;
	struct user_path resolved;
	char self[16];
	int64_t r = user_program_find(p, dirfd, path, flags, &g, NULL);
	if (r < 0)
		return r;
	bool native = g.native, script = g.args.len;
	char *program _free_ = xstrdup(g.guest_path);
	user_program_done(&g);
	if (native && !script) {
		r = user_path_text(p, dirfd, path, flags, &resolved);
		if (r < 0)
			return r;
		if (dirfd == AT_FDCWD)
			return host_exec(t, resolved.text, argv, envp);
	}
	/* A script's interpreter is found again by the new process. */
	struct words all = {0};
	vec_push(&all, "strata-process");
	if (p->root) {
		vec_push(&all, "--root");
		vec_push(&all, p->root);
	}
	if (p->options->strace)
		vec_push(&all, "--strace");
	if (p->options->stats) {
		vec_push(&all, "--stats");
		vec_push(&all, p->options->stats);
	}
	if (p->self_fd >= 0) {
		snprintf(self, sizeof(self), "%d", p->self_fd);
		vec_push(&all, "--self");
		vec_push(&all, self);
	}
	vec_push(&all, "--");
	vec_push(&all, dirfd == AT_FDCWD && *path ? path : program);
	for (size_t n = 0; n < argv->len; n++)
		vec_push(&all, argv->items[n]);
	r = host_exec(t, NULL, &all, envp);
	vec_done(&all);
	/* Without /proc: in a root where the kernel started us (binfmt_misc), it can do so again.
	 */
	if (r == -ENOENT && !script && user_path_text(p, dirfd, path, flags, &resolved) == 0 &&
		dirfd == AT_FDCWD)
		r = host_exec(t, resolved.text, argv, envp);
	return r;
}

static int64_t execute(struct user_thread *t, int dirfd, const char *path, unsigned flags,
	uint64_t argv_at, uint64_t envp_at)
{
	struct words argv = {0}, envp = {0};
	const char *behind = user_proc_self(path);
	if (behind && !strcmp(behind, "exe")) {
		path = t->process->exe_guest;
		dirfd = AT_FDCWD;
	}
	int64_t r = read_words(argv_at, &argv);
	if (r == 0)
		r = read_words(envp_at, &envp);
	if (r == 0)
		r = exec_program(t, dirfd, path, flags, &argv, &envp);
	vec_done(&argv);
	vec_done(&envp);
	return r;
}

int64_t user_execve(struct user_thread *t, const uint64_t a[6])
{
	char path[PATH_MAX];
	int n = user_read_string(a[0], path, sizeof(path));
	if (n < 0)
		return n;
	return n ? execute(t, AT_FDCWD, path, 0, a[1], a[2]) : -ENOENT;
}

int64_t user_execveat(struct user_thread *t, const uint64_t a[6])
{
	char path[PATH_MAX];
	int n = user_read_string(a[1], path, sizeof(path));
	if (n < 0)
		return n;
	if (a[4] & ~(uint64_t)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	if (!n && !(a[4] & AT_EMPTY_PATH))
		return -ENOENT;
	unsigned flags = (a[4] & AT_EMPTY_PATH ? USER_PATH_EMPTY : 0u) |
			 (a[4] & AT_SYMLINK_NOFOLLOW ? USER_PATH_NOFOLLOW : 0u);
	return execute(t, path[0] == '/' ? AT_FDCWD : (int)a[0], path, flags, a[2], a[3]);
}
