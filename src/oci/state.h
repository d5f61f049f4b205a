// SPDX-License-Identifier: Apache-2.0
// What is on disk of a container: ROOT/ID with
//   state.json   written as a whole and renamed: who made it, its process, its control groups
//   config.json  the configuration as it was at `create`
//   start.sock   where the process waits for `start`; gone when it has started
// and ROOT/.filters with compiled seccomp filters.
//
// A container's status is never stored: it follows from the process (by number and start time, so
// that a number used again is not taken for it), start.sock and the freezer. state.json is there
// before the first thing that would have to be removed, and names it. Whoever changes a container
// holds the lock on its directory; a lock nobody holds and no process mean that somebody was
// killed.
#ifndef STRATA_OCI_STATE_H
#define STRATA_OCI_STATE_H

#include "base/arena.h"
#include "base/error.h"
#include "container/cgroup.h"
#include "container/spec.h"

enum status { STATUS_CREATING, STATUS_CREATED, STATUS_RUNNING, STATUS_PAUSED, STATUS_STOPPED };
extern const char *const status_names[];

struct state {
	char *id, *bundle, *rootfs, *created; /* owned; created: RFC 3339 */
	unsigned owner;			      /* user ID of who made it */
	pid_t pid;			      /* 0: not born */
	unsigned long long start_time;	      /* of pid, in clock ticks since boot */
	pid_t network_pid;		      /* strata-slirp of its user-mode network; 0: none */
	unsigned long long network_start_time;
	int network_status; /* of one that has been started: slirp_helper_wait() */
	struct cgroup cgroup;
	bool busy;	    /* STATE_READ: not born yet, and somebody makes it */
	bool keyring;	    /* its processes get session keyrings of their own */
	int dir;	    /* ROOT/ID */
	int root;	    /* ROOT */
	struct arena arena; /* of spec */
	struct spec *spec;  /* NULL until state_config() */
};

enum state_lock {
	STATE_READ, /* as it is at this moment */
	STATE_LOCK, /* waits for whoever changes it */
	STATE_TRY,  /* -EBUSY when somebody does */
};

#define STATE_INIT ((struct state){.dir = -1, .root = -1, .network_status = -1})

void state_done(struct state *s);
/* -EINVAL for what cannot be a name. */
int state_check_id(const char *id, struct error *err);
/* Makes ROOT/ID, locked. -EEXIST when there is a container of that name. -EPERM: ROOT is another
 * user's, who could tell us what to kill and to remove. */
int state_new(struct state *s, const char *root, const char *id, struct error *err);
/* -ENOENT: "container "x" does not exist". */
int state_open(
	struct state *s, const char *root, const char *id, enum state_lock lock, struct error *err);
/* Lets others change it, and waits to do so again: -ENOENT when it was removed meanwhile. */
void state_unlock(struct state *s);
int state_relock(struct state *s, struct error *err);
int state_save(struct state *s, struct error *err);
/* Reads config.json into s->spec. */
int state_config(struct state *s, struct error *err);
enum status state_status(const struct state *s);
/* The state as the specification defines it. The caller frees it. pid 0: left out. */
char *state_json(const struct state *s, pid_t pid, const char *status, bool pretty);
/* The same for a seccomp agent; pid: whose filter it is. */
char *state_agent_json(const struct state *s, pid_t pid, const char *status);
/* A descriptor of the process, or -ESRCH. */
int state_pidfd(const struct state *s);
/* Directory of compiled seccomp filters, or -1. */
int state_filter_cache(const struct state *s);
/* Removes the directory. */
int state_remove(struct state *s, struct error *err);
/* start.sock: listening, connected. */
int state_listen(const struct state *s, struct error *err);
/* start.sock has done its work. */
void state_started(const struct state *s);
int state_connect(const struct state *s, struct error *err);
/* IDs below ROOT, sorted; each and the array are the caller's. */
int state_list(const char *root, char ***ids, size_t *n, struct error *err);
/* 0 when there is no such process. */
unsigned long long process_start_time(pid_t pid);

#endif
