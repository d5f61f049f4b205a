// SPDX-License-Identifier: Apache-2.0
// The index of a stack of layers: names (dentries) that lead to inodes, in flat arrays with 32-bit
// links. layers_index.c builds it, layers.c serves from it. Private to these two.
#ifndef STRATA_FS_LAYERS_INDEX_H
#define STRATA_FS_LAYERS_INDEX_H

#include "fs/layers.h"

#define LAYERS_NONE UINT32_MAX

/* 32 bytes with the hash slots' share beside it. */
struct layers_dentry {
	uint32_t name;	 /* offset into text; NUL-terminated */
	uint32_t parent; /* inode */
	uint32_t inode;
	uint32_t next, prev; /* siblings, in order of arrival; LAYERS_NONE ends */
	uint16_t layer;	     /* that brought it or something below it */
	uint8_t name_len;
	bool live; /* in the tree */
};

struct layers_inode {
	uint64_t data; /* file: offset in its layer's tar; symlink: of the target in text */
	uint64_t size;
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	uint32_t mode; /* with type */
	uint32_t uid, gid, rdev, nlink;
	uint32_t first, last; /* directory: its dentries */
	uint32_t parent;      /* directory: the inode of its parent */
	uint32_t xattrs;      /* offset into text; 0: none */
	uint16_t layer;	      /* whose tar holds the data */
	uint16_t opaque;      /* 1 + the layer from which on nothing lower shows through; 0: none */
};

struct layers_index {
	struct layers_dentry *dentries;
	struct layers_inode *inodes; /* [0] is the root */
	char *text;
	uint32_t *slots; /* hash of (parent, name): dentry or LAYERS_NONE; open addressing */
	uint32_t dentry_count, dentry_cap, inode_count, inode_cap;
	uint32_t slot_count; /* power of two, at least twice dentry_count */
	size_t text_len, text_cap;
	uint64_t hash_key; /* random: names are the image's choice, collisions must not be */
	uint32_t live_names, live_inodes;
	uint64_t live_bytes;
	uint64_t digest; /* of the merged tree: two indexes with one digest are interchangeable */
};

int layers_index_build(struct layers_index *x, const int *fds, unsigned count, struct error *err);
void layers_index_done(struct layers_index *x);
/* The dentry of a name in a directory, or LAYERS_NONE. */
uint32_t layers_index_find(
	const struct layers_index *x, uint32_t dir, const char *name, size_t name_len);

/* Attributes in text: u16 count, then each  u8 name_len, name, NUL, u32 value_len, value. */
struct layers_xattr {
	const char *name;
	const void *value;
	uint32_t value_len;
};
/* The attribute at *at (0: the first), moving *at on; false after the last. */
bool layers_index_xattr(const struct layers_index *x, const struct layers_inode *inode,
	uint32_t *at, struct layers_xattr *out);

#endif
