// SPDX-License-Identifier: Apache-2.0
#ifndef STRATA_INSTANCE_NAMES_H
#define STRATA_INSTANCE_NAMES_H

#include "base/base.h"

/* "brave-heron"; any value gives one, equal values equal ones. The caller frees it. */
char *name_from_number(uint64_t n);

#endif
