// SPDX-License-Identifier: Apache-2.0
#include "wire/source.h"

#include <sys/stat.h>
#include <unistd.h>

static int fd_read(void *opaque, uint64_t offset, void *out, size_t len)
{
	int fd = (int)(intptr_t)opaque;
	uint8_t *to = out;
	while (len) {
		ssize_t n = pread(fd, to, MIN(len, (size_t)1 << 30), (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		to += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int source_from_fd(struct source *out, int fd, struct error *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "cannot look at the file");
	if (S_ISDIR(st.st_mode))
		return error_set(err, EISDIR, "is a directory");
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "is no regular file");
	*out = (struct source){fd_read, (void *)(intptr_t)fd, (uint64_t)st.st_size};
	return 0;
}

static int memory_source_read(void *opaque, uint64_t offset, void *out, size_t len)
{
	memcpy(out, (const uint8_t *)opaque + offset, len); /* source_read() checked the range */
	return 0;
}

void source_from_memory(struct source *out, const void *bytes, size_t len)
{
	*out = (struct source){memory_source_read, (void *)(uintptr_t)bytes, len};
}
