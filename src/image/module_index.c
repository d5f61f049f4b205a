// SPDX-License-Identifier: Apache-2.0
// The file: magic, version, offset of the root; integers are big-endian, 32 bits. A node: its
// prefix (the characters that all its keys share from here), its children (first and last
// character, an offset for each between them), its values. An offset's upper bits say which of the
// three a node has. Nodes stand after their children.
#include "image/module_index.h"

#include <endian.h>
#include <stdlib.h>

enum { KEY_MAX = 1024 };
#define INDEX_MAGIC   UINT32_C(0xb007f457)
#define INDEX_VERSION UINT32_C(0x00020001)
#define NODE_PREFIX   UINT32_C(0x80000000)
#define NODE_VALUES   UINT32_C(0x40000000)
#define NODE_CHILDREN UINT32_C(0x20000000)

void module_index_done(struct module_index *x)
{
	vec_done(&x->entries);
	arena_done(&x->arena);
}

static const char *copy(struct arena *a, const char *s)
{
	size_t bytes = strlen(s) + 1;
	return memcpy(arena_alloc(a, bytes), s, bytes);
}

void module_index_add(struct module_index *x, const char *key, const char *value, uint32_t priority)
{
	size_t len = strnlen(key, KEY_MAX);
	if (!len || len == KEY_MAX)
		return;
	for (const char *c = key; *c; c++)
		if (*c & 0x80)
			return;
	struct module_index_entry e = {
		.key = copy(&x->arena, key), .value = copy(&x->arena, value), .priority = priority};
	vec_push(&x->entries, e);
}

static int compare(const void *a, const void *b)
{
	const struct module_index_entry *x = a, *y = b;
	int order = strcmp(x->key, y->key);
	if (!order)
		order = x->priority < y->priority ? -1 : x->priority > y->priority;
	return order ? order : strcmp(x->value, y->value);
}

static void add_u32(struct strbuf *out, uint32_t v)
{
	uint32_t big = htobe32(v);
	strbuf_add(out, &big, sizeof(big));
}

/* How many of the first entries have the key of the first. */
static size_t same_key(const struct module_index_entry *e, size_t n)
{
	size_t same = 1;
	while (same < n && !strcmp(e[same].key, e[0].key))
		same++;
	return same;
}

static void add_values(struct strbuf *out, const struct module_index_entry *e, size_t n)
{
	uint32_t count = 0;
	for (size_t i = 0; i < n; i++)
		count += !i || strcmp(e[i].value, e[i - 1].value);
	add_u32(out, count);
	for (size_t i = 0; i < n; i++) {
		if (i && !strcmp(e[i].value, e[i - 1].value))
			continue;
		add_u32(out, e[i].priority);
		strbuf_add(out, e[i].value, strlen(e[i].value) + 1);
	}
}

/* The n entries are sorted and share their first `depth` characters. Recursion is as deep as a key
 * is long. Returns the node's offset in `out`, whose `start`s byte is the file's first. */
static uint32_t add_node(struct strbuf *out, size_t start, const struct module_index_entry *e,
	size_t n, size_t depth)
{
	uint32_t children[128] = {0}, flags = 0;
	size_t shared = depth;
	while (e[0].key[shared] && e[0].key[shared] == e[n - 1].key[shared])
		shared++;
	size_t here = e[0].key[shared] ? 0 : same_key(e, n);
	uint8_t first = 0, last = 0;
	for (size_t i = here, count; i < n; i += count) {
		uint8_t c = (uint8_t)e[i].key[shared];
		for (count = 1; i + count < n && (uint8_t)e[i + count].key[shared] == c;)
			count++;
		first = i == here ? c : first;
		last = c;
		children[c] = add_node(out, start, e + i, count, shared + 1);
	}
	uint32_t at = (uint32_t)(out->len - start);
	if (shared > depth) {
		flags |= NODE_PREFIX;
		strbuf_add(out, e[0].key + depth, shared - depth);
		strbuf_addc(out, '\0');
	}
	if (here < n) {
		flags |= NODE_CHILDREN;
		strbuf_addc(out, (char)first);
		strbuf_addc(out, (char)last);
		for (unsigned c = first; c <= last; c++)
			add_u32(out, children[c]);
	}
	if (here) {
		flags |= NODE_VALUES;
		add_values(out, e, here);
	}
	return at | flags;
}

void module_index_print(struct module_index *x, struct strbuf *out)
{
	size_t start = out->len;
	add_u32(out, INDEX_MAGIC);
	add_u32(out, INDEX_VERSION);
	add_u32(out, 0);
	if (!x->entries.len) /* an offset without flags is no node */
		return;
	qsort(x->entries.items, x->entries.len, sizeof(x->entries.items[0]), compare);
	uint32_t root = htobe32(add_node(out, start, x->entries.items, x->entries.len, 0));
	memcpy(out->data + start + 8, &root, sizeof(root));
}
