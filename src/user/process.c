// SPDX-License-Identifier: Apache-2.0
// A process's start.
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "user/internal.h"

/* Descriptors of ours keep out of the guest's way. */
static int move_high(int fd)
{
	struct rlimit limit;
	int low = 900;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 1000)
		low = (int)limit.rlim_cur * 9 / 10;
	int high = fcntl(fd, F_DUPFD_CLOEXEC, low);
	close(fd);
	return high;
}

void user_keep_self(struct user_process *p)
{
	int fd = p->self_fd < 0 ? open("/proc/self/exe", O_PATH | O_CLOEXEC) : -1;
	if (fd >= 0)
		p->self_fd = move_high(fd);
}

static int open_root(struct user_process *p, const char *root, struct error *err)
{
	char real[PATH_MAX + 1];
	p->root_fd = -1;
	if (!root)
		return 0;
	if (!realpath(root, real))
		return error_errno(err, errno, "--root %s", root);
	if (!strcmp(real, "/"))
		return 0;
	int fd = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "--root %s", root);
	p->root_fd = move_high(fd);
	if (p->root_fd < 0)
		return error_errno(err, errno, "--root %s", root);
	p->root = xstrdup(real);
	p->root_len = strlen(real);
	return 0;
}

/* The program's path when its name has no slash. */
static char *search_path(struct user_process *p, const char *name, char **envp)
{
	const char *path = "/usr/local/bin:/usr/bin:/bin";
	for (char **e = envp; *e; e++)
		if (!strncmp(*e, "PATH=", 5))
			path = *e + 5;
	while (*name && !strchr(name, '/')) {
		size_t n = strcspn(path, ":");
		char *full = xasprintf("%.*s/%s", n ? (int)n : 1, n ? path : ".", name);
		struct user_path resolved;
		if (user_path_text(p, AT_FDCWD, full, 0, &resolved) == 0 &&
			faccessat(resolved.dirfd, resolved.text, X_OK, AT_EACCESS) == 0)
			return full;
		free(full);
		if (!path[n])
			break;
		path += n + 1;
	}
	return xstrdup(name);
}

/* Where the kernel finds arguments and vectors for /proc: those of the guest. Best effort. */
static void tell_kernel(const struct user_process *p, const char *name)
{
	const char *base = strrchr(name, '/');
	prctl(PR_SET_NAME, base ? base + 1 : name);
	uint64_t fields[64] = {0};
	char text[2048];
	int fd _close_ = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return;
	text[n] = 0;
	char *at = strrchr(text, ')');
	if (!at)
		return;
	at += 2; /* the third field */
	for (unsigned i = 3; i < ARRAY_SIZE(fields) && *at; i++) {
		fields[i] = strtoull(at, &at, 10);
		at += strcspn(at, " ");
		at += *at == ' ';
	}
	/* proc(5): 26 startcode, 27 endcode, 28 startstack, 45 start_data, 46 end_data, 47 brk */
	struct prctl_mm_map m = {.start_code = fields[26],
		.end_code = fields[27],
		.start_data = fields[45],
		.end_data = fields[46],
		.start_brk = fields[47],
		.brk = (uintptr_t)sbrk(0),
		.start_stack = fields[28],
		.arg_start = p->args_start,
		.arg_end = p->args_end,
		.env_start = p->args_end,
		.env_end = p->stack_end - 8,
		.auxv = user_ptr(p->auxv_start),
		.auxv_size = (uint32_t)(p->auxv_end - p->auxv_start),
		.exe_fd = (uint32_t)-1};
	prctl(PR_SET_MM, PR_SET_MM_MAP, &m, sizeof(m), 0);
}

/* Arguments as the program sees them: a script's interpreter in front. */
static char **arguments(const struct user_program *g, char **argv)
{
	VEC(char *) out = {0};
	vec_for_each (word, &g->args)
		vec_push(&out, *word);
	for (char **a = argv; *a; a++)
		if ((size_t)(a - argv) >= g->args_taken)
			vec_push(&out, *a);
	vec_push(&out, NULL);
	return out.items;
}

/* Returns only when it fails. */
static int become(struct user_process *p, const struct user_options *o, struct user_program *g,
	struct error *err)
{
	struct vcpu_space space;
	char **argv _free_ = arguments(g, o->argv);
	if (g->native) {
		execve(g->path, argv, o->envp);
		return error_errno(err, errno, "%s", p->options->program);
	}
	pthread_mutex_init(&p->lock, NULL);
	int r = user_map_init(&p->map, err);
	if (r < 0)
		return r;
	user_map_space(&p->map, &space);
	space.count_insns = p->options->stats;
	r = vcpu_group_new_flat(&p->group, &rv64_isa, &space, err);
	if (r < 0)
		return r;
	p->map.group = p->group;
	struct user_thread *t = user_thread_new(p, err);
	if (!t)
		return -EAGAIN;
	t->leader = true;
	user_signals_init(p);
	sigset_t mask;
	USER_CALL(SYS_rt_sigprocmask, SIG_SETMASK, 0, (uintptr_t)&mask, 8);
	memcpy(&t->mask, &mask, sizeof(t->mask));
	user_self = t;
	r = user_load(t, g, argv, o->envp, err);
	if (r < 0)
		return r;
	p->exe = xstrdup(g->path);
	p->exe_guest = xstrdup(g->guest_path);
	user_program_done(g);
	tell_kernel(p, o->program);
	user_thread_run(t);
	for (;;)
		USER_CALL(SYS_exit, 0);
}

static int start(struct user_process *p, const struct user_options *o, struct error *err)
{
	struct user_program g;
	p->self_fd = o->self_fd >= 0 ? move_high(o->self_fd) : -1;
	int r = open_root(p, o->root, err);
	if (r < 0)
		return r;
	static struct user_options options; /* as long as the process */
	options = *o;
	options.program = search_path(p, o->program, o->envp);
	p->options = &options;
	if (o->fd < 0)
		r = user_program_find(p, AT_FDCWD, options.program, 0, &g, err);
	else
		r = user_program_find(p, o->fd, "", USER_PATH_EMPTY, &g, err);
	if (r < 0)
		return r;
	if (o->fd >= 0)
		close(o->fd);
	r = become(p, o, &g, err);
	user_program_done(&g);
	return r;
}

int user_run(const struct user_options *o, struct error *err)
{
	static struct user_process process; /* as long as there is one */
	return start(&process, o, err);
}

void user_print_stats(const struct user_process *p)
{
	const char *format = p->options->stats;
	struct vcpu_stats all;
	if (!format)
		return;
	bool json = !strcmp(format, "json");
	vcpu_group_stats(p->group, &all);
	/* In one piece, so that processes do not write into each other's. */
	struct strbuf text _strbuf_ = STRBUF_INIT;
	strbuf_addf(&text, json ? "{\"pid\": %d" : "strata: process %d\n", (int)getpid());
#define X(name)                                                                                    \
	strbuf_addf(&text, json ? ", \"%s\": %llu" : "  %-18s%18llu\n", #name,                     \
		(unsigned long long)all.name);
	VCPU_STATS(X)
#undef X
	if (json)
		strbuf_adds(&text, "}\n");
	if (write(STDERR_FILENO, text.data, text.len) < 0)
		return; /* nobody wants to know */
}
