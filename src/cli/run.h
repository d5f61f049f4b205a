// SPDX-License-Identifier: Apache-2.0
// What `strata run` is told, whatever the level.
#ifndef STRATA_CLI_RUN_H
#define STRATA_CLI_RUN_H

#include "cli/command.h"

struct run_values {
	bool vm, remove, tty, interactive, verbose;
	const char *level, *arch, *network, *name, *hostname, *workdir, *user, *cpus;
	uint64_t memory;
	struct strings shares, publish, env;
	/* a machine */
	bool gdb_wait, console;
	const char *kernel, *initrd, *append, *gdb;
	uint64_t disk_size;
	struct strings disks;
	/* a process */
	bool strace;
	const char *root;
	const char *stats; /* a machine too */
	/* a container */
	bool read_only, privileged;
	const char *entrypoint;
	uint64_t pids, memory_swap, shm_size;
	struct strings tmpfs, cap_add, cap_drop, security, hosts, dns;
};

/* run_container.c: from here on we are root of something, with mounts of our own, in a process that
 * has one thread. *one_id: of a user namespace that maps nobody else, which the user is told. */
int container_become_root(struct cli *cli, bool *one_id, struct error *err);
/* For what removes layers' trees, some of whose files may be another ID's: becomes root if the user
 * is not and there are trees. */
int container_own_trees(struct error *err);
/* run_container.c: the exit status. command: n words, ends with NULL. */
int run_container(struct cli *cli, const struct run_values *v, const char *image, char **command,
	size_t n_command);

#endif
