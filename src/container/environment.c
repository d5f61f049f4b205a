// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/vec.h"
#include "container/process.h"

enum { PASSWD_MAX = 1 << 20 };

/* NAME:x:UID:GID:TEXT:HOME:SHELL. The image's own file, and hostile. */
static char *home_of(uint32_t uid)
{
	struct stat st;
	char *line _free_ = NULL, *home = NULL;
	size_t bytes = 0;
	ssize_t n;
	long read = 0;
	int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool file =
		fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= PASSWD_MAX;
	FILE *f = file ? fdopen(fd, "re") : NULL;
	while (f && !home && read <= PASSWD_MAX && (n = getline(&line, &bytes, f)) > 0) {
		char *fields[7] = {line}, *end;
		size_t k = 1;
		read += n;
		for (char *c = line; *c && k < ARRAY_SIZE(fields); c++) {
			if (*c == ':') {
				*c = 0;
				fields[k++] = c + 1;
			}
		}
		if (k < ARRAY_SIZE(fields) || !*fields[2] || *fields[5] != '/')
			continue;
		unsigned long v = strtoul(fields[2], &end, 10);
		if (!*end && v == uid)
			home = xstrdup(fields[5]);
	}
	if (f)
		fclose(f);
	else if (fd >= 0)
		close(fd);
	return home;
}

char **process_environment(const struct spec_process *p)
{
	VEC(char *) env = {0};
	bool has_home = false;
	for (const char **e = p->env; *e; e++) {
		has_home |= !strncmp(*e, "HOME=", 5);
		vec_push(&env, xstrdup(*e));
	}
	if (!has_home) {
		char *home _free_ = home_of(p->uid);
		vec_push(&env, xasprintf("HOME=%s", home ? home : "/"));
	}
	vec_push(&env, NULL);
	return env.items;
}
