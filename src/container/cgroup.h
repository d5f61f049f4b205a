// SPDX-License-Identifier: Apache-2.0
// A container's control group: one directory in each v1 hierarchy of the host, one in the v2
// hierarchy, or both (the hybrid layout). Thread: the caller's, one at a time.
//
// Whether a hierarchy is there is read from /proc/self/cgroup and /sys/fs/cgroup; where we may not
// make directories (rootless, nothing delegated) the container stays in our own group there, and
// only a limit that needs it is an error.
#ifndef STRATA_CONTAINER_CGROUP_H
#define STRATA_CONTAINER_CGROUP_H

#include "base/error.h"
#include "base/vec.h"
#include "container/spec.h"

struct cgroup_dir {
	char *controllers; /* "cpu,cpuacct", "name=systemd", "" for v2; owned */
	char *path;	   /* absolute, owned */
	int fd;		   /* of the directory, -1: not open */
	size_t there;	   /* bytes of the path of what was there before */
	bool missing;	   /* we may not make it */
};

struct cgroup {
	VEC(struct cgroup_dir) dirs;
	bool v2_only;
};

#define CGROUP_INIT ((struct cgroup){0})

/* Where the directories of `path` will be; nothing is made. A path that begins with "/" counts from
 * the top of each hierarchy that we see, any other from our own group. */
int cgroup_locate(struct cgroup *cg, const char *path, struct error *err);
/* -EBUSY when one of them is there already and has processes, or a group below it has: they would
 * be the container's, and end with it. */
int cgroup_check_free(const struct cgroup *cg, struct error *err);
/* Makes them with their parents, and opens them: the one of v2, or those of v1. */
int cgroup_make(struct cgroup *cg, bool v2, struct error *err);
/* Opens those that are there. */
int cgroup_open(struct cgroup *cg, struct error *err);
void cgroup_done(struct cgroup *cg);
/* From now on a group below is meant: "path", or "cpu,memory:path" in these v1 hierarchies alone.
 */
int cgroup_descend(struct cgroup *cg, const char *path, struct error *err);
/* From now on the v2 group of process pid is meant, which must be below the container's own: where
 * that hands controllers down, no process may be in it. */
int cgroup_follow(struct cgroup *cg, pid_t pid, struct error *err);

/* Directory to be born in (clone3's CLONE_INTO_CGROUP), or -1. */
int cgroup_v2_fd(const struct cgroup *cg);
/* Opens the files through which a process enters the v1 groups. */
int cgroup_entries(const struct cgroup *cg, int *fds, size_t max, struct error *err);
/* The calling process, which must have one thread, enters. Cheap, unlike moving another process:
 * a thread that moves itself waits for no grace period of the kernel. */
int cgroup_enter(const int *fds, int n, struct error *err);

/* Directory of a controller; NULL and *err when this host or our rights have none. */
const struct cgroup_dir *cgroup_controller(
	const struct cgroup *cg, const char *controller, bool *v2, struct error *err);
int cgroup_write(
	const struct cgroup_dir *d, const char *file, const char *value, struct error *err);
/* Reads a small file into text; -ENOENT without *err when there is none. */
ssize_t cgroup_read(const struct cgroup_dir *d, const char *file, char *text, size_t bytes);

/* cgroup_limits.c. Device rules are cgroup_allow_devices(). */
int cgroup_limit(const struct cgroup *cg, const struct spec_resources *r, struct error *err);
/* cgroup_devices.c */
int cgroup_allow_devices(
	const struct cgroup *cg, const struct spec_resources *r, struct error *err);

int cgroup_freeze(const struct cgroup *cg, bool frozen, struct error *err);
bool cgroup_frozen(const struct cgroup *cg);
typedef VEC(pid_t) cgroup_pids;
/* All processes, those of groups below too. */
int cgroup_list(const struct cgroup *cg, cgroup_pids *out, struct error *err);
/* Sends sig to all processes, frozen ones too (SIGKILL thaws them). */
int cgroup_signal(const struct cgroup *cg, int sig, struct error *err);
/* Removes the directories and those below, waiting up to a few seconds for the last processes to
 * go; then the parents that cgroup_make() made and nobody uses any more. */
int cgroup_remove(struct cgroup *cg, struct error *err);

#endif
