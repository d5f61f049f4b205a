// SPDX-License-Identifier: Apache-2.0
// System calls of the host.
//
// A blocking one must not begin when a signal for the guest has come already: nothing would end it.
// So user_host_enter looks at `signalled` and calls in a few instructions that the signal handler
// knows. When it interrupts them before the call has begun, it sends them to user_host_again: the
// guest's call comes after its handler. When the kernel has moved the pc back to restart a call
// that it had begun (our handlers have SA_RESTART), they go to user_host_restart, and the guest's
// SA_RESTART decides. The two are told apart by a prefix that means nothing: the call begins with
// three bytes, and the kernel goes back by two. What returns EINTR by itself is a call that no
// handler's SA_RESTART restarts.
#include "user/internal.h"

#include "mem/flat.h"

int64_t user_host_enter(const _Atomic uint32_t *signalled, long nr, const uint64_t a[6]);
extern const char user_host_begin[], user_host_repeat[], user_host_again[], user_host_restart[];

__asm__(".text\n"
	".globl user_host_enter, user_host_begin, user_host_repeat, user_host_again, "
	"user_host_restart\n"
	".hidden user_host_enter, user_host_begin, user_host_repeat, user_host_again, "
	"user_host_restart\n"
	".type user_host_enter, @function\n"
	"user_host_enter:\n"
	".cfi_startproc\n"
	"	mov %rdi, %r11\n"
	"	mov %rsi, %rax\n"
	"	mov %rdx, %rcx\n"
	"	mov 0(%rcx), %rdi\n"
	"	mov 8(%rcx), %rsi\n"
	"	mov 16(%rcx), %rdx\n"
	"	mov 24(%rcx), %r10\n"
	"	mov 32(%rcx), %r8\n"
	"	mov 40(%rcx), %r9\n"
	"user_host_begin:\n"
	"	cmpl $0, (%r11)\n"
	"	jne user_host_again\n"
	"	.byte 0x48\n" /* REX.W */
	"user_host_repeat:\n"
	"	syscall\n"
	"	ret\n"
	"user_host_again:\n"
	"	mov $-513, %rax\n"
	"	ret\n"
	"user_host_restart:\n"
	"	mov $-512, %rax\n"
	"	ret\n"
	".cfi_endproc\n"
	".size user_host_enter, . - user_host_enter\n");
_Static_assert(USER_AGAIN == -513, "user_host_again returns it");
_Static_assert(USER_RESTART == -512, "user_host_restart returns it");

int64_t user_host(struct user_thread *t, long nr, const uint64_t a[6])
{
	return user_host_enter(&t->signalled, nr, a);
}

uintptr_t user_host_rewind(uintptr_t pc)
{
	if (pc == (uintptr_t)user_host_repeat)
		return (uintptr_t)user_host_restart;
	bool before = pc >= (uintptr_t)user_host_begin && pc < (uintptr_t)user_host_repeat;
	return before ? (uintptr_t)user_host_again : pc;
}

int64_t user_call(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	register uint64_t r10 __asm__("r10") = d;
	register uint64_t r8 __asm__("r8") = e;
	register uint64_t r9 __asm__("r9") = f;
	int64_t r;
	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}

int user_read(uint64_t from, void *to, size_t bytes)
{
	return flat_copy(to, user_ptr(from), bytes) ? 0 : -EFAULT;
}

int user_write(uint64_t to, const void *from, size_t bytes)
{
	return flat_copy(user_ptr(to), from, bytes) ? 0 : -EFAULT;
}

int user_read_string(uint64_t from, char *to, size_t cap)
{
	size_t n = flat_copy_string(to, from, cap);
	if (!n)
		return -EFAULT;
	return n > cap ? -ENAMETOOLONG : (int)n - 1;
}
