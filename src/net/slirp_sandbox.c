// SPDX-License-Identifier: Apache-2.0
#include "net/slirp_sandbox.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "os/sandbox.h"

/* What libslirp, GLib's memory and the loop around them use. Neither bind nor listen: published
 * ports are open by now. sendmsg and recvmsg, which could carry descriptors, are not needed. */
static const struct sandbox_syscall allowed[] = {
	ALLOW_IF("socket", 0, AF_INET),
	ALLOW_IF("socket", 0, AF_INET6),
	ALLOW("connect"),
	ALLOW("accept"),
	ALLOW("accept4"),
	ALLOW("sendto"),
	ALLOW("recvfrom"),
	ALLOW("read"),
	ALLOW("readv"),
	ALLOW("write"),
	ALLOW("writev"),
	ALLOW("shutdown"),
	ALLOW("close"),
	ALLOW("getsockname"),
	ALLOW("getpeername"),
	ALLOW("getsockopt"),
	ALLOW_IF("setsockopt", 1, SOL_SOCKET),
	ALLOW_IF("setsockopt", 1, IPPROTO_IP),
	ALLOW_IF("setsockopt", 1, IPPROTO_TCP),
	ALLOW_IF("setsockopt", 1, IPPROTO_IPV6),
	ALLOW_IF("fcntl", 1, F_GETFL),
	ALLOW_IF("fcntl", 1, F_SETFL),
	ALLOW_IF("fcntl", 1, F_GETFD),
	ALLOW_IF("fcntl", 1, F_SETFD),
	ALLOW_IF("ioctl", 1, FIONREAD),
	ALLOW("poll"),
	ALLOW("ppoll"),
	ALLOW("clock_gettime"),
	ALLOW("gettimeofday"),
	ALLOW("time"),
	ALLOW("getrandom"),
	ALLOW("brk"),
	{"mmap", 2, PROT_EXEC, 0},
	{"mprotect", 2, PROT_EXEC, 0},
	ALLOW("munmap"),
	ALLOW("mremap"),
	ALLOW("madvise"),
	ALLOW("futex"),
	ALLOW("restart_syscall"),
	ALLOW("rt_sigreturn"),
	ALLOW("exit"),
	ALLOW("exit_group"),
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	/* What the sanitizers' run time adds. */
	ALLOW("sched_yield"),
	ALLOW("sigaltstack"),
	ALLOW("rt_sigprocmask"),
	ALLOW("clock_nanosleep"),
	ALLOW("gettid"),
#endif
};

static const struct {
	int resource;
	uint64_t value;
} limits[] = {
	{RLIMIT_CORE, 0}, {RLIMIT_FSIZE, 0}, {RLIMIT_NPROC, 0}, {RLIMIT_MEMLOCK, 0},
	{RLIMIT_MSGQUEUE, 0}, {RLIMIT_NOFILE, SLIRP_FDS_MAX}, /* about one a connection */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	{RLIMIT_DATA, 4 * GiB}, /* of addresses: see CROWDED_BYTES in slirp_loop.c */
#endif
};

int slirp_sandbox_enter(struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		int r = sandbox_limit(limits[i].resource, limits[i].value, err);
		if (r)
			return error_wrap(err, r, "sandbox");
	}
	prctl(PR_SET_DUMPABLE, 0);
	int r = sandbox_drop_privileges(err);
	if (!r)
		r = sandbox_no_files(err); /* without Landlock no path call is in the list below */
	if (r >= 0)
		r = sandbox_allow_syscalls(allowed, ARRAY_SIZE(allowed), err);
	return r < 0 ? error_wrap(err, r, "sandbox") : 0;
}
