// SPDX-License-Identifier: Apache-2.0
// What the agent does as init before it listens: its own mounts, its own stdio, the modules.
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"
#include "base/log.h"

#define MODULE_LIST "/lib/strata/modules"

#ifndef MODULE_INIT_COMPRESSED_FILE
#define MODULE_INIT_COMPRESSED_FILE 4
#endif

static void mount_or_log(const char *type, const char *path, unsigned long flags, const char *data)
{
	mkdir(path, 0755);
	if (mount(type, path, type, flags, data) < 0 && errno != EBUSY)
		log_error("mount %s on %s: %s", type, path, strerror(errno));
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);
	return n >= m && !strcmp(s + n - m, end);
}

static void load_module(const char *path)
{
	int fd _close_ = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		log_error("module %s: %s", path, strerror(errno));
		return;
	}
	int flags = ends_with(path, ".ko") ? 0 : MODULE_INIT_COMPRESSED_FILE;
	if (syscall(SYS_finit_module, fd, "", flags) < 0 && errno != EEXIST)
		log_error("module %s: %s", path, strerror(errno));
}

/* One path a line, in the order in which they need each other; # begins a comment. */
static void load_modules(void)
{
	FILE *f = fopen(MODULE_LIST, "re");
	char *line _free_ = NULL;
	size_t cap = 0;
	if (!f)
		return; /* a kernel that has everything built in */
	while (getline(&line, &cap, f) > 0) {
		line[strcspn(line, "#\n")] = 0;
		if (*line)
			load_module(line);
	}
	fclose(f);
}

void boot_prepare(void)
{
	umask(0);
	mount_or_log("devtmpfs", "/dev", MS_NOSUID, "mode=755");
	mount_or_log("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_or_log("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	/* Descriptors 0 to 2 exist whatever console the kernel has. */
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; null >= 0 && fd < 3; fd++) {
		if (fd != null)
			dup2(null, fd);
	}
	if (null > 2)
		close(null);
	load_modules();
}
