// SPDX-License-Identifier: Apache-2.0
// Saving what the client knows: its nodes as ways from the root, its open files as node and mode.
// Where the directory is the same on restore, identities are compared as ever; where it is a copy
// (another host), what is found by name and has the right type is taken. A file that was open
// without a name is lost: its handle answers EBADF.
#include "fs/passthrough_impl.h"

#include "base/vec.h"

#include <fcntl.h>

/* What is saved of a node. */
struct saved_node {
	uint64_t id, parent, lookups;
	uint16_t type;
	char name[FUSE_FS_NAME_MAX + 1];
	struct node_key key;
};

static void key_state(struct node_key *k, struct state *s)
{
	uint64_t btime = (uint64_t)k->btime_sec;
	state_u64(s, "dev", &k->dev);
	state_u64(s, "ino", &k->ino);
	state_u64(s, "mnt", &k->mnt);
	state_u64(s, "btime", &btime);
	state_u32(s, "btime.ns", &k->btime_nsec);
	k->btime_sec = (int64_t)btime;
}

static void saved_node_state(struct saved_node *n, struct state *s)
{
	void *name = n->name;
	size_t len = strlen(n->name);
	if (state_begin(s, "node", 1)) {
		state_u64(s, "id", &n->id);
		state_u64(s, "parent", &n->parent);
		state_u64(s, "lookups", &n->lookups);
		state_u16(s, "type", &n->type);
		state_blob(s, "name", &name, &len, FUSE_FS_NAME_MAX);
		key_state(&n->key, s);
	}
	state_end(s);
	if (name == n->name) /* saved, or failed */
		return;
	if (len)
		memcpy(n->name, name, len);
	n->name[len] = '\0';
	free(name);
	if (strlen(n->name) != len || strchr(n->name, '/') || !strcmp(n->name, ".") ||
		!strcmp(n->name, ".."))
		state_fail(s, "bad file name");
}

static void save_nodes(struct nodes *t, struct state *s)
{
	for (uint32_t i = 0; i < t->ids.count; i++) {
		const struct node *n = t->ids.slots[i].item;
		if (!n || n == t->root)
			continue;
		struct saved_node saved = {
			.id = n->id, .lookups = n->lookups, .type = n->type, .key = n->key};
		if (!n->pinned && n->parent) { /* else nothing leads there any more */
			saved.parent = n->parent->id;
			strcpy(saved.name, n->name);
		}
		saved_node_state(&saved, s);
	}
}

static void restore_nodes(struct nodes *t, uint32_t count, bool same_directory, struct state *s)
{
	struct {
		struct node *node;
		uint64_t parent;
		char *name;
	} *ways = NULL;
	size_t ways_len = 0, ways_cap = 0;
	bool failed = false;
	for (uint32_t i = 0; i < count && !failed; i++) {
		struct saved_node saved = {0};
		struct node *n = NULL;
		saved_node_state(&saved, s);
		failed = !saved.id || node_restore(t, saved.id, &n) < 0;
		if (failed)
			break;
		n->lookups = saved.lookups;
		n->type = saved.type & S_IFMT;
		if (same_directory && saved.name[0])
			node_restore_key(t, n, &saved.key);
		if (!saved.name[0])
			continue;
		if (ways_len == ways_cap)
			ways = vec_grow_(ways, &ways_cap, ways_len + 1, sizeof(*ways));
		ways[ways_len].node = n;
		ways[ways_len].parent = saved.parent;
		ways[ways_len++].name = xstrdup(saved.name);
	}
	for (size_t i = 0; i < ways_len; i++) {
		struct node *parent = id_table_get(&t->ids, ways[i].parent);
		if (parent)
			node_restore_way(t, ways[i].node, parent, ways[i].name);
		failed |= !parent;
		free(ways[i].name);
	}
	free(ways);
	if (failed)
		state_fail(s, "damaged list of files");
}

static void save_handles(struct nodes *t, struct state *s)
{
	for (uint32_t i = 0; i < t->handle_ids.count; i++) {
		struct handle *h = t->handle_ids.slots[i].item;
		if (!h)
			continue;
		if (state_begin(s, "handle", 1)) {
			uint64_t node = h->node->id;
			state_u64(s, "id", &h->id);
			state_u64(s, "node", &node);
			state_bool(s, "dir", &h->dir);
			state_bool(s, "writable", &h->writable);
		}
		state_end(s);
	}
}

static void reopen_handle(struct passthrough *p, struct handle *h)
{
	struct node_use u _node_use_ = {0};
	if (passthrough_use(p, h->node->id, &u) < 0 || (h->dir != S_ISDIR(u.node->type)))
		return;
	int flags = h->dir ? O_RDONLY | O_DIRECTORY : h->writable ? O_RDWR : O_RDONLY;
	int fd = passthrough_reopen(p, &u, flags);
	if (fd == -EACCES && flags == O_RDWR)
		fd = passthrough_reopen(p, &u, O_WRONLY);
	h->fd = MAX(fd, -1);
	h->dir_offset = 0;
}

static void restore_handles(struct passthrough *p, uint32_t count, struct state *s)
{
	for (uint32_t i = 0; i < count; i++) {
		uint64_t id = 0, node = 0;
		bool dir = false, writable = false;
		struct handle *h;
		if (state_begin(s, "handle", 1)) {
			state_u64(s, "id", &id);
			state_u64(s, "node", &node);
			state_bool(s, "dir", &dir);
			state_bool(s, "writable", &writable);
		}
		state_end(s);
		struct node *n = id_table_get(&p->nodes.ids, node);
		if (!n || !id ||
			handle_restore(&p->nodes, id, n, dir, writable && !p->fs.read_only, &h) <
				0) {
			state_fail(s, "damaged list of open files");
			return;
		}
		reopen_handle(p, h);
	}
}

static uint32_t count_items(const struct id_table *t)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < t->count; i++)
		n += t->slots[i].item != NULL;
	return n;
}

void passthrough_state(struct fuse_fs *fs, struct state *s)
{
	struct passthrough *p = passthrough_of(fs);
	struct nodes *t = &p->nodes;
	if (!state_saving(s))
		nodes_reset(t);
	if (state_begin(s, "passthrough", 1)) {
		struct node_key root = t->root->key;
		uint32_t nodes = count_items(&t->ids) - 1, handles = count_items(&t->handle_ids);
		key_state(&root, s);
		state_u32(s, "nodes", &nodes);
		state_u32(s, "handles", &handles);
		if (state_saving(s)) {
			save_nodes(t, s);
			save_handles(t, s);
		} else if (nodes < NODES_MAX && handles <= t->handles_max) {
			bool same = root.dev == t->root->key.dev && root.ino == t->root->key.ino &&
				    root.mnt == t->root->key.mnt;
			restore_nodes(t, nodes, same, s);
			restore_handles(p, handles, s);
			nodes_restored(t);
		} else {
			state_fail(s, "%u files known and %u open are more than the limits", nodes,
				handles);
		}
	}
	state_end(s);
}
