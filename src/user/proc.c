// SPDX-License-Identifier: Apache-2.0
// Files of /proc/self that would tell about this program instead of the guest's.
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "user/internal.h"

const char *user_proc_self(const char *path)
{
	char own[32];
	if (strncmp(path, "/proc/", 6))
		return NULL;
	path += 6;
	snprintf(own, sizeof(own), "%d/", getpid());
	const char *const names[] = {"self/", "thread-self/", own};
	for (size_t n = 0; n < ARRAY_SIZE(names); n++)
		if (!strncmp(path, names[n], strlen(names[n])))
			return path + strlen(names[n]);
	return NULL;
}

/* The kernel's list, without what is not the guest's, and with the guest's rights. */
static void write_maps(const struct user_process *p, struct strbuf *out)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char *line = NULL;
	size_t cap = 0;
	while (f && getline(&line, &cap, f) > 0) {
		uint64_t start, end;
		int rest;
		char shared;
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*c%*c%*c%c%n", &start, &end, &shared,
			    &rest) < 3 ||
			start >= p->map.top)
			continue;
		while (start < end) {
			uint8_t page = user_map_page(&p->map, start) & (uint8_t)~USER_PAGE_CODE;
			uint64_t to = start;
			while (to < end &&
				(user_map_page(&p->map, to) & (uint8_t)~USER_PAGE_CODE) == page)
				to += GUEST_PAGE_BYTES;
			if (page) {
				const char *tail = line + rest;
				strbuf_addf(out, "%08" PRIx64 "-%08" PRIx64 " %c%c%c%c", start, to,
					page & USER_PAGE_R ? 'r' : '-',
					page & USER_PAGE_W ? 'w' : '-',
					page & USER_PAGE_X ? 'x' : '-', shared);
				bool stack = start < p->stack_end && to > p->stack_start;
				bool heap = start >= p->map.brk_start &&
					    to <= align_up(p->map.brk, 4096);
				if (stack || heap)
					strbuf_addf(out, " 00000000 00:00 0 %26s%s\n", "",
						stack ? "[stack]" : "[heap]");
				else
					strbuf_adds(out, tail);
			}
			start = to;
		}
	}
	free(line);
	if (f)
		fclose(f);
}

static void write_cpuinfo(struct strbuf *out)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	for (long n = 0; n < cpus; n++)
		strbuf_addf(out,
			"processor\t: %ld\nhart\t\t: %ld\nisa\t\t: %s\nmmu\t\t: sv39\n"
			"mvendorid\t: 0x0\nmarchid\t\t: 0x0\nmimpid\t\t: 0x0\n\n",
			n, n, rv64_isa_string());
}

static int64_t file_of(const void *bytes, size_t len, int flags)
{
	int fd = memfd_create("proc", flags & O_CLOEXEC ? MFD_CLOEXEC : 0);
	if (fd < 0)
		return -errno;
	const char *at = bytes;
	while (len) {
		ssize_t n = write(fd, at, len);
		if (n <= 0)
			break;
		at += n;
		len -= (size_t)n;
	}
	lseek(fd, 0, SEEK_SET);
	return fd;
}

int64_t user_proc_open(struct user_thread *t, const char *path, int flags)
{
	const struct user_process *p = t->process;
	const char *behind = user_proc_self(path);
	struct strbuf text _strbuf_ = STRBUF_INIT;
	if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_PATH))
		return USER_NO_RESULT;
	if (!strcmp(path, "/proc/cpuinfo"))
		write_cpuinfo(&text);
	else if (!behind)
		return USER_NO_RESULT;
	else if (!strcmp(behind, "maps"))
		write_maps(p, &text);
	else if (!strcmp(behind, "exe"))
		return USER_CALL(SYS_openat, AT_FDCWD, (uintptr_t)p->exe, flags);
	else if (!strcmp(behind, "cmdline"))
		return file_of(user_ptr(p->args_start), p->args_end - p->args_start, flags);
	else if (!strcmp(behind, "auxv"))
		return file_of(user_ptr(p->auxv_start), p->auxv_end - p->auxv_start, flags);
	else
		return USER_NO_RESULT;
	return file_of(text.data, text.len, flags);
}

int64_t user_proc_readlink(struct user_thread *t, const char *path, uint64_t buf, uint64_t bytes)
{
	const char *behind = user_proc_self(path);
	if (!behind || strcmp(behind, "exe"))
		return USER_NO_RESULT;
	if ((int64_t)bytes <= 0)
		return -EINVAL;
	size_t len = MIN(strlen(t->process->exe_guest), bytes);
	int r = user_write(buf, t->process->exe_guest, len);
	return r < 0 ? r : (int64_t)len;
}
