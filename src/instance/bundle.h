// SPDX-License-Identifier: Apache-2.0
// The OCI bundle of a container instance: config.json (runtime-spec 1.2) with the defaults that
// container engines have, and the files that every container gets from its host.
//
//     DIR/config.json  DIR/root (where the overlayfs is mounted)  DIR/upper  DIR/work
//     DIR/hosts  DIR/hostname  DIR/resolv.conf
//
// The image is hostile: what is read from its tree (passwd, group) is resolved inside the tree and
// parsed within bounds. Belongs to one thread.
#ifndef STRATA_INSTANCE_BUNDLE_H
#define STRATA_INSTANCE_BUNDLE_H

#include "base/error.h"
#include "base/vec.h"

struct bundle_mount {
	const char *source;  /* absolute path of the host; NULL: a tmpfs */
	const char *target;  /* absolute, inside */
	const char *options; /* comma-separated words of mount(8), or NULL */
};

/* USER: that of docs/network.md. */
enum bundle_network { BUNDLE_NETWORK_NONE, BUNDLE_NETWORK_USER, BUNDLE_NETWORK_HOST };

struct bundle_options {
	const char *const *argv; /* ends with NULL */
	const char *const *env;	 /* NAME=VALUE, later ones win; ends with NULL */
	const char *workdir;
	const char *user; /* USER[:GROUP], names of the image or numbers; "" or NULL: root */
	const char *hostname;
	const char *const *hosts; /* more lines of /etc/hosts; NULL or ends with NULL */
	const char *dns;	  /* text of /etc/resolv.conf; NULL: the network's, or the host's */
	const struct bundle_mount *mounts;
	size_t n_mounts;
	enum bundle_network network;
	bool tty, read_only, no_new_privileges;
	bool one_id;	  /* of a user namespace that maps only root */
	bool rootless;	  /* we are root of a user namespace */
	bool privileged;  /* nothing of the kernel's is masked or read-only; all devices allowed */
	bool tree_at_mnt; /* /mnt shows the tree without what is mounted in it */
	uint64_t capabilities; /* 1 << CAP_*: bundle_capabilities() */
	uint64_t added; /* those of them that were asked for: a user other than root has them too */
	bool no_seccomp;
	const char *seccomp_file; /* a profile instead of the default one, or NULL */
	uint64_t memory_bytes, swap_bytes, pids,
		cpu_millis; /* 0: no limit; swap: memory and swap */
	uint64_t shm_bytes; /* 0: 64 MiB */
	const char *cpu_set;
	const char *arch;	    /* of the programs, as OCI names it; NULL: the host's */
	const char *const *publish; /* net/publish.h; n_publish of them */
	size_t n_publish;
};

/* The default set of 1 << CAP_*. */
extern const uint64_t bundle_default_capabilities;
/* "NET_ADMIN", "cap_net_admin", "ALL" into *set. -EINVAL for a name that is none. */
int bundle_capability(const char *name, uint64_t *set, struct error *err);

/* Writes everything but root, upper and work, which are there; root is mounted already. -ENOENT and
 * the like when the user is not in the image. */
int bundle_write(int dir_fd, const char *path, const struct bundle_options *o, struct error *err);

/* bundle_user.c: "USER[:GROUP]" in the tree root_fd. */
struct bundle_user {
	uint32_t uid, gid;
	VEC(uint32_t) groups;
	char *home; /* owned */
};
int bundle_find_user(int root_fd, const char *user, struct bundle_user *out, struct error *err);
void bundle_user_done(struct bundle_user *u);

#endif
