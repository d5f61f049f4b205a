// SPDX-License-Identifier: Apache-2.0
// A map from a name to a number: open addressing over names kept in an arena. Thread: its owner's.
#ifndef STRATA_IMAGE_NAMES_H
#define STRATA_IMAGE_NAMES_H

#include "base/arena.h"
#include "wire/deb822.h"

#define NAMES_NONE (-1)

struct names_slot {
	struct slice name; /* name.p == NULL: free */
	uint32_t hash;
	int value;
};

struct names {
	struct names_slot *slots; /* cap of them, a power of two */
	size_t len, cap;
	uint32_t seed; /* made at the first use, so that nobody can aim at collisions */
	struct arena arena;
};

void names_done(struct names *n);
int names_get(const struct names *n, struct slice name);       /* NAMES_NONE: not there */
void names_set(struct names *n, struct slice name, int value); /* value >= 0; copies the name */

#endif
