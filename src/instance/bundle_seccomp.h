// SPDX-License-Identifier: Apache-2.0
#ifndef STRATA_INSTANCE_BUNDLE_SECCOMP_H
#define STRATA_INSTANCE_BUNDLE_SECCOMP_H

#include <jansson.h>

#include "base/base.h"

/* linux.seccomp of config.json for a container with these capabilities. */
json_t *bundle_seccomp(uint64_t caps);

#endif
