// SPDX-License-Identifier: Apache-2.0
// Typed members of a JSON document. The first mistake is kept, with the path of the member; the
// readers then return defaults, and the caller looks once, at the end.
#ifndef STRATA_OCI_JSON_H
#define STRATA_OCI_JSON_H

#include <jansson.h>

#include "base/arena.h"
#include "base/error.h"
#include "container/spec.h"

DEFINE_CLEANUP(json_t *, cleanup_json, json_decref)
#define _json_ CLEANUP(cleanup_json)

struct reader {
	struct arena *arena; /* what is read lives here */
	const char *file;    /* for errors */
	struct error *err;
	int failed; /* 0 or -errno */
};

/* A node and where it is. Missing and null are the same: json == NULL. */
struct node {
	const json_t *json;
	const struct node *parent;
	const char *key; /* NULL: an element of an array */
	size_t index;
};

/* Limits what a document may make us allocate. */
enum { ARRAY_MAX = 65536 };

json_t *json_load_text(const char *text, size_t len, const char *file, struct error *err);

void bad(struct reader *r, const struct node *n, const char *fmt, ...) PRINTF_LIKE(3, 4) COLD;
struct node member(const struct node *parent, const char *key);
struct node element(const struct node *parent, size_t i);
/* True when it is there and an object (an array). */
bool is_object(struct reader *r, const struct node *n);
size_t array_size(struct reader *r, const struct node *n);

const char *get_string(struct reader *r, const struct node *parent, const char *key); /* or NULL */
const char *need_string(struct reader *r, const struct node *parent, const char *key);
const char *need_path(struct reader *r, const struct node *parent, const char *key); /* absolute */
bool get_bool(struct reader *r, const struct node *parent, const char *key);
/* SPEC_UNSET when missing. */
int64_t get_int(struct reader *r, const struct node *parent, const char *key);
/* Within [min, max]; otherwise as missing. */
int64_t get_number(struct reader *r, const struct node *parent, const char *key, int64_t otherwise,
	int64_t min, int64_t max);
uint64_t get_u64(struct reader *r, const struct node *n);
/* Ends with NULL; NULL when missing. */
const char **get_strings(struct reader *r, const struct node *parent, const char *key);
struct spec_pairs get_pairs(struct reader *r, const struct node *parent, const char *key);
char *keep(struct reader *r, const char *s);

#endif
