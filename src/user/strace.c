// SPDX-License-Identifier: Apache-2.0
// --strace: a line on stderr for each system call, when it has come back, and for each signal that
// is delivered. The letters of syscalls.def say what an argument is.
#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "user/syscalls.h"

enum { STRING_MOST = 64, WORDS_MOST = 16 };

/* A bit or number and its name; ends with NULL. */
struct name {
	uint64_t value;
	const char *text;
};
#define N(x)                                                                                       \
	{                                                                                          \
		(uint64_t)(x), #x                                                                  \
	}
static const struct name open_flags[] = {N(O_WRONLY), N(O_RDWR), N(O_CREAT), N(O_EXCL), N(O_NOCTTY),
	N(O_TRUNC), N(O_APPEND), N(O_NONBLOCK), N(O_DIRECT), N(O_DIRECTORY), N(O_NOFOLLOW),
	N(O_CLOEXEC), N(O_PATH), {0100000, "O_LARGEFILE"}, {0, NULL}};
static const struct name protections[] = {N(PROT_READ), N(PROT_WRITE), N(PROT_EXEC), {0, NULL}};
static const struct name map_flags[] = {N(MAP_SHARED), N(MAP_PRIVATE), N(MAP_FIXED),
	N(MAP_ANONYMOUS), N(MAP_GROWSDOWN), N(MAP_NORESERVE), N(MAP_POPULATE), N(MAP_STACK),
	N(MAP_FIXED_NOREPLACE), {0, NULL}};
static const struct name clone_flags[] = {N(CLONE_VM), N(CLONE_FS), N(CLONE_FILES),
	N(CLONE_SIGHAND), N(CLONE_PIDFD), N(CLONE_VFORK), N(CLONE_THREAD), N(CLONE_NEWNS),
	N(CLONE_SYSVSEM), N(CLONE_SETTLS), N(CLONE_PARENT_SETTID), N(CLONE_CHILD_CLEARTID),
	N(CLONE_CHILD_SETTID), N(CLONE_NEWUSER), N(CLONE_NEWPID), N(CLONE_NEWNET), {0, NULL}};
static const struct name at_flags[] = {N(AT_SYMLINK_NOFOLLOW), N(AT_REMOVEDIR),
	N(AT_SYMLINK_FOLLOW), N(AT_NO_AUTOMOUNT), N(AT_EMPTY_PATH), {0, NULL}};
static const struct name futex_ops[] = {N(FUTEX_WAIT), N(FUTEX_WAKE), N(FUTEX_REQUEUE),
	N(FUTEX_CMP_REQUEUE), N(FUTEX_WAKE_OP), N(FUTEX_LOCK_PI), N(FUTEX_UNLOCK_PI),
	N(FUTEX_TRYLOCK_PI), N(FUTEX_WAIT_BITSET), N(FUTEX_WAKE_BITSET), {0, NULL}};
static const struct name whences[] = {N(SEEK_SET), N(SEEK_CUR), N(SEEK_END), {0, NULL}};
static const struct name sig_hows[] = {N(SIG_BLOCK), N(SIG_UNBLOCK), N(SIG_SETMASK), {0, NULL}};
static const struct name clocks[] = {N(CLOCK_REALTIME), N(CLOCK_MONOTONIC),
	N(CLOCK_PROCESS_CPUTIME_ID), N(CLOCK_THREAD_CPUTIME_ID), N(CLOCK_MONOTONIC_RAW),
	N(CLOCK_BOOTTIME), {0, NULL}};
static const struct name fcntls[] = {N(F_DUPFD), N(F_GETFD), N(F_SETFD), N(F_GETFL), N(F_SETFL),
	N(F_GETLK), N(F_SETLK), N(F_SETLKW), N(F_DUPFD_CLOEXEC), {0, NULL}};
static const struct name families[] = {
	N(AF_UNIX), N(AF_INET), N(AF_INET6), N(AF_NETLINK), {0, NULL}};
static const struct name socket_types[] = {
	N(SOCK_STREAM), N(SOCK_DGRAM), N(SOCK_RAW), N(SOCK_SEQPACKET), {0, NULL}};
static const struct name socket_flags[] = {N(SOCK_CLOEXEC), N(SOCK_NONBLOCK), {0, NULL}};
static const struct name ioctls[] = {{0x5401, "TCGETS"}, {0x5402, "TCSETS"}, {0x5413, "TIOCGWINSZ"},
	{0x540f, "TIOCGPGRP"}, {0x5410, "TIOCSPGRP"}, {0x541b, "FIONREAD"}, {0x5421, "FIONBIO"},
	{0, NULL}};
static const struct name sa_flags[] = {N(SA_NOCLDSTOP), N(SA_NOCLDWAIT), N(SA_SIGINFO),
	N(SA_ONSTACK), N(SA_RESTART), N(SA_NODEFER), N(SA_RESETHAND), {0, NULL}};
#undef N

static void put_number(struct strbuf *s, uint64_t v, const struct name *names)
{
	for (; names->text; names++) {
		if (names->value == v) {
			strbuf_adds(s, names->text);
			return;
		}
	}
	strbuf_addf(s, "%" PRId64, (int64_t)v);
}

static void put_bits(struct strbuf *s, uint64_t v, const struct name *names)
{
	bool any = false;
	for (; names->text; names++) {
		if ((v & names->value) != names->value)
			continue;
		v &= ~names->value;
		strbuf_addf(s, "%s%s", any ? "|" : "", names->text);
		any = true;
	}
	if (v || !any)
		strbuf_addf(s, any ? "|0x%" PRIx64 : v ? "0x%" PRIx64 : "0", v);
}

static void put_open_flags(struct strbuf *s, uint64_t v)
{
	if (!(v & O_ACCMODE))
		strbuf_adds(s, v ? "O_RDONLY|" : "O_RDONLY");
	if (v)
		put_bits(s, v, open_flags);
}

static void put_signal(struct strbuf *s, uint64_t sig)
{
	const char *name = sig < 32 ? sigabbrev_np((int)sig) : NULL;
	if (name)
		strbuf_addf(s, "SIG%s", name);
	else
		strbuf_addf(s, "%" PRId64, (int64_t)sig);
}

static void put_pointer(struct strbuf *s, uint64_t v)
{
	if (v)
		strbuf_addf(s, "0x%" PRIx64, v);
	else
		strbuf_adds(s, "NULL");
}

static void put_quoted(struct strbuf *s, const char *text, size_t len, bool more)
{
	strbuf_addc(s, '"');
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		const char *plain = strchr("\n\t\r\"\\", c);
		if (c && plain)
			strbuf_addf(s, "\\%c", "ntr\"\\"[plain - strchr("\n\t\r\"\\", '\n')]);
		else if (c >= ' ' && c < 127)
			strbuf_addc(s, (char)c);
		else
			strbuf_addf(s, "\\%o", c);
	}
	strbuf_adds(s, more ? "\"..." : "\"");
}

static void put_string(struct strbuf *s, uint64_t addr)
{
	char text[STRING_MOST + 1];
	int n = addr ? user_read_string(addr, text, sizeof(text)) : -EFAULT;
	if (n == -EFAULT)
		put_pointer(s, addr);
	else
		put_quoted(s, text, n < 0 ? STRING_MOST : (size_t)n, n < 0);
}

static void put_bytes(struct strbuf *s, uint64_t addr, uint64_t len)
{
	char text[STRING_MOST];
	size_t n = MIN(len, sizeof(text));
	if (!addr || user_read(addr, text, n) < 0)
		put_pointer(s, addr);
	else
		put_quoted(s, text, n, n < len);
}

static void put_words(struct strbuf *s, uint64_t addr)
{
	uint64_t at = 0;
	strbuf_addc(s, '[');
	for (unsigned n = 0; addr && user_read(addr + 8 * n, &at, 8) == 0 && at; n++) {
		strbuf_adds(s, n ? ", " : "");
		if (n == WORDS_MOST) {
			strbuf_adds(s, "...");
			break;
		}
		put_string(s, at);
	}
	strbuf_addc(s, ']');
}

static void put_ints(struct strbuf *s, uint64_t addr, size_t count)
{
	int v[2];
	if (!addr || user_read(addr, v, count * sizeof(int)) < 0)
		put_pointer(s, addr);
	else if (count == 2)
		strbuf_addf(s, "[%d, %d]", v[0], v[1]);
	else
		strbuf_addf(s, "[%#x]", (unsigned)v[0]);
}

static void put_time(struct strbuf *s, uint64_t addr)
{
	int64_t v[2];
	if (!addr || user_read(addr, v, sizeof(v)) < 0)
		put_pointer(s, addr);
	else
		strbuf_addf(s, "{%" PRId64 ".%09" PRId64 "}", v[0], v[1]);
}

static void put_set(struct strbuf *s, uint64_t set)
{
	const char *between = "";
	bool inverse = __builtin_popcountll(set) > 32;
	strbuf_adds(s, inverse ? "~[" : "[");
	for (unsigned sig = 1; sig <= USER_SIGNALS; sig++) {
		if (!(set & user_bit((int)sig)) != inverse)
			continue;
		const char *name = sig < 32 ? sigabbrev_np((int)sig) : NULL;
		strbuf_adds(s, between);
		if (name)
			strbuf_adds(s, name);
		else
			strbuf_addf(s, "%u", sig);
		between = " ";
	}
	strbuf_addc(s, ']');
}

static void put_set_at(struct strbuf *s, uint64_t addr)
{
	uint64_t set;
	if (!addr || user_read(addr, &set, sizeof(set)) < 0)
		put_pointer(s, addr);
	else
		put_set(s, set);
}

static void put_action(struct strbuf *s, uint64_t addr)
{
	struct user_action a;
	if (!addr || user_read(addr, &a, sizeof(a)) < 0) {
		put_pointer(s, addr);
		return;
	}
	strbuf_addc(s, '{');
	if (a.handler <= 1)
		strbuf_adds(s, a.handler ? "SIG_IGN" : "SIG_DFL");
	else
		put_pointer(s, a.handler);
	strbuf_adds(s, ", ");
	put_set(s, a.mask);
	strbuf_adds(s, ", ");
	put_bits(s, a.flags, sa_flags);
	strbuf_addc(s, '}');
}

static void put_stat(struct strbuf *s, uint64_t addr, bool filled)
{
	struct user_stat st;
	if (!filled || user_read(addr, &st, sizeof(st)) < 0)
		put_pointer(s, addr);
	else
		strbuf_addf(s, "{mode=0%o, size=%" PRId64 ", ...}", st.mode, st.size);
}

static void put_address(struct strbuf *s, uint64_t addr, uint64_t len)
{
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} a = {0};
	char text[INET6_ADDRSTRLEN] = "";
	size_t n = MIN(len, sizeof(a) - 1);
	if (!addr || n < sizeof(a.any.sa_family) || user_read(addr, &a, n) < 0) {
		put_pointer(s, addr);
		return;
	}
	strbuf_addc(s, '{');
	put_number(s, a.any.sa_family, families);
	if (a.any.sa_family == AF_INET)
		strbuf_addf(s, ", %s:%u", inet_ntop(AF_INET, &a.in.sin_addr, text, sizeof(text)),
			ntohs(a.in.sin_port));
	else if (a.any.sa_family == AF_INET6)
		strbuf_addf(s, ", [%s]:%u",
			inet_ntop(AF_INET6, &a.in6.sin6_addr, text, sizeof(text)),
			ntohs(a.in6.sin6_port));
	else if (a.any.sa_family == AF_UNIX && n > 2) {
		size_t room = n - offsetof(struct sockaddr_un, sun_path);
		strbuf_adds(s, ", ");
		put_quoted(s, a.un.sun_path, a.un.sun_path[0] ? strnlen(a.un.sun_path, room) : room,
			false);
	}
	strbuf_addc(s, '}');
}

static void put_socket_type(struct strbuf *s, uint64_t v)
{
	const uint64_t flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
	put_number(s, v & ~flags, socket_types);
	if (v & flags) {
		strbuf_addc(s, '|');
		put_bits(s, v & flags, socket_flags);
	}
}

static void put_futex(struct strbuf *s, uint64_t v)
{
	put_number(s, v & (uint64_t)FUTEX_CMD_MASK, futex_ops);
	if (v & FUTEX_PRIVATE_FLAG)
		strbuf_adds(s, "_PRIVATE");
	if (v & FUTEX_CLOCK_REALTIME)
		strbuf_adds(s, "|FUTEX_CLOCK_REALTIME");
}

static void put_dirfd(struct strbuf *s, int v)
{
	if (v == AT_FDCWD)
		strbuf_adds(s, "AT_FDCWD");
	else
		strbuf_addf(s, "%d", v);
}

/* Argument n. result: of the call that is done; < 0: what it fills is not filled. */
static void put_argument(
	struct strbuf *s, char kind, const uint64_t a[6], unsigned n, int64_t result, bool done)
{
	uint64_t v = a[n], next = n < 5 ? a[n + 1] : 0;
	bool filled = done && result >= 0;
	switch (kind) {
	case 'd':
		strbuf_addf(s, "%" PRId64, (int64_t)v);
		break;
	case 'u':
		strbuf_addf(s, "%d", (int)v);
		break;
	case 'x':
		strbuf_addf(s, "0x%" PRIx64, v);
		break;
	case 'm':
		strbuf_addf(s, "%#" PRIo64, v & UINT32_MAX);
		break;
	case 's':
	case 'P':
	case 'N':
	case 'A':
	case 'F':
		put_string(s, v);
		break;
	case 'D':
		put_dirfd(s, (int)v);
		break;
	case 'a':
		put_bits(s, v & UINT32_MAX, at_flags);
		break;
	case 'o':
		put_open_flags(s, v & UINT32_MAX);
		break;
	case 'O':
		put_bits(s, v & UINT32_MAX, open_flags);
		break;
	case 'r':
		if (v & 7)
			put_bits(s, v, protections);
		else
			strbuf_adds(s, "PROT_NONE");
		break;
	case 'M':
		put_bits(s, v, map_flags);
		break;
	case 'C':
		put_bits(s, v & ~(uint64_t)CSIGNAL, clone_flags);
		if (v & CSIGNAL) {
			strbuf_addc(s, '|');
			put_signal(s, v & CSIGNAL);
		}
		break;
	case 'g':
		put_signal(s, v);
		break;
	case 'G':
		put_set_at(s, v);
		break;
	case 'H':
		put_action(s, v);
		break;
	case 'h':
		put_number(s, v, sig_hows);
		break;
	case 'b':
		put_bytes(s, v, next);
		break;
	case 'B':
		filled ? put_bytes(s, v, (uint64_t)result) : put_pointer(s, v);
		break;
	case 't':
		put_time(s, v);
		break;
	case 'T':
		filled ? put_time(s, v) : put_pointer(s, v);
		break;
	case 'i':
		filled ? put_ints(s, v, 1) : put_pointer(s, v);
		break;
	case 'I':
		filled ? put_ints(s, v, 2) : put_pointer(s, v);
		break;
	case 'v':
		put_words(s, v);
		break;
	case 'S':
		put_stat(s, v, filled);
		break;
	case 'K':
		put_address(s, v, next);
		break;
	case 'f':
		put_futex(s, v);
		break;
	case 'w':
		put_number(s, v, whences);
		break;
	case 'k':
		put_number(s, (uint64_t)(int)v, clocks);
		break;
	case 'l':
		put_number(s, v, fcntls);
		break;
	case 'c':
		put_number(s, v & UINT32_MAX, ioctls);
		break;
	case 'y':
		put_number(s, v, families);
		break;
	case 'Y':
		put_socket_type(s, v);
		break;
	default:
		put_pointer(s, v);
		break;
	}
}

static void put_result(struct strbuf *s, const char *kind, int64_t result)
{
	if (result == USER_NO_RESULT)
		return;
	if (result == USER_RESTART || result == USER_AGAIN)
		strbuf_adds(s, " = ? (interrupted)");
	else if (result < 0 && result > -4096)
		strbuf_addf(s, " = -1 %s (%s)", strerrorname_np((int)-result),
			strerrordesc_np((int)-result));
	else if (*kind == '=')
		strbuf_addf(s, " = 0x%" PRIx64, (uint64_t)result);
	else
		strbuf_addf(s, " = %" PRId64, result);
}

static void print_line(struct strbuf *s)
{
	strbuf_addc(s, '\n');
	USER_CALL(SYS_write, STDERR_FILENO, (uintptr_t)s->data, s->len);
}

void user_trace_call(
	const struct user_row *row, uint64_t number, const uint64_t a[6], int64_t result, bool done)
{
	struct strbuf s _strbuf_ = STRBUF_INIT;
	const char *args = row ? row->args : "xxxxxx";
	unsigned n;
	strbuf_addf(&s, "[%d] ", (int)USER_CALL(SYS_gettid));
	if (row)
		strbuf_addf(&s, "%s(", row->name);
	else
		strbuf_addf(&s, "syscall_%" PRId64 "(", (int64_t)number);
	for (n = 0; args[n] && args[n] != '='; n++) {
		strbuf_adds(&s, n ? ", " : "");
		put_argument(&s, args[n], a, n, result, done);
	}
	strbuf_addc(&s, ')');
	if (done)
		put_result(&s, args + n, result);
	print_line(&s);
}

void user_trace_signal(const siginfo_t *info)
{
	struct strbuf s _strbuf_ = STRBUF_INIT;
	strbuf_addf(&s, "[%d] --- ", (int)USER_CALL(SYS_gettid));
	put_signal(&s, (uint64_t)info->si_signo);
	if (info->si_code > 0 && info->si_signo != SIGCHLD)
		strbuf_addf(&s, " {code %d, address %p} ---", info->si_code, info->si_addr);
	else
		strbuf_addf(&s, " {code %d, process %d} ---", info->si_code, info->si_pid);
	print_line(&s);
}
