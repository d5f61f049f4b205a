// SPDX-License-Identifier: Apache-2.0
// The passthrough file system's nodes and handles. Private to passthrough*.c.
//
// A node remembers what it is (device, inode, birth time) and one way there (parent, name). Its
// O_PATH descriptor is only a cache: the least recently used are closed when there are many, and
// opened again by name and compared, so that a guest may know a million files. A node whose name
// was removed is pinned: its descriptor stays, as nothing else leads there.
//
// Threads: `lock` guards everything here; it is never held over a system call that may block.
#ifndef STRATA_FS_PASSTHROUGH_NODES_H
#define STRATA_FS_PASSTHROUGH_NODES_H

#include <sys/stat.h>

#include "fs/id_table.h"
#include "fs/passthrough.h"

enum {
	NODES_MAX = 1 << 20,
	NODE_STATX = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID,
};

struct node_key {
	uint64_t dev, ino, mnt;
	int64_t btime_sec; /* a recycled inode number has another one */
	uint32_t btime_nsec;
};

struct node {
	uint64_t id;
	struct node_key key;
	bool key_known; /* false after a restore, until it is first opened */
	bool pinned;
	bool hashed;
	uint16_t type;	   /* S_IFMT */
	uint64_t lookups;  /* the client's count */
	uint32_t children; /* nodes whose parent this is */
	uint32_t users;	   /* requests and handles that hold it: not freed, descriptor not closed */
	int fd;		   /* O_PATH, or -1 */
	struct node *parent; /* counted in its children; NULL: the root */
	char *name;	     /* owned; NULL: the root */
	struct node *hash_next;
	struct node *lru_prev, *lru_next; /* while fd is open and may be closed */
};

struct handle {
	uint64_t id;
	struct node *node; /* a user of it */
	int fd;		   /* -1: could not be restored */
	bool dir, writable;
	uint32_t users;		  /* with the one of the table while it is in there */
	pthread_mutex_t dir_lock; /* guards the position of a directory's fd */
	uint64_t dir_offset;
};

struct nodes {
	pthread_mutex_t lock;
	struct id_table ids, handle_ids;
	struct node **buckets;
	uint32_t bucket_count, hashed_count;
	uint64_t hash_key;
	struct node *root;
	struct node lru; /* list head: lru_next is the most recently used */
	unsigned fds_open, fds_max, pinned, handles_open, handles_max;
};

int nodes_init(struct nodes *t, int root_fd, unsigned fds_max, struct error *err);
void nodes_reset(struct nodes *t); /* no request runs */
void nodes_done(struct nodes *t);

/* Finds a node that the client knows; -ESTALE. Give it back with node_put(). */
int node_get(struct nodes *t, uint64_t id, struct node **out);
void node_put(struct nodes *t, struct node *n);
/* Its descriptor, opened if need be, valid until node_put(). -ESTALE: not there any more. */
int node_fd(struct nodes *t, struct node *n);
int node_stat(struct nodes *t, struct node *n, struct statx *st);

/* Counts one lookup of what st describes, found as name in parent (of which the caller is a user).
 */
int node_found(struct nodes *t, struct node *parent, const char *name, const struct statx *st,
	uint64_t *id);
void node_forget(struct nodes *t, uint64_t id, uint64_t count);
/* Before name is removed: keeps what is there reachable, if the client knows it. node_unpin() when
 * the removal failed. *out may be NULL; else the caller becomes a user. */
void node_pin(
	struct nodes *t, struct node *parent, int parent_fd, const char *name, struct node **out);
void node_unpin(struct nodes *t, struct node *n);
/* After a rename: name in parent is now the way to what is there. */
void node_moved(struct nodes *t, struct node *parent, int parent_fd, const char *name);

/* Restoring: a node or handle under the number that it had, without a descriptor (a handle is given
 * one by its fd field); the ways are set by node_restore_way(). -errno: the number is bad or taken.
 */
int node_restore(struct nodes *t, uint64_t id, struct node **out);
void node_restore_way(struct nodes *t, struct node *n, struct node *parent, const char *name);
void node_restore_key(struct nodes *t, struct node *n, const struct node_key *key);
int handle_restore(struct nodes *t, uint64_t id, struct node *node, bool dir, bool writable,
	struct handle **out);
void nodes_restored(struct nodes *t);

/* Takes fd on success. node: of which the caller is a user. */
int handle_new(struct nodes *t, struct node *node, int fd, bool dir, bool writable, uint64_t *id);
/* -EBADF: no such handle of this kind on that node, or it was lost in a restore. */
int handle_get(struct nodes *t, uint64_t id, uint64_t node, bool dir, struct handle **out);
void handle_put(struct nodes *t, struct handle *h);
int handle_close(struct nodes *t, uint64_t id, uint64_t node, bool dir);

#endif
