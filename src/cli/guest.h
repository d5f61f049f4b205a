// SPDX-License-Identifier: Apache-2.0
// From an image to a guest that takes commands: what `run` and the configuration of a pulled image
// have in common.
#ifndef STRATA_CLI_GUEST_H
#define STRATA_CLI_GUEST_H

#include "cli/meter.h"
#include "image/image.h"
#include "instance/machine.h"

struct guest_share {
	char *host;	   /* owned */
	const char *guest; /* inside host's memory */
	int dir_fd;
	bool read_only;
};

struct guest_options {
	const struct image *image, *boot;
	uint64_t cpus, memory_bytes;
	const char *kernel_name;  /* path of kernel_fd, for messages */
	int kernel_fd, initrd_fd; /* -1: the boot image's */
	const char *append;
	const struct machine_disk *disks;
	size_t n_disks;
	const struct guest_share *shares;
	size_t n_shares;
	bool network;
	const char *const *publish;
	size_t n_publish;
	const char *hostname;
	bool verbose_kernel;
	bool scratch;	     /* writes go to the guest's memory instead of a disk */
	uint64_t disk_bytes; /* of the instance's disk */
	int console_fd;
	bool gdb, gdb_wait; /* gdb_fd listens for debuggers; the guest waits for one */
	int gdb_fd;
};

struct guest {
	struct machine *machine;
	struct agent_address address;
	struct agent_conn *control; /* for SETUP and SHUTDOWN */
	json_t *stats;		    /* owned; set by guest_done(): machine_take_stats() */
};

/* Starts the machine, waits for its agent and sets it up. cancel_fd: readable means give up
 * (-EINTR); or -1. */
int guest_start(struct guest *g, const struct instance *instance, const struct guest_options *o,
	int cancel_fd, struct meter *meter, struct error *err);
/* Powers it off, with force after a while; *reason (owned, may be NULL) says how it ended. */
enum machine_end guest_stop(struct guest *g);
void guest_done(struct guest *g); /* pulls the plug if it still runs */

/* image_configure_fn; opaque is struct guest_configure. */
struct guest_configure {
	struct image_store *store;
	const char *home;
	struct meter *meter;
};
int guest_configure_image(
	void *opaque, const struct image *unconfigured, int tar_fd, struct error *err);
/* Opens the image and its boot image, pulling what is missing. boot NULL: not needed. */
int guest_open_images(struct image_store *store, const char *home, const char *ref,
	const char *arch, struct meter *meter, struct image **image, struct image **boot,
	struct error *err);

#endif
