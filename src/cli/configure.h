// SPDX-License-Identifier: Apache-2.0
// Configuring a pulled Debian image, whose packages run their scripts: what both ways, a machine
// and a container, have in common.
#ifndef STRATA_CLI_CONFIGURE_H
#define STRATA_CLI_CONFIGURE_H

#include "base/strbuf.h"
#include "cli/meter.h"

/* What the configuring system has said. */
struct configure_words {
	struct strbuf line, last; /* the one that grows; the last whole one */
	uint64_t done, total;	  /* packages; total is 0 until the script has told it */
};

void configure_words_done(struct configure_words *w);
/* dpkg's own words are the progress. */
void configure_words_take(struct configure_words *w, struct meter *p, const char *bytes, size_t n);
/* The error of a script that ended with this status. */
int configure_failed(const struct configure_words *w, int status, struct error *err);
/* HOME/configure.log, empty. */
int configure_open_log(const char *home, struct error *err);

/* Its programs are of another architecture than the host's. */
bool image_is_foreign(const struct image *image);

/* image_configure_fn for what can run in a container; opaque is struct
 * container_configure. */
struct container_configure {
	struct image_store *store;
	const char *home;
	struct meter *meter;
	bool one_id; /* of a user namespace that maps only root */
};
int container_configure_image(
	void *opaque, const struct image *unconfigured, int tar_fd, struct error *err);

#endif
