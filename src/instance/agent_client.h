// SPDX-License-Identifier: Apache-2.0
// The host's side of the agent protocol (docs/agent-protocol.md), over the Unix socket that a
// monitor offers for its guest's vsock. The guest is hostile: no call waits without a limit and no
// answer is believed beyond its type. A connection belongs to one thread.
#ifndef STRATA_INSTANCE_AGENT_CLIENT_H
#define STRATA_INSTANCE_AGENT_CLIENT_H

#include "base/error.h"
#include "wire/agent_proto.h"

struct agent_address {
	int dir_fd;	  /* directory of the socket, or AT_FDCWD */
	const char *name; /* of the socket */
	uint32_t port;	  /* vsock port for the CONNECT line; 0: the socket is the agent's own */
};

/* How long a call may take, and what ends it early. */
struct agent_wait {
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: no limit */
	int watch_fd;	      /* readable: give up with -ECANCELED; -1: nothing to watch */
};

struct agent_conn;

/* Connects and greets. -ECONNREFUSED and the like while nobody listens yet. */
int agent_connect(struct agent_conn **out, const struct agent_address *address,
	const struct agent_wait *wait, struct error *err);
/* Tries agent_connect() until the agent answers or the wait is over (-ETIMEDOUT, -ECANCELED). */
int agent_connect_patiently(struct agent_conn **out, const struct agent_address *address,
	const struct agent_wait *wait, struct error *err);
void agent_conn_free(struct agent_conn *c);
int agent_conn_fd(const struct agent_conn *c); /* for an event loop: readable -> agent_poll() */

int agent_send(struct agent_conn *c, const struct agent_message *m, struct error *err);
/* 1: *out is a message, valid until the next call on c; 0: none yet; -EPIPE at the end. */
int agent_poll(struct agent_conn *c, struct agent_message *out, struct error *err);
/* Sends a request and waits for its answer of type `expected`. An ERROR answer becomes *err and the
 * negative of its code; other messages are an error (-EPROTO). */
int agent_call(struct agent_conn *c, const struct agent_message *request, enum agent_type expected,
	struct agent_message *answer, const struct agent_wait *wait, struct error *err);

/* A command in the guest. */
struct agent_process {
	struct agent_conn *control; /* carries SIGNAL, RESIZE and at last EXIT */
	int streams[AGENT_STREAMS]; /* sockets; -1 where there is none */
	uint32_t pid;
};
/* Starts a command. When that fails because of the command itself, *exit_status is 126 or 127. */
int agent_exec(struct agent_process *out, const struct agent_address *address,
	const struct agent_exec *request, const struct agent_wait *wait, uint32_t *exit_status,
	struct error *err);
void agent_process_done(struct agent_process *p);

#endif
