// SPDX-License-Identifier: Apache-2.0
// What create and run have in common: from a bundle to a container whose program has not begun.
#ifndef STRATA_OCI_CONTAINER_H
#define STRATA_OCI_CONTAINER_H

#include "container/launch.h"
#include "oci/command.h"
#include "oci/state.h"

struct create_options {
	const char *bundle, *pid_file, *console_socket;
	unsigned preserve_fds;
	bool no_pivot, no_new_keyring, tied;
};

/* Rows of an option table. */
#define CREATE_OPTIONS(type, member)                                                               \
	{"bundle", 'b', OPTION_STRING, offsetof(type, member.bundle), "DIR",                       \
		"the bundle: config.json and the root (default: here)"},                           \
		{"pid-file", 0, OPTION_STRING, offsetof(type, member.pid_file), "FILE",            \
			"where the process ID is written"},                                        \
		{"console-socket", 0, OPTION_STRING, offsetof(type, member.console_socket),        \
			"SOCKET", "who gets the terminal's other side"},                           \
		{"preserve-fds", 0, OPTION_UINT, offsetof(type, member.preserve_fds), "N",         \
			"descriptors 3 to 3+N-1 are the container's too"},                         \
		{"no-pivot", 0, OPTION_FLAG, offsetof(type, member.no_pivot), NULL,                \
			"chroot instead of pivot_root, for a root on a ramdisk"},                  \
	{                                                                                          \
		"no-new-keyring", 0, OPTION_FLAG, offsetof(type, member.no_new_keyring), NULL,     \
			"keep the caller's session keyring"                                        \
	}

struct container {
	struct state state;
	struct launch launch;
	bool made; /* state's directory is there */
};

/* --preserve-fds names descriptors that are open: before we open any of ours. */
int check_preserved(const struct create_options *o, struct error *err);
/* console: connected; -1: from o->console_socket. listen: `start` comes through a socket. */
int container_create(struct container *c, const struct global *g, const struct create_options *o,
	const char *id, int console, bool listen, struct error *err);
/* Ends the process if there is one, runs poststop hooks, removes everything. */
int container_delete(struct state *s, bool force, struct error *err);
void container_done(struct container *c);

int write_pid_file(const char *path, pid_t pid, struct error *err);
int connect_socket(const char *path, int type, struct error *err);

#endif
