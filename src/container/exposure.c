// SPDX-License-Identifier: Apache-2.0
#include "container/exposure.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U
#endif

extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

enum { PAGE = 4096 };

/* Between the variables there are bytes that a sanitizer lets nobody read. */
#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
__attribute__((no_sanitize("address"))) static void copy_bytes(
	void *to, const void *from, size_t bytes)
{
	volatile uint64_t *out = to;
	for (size_t i = 0; i < bytes / sizeof(*out); i++)
		out[i] = ((const volatile uint64_t *)from)[i];
}
#else
#define copy_bytes memcpy
#endif

/* The same bytes at the same place, but not of a file. One mremap(2) swaps them under our feet. */
static int move_segment(uintptr_t start, uintptr_t end)
{
	size_t bytes = end - start;
	void *copy = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (copy == MAP_FAILED)
		return -errno;
	copy_bytes(copy, (const void *)start, bytes);
	if (mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)start) == MAP_FAILED)
		return -errno;
	return 0;
}

/* The program's headers: of what is mapped, and where. */
struct image {
	Elf64_Phdr headers[16];
	int n;
	uintptr_t base;
};

static int read_image(struct image *m)
{
	const Elf64_Ehdr *e = &__ehdr_start;
	if (e->e_phnum > ARRAY_SIZE(m->headers))
		return -E2BIG;
	m->n = e->e_phnum;
	m->base = e->e_type == ET_DYN ? (uintptr_t)e : 0;
	memcpy(m->headers, (const char *)e + e->e_phoff, e->e_phnum * sizeof(*m->headers));
	return 0;
}

/* Pages of a part that comes from the file; false for what does not. */
static bool segment(const struct image *m, int i, uintptr_t *start, uintptr_t *end)
{
	const Elf64_Phdr *p = &m->headers[i];
	*start = align_down(m->base + p->p_vaddr, PAGE);
	*end = align_up(m->base + p->p_vaddr + p->p_filesz, PAGE);
	return p->p_type == PT_LOAD && p->p_filesz;
}

int exposure_open(struct error *err)
{
	/* Before Linux 6.3 there is no such flag, and no need of it. */
	int fd = memfd_create("strata-oci", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (fd < 0)
		fd = memfd_create("strata-oci", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? error_errno(err, errno, "memory file") : fd;
}

static int seal(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0
		       ? -errno
		       : 0;
}

/* Each segment that is not written to, one after the other. */
int exposure_fill(int image, struct error *err)
{
	struct image m;
	uintptr_t start, end;
	off_t at = 0;
	int r = read_image(&m);
	for (int i = 0; r == 0 && i < m.n; i++) {
		if (!segment(&m, i, &start, &end) || m.headers[i].p_flags & PF_W)
			continue;
		/* Not through the C library, whose sanitized form would object to some bytes. */
		if (syscall(SYS_pwrite64, image, start, end - start, at) != (long)(end - start))
			r = -errno;
		at += (off_t)(end - start);
	}
	if (r == 0)
		r = seal(image);
	return r < 0 ? error_errno(err, -r, "copy this program") : 0;
}

static int move_image(int image)
{
	struct image m;
	uintptr_t start, end;
	off_t at = 0;
	int r = read_image(&m);
	for (int i = 0; r == 0 && i < m.n; i++) {
		if (!segment(&m, i, &start, &end))
			continue;
		int flags = (int)m.headers[i].p_flags;
		int protection = (flags & PF_R ? PROT_READ : 0) | (flags & PF_X ? PROT_EXEC : 0);
		if (flags & PF_W) {
			r = move_segment(start, end);
			continue;
		}
		if (mmap((void *)start, end - start, protection, MAP_PRIVATE | MAP_FIXED, image,
			    at) == MAP_FAILED)
			r = -errno;
		at += (off_t)(end - start);
	}
	for (int i = 0; r == 0 && i < m.n; i++) {
		const Elf64_Phdr *p = &m.headers[i];
		start = align_down(m.base + p->p_vaddr, PAGE);
		end = align_down(m.base + p->p_vaddr + p->p_memsz, PAGE);
		if (p->p_type == PT_GNU_RELRO && end > start &&
			mprotect((void *)start, end - start, PROT_READ) < 0)
			r = -errno;
	}
	return r;
}

/* What the kernel already knows of our address space; it wants all of it said again. proc(5), stat.
 */
static int read_map(int proc, struct prctl_mm_map *m)
{
	char text[2048];
	int fd _close_ = openat(proc, "self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = 0;
	const char *p = strrchr(text, ')');
	unsigned long long v[53] = {0};
	if (!p || strlen(p) < 4)
		return -EBADMSG;
	p += 4; /* past the third field, a letter */
	for (int field = 4; field <= 51; field++) {
		char *end;
		v[field] = strtoull(p, &end, 10);
		if (end == p)
			return -EBADMSG;
		p = end;
	}
	*m = (struct prctl_mm_map){.start_code = v[26],
		.end_code = v[27],
		.start_data = v[45],
		.end_data = v[46],
		.start_brk = v[47],
		.brk = (uintptr_t)sbrk(0),
		.start_stack = v[28],
		.arg_start = v[48],
		.arg_end = v[49],
		.env_start = v[50],
		.env_end = v[51]};
	return 0;
}

int exposure_end(int image, int proc, struct error *err)
{
	struct prctl_mm_map map;
	int r = read_map(proc, &map);
	int empty _close_ = exposure_open(err);
	if (empty < 0)
		return empty;
	if (r == 0)
		r = seal(empty);
	if (r == 0)
		r = move_image(image);
	map.exe_fd = (uint32_t)empty;
	if (r == 0 && prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	error_errno(err, -r, "hide this program from the container");
	error_remedy(err, "this needs a kernel with CONFIG_CHECKPOINT_RESTORE");
	return r;
}
