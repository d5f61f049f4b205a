// SPDX-License-Identifier: Apache-2.0
// The program strata-process: runs one program of another architecture. Static, so that the kernel
// can start it for a foreign program in any root (binfmt_misc), and small, because a guest's every
// exec starts it.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "base/log.h"
#include "user/user.h"

enum { EXIT_STRATA = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

/* Set by the kernel for an interpreter registered with P: argv is ours, the program's path, its
 * argv[0], and the rest. */
#ifndef AT_FLAGS_PRESERVE_ARGV0
#define AT_FLAGS_PRESERVE_ARGV0 1
#endif

static void print(void *opaque, enum log_level level, const char *message)
{
	fprintf(stderr, "strata: %s\n", message);
}

static int usage(void)
{
	fputs("usage: strata-process [--root DIR] [--strace] [--stats table|json] [--self FD] -- "
	      "PROGRAM ARGV0 [ARG...]\n"
	      "`strata run --level process` is the way to call it.\n",
		stderr);
	return EXIT_STRATA;
}

int main(int argc, char **argv, char **envp)
{
	struct user_options o = {.envp = envp, .fd = -1, .self_fd = -1};
	struct error err _error_ = ERROR_INIT;
	int n = 1;
	errno = 0;
	unsigned long fd = getauxval(AT_EXECFD);
	if (!errno)
		o.fd = (int)fd;
	if (!(getauxval(AT_FLAGS) & AT_FLAGS_PRESERVE_ARGV0)) {
		for (; n < argc && argv[n][0] == '-'; n++) {
			if (!strcmp(argv[n], "--")) {
				n++;
				break;
			}
			if (!strcmp(argv[n], "--root") && n + 1 < argc)
				o.root = argv[++n];
			else if (!strcmp(argv[n], "--strace"))
				o.strace = true;
			else if (!strcmp(argv[n], "--stats") && n + 1 < argc)
				o.stats = argv[++n];
			else if (!strcmp(argv[n], "--self") && n + 1 < argc)
				o.self_fd = atoi(argv[++n]);
			else
				return usage();
		}
	}
	if (n >= argc)
		return usage();
	log_set_sink(print, NULL, LOG_WARN);
	o.program = argv[n];
	o.argv = argv + n + 1;
	int r = user_run(&o, &err);
	fprintf(stderr, "strata: %s\n", err.message ? err.message : "cannot run the program");
	if (err.remedy)
		fprintf(stderr, "        %s\n", err.remedy);
	return r == -ENOENT || r == -ENOTDIR   ? EXIT_NOT_FOUND
	       : r == -ENOEXEC || r == -EACCES ? EXIT_CANNOT_RUN
					       : EXIT_STRATA;
}
