// SPDX-License-Identifier: Apache-2.0
// Makes layers for tests: tar files in memory, entry by entry.
#ifndef STRATA_TESTS_FS_TARS_H
#define STRATA_TESTS_FS_TARS_H

#include <sys/mman.h>
#include <unistd.h>

#include "tap.h"
#include "wire/tar.h"

struct tar_maker {
	struct tar_writer w;
	int fd;
};

TAP_UNUSED static int tar_to_fd(void *opaque, const void *bytes, size_t len, struct error *err)
{
	struct tar_maker *t = opaque;
	(void)err;
	return write(t->fd, bytes, len) == (ssize_t)len ? 0 : -EIO;
}

TAP_UNUSED static void tar_begin(struct tar_maker *t)
{
	t->fd = memfd_create("layer", MFD_CLOEXEC);
	tar_writer_init(&t->w, tar_to_fd, t);
}

/* kind: 'f' file with text, 'd' directory, 'l' symlink to text, 'h' hard link to text, 'c' device
 */
TAP_UNUSED static void tar_put(struct tar_maker *t, char kind, const char *path, const char *text)
{
	struct tar_entry e = {.path = path, .mode = 0644, .mtime_sec = 1000, .uid = 5, .gid = 6};
	e.linkname = "";
	e.type = kind == 'd'   ? TAR_DIR
		 : kind == 'l' ? TAR_SYMLINK
		 : kind == 'h' ? TAR_HARDLINK
		 : kind == 'c' ? TAR_CHARDEV
			       : TAR_FILE;
	if (kind == 'd')
		e.mode = 0755;
	if (kind == 'l' || kind == 'h')
		e.linkname = text;
	if (kind == 'c') {
		e.devmajor = 5;
		e.devminor = 300;
	}
	if (kind == 'f')
		e.size = strlen(text);
	if (tar_writer_entry(&t->w, &e, NULL) ||
		(e.size && tar_writer_data(&t->w, text, e.size, NULL)))
		TAP_FAIL_("cannot write %s", path);
}

TAP_UNUSED static int tar_finish(struct tar_maker *t)
{
	tar_writer_end(&t->w, NULL);
	return t->fd;
}

/* A layer from a list of kind, path, text, …, 0. */
#define LAYER(...) layer_of((const struct layer_item[]){__VA_ARGS__, {0, NULL, NULL}})
struct layer_item {
	char kind;
	const char *path, *text;
};
TAP_UNUSED static int layer_of(const struct layer_item *items)
{
	struct tar_maker t;
	tar_begin(&t);
	for (; items->kind; items++)
		tar_put(&t, items->kind, items->path, items->text);
	return tar_finish(&t);
}

#endif
