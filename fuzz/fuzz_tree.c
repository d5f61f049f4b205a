// SPDX-License-Identifier: Apache-2.0
// A layer, unpacked into a directory of its own. Whatever it says: nothing beside that directory
// changes, and what was made can be removed.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/tree.h"
#include "os/file.h"

enum { LAYER_BYTES_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char top[] = "/tmp/strata-fuzz-tree-XXXXXX";
	struct stat before, after;
	if (size > LAYER_BYTES_MAX || !mkdtemp(top))
		return 0;
	int dir _close_ = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int tar _close_ = memfd_create("layer", MFD_CLOEXEC);
	int canary _close_ = openat(dir, "canary", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	mkdirat(dir, "tree", 0755);
	int tree _close_ = openat(dir, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (canary < 0 || tree < 0 || write(tar, data, size) != (ssize_t)size ||
		fstat(dir, &before) < 0)
		abort();
	umask(0);
	tree_extract(tar, tree, geteuid() != 0, NULL, NULL);
	if (fstat(dir, &after) < 0 || after.st_ctim.tv_sec != before.st_ctim.tv_sec ||
		after.st_ctim.tv_nsec != before.st_ctim.tv_nsec || fstat(canary, &after) < 0 ||
		after.st_size || after.st_nlink != 1)
		abort();
	if (dir_remove_tree(AT_FDCWD, top, NULL) < 0)
		abort();
	return 0;
}
