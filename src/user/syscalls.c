// SPDX-License-Identifier: Apache-2.0
// From an ecall to its row.
#include "user/syscalls.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* Numbers above 423 are the same for all architectures; these are newer than some headers. */
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_futex_wake
#define SYS_futex_wake	  454
#define SYS_futex_wait	  455
#define SYS_futex_requeue 456
#endif

enum { ROW_OURS = -1, ROW_NONE = -2 };

const struct user_row user_rows[USER_ROWS] = {
#define HOST(number, name, args)	  [number] = {#name, args, SYS_##name, 0, NULL},
#define OURS(number, name, args, handler) [number] = {#name, args, ROW_OURS, 0, handler},
#define NONE(number, name, error)	  [number] = {#name, "", ROW_NONE, error, NULL},
#include "user/syscalls.def"
#undef HOST
#undef OURS
#undef NONE
};

/* --- paths in arguments --- */
static int convert(struct user_thread *t, const struct user_row *row, const uint64_t a[6],
	uint64_t out[6], struct user_path paths[2])
{
	unsigned used = 0;
	const char *at_flags = strchr(row->args, 'a');
	uint64_t flags = at_flags ? a[at_flags - row->args] : 0;
	for (unsigned n = 0; row->args[n]; n++) {
		char c = row->args[n];
		if (!strchr("PNAF", c) || used == 2)
			continue;
		bool nofollow = c == 'N' || (c == 'A' && (flags & AT_SYMLINK_NOFOLLOW)) ||
				(c == 'F' && !(flags & AT_SYMLINK_FOLLOW));
		bool has_dir = n && row->args[n - 1] == 'D';
		struct user_path *path = &paths[used++];
		int r = user_path(t, has_dir ? (int)a[n - 1] : AT_FDCWD, a[n],
			nofollow ? USER_PATH_NOFOLLOW : 0, path);
		if (r < 0)
			return r;
		out[n] = path->addr;
		if (has_dir)
			out[n - 1] = (uint64_t)(int64_t)path->dirfd;
	}
	return 0;
}

static __attribute__((noinline)) int64_t host_with_paths(
	struct user_thread *t, const struct user_row *row, const uint64_t a[6])
{
	struct user_path paths[2];
	uint64_t b[6];
	memcpy(b, a, sizeof(b));
	int r = convert(t, row, a, b, paths);
	return r < 0 ? r : user_host(t, row->host, b);
}

static int64_t call(struct user_thread *t, const struct user_row *row, const uint64_t a[6])
{
	if (row->host == ROW_OURS)
		return row->handler(t, a);
	if (row->host == ROW_NONE)
		return -row->error;
	return strpbrk(row->args, "PNAF") ? host_with_paths(t, row, a) : user_host(t, row->host, a);
}

/* --- the call --- */
/* Calls that do not come back, or come back elsewhere, are shown before. */
static bool traced_before(const struct user_row *row)
{
	static const char *const names[] = {"exit", "exit_group", "execve", "execveat"};
	for (size_t n = 0; n < ARRAY_SIZE(names); n++)
		if (!strcmp(row->name, names[n]))
			return true;
	return false;
}

static int64_t complain(struct user_thread *t, uint64_t number)
{
	struct user_process *p = t->process;
	const size_t most = ARRAY_SIZE(p->unknown) * 64 - 1; /* stands for all that are higher */
	size_t at = MIN(number, most);
	uint64_t bit = UINT64_C(1) << (at % 64);
	if (atomic_fetch_or(&p->unknown[at / 64], bit) & bit)
		return -ENOSYS;
	char text[120];
	int n = snprintf(text, sizeof(text),
		"strata: system call %" PRId64 " of riscv64 is not known: ENOSYS\n",
		(int64_t)number);
	USER_CALL(SYS_write, STDERR_FILENO, (uintptr_t)text, n);
	return -ENOSYS;
}

void user_syscall(struct user_thread *t)
{
	struct rv64_cpu *c = t->cpu;
	uint64_t number = c->x[17];
	const uint64_t *a = c->x + 10;
	const struct user_row *row = number < USER_ROWS ? &user_rows[number] : NULL;
	uint64_t args[6];
	memcpy(args, a, sizeof(args));
	if (row && !row->name)
		row = NULL;
	bool tracing = UNLIKELY(t->process->options->strace);
	bool before = tracing && row && traced_before(row);
	if (before)
		user_trace_call(row, number, args, 0, false);
	int64_t r = row ? call(t, row, args) : complain(t, number);
	/* A page that is read-only for the sake of its code is no fault of the guest's. */
	if (UNLIKELY(r == -EFAULT) && row && user_map_unguard(&t->process->map))
		r = call(t, row, args);
	if (tracing && !(before && r == USER_NO_RESULT))
		user_trace_call(row, number, args, r, true);
	if (r == USER_RESTART)
		return; /* the fault stays pending: user_signals_deliver() knows what to do */
	c->head.fault.pending = false;
	if (r == USER_NO_RESULT || r == USER_AGAIN)
		return;
	c->x[10] = (uint64_t)r;
	c->head.pc += 4;
}
