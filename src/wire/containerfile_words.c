// SPDX-License-Identifier: Apache-2.0
// Words and variables of a Containerfile.
#include <ctype.h>

#include "wire/containerfile.h"

enum { DEPTH_MAX = 16 };

struct expansion {
	const struct containerfile_scope *s;
	struct strbuf *out;
	size_t limit;
	unsigned depth;
	struct error *err;
};

static int expand(struct expansion *e, const char **at, char stop);

static size_t name_length(const char *p)
{
	size_t n = 0;
	if (isdigit((unsigned char)*p))
		return 1;
	while (isalnum((unsigned char)p[n]) || p[n] == '_')
		n++;
	return n;
}

static int add(struct expansion *e, const char *bytes, size_t len)
{
	if (e->out->len + len > e->limit)
		return error_set(e->err, E2BIG, "it becomes longer than %d bytes",
			CONTAINERFILE_EXPANDED_MAX);
	strbuf_add(e->out, bytes, len);
	return 0;
}

/* What follows the modifier up to the closing brace, for use or not. */
static int word_of(struct expansion *e, const char **at, struct strbuf *word)
{
	struct expansion inner = {e->s, word, CONTAINERFILE_EXPANDED_MAX, e->depth + 1, e->err};
	if (inner.depth > DEPTH_MAX)
		return error_set(e->err, EBADMSG, "too many braces within braces");
	return expand(&inner, at, '}');
}

/* After "${". */
static int braced(struct expansion *e, const char **at)
{
	struct strbuf word _strbuf_ = STRBUF_INIT;
	const char *p = *at;
	size_t len = name_length(p);
	char *name _free_ = strndup(p, len);
	if (!len)
		return error_set(e->err, EBADMSG, "${ is followed by no name");
	p += len;
	const char *value = e->s->variable(e->s->opaque, name);
	char modifier = *p == '}' ? 0 : *p;
	bool colon = modifier == ':';
	if (colon)
		modifier = *++p;
	if ((colon && !modifier) || (modifier && !strchr("-+?", modifier)))
		return error_set(e->err, EBADMSG, "${%s%s%.1s: the ways are :- - :+ + and :?", name,
			colon ? ":" : "", p);
	if (modifier) {
		p++;
		int r = word_of(e, &p, &word);
		if (r < 0)
			return r;
	}
	if (*p != '}')
		return error_set(e->err, EBADMSG, "${%s has no }", name);
	*at = p + 1;
	bool set = value && (!colon || *value);
	const char *text = word.data ? word.data : "";
	if (modifier == '?' && !set)
		return error_set(e->err, EINVAL, "%s: %s", name, *text ? text : "is not set");
	if (modifier == '+')
		value = set ? text : "";
	else if (modifier == '-' && !set)
		value = text;
	return value ? add(e, value, strlen(value)) : 0;
}

/* After "$". */
static int variable(struct expansion *e, const char **at)
{
	size_t len = name_length(*at);
	if (**at == '{') {
		++*at;
		return braced(e, at);
	}
	if (!len)
		return add(e, "$", 1);
	char *name _free_ = strndup(*at, len);
	const char *value = e->s->variable(e->s->opaque, name);
	*at += len;
	return value ? add(e, value, strlen(value)) : 0;
}

/* Up to stop, which is not taken, or the end. */
static int expand(struct expansion *e, const char **at, char stop)
{
	bool quoted = false;
	int r = 0;
	const char *p = *at;
	while (r == 0 && *p && (quoted || *p != stop)) {
		if (*p == '"') {
			quoted = !quoted;
			p++;
		} else if (*p == '\'' && !quoted) {
			const char *end = strchr(p + 1, '\'');
			if (!end)
				return error_set(e->err, EBADMSG, "a ' has no other");
			r = add(e, p + 1, (size_t)(end - p - 1));
			p = end + 1;
		} else if (*p == e->s->escape) {
			/* Between quotes it stays before what it has no meaning for. */
			bool takes = !quoted || p[1] == '"' || p[1] == '$' || p[1] == e->s->escape;
			p += takes && p[1];
			r = add(e, p++, 1);
		} else if (*p == '$') {
			p++;
			r = variable(e, &p);
		} else {
			r = add(e, p++, 1);
		}
	}
	if (r == 0 && quoted)
		r = error_set(e->err, EBADMSG, "a \" has no other");
	*at = p;
	return r;
}

int containerfile_expand(const struct containerfile_scope *s, const char *text, struct strbuf *out,
	struct error *err)
{
	struct expansion e = {s, out, out->len + CONTAINERFILE_EXPANDED_MAX, 0, err};
	return expand(&e, &text, 0);
}

void containerfile_words_done(containerfile_words *w)
{
	vec_for_each (word, w)
		free(*word);
	vec_done(w);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Bytes of the word at p: to a blank outside of quotes. */
static size_t word_length(const struct containerfile_scope *s, const char *p)
{
	size_t n = 0;
	char quote = 0;
	while (p[n] && (quote || !is_blank(p[n]))) {
		if (p[n] == s->escape && quote != '\'' && p[n + 1])
			n++;
		else if (quote)
			quote = p[n] == quote ? 0 : quote;
		else if (p[n] == '"' || p[n] == '\'')
			quote = p[n];
		n++;
	}
	return n;
}

static int push(const struct containerfile_scope *s, const char *text, size_t len,
	containerfile_words *out, struct error *err)
{
	struct strbuf word _strbuf_ = STRBUF_INIT;
	char *copy _free_ = strndup(text, len);
	if (out->len >= CONTAINERFILE_WORDS_MAX)
		return error_set(err, E2BIG, "more than %d words", CONTAINERFILE_WORDS_MAX);
	int r = containerfile_expand(s, copy, &word, err);
	if (r == 0)
		vec_push(out, strbuf_take(&word));
	return r;
}

int containerfile_split(const struct containerfile_scope *s, const char *text,
	containerfile_words *out, struct error *err)
{
	int r = 0;
	for (const char *p = text + strspn(text, " \t"); r == 0 && *p; p += strspn(p, " \t")) {
		size_t len = word_length(s, p);
		r = push(s, p, len, out, err);
		p += len;
	}
	return r;
}

int containerfile_pairs(const struct containerfile_scope *s, const char *text,
	containerfile_words *out, struct error *err)
{
	const char *p = text + strspn(text, " \t");
	size_t len = word_length(s, p);
	if (!memchr(p, '=', len)) {
		const char *value = p + len + strspn(p + len, " \t");
		if (!*value)
			return error_set(err, EBADMSG, "%.*s has no value: NAME=VALUE",
				(int)MIN(len, 40u), p);
		int r = push(s, p, len, out, err);
		return r < 0 ? r : push(s, value, strlen(value), out, err);
	}
	for (; *p; p += strspn(p, " \t")) {
		len = word_length(s, p);
		const char *equals = memchr(p, '=', len);
		if (!equals || equals == p)
			return error_set(
				err, EBADMSG, "%.*s is not NAME=VALUE", (int)MIN(len, 40u), p);
		int r = push(s, p, (size_t)(equals - p), out, err);
		if (r == 0)
			r = push(s, equals + 1, len - (size_t)(equals + 1 - p), out, err);
		if (r < 0)
			return r;
		p += len;
	}
	return 0;
}
