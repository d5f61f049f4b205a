// SPDX-License-Identifier: Apache-2.0
// Programs: what a path executes, and a new program's memory (as Linux' binfmt_elf and the
// riscv64 ABI have it).
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/internal.h"
#include "wire/elf_file.h"
#include "wire/script_line.h"

enum { SCRIPT_DEPTH = 5 };
#define STACK_MIN (1 * MiB)
#define STACK_MAX (1 * GiB)

/* --- which file --- */
void user_program_done(struct user_program *g)
{
	free(g->path);
	free(g->guest_path);
	vec_for_each (arg, &g->args)
		free(*arg);
	vec_done(&g->args);
	cleanup_close_fd(&g->fd);
	*g = (struct user_program){.fd = -1};
}

/* The interpreter and its argument go in front of the script's path. */
static void add_interpreter(
	struct user_program *g, const struct script_line *line, const char *script)
{
	VEC(char *) words = {0};
	vec_push(&words, xstrdup(line->interpreter));
	if (*line->argument)
		vec_push(&words, xstrdup(line->argument));
	vec_push(&words, xstrdup(script));
	/* The words of an outer script follow, but for its own name, which is this path. */
	for (size_t i = 0; i < g->args.len; i++) {
		if (i)
			vec_push(&words, g->args.items[i]);
		else
			free(g->args.items[i]);
	}
	vec_done(&g->args);
	g->args.items = words.items;
	g->args.len = words.len;
	g->args.cap = words.cap;
	g->args_taken = 1;
}

/* 1: it is a script, and `name` its interpreter; 0: found; -errno. */
static int look_at(struct user_process *p, struct user_program *g, int dirfd, const char *name,
	unsigned flags, char *interpreter, struct error *err)
{
	struct user_path path;
	struct stat st;
	int r = user_path_text(p, dirfd, name, flags, &path);
	if (r < 0)
		return error_errno(err, -r, "%s", name);
	bool empty = !*path.text && (flags & USER_PATH_EMPTY);
	int fd _close_ = empty ? fcntl(path.dirfd, F_DUPFD_CLOEXEC, 0)
			       : openat(path.dirfd, path.text,
					 O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
						 (flags & USER_PATH_NOFOLLOW ? O_NOFOLLOW : 0));
	if (fd < 0)
		return error_errno(err, errno, "%s", name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_errno(err, EACCES, "%s", name);
	char link[40], head[SCRIPT_LINE_BYTES];
	struct script_line line;
	/* The descriptor, not the path: nobody can put another file there now. */
	int64_t code =
		USER_CALL(SYS_faccessat2, fd, (uintptr_t) "", X_OK, AT_EACCESS | AT_EMPTY_PATH);
	if (code < 0)
		return error_errno(err, (int)-code, "%s", name);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	free(g->path);
	free(g->guest_path);
	char real[PATH_MAX + 1];
	ssize_t n = readlink(link, real, PATH_MAX);
	real[MAX(n, 0)] = 0;
	g->path = xstrdup(n > 0 ? real : path.text);
	g->guest_path = xstrdup(user_path_to_guest(p, g->path));
	n = pread(fd, head, sizeof(head), 0);
	if (n < 0)
		return error_errno(err, errno, "%s", name);
	r = script_line_read(head, (size_t)n, &line);
	if (r == -ENOEXEC)
		return error_set(err, ENOEXEC, "%s: no interpreter in its first line", name);
	if (r == 0) {
		add_interpreter(g, &line, name);
		memcpy(interpreter, line.interpreter, sizeof(line.interpreter));
		return 1;
	}
	if (n < (ssize_t)sizeof(Elf64_Ehdr) || !elf_magic(head, (size_t)n))
		return error_errno(err, ENOEXEC, "%s", name);
	uint16_t machine = load_le16(head + offsetof(Elf64_Ehdr, e_machine));
	g->native = machine == ELF_X86_64 || machine == ELF_386;
	if (!g->native && (machine != ELF_RISCV || head[EI_CLASS] != ELFCLASS64))
		return error_errno(err, ENOEXEC, "%s", name);
	g->fd = TAKE_FD(fd);
	return 0;
}

int user_program_find(struct user_process *p, int dirfd, const char *path, unsigned flags,
	struct user_program *out, struct error *err)
{
	char interpreter[SCRIPT_LINE_BYTES] = "";
	const char *name = path;
	*out = (struct user_program){.fd = -1};
	for (unsigned depth = 0; depth <= SCRIPT_DEPTH; depth++) {
		char next[SCRIPT_LINE_BYTES];
		int r = look_at(p, out, dirfd, name, flags, next, err);
		if (r <= 0) {
			if (r < 0)
				user_program_done(out);
			return r;
		}
		memcpy(interpreter, next, sizeof(interpreter));
		name = interpreter;
		dirfd = AT_FDCWD;
		flags = 0;
	}
	user_program_done(out);
	return error_errno(err, ELOOP, "%s", path);
}

/* --- memory --- */
struct image {
	uint64_t base, entry, phdr, end;
};

static unsigned prot_of(uint32_t flags)
{
	return (flags & ELF_R ? PROT_READ : 0u) | (flags & ELF_W ? PROT_WRITE : 0u) |
	       (flags & ELF_X ? PROT_EXEC : 0u);
}

static uint64_t page_down(uint64_t v)
{
	return align_down(v, GUEST_PAGE_BYTES);
}

static uint64_t page_up(uint64_t v)
{
	return align_up(v, GUEST_PAGE_BYTES);
}

static int map_segment(struct user_map *m, const struct elf_segment *s, uint64_t base, int fd)
{
	uint64_t start = base + page_down(s->vaddr), in_page = s->vaddr - page_down(s->vaddr);
	uint64_t file_end = base + s->vaddr + s->file_bytes;
	uint64_t end = base + s->vaddr + s->memory_bytes;
	unsigned prot = prot_of(s->flags), flags = MAP_PRIVATE | MAP_FIXED;
	int64_t r = 0;
	if ((s->file_offset ^ s->vaddr) & (GUEST_PAGE_BYTES - 1))
		return -ENOEXEC;
	if (s->file_bytes)
		r = user_mmap(m, start, page_up(s->file_bytes + in_page), prot, flags, fd,
			s->file_offset - in_page);
	if (r >= 0 && page_up(end) > page_up(file_end))
		r = user_mmap(m, page_up(file_end), page_up(end) - page_up(file_end), prot,
			flags | MAP_ANONYMOUS, -1, 0);
	if (r >= 0 && s->memory_bytes > s->file_bytes && s->file_bytes && (prot & PROT_WRITE)) {
		static const uint8_t zeros[GUEST_PAGE_BYTES];
		if (user_write(file_end, zeros, page_up(file_end) - file_end) < 0)
			r = -ENOEXEC;
	}
	return r < 0 ? (int)r : 0;
}

/* at: where an image that can be anywhere goes; 0: anywhere. */
static int map_image(struct user_process *p, int fd, const char *path, uint64_t at, struct elf *e,
	struct image *out, char *interp, struct error *err)
{
	struct source file;
	int r = source_from_fd(&file, fd, err);
	if (r == 0)
		r = elf_read(e, &file, err);
	if (r < 0)
		return error_wrap(err, r, "%s", path);
	if (e->machine != ELF_RISCV)
		return error_set(err, ENOEXEC, "%s: for another architecture", path);
	if (interp) {
		*interp = 0;
		if (e->interp_bytes > PATH_MAX ||
			(e->interp_bytes &&
				source_read(&file, e->interp_offset, interp, e->interp_bytes) < 0))
			return error_set(err, ENOEXEC, "%s: bad name of a dynamic linker", path);
		interp[e->interp_bytes] = 0;
	}
	uint64_t low = UINT64_MAX, high = 0;
	for (unsigned n = 0; n < e->segment_count; n++) {
		low = MIN(low, page_down(e->segments[n].vaddr));
		high = MAX(high, e->segments[n].vaddr + e->segments[n].memory_bytes);
	}
	if (high > p->map.top)
		return error_set(err, ENOMEM, "%s: its addresses are too high", path);
	/* The whole range first, so that segments only replace what is ours. */
	bool fixed = e->type == ELF_EXEC;
	int64_t where = user_mmap(&p->map, fixed ? low : at, page_up(high) - low, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (fixed ? MAP_FIXED_NOREPLACE : 0), -1,
		0);
	if (where < 0)
		return error_errno(err, (int)-where, "%s: no room at 0x%llx", path,
			(unsigned long long)(fixed ? low : at));
	uint64_t base = (uint64_t)where - low;
	*out = (struct image){.base = base, .entry = base + e->entry, .end = base + page_up(high)};
	for (unsigned n = 0; n < e->segment_count; n++) {
		const struct elf_segment *s = &e->segments[n];
		r = map_segment(&p->map, s, base, fd);
		if (r < 0)
			return error_errno(err, -r, "%s: segment %u", path, n);
		if (range_fits(e->phdr_offset - s->file_offset, 1, s->file_bytes))
			out->phdr = base + s->vaddr + (e->phdr_offset - s->file_offset);
	}
	return 0;
}

/* li a7, rt_sigreturn; ecall: unwinders know these bytes. */
static int map_sigreturn(struct user_process *p, struct error *err)
{
	static const uint32_t code[] = {0x08b00893, 0x00000073};
	int64_t at = user_mmap(&p->map, 0, GUEST_PAGE_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at < 0)
		return error_errno(err, (int)-at, "no memory");
	memcpy(user_ptr((uint64_t)at), code, sizeof(code));
	user_mprotect(&p->map, (uint64_t)at, GUEST_PAGE_BYTES, PROT_READ | PROT_EXEC);
	p->sigreturn = (uint64_t)at;
	return 0;
}

/* --- the first stack --- */
struct stack {
	uint64_t sp, low;
};

static uint64_t push(struct stack *s, const void *bytes, size_t n)
{
	if (s->sp - s->low < n + 64 * KiB)
		return 0;
	s->sp -= n;
	memcpy(user_ptr(s->sp), bytes, n);
	return s->sp;
}

static uint64_t push_string(struct stack *s, const char *text)
{
	return push(s, text, strlen(text) + 1);
}

static int make_stack(struct user_process *p, bool executable, struct stack *s, struct error *err)
{
	struct rlimit limit;
	uint64_t bytes = 8 * MiB;
	if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		bytes = MIN(
			MAX(page_up(limit.rlim_cur), STACK_MIN), MIN(STACK_MAX, p->map.top / 8));
	int64_t at = user_mmap(&p->map, p->map.top - bytes - 16 * GUEST_PAGE_BYTES, bytes,
		PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0u),
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (at < 0)
		return error_errno(err, (int)-at, "no memory for the stack");
	p->stack_start = (uint64_t)at;
	p->stack_end = (uint64_t)at + bytes;
	/* Room between the stack and what is mapped next, so that running over is noticed. */
	p->map.search = p->stack_start - 256 * GUEST_PAGE_BYTES;
	*s = (struct stack){p->stack_end, p->stack_start};
	return 0;
}

/* I, M, A, F, D, C: bits as letters of the alphabet. */
#define HWCAP(letter) (UINT64_C(1) << ((letter) - 'a'))

static int fill_stack(struct user_process *p, struct stack *s, const struct elf *e,
	const struct image *program, const struct image *linker, const char *execfn, char **argv,
	char **envp, struct error *err)
{
	VEC(uint64_t) words = {0};
	uint8_t random[16];
	size_t argc = 0, envc = 0, n;
	uint64_t none = 0;
	for (n = 0; n < sizeof(random); n += 8)
		USER_CALL(SYS_getrandom, (uintptr_t)random + n, 8);
	push(s, &none, sizeof(none));
	uint64_t execfn_at = push_string(s, execfn);
	p->args_end = 0;
	while (argv[argc])
		argc++;
	while (envp[envc])
		envc++;
	/* In memory the strings stand in order, arguments first. */
	vec_push(&words, argc);
	for (n = 0; n < argc + envc + 2; n++)
		vec_push(&words, 0);
	for (n = envc; n-- > 0;)
		words.items[1 + argc + 1 + n] = push_string(s, envp[n]);
	uint64_t args_end = s->sp;
	for (n = argc; n-- > 0;)
		words.items[1 + n] = push_string(s, argv[n]);
	p->args_start = s->sp;
	p->args_end = args_end;
	s->sp &= ~UINT64_C(15);
	uint64_t random_at = push(s, random, sizeof(random));
	if (!random_at) {
		vec_done(&words);
		return error_errno(err, E2BIG, "%s", execfn);
	}
	const uint64_t aux[][2] = {
		{AT_PHDR, program->phdr},
		{AT_PHENT, sizeof(Elf64_Phdr)},
		{AT_PHNUM, e->phdr_count},
		{AT_PAGESZ, GUEST_PAGE_BYTES},
		{AT_BASE, linker->base},
		{AT_FLAGS, 0},
		{AT_ENTRY, program->entry},
		{AT_UID, getuid()},
		{AT_EUID, geteuid()},
		{AT_GID, getgid()},
		{AT_EGID, getegid()},
		{AT_HWCAP, HWCAP('i') | HWCAP('m') | HWCAP('a') | HWCAP('f') | HWCAP('d') |
				   HWCAP('c')},
		{AT_CLKTCK, (uint64_t)sysconf(_SC_CLK_TCK)},
		{AT_SECURE, getauxval(AT_SECURE)},
		{AT_RANDOM, random_at},
		{AT_EXECFN, execfn_at},
		{AT_NULL, 0},
	};
	size_t aux_word = words.len;
	for (n = 0; n < ARRAY_SIZE(aux); n++) {
		vec_push(&words, aux[n][0]);
		vec_push(&words, aux[n][1]);
	}
	size_t bytes = words.len * sizeof(uint64_t);
	s->sp = (s->sp - bytes) & ~UINT64_C(15);
	bool fits = s->sp - s->low > 64 * KiB && s->sp - s->low < p->stack_end - p->stack_start;
	if (fits)
		memcpy(user_ptr(s->sp), words.items, bytes);
	p->auxv_start = s->sp + aux_word * sizeof(uint64_t);
	p->auxv_end = p->auxv_start + sizeof(aux);
	vec_done(&words);
	return fits ? 0 : error_errno(err, E2BIG, "%s", execfn);
}

int user_load(struct user_thread *t, const struct user_program *g, char **argv, char **envp,
	struct error *err)
{
	struct user_process *p = t->process;
	struct elf e, le;
	struct image program, linker = {0};
	struct stack s = {0};
	char interp[PATH_MAX + 1];
	struct user_path path;
	/* Two thirds of the address space, as Linux has it. */
	int r = map_image(
		p, g->fd, g->path, page_down(p->map.top / 3 * 2), &e, &program, interp, err);
	if (r < 0)
		return r;
	user_map_set_brk(&p->map, program.end);
	bool executable = e.stack_flags & ELF_X;
	r = make_stack(p, executable, &s, err);
	if (r < 0)
		return r;
	if (*interp) {
		r = user_path_text(p, AT_FDCWD, interp, 0, &path);
		if (r < 0)
			return error_errno(err, -r, "%s", interp);
		int fd _close_ = open(path.text, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			r = error_errno(err, errno, "%s", interp);
			error_remedy(err, "--root names a directory with the program's libraries");
			return r;
		}
		r = map_image(p, fd, path.text, 0, &le, &linker, NULL, err);
		if (r < 0)
			return r;
	}
	r = map_sigreturn(p, err);
	if (r < 0)
		return r;
	r = fill_stack(p, &s, &e, &program, &linker, p->options->program, argv, envp, err);
	if (r < 0)
		return r;
	rv64_reset_user(t->cpu, *interp ? linker.entry : program.entry, s.sp);
	return 0;
}
