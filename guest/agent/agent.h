// SPDX-License-Identifier: Apache-2.0
// The agent: process 1 of a guest. It sets the machine up as its host says, runs commands, reaps
// orphans and ends the machine. docs/agent-protocol.md is the contract; one thread, one event loop.
#ifndef STRATA_GUEST_AGENT_H
#define STRATA_GUEST_AGENT_H

#include "base/error.h"
#include "base/vec.h"
#include "os/loop.h"
#include "wire/agent_proto.h"

struct conn;
struct command;

enum { CONNS_MAX = 256, COMMANDS_MAX = 64 };

struct agent {
	struct loop *loop;
	bool is_init; /* process 1 of a machine, not a test */
	bool set_up;  /* SETUP was carried out */
	int listen_fd;
	struct loop_fd *listen, *signals;
	struct conn *conns;
	unsigned conn_count;
	struct command *commands;
	unsigned command_count;
	struct arena setup_arena;     /* owns env */
	struct agent_strings env;     /* of SETUP */
	struct loop_timer *end_timer; /* SHUTDOWN's grace */
	bool ending, reboot;
};

/* conn.c: framing, dispatch */
int conn_new(struct agent *a, int fd, struct error *err); /* fd is the connection's from now on */
void conn_free(struct conn *c);
/* Queues a message. A peer that does not read its answers is cut off. */
void conn_send(struct conn *c, const struct agent_message *m);
void conn_send_error(struct conn *c, const struct error *err, uint32_t exit_status);

/* command.c: one EXEC */
/* Answers READY or ERROR on `control`, which owns the command until it exits. The arena that holds
 * the request becomes the command's. */
void command_new(struct agent *a, struct conn *control, const struct agent_exec *request,
	struct arena *arena);
/* Takes fd as one of the command's streams. -ENOENT: no such token. */
int command_attach(struct agent *a, const struct agent_attach *request, int fd, struct error *err);
void command_signal(struct command *cmd, uint32_t number);
void command_resize(struct command *cmd, uint32_t rows, uint32_t cols);
void command_abandon(struct command *cmd); /* its control connection is gone */
void command_reaped(struct agent *a, pid_t pid, int wait_status); /* any process that ended */
/* The connection's command, kept by conn.c. */
void conn_set_command(struct conn *c, struct command *cmd);

/* spawn.c: the new process */
struct user {
	uid_t uid;
	gid_t gid;
	gid_t groups[64];
	size_t n_groups;
	char *name, *home, *shell; /* owned; NULL when there is no such entry */
};
void user_done(struct user *u);
/* spec: name or uid, then maybe :group; NULL is root. */
int user_find(const char *spec, struct user *out, struct error *err);

struct spawn {
	const struct agent_exec *request;
	const struct agent_strings *env; /* of SETUP */
	int stdio[3];			 /* the child's ends; with a terminal all are its slave */
};
/* *exit_status is 126 or 127 when the command itself is at fault. */
int spawn(const struct spawn *s, pid_t *pid, uint32_t *exit_status, struct error *err);

/* setup.c, network.c, boot.c, shutdown.c */
int setup_machine(struct agent *a, const struct agent_setup *s, struct error *err);
int setup_network(const struct agent_network *n, struct error *err);
/* Mounts what the agent itself needs and loads the modules of /lib/strata/modules. */
void boot_prepare(void);
int make_directories(const char *path, mode_t mode); /* like mkdir -p; 0 or -errno */
int write_file(const char *path, mode_t mode, const char *text);
void shutdown_begin(struct agent *a, const struct agent_shutdown *s);
void shutdown_child_ended(struct agent *a);
void system_info(struct agent_info *out, struct arena *arena);

#endif
