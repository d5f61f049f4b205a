// SPDX-License-Identifier: Apache-2.0
// The guest's agent, which this program carries in itself for each guest architecture.
#ifndef STRATA_INSTANCE_AGENT_IMAGE_H
#define STRATA_INSTANCE_AGENT_IMAGE_H

#include "base/error.h"
#include "base/strbuf.h"

struct embedded {
	const char *name; /* architecture; NULL ends the table */
	const unsigned char *bytes;
	size_t len;
};
extern const struct embedded agent_images[]; /* generated */

/* Appends an initramfs (cpio) with the agent as /init. -ENOENT for an architecture without one. */
int agent_initramfs(const char *arch, struct strbuf *out, struct error *err);

#endif
