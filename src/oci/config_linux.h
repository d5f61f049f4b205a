// SPDX-License-Identifier: Apache-2.0
// The "linux" object of config.json (config-linux.md of the specification). For config.c alone.
#ifndef STRATA_OCI_CONFIG_LINUX_H
#define STRATA_OCI_CONFIG_LINUX_H

#include "container/spec.h"
#include "oci/json.h"

void config_linux(struct reader *r, const struct node *root, struct spec *s);
/* resources: the object itself. */
void config_resources(struct reader *r, const struct node *resources, struct spec_resources *out);
struct spec_id_maps config_id_maps(struct reader *r, const struct node *parent, const char *key);
/* config_seccomp.c: NULL when there is none. */
struct spec_seccomp *config_seccomp(struct reader *r, const struct node *linux_node);

#endif
