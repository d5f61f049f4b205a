// SPDX-License-Identifier: Apache-2.0
// Signals from outside: interrupted and restarted calls, masks, waiting, timers, and the race of a
// signal with a call that is about to block.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int count;
static void on(int s)
{
	count++;
}

static void handle(int s, int flags)
{
	struct sigaction sa = {.sa_handler = on, .sa_flags = flags};
	sigaction(s, &sa, NULL);
	count = 0;
}

static void alarm_in(int us)
{
	struct itimerval t = {{0, 0}, {0, us}};
	setitimer(ITIMER_REAL, &t, NULL);
}

static int fds[2];

static void interrupted(void)
{
	char c;
	handle(SIGALRM, 0);
	alarm_in(30000);
	ssize_t r = read(fds[0], &c, 1);
	printf("read without SA_RESTART: %zd %s, %d\n", r, strerror(errno), count);
	handle(SIGALRM, SA_RESTART);
	alarm_in(30000);
	if (!fork()) {
		usleep(150000);
		write(fds[1], "x", 1);
		_exit(9);
	}
	r = read(fds[0], &c, 1);
	printf("read with SA_RESTART: %zd %c, %d\n", r, c, count);
	int status;
	wait(&status);
	printf("child %d\n", WEXITSTATUS(status));
	alarm_in(30000);
	r = pause();
	printf("pause: %zd %s\n", r, strerror(errno));
	alarm_in(30000);
	r = poll(NULL, 0, 5000);
	printf("poll: %zd %s\n", r, strerror(errno));
	alarm_in(30000);
	struct timespec ts = {5, 0}, left = {0};
	r = nanosleep(&ts, &left);
	printf("nanosleep: %zd %s, %d left\n", r, strerror(errno), (int)left.tv_sec);
}

static void masks(void)
{
	sigset_t set, old, pending;
	siginfo_t info;
	handle(SIGUSR1, SA_RESTART);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &old);
	raise(SIGUSR1);
	sigpending(&pending);
	printf("blocked: %d, pending %d\n", count, sigismember(&pending, SIGUSR1));
	int r = sigsuspend(&old);
	printf("suspend: %d %s, %d\n", r, strerror(errno), count);
	union sigval v = {.sival_int = 77};
	sigqueue(getpid(), SIGUSR1, v);
	r = sigwaitinfo(&set, &info);
	printf("wait: %d %d %d %d\n", r, info.si_code, info.si_value.sival_int,
		info.si_pid == getpid());
	int fd = signalfd(-1, &set, 0);
	struct signalfd_siginfo s;
	raise(SIGUSR1);
	r = (int)read(fd, &s, sizeof(s));
	printf("signalfd: %d %d\n", r, s.ssi_signo);
	sigprocmask(SIG_SETMASK, &old, NULL);
	handle(SIGUSR2, SA_RESETHAND);
	raise(SIGUSR2);
	struct sigaction now;
	sigaction(SIGUSR2, NULL, &now);
	printf("reset: %d %d\n", count, now.sa_handler == SIG_DFL);
	handle(SIGRTMIN + 3, 0);
	sigset_t rt;
	sigemptyset(&rt);
	sigaddset(&rt, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &rt, NULL);
	for (int n = 0; n < 5; n++)
		sigqueue(getpid(), SIGRTMIN + 3, v);
	sigprocmask(SIG_UNBLOCK, &rt, NULL);
	printf("queued: %d\n", count);
}

static void tell(int s)
{
	write(fds[1], "x", 1);
	count++;
}

/* Each alarm's handler runs before or in the read, whenever it comes: else the read would not end.
 */
static void race(void)
{
	char c;
	int bad = 0;
	sigset_t set, old;
	struct sigaction sa = {.sa_handler = tell, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &sa, NULL);
	count = 0;
	for (int n = 0; n < 3000; n++) {
		alarm_in(1 + n % 150);
		bad += read(fds[0], &c, 1) != 1;
	}
	printf("pipe to itself: %d %d\n", bad, count);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, &old);
	handle(SIGALRM, 0);
	for (int n = 0; n < 2000; n++) {
		alarm_in(1 + n % 150);
		bad += ppoll(NULL, 0, NULL, &old) != -1 || errno != EINTR;
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	printf("ppoll: %d %d\n", bad, count);
}

static volatile int depth;
static char alternate[65536];
static void nested(int s, siginfo_t *i, void *context)
{
	ucontext_t *u = context;
	depth++;
	printf("in %d: depth %d, blocked %d %d\n", s, depth, sigismember(&u->uc_sigmask, SIGUSR1),
		sigismember(&u->uc_sigmask, SIGUSR2));
	if (s == SIGUSR1) {
		raise(SIGUSR1); /* waits */
		raise(SIGUSR2); /* comes at once */
		sigset_t set;
		sigprocmask(SIG_BLOCK, NULL, &set);
		printf("back in %d: %d %d\n", s, sigismember(&set, SIGUSR1),
			sigismember(&set, SIGUSR2));
	}
	stack_t now;
	sigaltstack(NULL, &now);
	printf("stack %d\n", now.ss_flags);
	depth--;
}

/* A call that cannot be interrupted never is, whenever the signal comes. */
static void uninterrupted(void)
{
	struct itimerval t = {{0, 50}, {0, 50}}, off = {0};
	pid_t self = getpid();
	int bad = 0;
	handle(SIGALRM, 0);
	setitimer(ITIMER_REAL, &t, NULL);
	for (int n = 0; n < 100000 || (count < 1000 && n < 10000000); n++)
		bad += syscall(SYS_getppid) < 0 || kill(self, 0) || syscall(SYS_getpid) != self;
	setitimer(ITIMER_REAL, &off, NULL);
	printf("uninterrupted: %d %d\n", bad, count >= 1000);
}

static void nesting(void)
{
	struct sigaction sa = {.sa_sigaction = nested, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	stack_t s = {.ss_sp = alternate, .ss_size = sizeof(alternate)};
	sigaltstack(&s, NULL);
	sigaction(SIGUSR2, &sa, NULL);
	sigset_t set, old;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &old);
	sigaction(SIGUSR1, &sa, NULL);
	sa.sa_flags |= SA_RESETHAND;
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	sigprocmask(SIG_SETMASK, &old, NULL); /* the first; the second finds no handler */
	printf("not reached\n");
}

/* All integer and floating-point registers survive a signal that comes anywhere. */
static volatile int ticks;
static void clobber(int s)
{
	ticks++;
	__asm__ volatile("li t0, -1\nli t1, -1\nli t6, -1\nli a7, -1\nfmv.d.x ft0, t0\n"
			 "fmv.d.x ft11, t0\nfsflags t0\n" ::
				 : "t0", "t1", "t6", "a7", "ft0", "ft11");
}

static void registers(void)
{
	struct sigaction sa = {.sa_handler = clobber};
	struct itimerval t = {{0, 200}, {0, 200}}, off = {0};
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
	unsigned long bad = 0, flags;
	for (int n = 0; ticks < 300 && n < 100000000; n++) {
		unsigned long a = (unsigned long)n, b = a * 3, c, d, e;
		__asm__ volatile(
			"fsflags zero\n"
			"mv t0, %4\nmv t1, %5\nmv t6, %4\nfmv.d.x ft0, %4\nfmv.d.x ft11, %5\n"
			"add t2, t0, t1\nxor t3, t6, t2\nadd t2, t0, t1\nxor t3, t6, t2\n"
			"fmv.x.d %1, ft0\nfmv.x.d %2, ft11\nadd %0, t3, t1\nfrflags %3\n"
			: "=&r"(c), "=&r"(d), "=&r"(e), "=&r"(flags)
			: "r"(a), "r"(b)
			: "t0", "t1", "t2", "t3", "t6", "ft0", "ft11");
		bad += c != ((a ^ (a + b)) + b) || d != a || e != b || flags;
	}
	setitimer(ITIMER_REAL, &off, NULL);
	printf("registers: %lu %d\n", bad, ticks >= 300);
}

static void *spin(void *arg)
{
	volatile unsigned long *n = arg;
	for (;;)
		(*n)++;
}

/* Handlers in a thread that never makes a system call. */
static void busy(void)
{
	static volatile unsigned long n;
	pthread_t t;
	handle(SIGUSR1, 0);
	pthread_create(&t, NULL, spin, (void *)&n);
	for (int i = 0; i < 200; i++) {
		int before = count;
		pthread_kill(t, SIGUSR1);
		while (count == before)
			sched_yield();
	}
	printf("busy: %d\n", count);
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	alarm(60);
	pipe(fds);
	interrupted();
	masks();
	race();
	busy();
	registers();
	uninterrupted();
	nesting();
}
