// SPDX-License-Identifier: Apache-2.0
// Tar archives: a strict reader that pulls one entry after another, and a deterministic writer.
//
// Formats read: v7, ustar and pax (POSIX.1-2017 "pax", section "ustar Interchange Format" and
// "pax Extended Header"), GNU long names ('L', 'K') and base-256 numbers. Refused with -ENOTSUP:
// sparse files, multi-volume archives, pax global records that would change an entry.
// The archive is hostile: every length is bounded (TAR_*_MAX) and checked against what is there.
// The writer emits ustar, with a pax header only for what ustar cannot hold.
//
// Reader and writer belong to one thread.
#ifndef STRATA_WIRE_TAR_H
#define STRATA_WIRE_TAR_H

#include "base/error.h"
#include "base/strbuf.h"
#include "base/vec.h"

#include <inttypes.h>

#define TAR_BLOCK_BYTES 512
#define TAR_PATH_MAX	4096	    /* bytes of a path or link target, NUL excluded */
#define TAR_NAME_MAX	255	    /* bytes of one path component */
#define TAR_PAX_MAX	(1u << 20)  /* bytes of one pax header */
#define TAR_XATTRS_MAX	64	    /* per entry */
#define TAR_XATTR_MAX	(64u << 10) /* bytes of one value, as in Linux */

enum tar_type {
	TAR_FILE = '0',
	TAR_HARDLINK = '1',
	TAR_SYMLINK = '2',
	TAR_CHARDEV = '3',
	TAR_BLOCKDEV = '4',
	TAR_DIR = '5',
	TAR_FIFO = '6',
};

struct tar_xattr {
	const char *name; /* "user.x", "security.capability", … */
	const void *value;
	size_t len; /* bytes */
};

/* As read, all pointers are the reader's and live until its next tar_reader_next(). */
struct tar_entry {
	/* Clean and relative: no leading '/', no empty, "." or ".." component, no trailing '/'.
	 * "" is the root of the tree ("./" in the archive). A path with ".." is refused. */
	const char *path;
	/* TAR_HARDLINK: clean like path. TAR_SYMLINK: the raw target, not empty. Otherwise "". */
	const char *linkname;
	enum tar_type type;
	uint32_t mode; /* permission bits and setuid/setgid/sticky (07777) only */
	uint32_t uid, gid;
	int64_t mtime_sec; /* seconds since 1970 */
	uint32_t mtime_nsec;
	uint64_t size;	      /* bytes of data; 0 for all but TAR_FILE */
	uint64_t data_offset; /* of the data, in bytes from the archive's start */
	uint32_t devmajor, devminor;
	const struct tar_xattr *xattrs;
	size_t n_xattrs;
};

/* Sequential input: fills 1..len bytes, or returns 0 at the end, or -errno with *err set. */
typedef ssize_t tar_read_fn(void *opaque, void *buf, size_t len, struct error *err);

struct tar_reader {
	tar_read_fn *read; /* NULL: seekable (mem or fd) */
	void *opaque;
	const uint8_t *mem;
	int fd;		      /* -1 unless init_fd/init_pipe; never owned */
	uint64_t size;	      /* of the archive; UINT64_MAX: unknown */
	uint64_t pos;	      /* of the next unread byte */
	uint64_t next_header; /* where the current entry's padded data ends */
	uint64_t data_left;   /* unread bytes of the current entry */
	bool ended, failed;
	struct strbuf path, link, longname, longlink, pax;
	VEC(struct tar_xattr) xattrs;
};

/* A regular file, read with pread(): several readers may share fd. Fails when it cannot be read. */
int tar_reader_init_fd(struct tar_reader *r, int fd, struct error *err);
void tar_reader_init_mem(struct tar_reader *r, const void *data, size_t len);
/* read(2) from a pipe or socket. The reader must not move in memory afterwards. */
void tar_reader_init_pipe(struct tar_reader *r, int fd);
void tar_reader_init_stream(struct tar_reader *r, tar_read_fn *read, void *opaque);
void tar_reader_done(struct tar_reader *r); /* accepts a zeroed reader */

/* 1: *out is the next entry; 0: proper end of the archive; -errno: damaged (-EBADMSG), refused
 * (-ENOTSUP) or unreadable, and then again for every later call. Unread data are skipped. */
int tar_reader_next(struct tar_reader *r, struct tar_entry *out, struct error *err);
/* Reads data of the current entry in sequence: bytes read, 0 at its end, -errno. */
ssize_t tar_reader_read(struct tar_reader *r, void *buf, size_t len, struct error *err);

/* Cleans a path as tar_entry.path describes. -EINVAL: "..", over-long; *out is then garbage. */
int tar_path_clean(const char *path, struct strbuf *out);

/* Takes len bytes; 0 or -errno with *err set. */
typedef int tar_write_fn(void *opaque, const void *bytes, size_t len, struct error *err);

struct tar_writer {
	tar_write_fn *write;
	void *opaque;
	uint64_t pos;	    /* bytes written so far */
	uint64_t data_left; /* of the current entry */
};

void tar_writer_init(struct tar_writer *w, tar_write_fn *write, void *opaque);
/* Starts an entry; e->size bytes must follow through tar_writer_data(). data_offset is ignored. */
int tar_writer_entry(struct tar_writer *w, const struct tar_entry *e, struct error *err);
int tar_writer_data(struct tar_writer *w, const void *bytes, size_t len, struct error *err);
int tar_writer_end(struct tar_writer *w, struct error *err); /* the two zero blocks */

#endif
