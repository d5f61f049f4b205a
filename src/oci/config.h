// SPDX-License-Identifier: Apache-2.0
// Reads config.json of the OCI runtime specification (1.2), the process of `exec` and the resources
// of `update` into container/spec.h. The file is hostile: every member is checked here, and an
// error names it ("config.json: linux.namespaces[2].type: …"). Members that the specification does
// not know are ignored, as it demands.
#ifndef STRATA_OCI_CONFIG_H
#define STRATA_OCI_CONFIG_H

#include "base/arena.h"
#include "base/error.h"
#include "container/spec.h"

#define CONFIG_MAX ((size_t)16 << 20) /* bytes of a file */

/* *out is the arena's. name: what errors call the file. -EINVAL, -EBADMSG, -EFBIG. */
int config_parse(const char *text, size_t len, const char *name, struct arena *a, struct spec **out,
	struct error *err);
int config_parse_process(const char *text, size_t len, const char *name, struct arena *a,
	struct spec_process **out, struct error *err);
int config_parse_resources(const char *text, size_t len, const char *name, struct arena *a,
	struct spec_resources *out, struct error *err);

#endif
