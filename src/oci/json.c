// SPDX-License-Identifier: Apache-2.0
#include "oci/json.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/strbuf.h"

json_t *json_load_text(const char *text, size_t len, const char *file, struct error *err)
{
	json_error_t je;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	/* The specification's unsigned 64-bit numbers, "unlimited" above all, are too large for one
	 * of jansson's integers. */
	if (!root && json_error_code(&je) == json_error_numeric_overflow)
		root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &je);
	if (!root) {
		error_set(err, EBADMSG, "%s: line %d: %s", file, je.line, je.text);
	} else if (!json_is_object(root)) {
		error_set(err, EBADMSG, "%s: not a JSON object", file);
		json_decref(root);
		root = NULL;
	}
	return root;
}

static void add_path(struct strbuf *out, const struct node *n)
{
	if (n->parent)
		add_path(out, n->parent);
	if (!n->key && n->parent)
		strbuf_addf(out, "[%zu]", n->index);
	else if (n->key)
		strbuf_addf(out, "%s%s", out->len ? "." : "", n->key);
}

void bad(struct reader *r, const struct node *n, const char *fmt, ...)
{
	if (r->failed)
		return;
	struct strbuf path _strbuf_ = STRBUF_INIT;
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	add_path(&path, n);
	r->failed = error_set(r->err, EINVAL, "%s: %s%s%s", r->file, path.len ? path.data : "",
		path.len ? ": " : "", text);
}

struct node member(const struct node *parent, const char *key)
{
	const json_t *j = parent->json ? json_object_get(parent->json, key) : NULL;
	return (struct node){json_is_null(j) ? NULL : j, parent, key, 0};
}

struct node element(const struct node *parent, size_t i)
{
	return (struct node){json_array_get(parent->json, i), parent, NULL, i};
}

bool is_object(struct reader *r, const struct node *n)
{
	if (n->json && !json_is_object(n->json))
		bad(r, n, "must be an object");
	return json_is_object(n->json);
}

size_t array_size(struct reader *r, const struct node *n)
{
	if (!n->json)
		return 0;
	if (!json_is_array(n->json)) {
		bad(r, n, "must be an array");
		return 0;
	}
	size_t size = json_array_size(n->json);
	if (size > ARRAY_MAX) {
		bad(r, n, "has %zu elements, more than %d", size, ARRAY_MAX);
		return 0;
	}
	return size;
}

char *keep(struct reader *r, const char *s)
{
	size_t bytes = strlen(s) + 1;
	return memcpy(arena_alloc(r->arena, bytes), s, bytes);
}

static const char *string(struct reader *r, const struct node *n)
{
	if (!n->json)
		return NULL;
	if (!json_is_string(n->json)) {
		bad(r, n, "must be a string");
		return NULL;
	}
	return keep(r, json_string_value(n->json));
}

const char *get_string(struct reader *r, const struct node *parent, const char *key)
{
	struct node n = member(parent, key);
	return string(r, &n);
}

const char *need_string(struct reader *r, const struct node *parent, const char *key)
{
	struct node n = member(parent, key);
	const char *s = string(r, &n);
	if (!s || !*s)
		bad(r, &n, "is required");
	return s && *s ? s : "?";
}

const char *need_path(struct reader *r, const struct node *parent, const char *key)
{
	const char *s = need_string(r, parent, key);
	struct node n = member(parent, key);
	if (*s != '/')
		bad(r, &n, "\"%s\" must be an absolute path", s);
	return s;
}

bool get_bool(struct reader *r, const struct node *parent, const char *key)
{
	struct node n = member(parent, key);
	if (n.json && !json_is_boolean(n.json))
		bad(r, &n, "must be true or false");
	return json_is_true(n.json);
}

static bool integral(const json_t *j)
{
	if (!json_is_real(j))
		return json_is_integer(j);
	/* From 2^53 on there is nothing else. */
	double d = json_real_value(j);
	return d >= 9007199254740992.0 || d <= -9007199254740992.0 || (double)(int64_t)d == d;
}

static int64_t integer(struct reader *r, const struct node *n)
{
	if (!n->json)
		return SPEC_UNSET;
	if (!integral(n->json)) {
		bad(r, n, "must be a whole number");
		return SPEC_UNSET;
	}
	if (json_is_integer(n->json))
		return json_integer_value(n->json);
	double d = json_real_value(n->json);
	return d >= 9223372036854775808.0    ? INT64_MAX
	       : d <= -9223372036854775808.0 ? INT64_MIN + 1
					     : (int64_t)d;
}

int64_t get_int(struct reader *r, const struct node *parent, const char *key)
{
	struct node n = member(parent, key);
	return integer(r, &n);
}

int64_t get_number(struct reader *r, const struct node *parent, const char *key, int64_t otherwise,
	int64_t min, int64_t max)
{
	struct node n = member(parent, key);
	if (!n.json)
		return otherwise;
	int64_t v = integer(r, &n);
	if (v < min || v > max) {
		bad(r, &n, "%lld is not within %lld to %lld", (long long)v, (long long)min,
			(long long)max);
		return otherwise;
	}
	return v;
}

uint64_t get_u64(struct reader *r, const struct node *n)
{
	if (!n->json)
		return 0;
	if (json_is_real(n->json) && integral(n->json) && json_real_value(n->json) >= 0) {
		double d = json_real_value(n->json);
		return d >= 18446744073709551615.0 ? UINT64_MAX : (uint64_t)d;
	}
	if (!json_is_integer(n->json) || json_integer_value(n->json) < 0) {
		bad(r, n, "must be a whole number from 0");
		return 0;
	}
	return (uint64_t)json_integer_value(n->json);
}

const char **get_strings(struct reader *r, const struct node *parent, const char *key)
{
	struct node n = member(parent, key);
	if (!n.json)
		return NULL;
	size_t size = array_size(r, &n);
	const char **out = ARENA_ARRAY(r->arena, const char *, size + 1);
	for (size_t i = 0; i < size && !r->failed; i++) {
		struct node e = element(&n, i);
		if (!e.json || !(out[i] = string(r, &e)))
			bad(r, &e, "must be a string");
	}
	return out;
}

struct spec_pairs get_pairs(struct reader *r, const struct node *parent, const char *key)
{
	struct node n = member(parent, key);
	if (!is_object(r, &n))
		return (struct spec_pairs){0};
	struct spec_pairs out = {0};
	if (json_object_size(n.json) > ARRAY_MAX) {
		bad(r, &n, "has too many members");
		return out;
	}
	out.items = ARENA_ARRAY(r->arena, struct spec_pair, json_object_size(n.json) + 1);
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)n.json, name, value)
	{
		struct node e = {value, &n, name, 0};
		const char *s = string(r, &e);
		if (s)
			out.items[out.n++] = (struct spec_pair){keep(r, name), s};
	}
	return out;
}
