// SPDX-License-Identifier: Apache-2.0
// An index as kmod's libkmod reads it (modules.dep.bin and others, format 2.1): a trie of keys,
// each with values in the order of their priorities. For the files of image/ only. Thread: its
// owner's.
#ifndef STRATA_IMAGE_MODULE_INDEX_H
#define STRATA_IMAGE_MODULE_INDEX_H

#include "base/arena.h"
#include "base/strbuf.h"
#include "base/vec.h"

struct module_index_entry {
	const char *key, *value;
	uint32_t priority; /* less is better */
};

struct module_index {
	VEC(struct module_index_entry) entries;
	struct arena arena;
};

void module_index_done(struct module_index *x);
/* Copies both. Keys that the format cannot hold (empty, longer than 1 KiB, not ASCII) are left out.
 */
void module_index_add(
	struct module_index *x, const char *key, const char *value, uint32_t priority);
/* Appends the file. Sorts the entries. */
void module_index_print(struct module_index *x, struct strbuf *out);

#endif
