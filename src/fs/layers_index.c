// SPDX-License-Identifier: Apache-2.0
// Building the index. A removed name stays in the hash with live = false, and comes back to life
// when a later entry has it again; what hung below a removed directory is simply not reached any
// more. The last pass over the tree counts links and everything else that is about what is left.
#include "fs/layers_index.h"

#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "wire/tar.h"

enum { SYMLINK_HOPS_MAX = 40, FIRST_SLOTS = 1024 };

#define WHITEOUT      ".wh."
#define WHITEOUT_AUFS ".wh..wh." /* AUFS's own files; one of them has a meaning: */
#define OPAQUE	      ".wh..wh..opq"

struct builder {
	struct layers_index *x;
	uint16_t layer; /* being read */
	/* The directory of the last entry: the next one is mostly in it too. */
	struct strbuf last_path;
	uint32_t last_dir;	     /* LAYERS_NONE: none */
	struct strbuf rest, scratch; /* of a path that is being walked */
	VEC(uint32_t) stack;
};

/* --- storage --- */

static int too_large(struct error *err)
{
	error_set(err, E2BIG, "the image has more than %u entries or %u MiB of names",
		LAYERS_ENTRIES_MAX, LAYERS_TEXT_MAX >> 20);
	error_remedy(err, "use fewer or smaller layers");
	return -E2BIG;
}

/* Makes room for `need` items; the limits keep all sizes far from overflow. */
static int grow(
	void *items, uint32_t *cap, size_t need, size_t item_bytes, size_t max, struct error *err)
{
	if (need > max)
		return too_large(err);
	if (need <= *cap)
		return 0;
	size_t n = MAX((size_t)*cap + *cap / 2, MAX(need, (size_t)256));
	void *p = realloc(*(void **)items, n * item_bytes);
	if (!p)
		return error_set(err, ENOMEM, "out of memory for the image's index");
	*(void **)items = p;
	*cap = (uint32_t)n;
	return 0;
}

static int text_add(
	struct layers_index *x, const void *bytes, size_t len, uint32_t *at, struct error *err)
{
	size_t need = x->text_len + len;
	if (need > LAYERS_TEXT_MAX)
		return too_large(err);
	if (need > x->text_cap) {
		size_t n = MAX(x->text_cap + x->text_cap / 2, MAX(need, (size_t)4096));
		char *p = realloc(x->text, n);
		if (!p)
			return error_set(err, ENOMEM, "out of memory for the image's index");
		x->text = p;
		x->text_cap = n;
	}
	memcpy(x->text + x->text_len, bytes, len);
	*at = (uint32_t)x->text_len;
	x->text_len = need;
	return 0;
}

/* A polynomial over the bytes, modulo 2^61 - 1: two given names collide with a chance of at most
 * 38 in 2^61 over the random key, so an image cannot aim at one chain. */
static uint64_t hash_name(const struct layers_index *x, uint32_t dir, const char *name, size_t len)
{
	const uint64_t p = (UINT64_C(1) << 61) - 1;
	uint64_t h = (uint64_t)dir + 1;
	for (size_t i = 0; i < len; i += 7) {
		uint64_t chunk = 0;
		memcpy(&chunk, name + i, MIN((size_t)7, len - i));
		__uint128_t m = (__uint128_t)h * x->hash_key;
		h = (uint64_t)(m & p) + (uint64_t)(m >> 61) + chunk;
		h = (h & p) + (h >> 61);
	}
	__uint128_t m = (__uint128_t)(h + len) * x->hash_key;
	return ((uint64_t)(m & p) + (uint64_t)(m >> 61)) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
}

/* The slot that holds the name, or the free one where it belongs. */
static uint32_t find_slot(const struct layers_index *x, uint32_t dir, const char *name, size_t len)
{
	uint32_t mask = x->slot_count - 1, i = (uint32_t)hash_name(x, dir, name, len) & mask;
	for (; x->slots[i] != LAYERS_NONE; i = (i + 1) & mask) {
		const struct layers_dentry *d = &x->dentries[x->slots[i]];
		if (d->parent == dir && d->name_len == len && !memcmp(x->text + d->name, name, len))
			break;
	}
	return i;
}

static int slots_grow(struct layers_index *x, struct error *err)
{
	uint32_t n = x->slot_count ? x->slot_count * 2 : FIRST_SLOTS;
	uint32_t *slots = malloc(n * sizeof(*slots));
	if (!slots)
		return error_set(err, ENOMEM, "out of memory for the image's index");
	memset(slots, 0xff, n * sizeof(*slots));
	free(x->slots);
	x->slots = slots;
	x->slot_count = n;
	for (uint32_t i = 0; i < x->dentry_count; i++) {
		const struct layers_dentry *d = &x->dentries[i];
		slots[find_slot(x, d->parent, x->text + d->name, d->name_len)] = i;
	}
	return 0;
}

uint32_t layers_index_find(
	const struct layers_index *x, uint32_t dir, const char *name, size_t name_len)
{
	uint32_t d = x->slots[find_slot(x, dir, name, name_len)];
	return d != LAYERS_NONE && x->dentries[d].live ? d : LAYERS_NONE;
}

static bool is_dir(const struct layers_index *x, uint32_t inode)
{
	return S_ISDIR(x->inodes[inode].mode);
}

static int inode_new(struct layers_index *x, uint32_t *out, struct error *err)
{
	int rc = grow(&x->inodes, &x->inode_cap, (size_t)x->inode_count + 1, sizeof(x->inodes[0]),
		LAYERS_ENTRIES_MAX, err);
	if (rc < 0)
		return rc;
	*out = x->inode_count++;
	x->inodes[*out] = (struct layers_inode){.first = LAYERS_NONE, .last = LAYERS_NONE};
	return 0;
}

static void siblings_append(struct layers_index *x, uint32_t id)
{
	struct layers_dentry *d = &x->dentries[id];
	struct layers_inode *dir = &x->inodes[d->parent];
	d->next = LAYERS_NONE;
	d->prev = dir->last;
	*(dir->last == LAYERS_NONE ? &dir->first : &x->dentries[dir->last].next) = id;
	dir->last = id;
	d->live = true;
}

static void siblings_remove(struct layers_index *x, uint32_t id)
{
	struct layers_dentry *d = &x->dentries[id];
	struct layers_inode *dir = &x->inodes[d->parent];
	*(d->prev == LAYERS_NONE ? &dir->first : &x->dentries[d->prev].next) = d->next;
	*(d->next == LAYERS_NONE ? &dir->last : &x->dentries[d->next].prev) = d->prev;
	d->live = false;
}

/* The name's dentry, live and of this layer; made when it was not there. */
static int dentry_take(struct builder *b, uint32_t dir, const char *name, size_t len, uint32_t *out,
	struct error *err)
{
	struct layers_index *x = b->x;
	if (x->dentry_count * 2 >= x->slot_count) {
		int rc = slots_grow(x, err);
		if (rc < 0)
			return rc;
	}
	uint32_t slot = find_slot(x, dir, name, len), id = x->slots[slot];
	if (id == LAYERS_NONE) {
		uint32_t text;
		int rc = grow(&x->dentries, &x->dentry_cap, (size_t)x->dentry_count + 1,
			sizeof(x->dentries[0]), LAYERS_ENTRIES_MAX, err);
		if (rc == 0)
			rc = text_add(x, name, len, &text, err);
		if (rc == 0) {
			uint32_t nul;
			rc = text_add(x, "", 1, &nul, err);
		}
		if (rc < 0)
			return rc;
		id = x->dentry_count++;
		x->dentries[id] = (struct layers_dentry){.name = text,
			.parent = dir,
			.inode = LAYERS_NONE,
			.name_len = (uint8_t)len};
		x->slots[slot] = id;
	}
	if (!x->dentries[id].live) {
		x->dentries[id].inode = LAYERS_NONE;
		siblings_append(x, id);
	}
	x->dentries[id].layer = b->layer;
	*out = id;
	return 0;
}

/* --- whiteouts --- */

/* Hides what lower layers put below a directory, at any depth. Each directory is done once a layer:
 * what comes later in this layer is not lower. */
static void hide_below(struct builder *b, uint32_t top)
{
	struct layers_index *x = b->x;
	vec_clear(&b->stack);
	vec_push(&b->stack, top);
	while (b->stack.len) {
		struct layers_inode *dir = &x->inodes[vec_pop(&b->stack)];
		if (dir->opaque == b->layer + 1)
			continue;
		dir->opaque = (uint16_t)(b->layer + 1);
		for (uint32_t i = dir->first, next; i != LAYERS_NONE; i = next) {
			next = x->dentries[i].next;
			if (x->dentries[i].layer < b->layer)
				siblings_remove(x, i);
			else if (is_dir(x, x->dentries[i].inode))
				vec_push(&b->stack, x->dentries[i].inode);
		}
	}
	b->last_dir = LAYERS_NONE;
}

static int whiteout(struct builder *b, uint32_t dir, const char *name, struct error *err)
{
	struct layers_index *x = b->x;
	if (!strcmp(name, OPAQUE)) {
		hide_below(b, dir);
		return 0;
	}
	if (!strncmp(name, WHITEOUT_AUFS, strlen(WHITEOUT_AUFS)))
		return 0;
	const char *hidden = name + strlen(WHITEOUT);
	if (!*hidden || !strcmp(hidden, ".") || !strcmp(hidden, ".."))
		return error_set(err, EBADMSG, "whiteout '%s' names nothing", name);
	uint32_t id = layers_index_find(x, dir, hidden, strlen(hidden));
	if (id == LAYERS_NONE)
		return 0;
	if (x->dentries[id].layer < b->layer) {
		siblings_remove(x, id);
		b->last_dir = LAYERS_NONE;
	} else if (is_dir(x, x->dentries[id].inode)) {
		hide_below(b, x->dentries[id].inode);
	}
	return 0;
}

/* --- paths --- */

static int make_parent(struct builder *b, uint32_t dir, const char *name, size_t len, uint32_t *id,
	struct error *err)
{
	uint32_t inode;
	int rc = inode_new(b->x, &inode, err);
	if (rc == 0)
		rc = dentry_take(b, dir, name, len, id, err);
	if (rc < 0)
		return rc;
	struct layers_inode *n = &b->x->inodes[inode];
	n->mode = S_IFDIR | 0755;
	n->parent = dir;
	n->opaque = (uint16_t)(b->layer + 1);
	b->x->dentries[*id].inode = inode;
	return 0;
}

/* Puts a symlink's target before what is left to walk. */
static int follow(struct builder *b, const struct layers_inode *link, const char *left,
	uint32_t *dir, struct error *err)
{
	const char *target = b->x->text + link->data;
	if (strlen(target) + strlen(left) > 2 * TAR_PATH_MAX)
		return error_set(err, ENAMETOOLONG, "symlinks make its path too long");
	strbuf_clear(&b->scratch);
	strbuf_adds(&b->scratch, target);
	strbuf_addc(&b->scratch, '/');
	strbuf_adds(&b->scratch, left);
	if (target[0] == '/')
		*dir = 0;
	struct strbuf tmp = b->rest;
	b->rest = b->scratch;
	b->scratch = tmp;
	return 0;
}

/* The directory at path[0..len), inside the image whatever its symlinks say. create: makes what is
 * missing and marks what it passes as part of this layer. Else -ENOENT without an error message. */
static int walk(struct builder *b, const char *path, size_t len, bool create, uint32_t *out,
	struct error *err)
{
	struct layers_index *x = b->x;
	uint32_t dir = 0;
	unsigned hops = 0;
	strbuf_clear(&b->rest);
	strbuf_add(&b->rest, path, len);
	const char *p = b->rest.data;
	for (;;) {
		p += strspn(p, "/");
		size_t n = strcspn(p, "/");
		if (n == 0)
			break;
		const char *name = p;
		p += n;
		if (n == 1 && name[0] == '.')
			continue;
		if (n == 2 && name[0] == '.' && name[1] == '.') {
			dir = x->inodes[dir].parent;
			continue;
		}
		if (n > TAR_NAME_MAX)
			return error_set(err, ENAMETOOLONG, "a symlink leads to an over-long name");
		uint32_t id = layers_index_find(x, dir, name, n);
		if (id == LAYERS_NONE) {
			if (!create)
				return -ENOENT;
			int rc = make_parent(b, dir, name, n, &id, err);
			if (rc < 0)
				return rc;
		}
		const struct layers_inode *inode = &x->inodes[x->dentries[id].inode];
		if (S_ISLNK(inode->mode)) {
			if (++hops > SYMLINK_HOPS_MAX)
				return error_set(err, ELOOP, "below a loop of symlinks");
			int rc = follow(b, inode, p, &dir, err);
			if (rc < 0)
				return rc;
			p = b->rest.data;
			continue;
		}
		if (!S_ISDIR(inode->mode))
			return error_set(err, EBADMSG, "below '%.*s', which is not a directory",
				(int)n, name);
		if (create)
			x->dentries[id].layer = b->layer;
		dir = x->dentries[id].inode;
	}
	*out = dir;
	return 0;
}

/* The directory that an entry goes to; *name is the last component. */
static int entry_parent(
	struct builder *b, const char *path, uint32_t *dir, const char **name, struct error *err)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	*name = slash ? slash + 1 : path;
	if (b->last_dir != LAYERS_NONE && b->last_path.len == len &&
		!memcmp(b->last_path.data, path, len)) {
		*dir = b->last_dir;
		return 0;
	}
	int rc = walk(b, path, len, true, dir, err);
	if (rc < 0)
		return rc;
	strbuf_clear(&b->last_path);
	strbuf_add(&b->last_path, path, len);
	b->last_dir = *dir;
	return 0;
}

/* --- entries --- */

static uint32_t entry_mode(const struct tar_entry *e)
{
	switch (e->type) {
	case TAR_DIR:
		return S_IFDIR | e->mode;
	case TAR_SYMLINK:
		return S_IFLNK | 0777;
	case TAR_CHARDEV:
		return S_IFCHR | e->mode;
	case TAR_BLOCKDEV:
		return S_IFBLK | e->mode;
	case TAR_FIFO:
		return S_IFIFO | e->mode;
	case TAR_FILE:
	case TAR_HARDLINK:
		break;
	}
	return S_IFREG | e->mode;
}

static int add_xattrs(
	struct layers_index *x, const struct tar_entry *e, uint32_t *out, struct error *err)
{
	struct strbuf sb _strbuf_ = STRBUF_INIT;
	uint8_t count[2];
	if (e->n_xattrs == 0) {
		*out = 0;
		return 0;
	}
	store_le16(count, (uint16_t)e->n_xattrs);
	strbuf_add(&sb, count, sizeof(count));
	for (size_t i = 0; i < e->n_xattrs; i++) {
		uint8_t len[4];
		size_t name_len = strlen(e->xattrs[i].name);
		if (name_len == 0 || name_len > FUSE_FS_NAME_MAX ||
			e->xattrs[i].len > FUSE_FS_XATTR_MAX)
			return error_set(err, EBADMSG, "bad extended attribute");
		store_le32(len, (uint32_t)e->xattrs[i].len);
		strbuf_addc(&sb, (char)name_len);
		strbuf_add(&sb, e->xattrs[i].name, name_len + 1);
		strbuf_add(&sb, len, sizeof(len));
		strbuf_add(&sb, e->xattrs[i].value, e->xattrs[i].len);
	}
	return text_add(x, sb.data, sb.len, out, err);
}

bool layers_index_xattr(const struct layers_index *x, const struct layers_inode *inode,
	uint32_t *at, struct layers_xattr *out)
{
	/* *at: index of the attribute in the high half, its offset from the start in the low. Both
	 * are small: 64 attributes of 64 KiB. */
	const char *base = x->text + inode->xattrs;
	uint32_t i = *at >> 24, offset = *at & 0xffffff;
	if (!inode->xattrs || i >= load_le16(base))
		return false;
	if (i == 0)
		offset = 2;
	uint8_t name_len = (uint8_t)base[offset];
	out->name = base + offset + 1;
	out->value_len = load_le32(base + offset + 2 + name_len);
	out->value = base + offset + 6 + name_len;
	*at = (i + 1) << 24 | (offset + 6 + name_len + out->value_len);
	return true;
}
_Static_assert((TAR_XATTRS_MAX + 1) * (TAR_XATTR_MAX + 512) < 1 << 24 && TAR_XATTRS_MAX < 256,
	"a position among the attributes fits layers_index_xattr()");

static int fill_inode(
	struct builder *b, const struct tar_entry *e, struct layers_inode *n, struct error *err)
{
	if (e->devmajor > 0xfff || e->devminor > 0xfffff)
		return error_set(err, EBADMSG, "device number out of range");
	n->mode = entry_mode(e);
	n->uid = e->uid;
	n->gid = e->gid;
	n->mtime_sec = e->mtime_sec;
	n->mtime_nsec = e->mtime_nsec;
	/* Linux's 32-bit form, which FUSE uses. */
	n->rdev = (e->devminor & 0xff) | e->devmajor << 8 | (e->devminor & ~0xffu) << 12;
	n->layer = b->layer;
	n->data = e->data_offset;
	n->size = e->size;
	if (e->type == TAR_SYMLINK) {
		uint32_t at;
		n->size = strlen(e->linkname);
		int rc = n->size > FUSE_FS_SYMLINK_MAX
				 ? error_set(err, ENAMETOOLONG, "link target too long")
				 : text_add(b->x, e->linkname, (size_t)n->size + 1, &at, err);
		if (rc < 0)
			return rc;
		n->data = at;
	}
	return add_xattrs(b->x, e, &n->xattrs, err);
}

/* The inode that a hard link names, in this layer or a lower one. */
static int link_target(
	struct builder *b, const struct tar_entry *e, uint32_t *inode, struct error *err)
{
	uint32_t dir = 0, id = LAYERS_NONE;
	const char *slash = strrchr(e->linkname, '/');
	const char *name = slash ? slash + 1 : e->linkname;
	int rc = walk(b, e->linkname, slash ? (size_t)(slash - e->linkname) : 0, false, &dir, err);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (rc == 0)
		id = layers_index_find(b->x, dir, name, strlen(name));
	if (id == LAYERS_NONE)
		return error_set(
			err, EBADMSG, "hard link to '%s', which does not exist", e->linkname);
	if (is_dir(b->x, b->x->dentries[id].inode))
		return error_set(err, EBADMSG, "hard link to the directory '%s'", e->linkname);
	*inode = b->x->dentries[id].inode;
	return 0;
}

static int add_root(struct builder *b, const struct tar_entry *e, struct error *err)
{
	struct layers_inode n = b->x->inodes[0];
	int rc = fill_inode(b, e, &n, err);
	if (rc == 0)
		b->x->inodes[0] = n;
	return rc;
}

static int add_named(struct builder *b, const struct tar_entry *e, uint32_t dir, const char *name,
	struct error *err)
{
	struct layers_index *x = b->x;
	struct layers_inode n = {.first = LAYERS_NONE, .last = LAYERS_NONE, .parent = dir};
	uint32_t id, inode = LAYERS_NONE;
	int rc = e->type == TAR_HARDLINK ? link_target(b, e, &inode, err)
					 : fill_inode(b, e, &n, err);
	if (rc == 0)
		rc = dentry_take(b, dir, name, strlen(name), &id, err);
	if (rc < 0)
		return rc;
	uint32_t old = x->dentries[id].inode;
	bool old_dir = old != LAYERS_NONE && is_dir(x, old);
	if (e->type == TAR_DIR && old_dir) {
		n.first = x->inodes[old].first;
		n.last = x->inodes[old].last;
		n.opaque = x->inodes[old].opaque;
		x->inodes[old] = n;
		return 0;
	}
	if (e->type != TAR_HARDLINK) {
		n.opaque = (uint16_t)(b->layer + 1); /* new: nothing lower is in it */
		rc = inode_new(x, &inode, err);
		if (rc < 0) {
			siblings_remove(x, id);
			return rc;
		}
		x->inodes[inode] = n;
	}
	x->dentries[id].inode = inode;
	if (old != LAYERS_NONE) /* the last path may have led through it */
		b->last_dir = LAYERS_NONE;
	return 0;
}

static int add_entry(struct builder *b, const struct tar_entry *e, struct error *err)
{
	uint32_t dir;
	const char *name;
	if (!e->path[0])
		return add_root(b, e, err);
	const char *aufs = strstr(e->path, "/" WHITEOUT_AUFS);
	if ((aufs && strchr(aufs + 1, '/')) ||
		(!strncmp(e->path, WHITEOUT_AUFS, strlen(WHITEOUT_AUFS)) && strchr(e->path, '/')))
		return 0; /* inside one of AUFS's directories */
	int rc = entry_parent(b, e->path, &dir, &name, err);
	if (rc < 0)
		return rc;
	if (!strncmp(name, WHITEOUT, strlen(WHITEOUT)))
		return whiteout(b, dir, name, err);
	return add_named(b, e, dir, name, err);
}

static int add_layer(struct builder *b, int fd, struct error *err)
{
	struct tar_reader r;
	struct tar_entry e;
	int rc = tar_reader_init_fd(&r, fd, err);
	if (rc < 0)
		return rc;
	b->last_dir = LAYERS_NONE;
	while ((rc = tar_reader_next(&r, &e, err)) == 1) {
		rc = add_entry(b, &e, err);
		if (rc < 0) {
			error_wrap(err, rc, "%.200s", e.path[0] ? e.path : "/");
			break;
		}
	}
	tar_reader_done(&r);
	return rc;
}

/* --- the last pass --- */

static void digest_u64(struct layers_index *x, uint64_t v)
{
	x->digest = (x->digest ^ v) * UINT64_C(0x2127599bf4325c37);
	x->digest ^= x->digest >> 29;
}

static void digest_dentry(struct layers_index *x, const struct layers_dentry *d)
{
	const struct layers_inode *n = &x->inodes[d->inode];
	digest_u64(x, (uint64_t)d->parent << 32 | d->inode);
	for (size_t i = 0; i < d->name_len; i++)
		digest_u64(x, (uint8_t)x->text[d->name + i]);
	digest_u64(x, (uint64_t)n->mode << 32 | n->uid);
	digest_u64(x, (uint64_t)n->gid << 32 | n->layer);
	digest_u64(x, n->size);
	if (S_ISREG(n->mode))
		digest_u64(x, n->data);
}

/* Walks what is reachable: links, totals, digest. */
static void finish(struct builder *b)
{
	struct layers_index *x = b->x;
	for (uint32_t i = 0; i < x->inode_count; i++)
		x->inodes[i].nlink = 0;
	x->inodes[0].nlink = 2;
	x->live_inodes = 1;
	vec_clear(&b->stack);
	vec_push(&b->stack, 0);
	while (b->stack.len) {
		uint32_t dir = vec_pop(&b->stack);
		for (uint32_t i = x->inodes[dir].first; i != LAYERS_NONE; i = x->dentries[i].next) {
			struct layers_inode *n = &x->inodes[x->dentries[i].inode];
			x->live_names++;
			x->live_inodes += n->nlink == 0;
			if (n->nlink == 0 && S_ISREG(n->mode))
				x->live_bytes += n->size;
			if (S_ISDIR(n->mode)) {
				n->nlink = 2;
				x->inodes[dir].nlink++;
				vec_push(&b->stack, x->dentries[i].inode);
			} else {
				n->nlink++;
			}
			digest_dentry(x, &x->dentries[i]);
		}
	}
}

int layers_index_build(struct layers_index *x, const int *fds, unsigned count, struct error *err)
{
	struct builder b = {.x = x, .last_dir = LAYERS_NONE};
	uint32_t at, root;
	if (count > LAYERS_MAX)
		return error_set(
			err, E2BIG, "%u layers: at most %u are supported", count, LAYERS_MAX);
	if (getrandom(&x->hash_key, sizeof(x->hash_key), 0) != sizeof(x->hash_key))
		return error_errno(err, errno, "random key");
	x->hash_key = (x->hash_key >> 4) | 1; /* below 2^61 - 1 and not 0 */
	int rc = slots_grow(x, err);
	if (rc == 0)
		rc = text_add(x, "", 1, &at, err); /* offset 0 means none */
	if (rc == 0)
		rc = inode_new(x, &root, err);
	if (rc == 0)
		x->inodes[0].mode = S_IFDIR | 0755;
	for (unsigned i = 0; i < count && rc == 0; i++) {
		b.layer = (uint16_t)i;
		rc = add_layer(&b, fds[i], err);
		if (rc < 0)
			error_wrap(err, rc, "layer %u", i + 1);
	}
	if (rc == 0)
		finish(&b);
	strbuf_done(&b.last_path);
	strbuf_done(&b.rest);
	strbuf_done(&b.scratch);
	vec_done(&b.stack);
	return rc;
}

void layers_index_done(struct layers_index *x)
{
	free(x->dentries);
	free(x->inodes);
	free(x->text);
	free(x->slots);
}
