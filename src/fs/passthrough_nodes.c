// SPDX-License-Identifier: Apache-2.0
#include "fs/passthrough_nodes.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	FIRST_BUCKETS = 256,
	WALK_PASSES = 64, /* of at most a path's length each, to reach a node far below */
	WALK_STEPS = WALK_PASSES * PATH_MAX / 2,
};

/* --- identity --- */

static struct node_key key_of(const struct statx *st)
{
	return (struct node_key){
		.dev = (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor,
		.ino = st->stx_ino,
		.mnt = st->stx_mask & STATX_MNT_ID ? st->stx_mnt_id : 0,
		.btime_sec = st->stx_mask & STATX_BTIME ? st->stx_btime.tv_sec : 0,
		.btime_nsec = st->stx_mask & STATX_BTIME ? st->stx_btime.tv_nsec : 0,
	};
}

static bool key_equal(const struct node_key *a, const struct node_key *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->mnt == b->mnt &&
	       a->btime_sec == b->btime_sec && a->btime_nsec == b->btime_nsec;
}

static uint32_t bucket_of(const struct nodes *t, const struct node_key *k)
{
	uint64_t h = (k->ino ^ t->hash_key) * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ h >> 32 ^ k->dev) * UINT64_C(0xd6e8feb86659fd93);
	return (uint32_t)(h >> 32) & (t->bucket_count - 1);
}

static struct node *hash_find(const struct nodes *t, const struct node_key *k)
{
	struct node *n = t->buckets[bucket_of(t, k)];
	while (n && !key_equal(&n->key, k))
		n = n->hash_next;
	return n;
}

static void hash_link(struct nodes *t, struct node *n)
{
	struct node **b = &t->buckets[bucket_of(t, &n->key)];
	n->hash_next = *b;
	*b = n;
}

static void hash_add(struct nodes *t, struct node *n)
{
	if (t->hashed_count >= t->bucket_count) {
		uint32_t old_count = t->bucket_count;
		struct node **old = t->buckets;
		struct node **grown = calloc((size_t)old_count * 2, sizeof(*grown));
		if (grown) { /* else chains only get longer */
			t->buckets = grown;
			t->bucket_count = old_count * 2;
			for (uint32_t i = 0; i < old_count; i++)
				for (struct node *m = old[i], *next; m; m = next) {
					next = m->hash_next;
					hash_link(t, m);
				}
			free(old);
		}
	}
	hash_link(t, n);
	n->hashed = true;
	t->hashed_count++;
}

static void hash_remove(struct nodes *t, struct node *n)
{
	struct node **p = &t->buckets[bucket_of(t, &n->key)];
	if (!n->hashed)
		return;
	while (*p != n)
		p = &(*p)->hash_next;
	*p = n->hash_next;
	n->hashed = false;
	t->hashed_count--;
}

/* --- descriptors --- */

static void lru_remove(struct node *n)
{
	if (!n->lru_next)
		return;
	n->lru_prev->lru_next = n->lru_next;
	n->lru_next->lru_prev = n->lru_prev;
	n->lru_next = n->lru_prev = NULL;
}

static void lru_touch(struct nodes *t, struct node *n)
{
	lru_remove(n);
	if (n->pinned || n->fd < 0 || n == t->root)
		return;
	n->lru_next = t->lru.lru_next;
	n->lru_prev = &t->lru;
	n->lru_next->lru_prev = n;
	t->lru.lru_next = n;
}

static void drop_fd(struct nodes *t, struct node *n)
{
	if (n->fd < 0)
		return;
	lru_remove(n);
	close(n->fd); /* of an O_PATH descriptor: does not block */
	n->fd = -1;
	t->fds_open--;
}

/* Closes idle descriptors until at most `most` are open. */
static void evict(struct nodes *t, unsigned most)
{
	struct node *n = t->lru.lru_prev;
	while (t->fds_open > most && n != &t->lru) {
		struct node *prev = n->lru_prev;
		if (n->users == 0)
			drop_fd(t, n);
		n = prev;
	}
}

static void install_fd(struct nodes *t, struct node *n, int fd)
{
	n->fd = fd;
	t->fds_open++;
	lru_touch(t, n);
	if (t->fds_open > t->fds_max)
		evict(t, t->fds_max - t->fds_max / 8);
}

/* --- life --- */

static void set_pinned(struct nodes *t, struct node *n, bool pinned)
{
	if (n->pinned == pinned)
		return;
	n->pinned = pinned;
	t->pinned += pinned ? 1 : -1u;
	lru_touch(t, n);
}

/* Frees what nobody refers to any more, and then perhaps its parents. */
static void reap(struct nodes *t, struct node *n)
{
	while (n && n != t->root && !n->lookups && !n->children && !n->users) {
		struct node *parent = n->parent;
		set_pinned(t, n, false);
		drop_fd(t, n);
		hash_remove(t, n);
		id_table_remove(&t->ids, n->id);
		if (parent)
			parent->children--;
		free(n->name);
		free(n);
		n = parent;
	}
}

/* From now on n is reached as name in parent. */
static void set_way(struct nodes *t, struct node *n, struct node *parent, const char *name)
{
	if (n == t->root || n == parent)
		return;
	set_pinned(t, n, false);
	if (n->parent == parent && n->name && !strcmp(n->name, name))
		return;
	struct node *old = n->parent;
	parent->children++;
	n->parent = parent;
	free(n->name);
	n->name = xstrdup(name); /* at most 255 bytes */
	if (old) {
		old->children--;
		reap(t, old);
	}
}

int node_get(struct nodes *t, uint64_t id, struct node **out)
{
	pthread_mutex_lock(&t->lock);
	struct node *n = id_table_get(&t->ids, id);
	if (n && !n->lookups && n != t->root)
		n = NULL;
	if (n)
		n->users++;
	pthread_mutex_unlock(&t->lock);
	if (!n)
		return -ESTALE;
	*out = n;
	return 0;
}

void node_put(struct nodes *t, struct node *n)
{
	if (!n)
		return;
	pthread_mutex_lock(&t->lock);
	n->users--;
	reap(t, n);
	pthread_mutex_unlock(&t->lock);
}

void node_forget(struct nodes *t, uint64_t id, uint64_t count)
{
	pthread_mutex_lock(&t->lock);
	struct node *n = id_table_get(&t->ids, id);
	if (n && n != t->root) {
		n->lookups -= MIN(count, n->lookups);
		reap(t, n);
	}
	pthread_mutex_unlock(&t->lock);
}

static int node_new(struct nodes *t, struct node **out)
{
	struct node *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->fd = -1;
	int rc = id_table_add(&t->ids, n, &n->id);
	if (rc < 0) {
		free(n);
		return rc;
	}
	*out = n;
	return 0;
}

int node_found(struct nodes *t, struct node *parent, const char *name, const struct statx *st,
	uint64_t *id)
{
	struct node_key key = key_of(st);
	int rc = 0;
	pthread_mutex_lock(&t->lock);
	struct node *n = hash_find(t, &key);
	if (!n) {
		rc = node_new(t, &n);
		if (rc == 0) {
			n->key = key;
			n->key_known = true;
			n->type = st->stx_mode & S_IFMT;
			hash_add(t, n);
		}
	}
	if (rc == 0) {
		n->lookups++;
		set_way(t, n, parent, name);
		*id = n->id;
	}
	pthread_mutex_unlock(&t->lock);
	return rc;
}

/* --- opening by name --- */

struct way {
	struct node *from, *to; /* from has a descriptor; both held as a user */
	char path[PATH_MAX];	/* from one to the other; starts at `start` */
	size_t start;
};

/* Collects the names from the nearest open ancestor down to n, or to that ancestor of n whose path
 * still fits. Called with the lock held. */
static int way_find(struct node *n, struct way *w)
{
	size_t at = sizeof(w->path) - 1;
	w->path[at] = '\0';
	w->to = n;
	for (unsigned step = 0; n->fd < 0; step++) {
		size_t len = n->name ? strlen(n->name) : 0;
		/* Ways are as of the last look: a host that moved directories into each other
		 * can have left a ring. */
		if (!n->parent || !len || step == WALK_STEPS)
			return -ESTALE;
		if (len + 1 > at) { /* too long a path: open this far up first */
			at = sizeof(w->path) - 1;
			w->to = n;
		}
		if (at != sizeof(w->path) - 1)
			w->path[--at] = '/';
		at -= len;
		memcpy(w->path + at, n->name, len);
		n = n->parent;
	}
	w->start = at;
	w->from = n;
	w->from->users++;
	w->to->users++;
	return 0;
}

static int open_beneath(int dir_fd, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}

/* What is not found where the client believes it to be is stale to it, whatever the reason. */
static int stale_error(int code)
{
	return code == -ENOENT || code == -ENOTDIR || code == -ELOOP || code == -EXDEV ? -ESTALE
										       : code;
}

/* Opens w->to and compares. Without the lock. */
static int way_open(struct nodes *t, struct way *w, struct statx *st)
{
	int fd = open_beneath(w->from->fd, w->path + w->start);
	if (fd == -EMFILE || fd == -ENFILE) {
		pthread_mutex_lock(&t->lock);
		evict(t, t->fds_open / 2);
		pthread_mutex_unlock(&t->lock);
		fd = open_beneath(w->from->fd, w->path + w->start);
	}
	if (fd < 0)
		return stale_error(fd);
	if (statx(fd, "", AT_EMPTY_PATH, NODE_STATX, st) < 0) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

/* Takes fd as n's descriptor if it is what n was. With the lock. */
static int way_install(struct nodes *t, struct node *n, int fd, const struct statx *st)
{
	struct node_key key = key_of(st);
	bool same = n->key_known ? key_equal(&n->key, &key) : n->type == (st->stx_mode & S_IFMT);
	if (!same || n->fd >= 0) {
		close(fd);
		return n->fd >= 0 ? 0 : -ESTALE;
	}
	if (!n->key_known && !hash_find(t, &key)) {
		n->key = key;
		n->key_known = true;
		hash_add(t, n);
	}
	install_fd(t, n, fd);
	return 0;
}

int node_fd(struct nodes *t, struct node *n)
{
	struct way w;
	struct statx st;
	int rc = 0;
	pthread_mutex_lock(&t->lock);
	for (unsigned pass = 0; n->fd < 0 && rc == 0; pass++) {
		rc = pass < WALK_PASSES ? way_find(n, &w) : -ENAMETOOLONG;
		if (rc < 0)
			break;
		pthread_mutex_unlock(&t->lock);
		int fd = way_open(t, &w, &st);
		pthread_mutex_lock(&t->lock);
		rc = fd < 0 ? fd : way_install(t, w.to, fd, &st);
		w.from->users--;
		w.to->users--;
		if (w.from != n)
			reap(t, w.from);
		if (w.to != n)
			reap(t, w.to);
	}
	int fd = n->fd;
	lru_touch(t, n);
	pthread_mutex_unlock(&t->lock);
	return rc < 0 ? rc : fd;
}

/* By name in the parent when n is not open: stat of a whole tree then opens directories only. */
int node_stat(struct nodes *t, struct node *n, struct statx *st)
{
	struct node *parent = NULL;
	char name[FUSE_FS_NAME_MAX + 1];
	pthread_mutex_lock(&t->lock);
	if (n->fd < 0 && n->key_known && n->parent && strlen(n->name) < sizeof(name)) {
		parent = n->parent;
		parent->users++;
		strcpy(name, n->name);
	}
	pthread_mutex_unlock(&t->lock);
	if (parent) {
		int fd = node_fd(t, parent);
		int rc = fd < 0 ? fd : 0;
		if (rc == 0 && statx(fd, name, AT_SYMLINK_NOFOLLOW, NODE_STATX, st) < 0)
			rc = stale_error(-errno);
		node_put(t, parent);
		if (rc < 0)
			return rc;
		struct node_key key = key_of(st);
		return key_equal(&key, &n->key) ? 0 : -ESTALE;
	}
	int fd = node_fd(t, n);
	if (fd < 0)
		return fd;
	return statx(fd, "", AT_EMPTY_PATH, NODE_STATX, st) < 0 ? -errno : 0;
}

/* --- names that change --- */

void node_pin(
	struct nodes *t, struct node *parent, int parent_fd, const char *name, struct node **out)
{
	struct statx st;
	*out = NULL;
	if (statx(parent_fd, name, AT_SYMLINK_NOFOLLOW, NODE_STATX, &st) < 0)
		return;
	struct node_key key = key_of(&st);
	pthread_mutex_lock(&t->lock);
	struct node *n = hash_find(t, &key);
	/* A node known by another name stays reachable by that. The bound is for a client that
	 * never forgets: what it loses is then stale to it. */
	bool needed = n && n->parent == parent && n->name && !strcmp(n->name, name) &&
		      t->pinned < t->fds_max / 2;
	if (needed)
		n->users++;
	pthread_mutex_unlock(&t->lock);
	if (!needed)
		return;
	if (node_fd(t, n) >= 0) {
		pthread_mutex_lock(&t->lock);
		set_pinned(t, n, true);
		pthread_mutex_unlock(&t->lock);
	}
	*out = n;
}

void node_unpin(struct nodes *t, struct node *n)
{
	if (!n)
		return;
	pthread_mutex_lock(&t->lock);
	set_pinned(t, n, false);
	pthread_mutex_unlock(&t->lock);
}

void node_moved(struct nodes *t, struct node *parent, int parent_fd, const char *name)
{
	struct statx st;
	if (statx(parent_fd, name, AT_SYMLINK_NOFOLLOW, NODE_STATX, &st) < 0)
		return;
	struct node_key key = key_of(&st);
	pthread_mutex_lock(&t->lock);
	struct node *n = hash_find(t, &key);
	if (n)
		set_way(t, n, parent, name);
	pthread_mutex_unlock(&t->lock);
}

/* --- handles --- */

static struct handle *handle_alloc(struct node *node, int fd, bool dir, bool writable)
{
	struct handle *h = xcalloc(1, sizeof(*h));
	*h = (struct handle){.node = node, .fd = fd, .dir = dir, .writable = writable, .users = 1};
	pthread_mutex_init(&h->dir_lock, NULL);
	return h;
}

static void handle_free(struct handle *h)
{
	cleanup_close_fd(&h->fd);
	pthread_mutex_destroy(&h->dir_lock);
	free(h);
}

int handle_new(struct nodes *t, struct node *node, int fd, bool dir, bool writable, uint64_t *id)
{
	struct handle *h = handle_alloc(node, fd, dir, writable);
	pthread_mutex_lock(&t->lock);
	int rc = t->handles_open < t->handles_max ? id_table_add(&t->handle_ids, h, &h->id)
						  : -ENFILE;
	if (rc == 0) {
		node->users++;
		t->handles_open++;
		*id = h->id;
	}
	pthread_mutex_unlock(&t->lock);
	if (rc < 0) {
		h->fd = -1; /* the caller's still */
		handle_free(h);
	}
	return rc;
}

int handle_get(struct nodes *t, uint64_t id, uint64_t node, bool dir, struct handle **out)
{
	pthread_mutex_lock(&t->lock);
	struct handle *h = id_table_get(&t->handle_ids, id);
	if (h && (h->dir != dir || h->node->id != node || h->fd < 0))
		h = NULL;
	if (h)
		h->users++;
	pthread_mutex_unlock(&t->lock);
	if (!h)
		return -EBADF;
	*out = h;
	return 0;
}

void handle_put(struct nodes *t, struct handle *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&t->lock);
	bool last = --h->users == 0;
	if (last) {
		h->node->users--;
		t->handles_open--;
		reap(t, h->node);
	}
	pthread_mutex_unlock(&t->lock);
	if (last)
		handle_free(h); /* close() of a file may block: without the lock */
}

int handle_close(struct nodes *t, uint64_t id, uint64_t node, bool dir)
{
	pthread_mutex_lock(&t->lock);
	struct handle *h = id_table_get(&t->handle_ids, id);
	if (h && (h->dir != dir || h->node->id != node))
		h = NULL;
	if (h)
		id_table_remove(&t->handle_ids, id);
	pthread_mutex_unlock(&t->lock);
	if (!h)
		return -EBADF;
	handle_put(t, h); /* the table's */
	return 0;
}

/* --- restoring: nobody else is there --- */

int node_restore(struct nodes *t, uint64_t id, struct node **out)
{
	struct node *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	int rc = id_table_restore(&t->ids, n, id);
	if (rc < 0) {
		free(n);
		return rc;
	}
	n->id = id;
	n->fd = -1;
	*out = n;
	return 0;
}

void node_restore_way(struct nodes *t, struct node *n, struct node *parent, const char *name)
{
	n->lookups++; /* not to be reaped in between */
	set_way(t, n, parent, name);
	n->lookups--;
}

void node_restore_key(struct nodes *t, struct node *n, const struct node_key *key)
{
	if (hash_find(t, key))
		return;
	n->key = *key;
	n->key_known = true;
	hash_add(t, n);
}

int handle_restore(struct nodes *t, uint64_t id, struct node *node, bool dir, bool writable,
	struct handle **out)
{
	struct handle *h = handle_alloc(node, -1, dir, writable);
	int rc = id_table_restore(&t->handle_ids, h, id);
	if (rc < 0) {
		handle_free(h);
		return rc;
	}
	h->id = id;
	node->users++;
	t->handles_open++;
	*out = h;
	return 0;
}

void nodes_restored(struct nodes *t)
{
	id_table_restored(&t->ids);
	id_table_restored(&t->handle_ids);
	for (uint32_t i = 0; i < t->ids.count; i++) /* saved without need, or by a liar */
		if (t->ids.slots[i].item)
			reap(t, t->ids.slots[i].item);
}

/* --- the table --- */

int nodes_init(struct nodes *t, int root_fd, unsigned fds_max, struct error *err)
{
	struct statx st;
	*t = (struct nodes){.ids.max = NODES_MAX, .handle_ids.max = fds_max / 2};
	t->fds_max = t->handles_max = fds_max / 2;
	t->lru.lru_next = t->lru.lru_prev = &t->lru;
	pthread_mutex_init(&t->lock, NULL);
	t->bucket_count = FIRST_BUCKETS;
	t->buckets = xcalloc(t->bucket_count, sizeof(*t->buckets));
	if (getrandom(&t->hash_key, sizeof(t->hash_key), 0) != sizeof(t->hash_key))
		return error_errno(err, errno, "random key");
	if (statx(root_fd, "", AT_EMPTY_PATH, NODE_STATX, &st) < 0)
		return error_errno(err, errno, "shared directory");
	if (!S_ISDIR(st.stx_mode))
		return error_set(err, ENOTDIR, "shared directory: not a directory");
	int rc = node_new(t, &t->root);
	if (rc < 0)
		return error_set(err, -rc, "out of memory");
	t->root->key = key_of(&st);
	t->root->key_known = true;
	t->root->type = S_IFDIR;
	t->root->fd = root_fd;
	hash_add(t, t->root);
	return 0;
}

static void free_all(struct nodes *t, bool root_too)
{
	for (uint32_t i = 0; i < t->handle_ids.count; i++)
		if (t->handle_ids.slots[i].item) {
			struct handle *h = t->handle_ids.slots[i].item;
			id_table_remove(&t->handle_ids, h->id);
			handle_free(h);
		}
	for (uint32_t i = 0; i < t->ids.count; i++) {
		struct node *n = t->ids.slots[i].item;
		if (!n || (n == t->root && !root_too))
			continue;
		if (n->fd >= 0 && n != t->root)
			close(n->fd);
		id_table_remove(&t->ids, n->id);
		free(n->name);
		free(n);
	}
	memset(t->buckets, 0, t->bucket_count * sizeof(*t->buckets));
	t->lru.lru_next = t->lru.lru_prev = &t->lru;
	t->hashed_count = 0;
	t->fds_open = t->pinned = t->handles_open = 0;
}

void nodes_reset(struct nodes *t)
{
	pthread_mutex_lock(&t->lock);
	free_all(t, false);
	t->root->lookups = t->root->children = t->root->users = 0;
	hash_add(t, t->root);
	pthread_mutex_unlock(&t->lock);
}

void nodes_done(struct nodes *t)
{
	if (!t->buckets)
		return;
	free_all(t, true);
	free(t->ids.slots);
	free(t->handle_ids.slots);
	free(t->buckets);
	pthread_mutex_destroy(&t->lock);
}
