// SPDX-License-Identifier: Apache-2.0
// Whole files and directories, relative to a directory descriptor.
#ifndef STRATA_OS_FILE_H
#define STRATA_OS_FILE_H

#include "base/error.h"
#include "base/strbuf.h"

/* Appends the file to out. -EFBIG when it has more than max bytes. */
int file_read(int dir_fd, const char *name, size_t max, struct strbuf *out, struct error *err);
/* Under a temporary name, synced, renamed: the old or the new content, never a mixture. */
int file_write_atomic(int dir_fd, const char *name, const void *bytes, size_t len, mode_t mode,
	struct error *err);
/* mkdir -p with mode 0700 for what is missing. */
int dir_make_all(const char *path, struct error *err);
/* Removes a file or a whole tree; never follows symbolic links. Missing is fine. */
int dir_remove_tree(int dir_fd, const char *name, struct error *err);

#endif
