// SPDX-License-Identifier: Apache-2.0
// A directory of the host as a file system for a guest. docs/virtio-fs.md says what the guest sees.
//
// The guest is confined to the directory: every access is one name in a directory that is held
// open, no symlink is ever followed by the host, "..", device nodes and sockets are never opened,
// and whatever was looked up is compared with what is found when it is opened.
//
// Threads: all of it is for any thread.
#ifndef STRATA_FS_PASSTHROUGH_H
#define STRATA_FS_PASSTHROUGH_H

#include "fs/fuse.h"

enum passthrough_ids {
	PASSTHROUGH_IDS_AUTO, /* KEEP when we are root, else MAP */
	PASSTHROUGH_IDS_MAP,  /* our own files appear as uid:gid, others as nobody; no chown */
	PASSTHROUGH_IDS_KEEP, /* owners are what they are on the host */
};

struct passthrough_config {
	bool read_only;
	/* Nobody else changes the directory while it is served: the guest may cache for long and
	 * write back late. */
	bool exclusive;
	/* The guest may make set-user-id and set-group-id files. They would be such on the host
	 * too. */
	bool allow_setuid;
	enum passthrough_ids ids;
	uint32_t uid, gid; /* PASSTHROUGH_IDS_MAP: how our own files appear */
	unsigned fds_max;  /* descriptors to use at most, half of them for open files; 0: a share
			    * of RLIMIT_NOFILE */
};

/* dir_fd: the directory, O_PATH is enough; owned on success. Call in the process that serves, while
 * /proc can still be opened. */
int passthrough_fs_new(struct fuse_fs **out, int dir_fd, const struct passthrough_config *config,
	struct error *err);

#endif
