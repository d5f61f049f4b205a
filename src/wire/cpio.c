// SPDX-License-Identifier: Apache-2.0
#include "wire/cpio.h"

#include <sys/stat.h>

static void align4(struct strbuf *out)
{
	while (out->len % 4)
		strbuf_addc(out, '\0');
}

static void add(struct strbuf *out, const char *path, uint32_t mode, uint32_t major, uint32_t minor,
	const void *data, size_t len)
{
	/* Inode numbers only tell hard links apart; we make none, so the offset will do. */
	uint32_t ino = (uint32_t)(out->len / 4 + 1);
	strbuf_addf(out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ino, mode, 0,
		0, S_ISDIR(mode) ? 2 : 1, 0, (uint32_t)len, 0, 0, major, minor,
		(uint32_t)strlen(path) + 1, 0);
	strbuf_add(out, path, strlen(path) + 1);
	align4(out);
	strbuf_add(out, data, len);
	align4(out);
}

void cpio_add_file(
	struct strbuf *out, const char *path, uint32_t mode, const void *data, size_t len)
{
	add(out, path, S_IFREG | (mode & 07777), 0, 0, data, len);
}

void cpio_add_dir(struct strbuf *out, const char *path, uint32_t mode)
{
	add(out, path, S_IFDIR | (mode & 07777), 0, 0, NULL, 0);
}

void cpio_add_symlink(struct strbuf *out, const char *path, const char *target)
{
	add(out, path, S_IFLNK | 0777, 0, 0, target, strlen(target));
}

void cpio_add_node(
	struct strbuf *out, const char *path, uint32_t mode, uint32_t major, uint32_t minor)
{
	add(out, path, mode, major, minor, NULL, 0);
}

void cpio_add_trailer(struct strbuf *out)
{
	add(out, "TRAILER!!!", 0, 0, 0, NULL, 0);
}
