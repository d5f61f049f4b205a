// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

int make_directories(const char *path, mode_t mode)
{
	char *copy _free_ = xstrdup(path);
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return mkdir(copy, mode) < 0 && errno != EEXIST ? -errno : 0;
}

int write_file(const char *path, mode_t mode, const char *text)
{
	/* O_EXCL after unlink: an image's symbolic link must not send the bytes elsewhere. */
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	int fd _close_ = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	size_t len = strlen(text);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		return errno ? -errno : -EIO;
	return 0;
}
