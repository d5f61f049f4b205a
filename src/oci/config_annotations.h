// SPDX-License-Identifier: Apache-2.0
// The annotations dev.strata.*, by which an engine that knows nothing of them passes on what its
// user wants of us. Others are not ours; docs/containers.md lists them.
#ifndef STRATA_OCI_CONFIG_ANNOTATIONS_H
#define STRATA_OCI_CONFIG_ANNOTATIONS_H

#include "oci/json.h"

/* s->annotations, which were read before, into the members of *s that they are about. */
void config_annotations(struct reader *r, struct spec *s);

#endif
