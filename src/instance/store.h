// SPDX-License-Identifier: Apache-2.0
// Instances on disk: HOME/instances/NAME/ with config.json, lock, console.log, vsock.sock,
// upper.img.
//
// A lock (flock of `lock`) says that the instance lives: whoever supervises it holds the
// descriptor, and the kernel lets go when that process is gone, however it went. So nothing here
// can be stale: what is not locked is stopped, and what was to be removed at its end is removed by
// the next command. Knows nothing of levels. An instance belongs to one thread.
#ifndef STRATA_INSTANCE_STORE_H
#define STRATA_INSTANCE_STORE_H

#include "base/error.h"

#define INSTANCE_NAME_MAX 63

/* What config.json says. Strings are owned, NULL when unknown. */
struct instance_config {
	char *image, *level, *arch;
	char *command; /* for listings */
	uint64_t cpus, memory_bytes;
	uint64_t created_s; /* seconds since 1970 */
	bool remove;	    /* at the end of its run */
};
void instance_config_done(struct instance_config *c);

struct instance {
	char *name;
	char *path; /* absolute */
	int dir_fd;
	int lock_fd; /* the lock; inherit it to what must keep the instance alive */
};
void instance_free(struct instance *i); /* lets go of the lock; accepts NULL */

/* 1 to 63 of [a-z0-9-], no dash at either end: fit for a host name. */
int instance_name_check(const char *name, struct error *err);

/* Makes and locks an instance. name NULL: a free one of the form adjective-noun. -EEXIST with a
 * remedy when the name is taken. */
int instance_create(const char *home, const char *name, const struct instance_config *config,
	struct instance **out, struct error *err);
/* Removes it. -EBUSY while somebody else holds its lock. */
int instance_remove(const char *home, const char *name, struct error *err);
int instance_remove_own(struct instance *i, struct error *err); /* we hold the lock */

struct instance_info {
	char *name;
	struct instance_config config;
	bool running;
	uint64_t disk_bytes; /* what its files take */
};
/* Sorted by name. A home without instances is an empty list. */
int instance_list(const char *home, struct instance_info **out, size_t *n, struct error *err);
void instance_list_free(struct instance_info *list, size_t n);

/* Removes what ended without cleaning up after itself: instances with `remove`, and half-made ones.
 * Best effort, silent. */
void instance_sweep(const char *home);

#endif
