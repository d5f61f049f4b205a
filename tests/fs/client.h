// SPDX-License-Identifier: Apache-2.0
// A FUSE client for tests: builds requests and takes replies apart.
//
//     struct client c;
//     client_init(&c, fs);                       sends INIT
//     int rc = call(&c, FUSE_LOOKUP, 1, NULL, 0, "name", NULL, &entry, sizeof(entry));
#ifndef STRATA_TESTS_FS_CLIENT_H
#define STRATA_TESTS_FS_CLIENT_H

#include <stdarg.h>
#include <stdlib.h>

#include "fs/fuse.h"
#include "tap.h"

struct client {
	struct fuse_fs *fs;
	uint64_t unique;
	uint32_t uid, gid;
	struct fuse_init_out init;
	unsigned split; /* bytes after which buffers are cut in two; 0: whole */
	uint8_t *in, *out;
	size_t out_len; /* payload of the last reply */
};

/* Sends `in_len` bytes after a header; the reply's payload is in c->out. Returns its error, or
 * -10000 when there was no sensible reply. */
TAP_UNUSED static int call_raw(struct client *c, uint32_t opcode, uint64_t node, const void *in,
	size_t in_len, size_t room)
{
	struct fuse_in_header h = {.len = (uint32_t)(sizeof(h) + in_len),
		.opcode = opcode,
		.unique = ++c->unique,
		.nodeid = node,
		.uid = c->uid,
		.gid = c->gid,
		.pid = 1};
	struct fuse_out_header reply;
	memcpy(c->in, &h, sizeof(h));
	if (in_len)
		memcpy(c->in + sizeof(h), in, in_len);
	size_t in_all = h.len, out_all = sizeof(reply) + room, cut = c->split;
	struct iovec iov[4] = {{c->in, in_all}, {NULL, 0}, {c->out, out_all}, {NULL, 0}};
	unsigned in_n = 1, out_n = 1;
	if (cut && cut < in_all) {
		iov[0].iov_len = cut;
		iov[1] = (struct iovec){c->in + cut, in_all - cut};
		in_n = 2;
	}
	if (cut && cut < out_all) {
		iov[2].iov_len = cut;
		iov[3] = (struct iovec){c->out + cut, out_all - cut};
		out_n = 2;
	}
	memset(c->out, 0xee, sizeof(reply));
	ssize_t n = fuse_fs_serve(c->fs, iov, in_n, iov + 2, out_n);
	memcpy(&reply, c->out, sizeof(reply));
	if (n < (ssize_t)sizeof(reply) || reply.len != (size_t)n || reply.unique != h.unique ||
		(reply.error && n != sizeof(reply)))
		return -10000;
	c->out_len = (size_t)n - sizeof(reply);
	return reply.error;
}

TAP_UNUSED static const void *payload(const struct client *c)
{
	return c->out + sizeof(struct fuse_out_header);
}

/* arguments, up to two strings, and a fixed-size result. */
TAP_UNUSED static int call(struct client *c, uint32_t opcode, uint64_t node, const void *args,
	size_t args_len, const char *a, const char *b, void *result, size_t result_len)
{
	static _Thread_local uint8_t in[64 << 10];
	size_t len = args_len;
	if (args_len)
		memcpy(in, args, args_len);
	for (int i = 0; i < 2; i++) {
		const char *s = i ? b : a;
		if (!s)
			continue;
		memcpy(in + len, s, strlen(s) + 1);
		len += strlen(s) + 1;
	}
	int rc = call_raw(c, opcode, node, in, len, result_len);
	if (rc == 0 && c->out_len != result_len)
		return -10001;
	if (rc == 0 && result_len)
		memcpy(result, payload(c), result_len);
	return rc;
}

TAP_UNUSED static int client_init(struct client *c, struct fuse_fs *fs)
{
	struct fuse_init_in in = {.major = 7,
		.minor = 38,
		.max_readahead = 1 << 20,
		.flags = 0x7fffffff,
		.flags2 = 0xffff};
	memset(c, 0, sizeof(*c));
	c->fs = fs;
	c->in = malloc(FUSE_FS_REQUEST_MAX);
	c->out = malloc(FUSE_FS_REQUEST_MAX);
	return call(c, FUSE_INIT, 0, &in, sizeof(in), NULL, NULL, &c->init, sizeof(c->init));
}

TAP_UNUSED static void client_done(struct client *c)
{
	fuse_fs_free(c->fs);
	free(c->in);
	free(c->out);
}

TAP_UNUSED static int do_lookup(
	struct client *c, uint64_t parent, const char *name, struct fuse_entry_out *e)
{
	return call(c, FUSE_LOOKUP, parent, NULL, 0, name, NULL, e, sizeof(*e));
}

/* Walks a path from the root; 0 when a part is missing. Lookups stay counted. */
TAP_UNUSED static uint64_t do_walk(struct client *c, const char *path, struct fuse_entry_out *out)
{
	struct fuse_entry_out e = {.nodeid = FUSE_ROOT_ID};
	char part[256];
	while (*path) {
		size_t n = strcspn(path, "/");
		memcpy(part, path, n);
		part[n] = '\0';
		if (do_lookup(c, e.nodeid, part, &e) != 0 || !e.nodeid)
			return 0;
		path += n + (path[n] == '/');
	}
	if (out)
		*out = e;
	return e.nodeid;
}

TAP_UNUSED static int do_getattr(struct client *c, uint64_t node, struct fuse_attr *a)
{
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out out;
	int rc = call(c, FUSE_GETATTR, node, &in, sizeof(in), NULL, NULL, &out, sizeof(out));
	if (rc == 0)
		*a = out.attr;
	return rc;
}

TAP_UNUSED static int do_open(struct client *c, uint64_t node, uint32_t flags, uint64_t *fh)
{
	struct fuse_open_in in = {.flags = flags};
	struct fuse_open_out out;
	int rc = call(c, FUSE_OPEN, node, &in, sizeof(in), NULL, NULL, &out, sizeof(out));
	*fh = rc ? 0 : out.fh;
	return rc;
}

TAP_UNUSED static int do_create(struct client *c, uint64_t dir, const char *name, uint32_t flags,
	uint32_t mode, struct fuse_entry_out *e, uint64_t *fh)
{
	struct fuse_create_in in = {.flags = flags, .mode = mode};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;
	int rc = call(c, FUSE_CREATE, dir, &in, sizeof(in), name, NULL, &out, sizeof(out));
	if (rc == 0) {
		*e = out.entry;
		*fh = out.open.fh;
	}
	return rc;
}

/* Returns bytes, which are at payload(), or -errno. */
TAP_UNUSED static ssize_t do_read(
	struct client *c, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size)
{
	struct fuse_read_in in = {.fh = fh, .offset = offset, .size = size};
	int rc = call_raw(c, FUSE_READ, node, &in, sizeof(in), size);
	return rc ? rc : (ssize_t)c->out_len;
}

TAP_UNUSED static ssize_t do_write(struct client *c, uint64_t node, uint64_t fh, uint64_t offset,
	const void *bytes, uint32_t size, uint32_t flags)
{
	struct fuse_write_in in = {.fh = fh, .offset = offset, .size = size, .flags = flags};
	uint8_t *all = malloc(sizeof(in) + size);
	struct fuse_write_out out;
	memcpy(all, &in, sizeof(in));
	memcpy(all + sizeof(in), bytes, size);
	int rc = call_raw(c, FUSE_WRITE, node, all, sizeof(in) + size, sizeof(out));
	free(all);
	if (rc)
		return rc;
	memcpy(&out, payload(c), sizeof(out));
	return (ssize_t)out.size;
}

TAP_UNUSED static int do_release(struct client *c, uint64_t node, uint64_t fh, bool dir)
{
	struct fuse_release_in in = {.fh = fh};
	return call(c, dir ? FUSE_RELEASEDIR : FUSE_RELEASE, node, &in, sizeof(in), NULL, NULL,
		NULL, 0);
}

TAP_UNUSED static void do_forget(struct client *c, uint64_t node, uint64_t count)
{
	struct fuse_forget_in in = {.nlookup = count};
	call_raw(c, FUSE_FORGET, node, &in, sizeof(in), 0);
}

TAP_UNUSED static int do_setattr(struct client *c, uint64_t node, struct fuse_setattr_in in)
{
	struct fuse_attr_out out;
	return call(c, FUSE_SETATTR, node, &in, sizeof(in), NULL, NULL, &out, sizeof(out));
}

typedef void entry_fn(void *opaque, const char *name, const struct fuse_dirent *d,
	const struct fuse_entry_out *entry);

/* Reads a whole directory with buffers of `size` bytes; counts entries, -errno. */
TAP_UNUSED static int do_readdir(struct client *c, uint64_t node, uint64_t fh, bool plus,
	uint32_t size, entry_fn *fn, void *opaque)
{
	struct fuse_read_in in = {.fh = fh, .size = size};
	int count = 0;
	for (;;) {
		int rc = call_raw(
			c, plus ? FUSE_READDIRPLUS : FUSE_READDIR, node, &in, sizeof(in), size);
		if (rc)
			return rc;
		if (!c->out_len)
			return count;
		uint8_t *copy = malloc(c->out_len);
		size_t len = c->out_len;
		memcpy(copy, payload(c), len);
		for (size_t at = 0; at < len; count++) {
			struct fuse_entry_out e = {0};
			struct fuse_dirent d;
			char name[256] = "";
			size_t head = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
			if (plus)
				memcpy(&e, copy + at, sizeof(e));
			memcpy(&d, copy + at + head - FUSE_NAME_OFFSET, FUSE_NAME_OFFSET);
			if (d.namelen > 255 || at + head + d.namelen > len) {
				free(copy);
				return -10002;
			}
			memcpy(name, copy + at + head, d.namelen);
			if (fn)
				fn(opaque, name, &d, plus ? &e : NULL);
			in.offset = d.off;
			at += FUSE_DIRENT_ALIGN(head + d.namelen);
		}
		free(copy);
	}
}

#endif
