// SPDX-License-Identifier: Apache-2.0
#include "wire/http_head.h"

#include <strings.h>

#define PARAMETERS_MAX 64

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

const char *http_head_body(const char *head, size_t len, size_t *body_len)
{
	const char *end = len >= 4 ? memmem(head, len, "\r\n\r\n", 4) : NULL;
	const char *body = end ? end + 4 : head + len;
	*body_len = (size_t)(head + len - body);
	return body;
}

char *http_head_get(const char *head, size_t len, const char *name, size_t n)
{
	size_t body_len, name_len = strlen(name);
	const char *end = http_head_body(head, len, &body_len);
	for (const char *line = head; line < end;) {
		const char *eol = memchr(line, '\n', (size_t)(end - line));
		const char *next = eol ? eol + 1 : end, *stop = eol ? eol : end;
		if ((size_t)(stop - line) > name_len && line[name_len] == ':' &&
			!strncasecmp(line, name, name_len) && n-- == 0) {
			const char *from = line + name_len + 1;
			while (from < stop && is_space(*from))
				from++;
			while (stop > from && (is_space(stop[-1]) || stop[-1] == '\r'))
				stop--;
			char *value = xmalloc((size_t)(stop - from) + 1);
			memcpy(value, from, (size_t)(stop - from));
			value[stop - from] = '\0';
			return value;
		}
		line = next;
	}
	return NULL;
}

static bool is_token(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *skip_spaces(const char *p)
{
	while (is_space(*p))
		p++;
	return p;
}

static const char *skip_separators(const char *p)
{
	while (is_space(*p) || *p == ',')
		p++;
	return p;
}

/* A token or quoted string; NULL: neither. Control characters have no place in it. */
static const char *take_value(const char *p, struct strbuf *out)
{
	strbuf_clear(out);
	strbuf_reserve(out, 1);
	if (*p != '"') {
		const char *from = p;
		/* Base64 and URLs without quotes are not tokens, but servers send them. */
		while (*p && !is_space(*p) && *p != ',' && *p != '"')
			p++;
		strbuf_add(out, from, (size_t)(p - from));
		return p > from ? p : NULL;
	}
	for (p++; *p && *p != '"'; p++) {
		if (*p == '\\' && p[1])
			p++;
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return NULL;
		strbuf_addc(out, *p);
	}
	return *p ? p + 1 : NULL;
}

static void keep(struct http_challenge *c, const char *name, size_t len, const char *value)
{
	const struct {
		const char *name;
		char **to;
	} known[] = {{"realm", &c->realm}, {"service", &c->service}, {"scope", &c->scope},
		{"error", &c->error}};
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strlen(known[i].name) == len && !strncasecmp(known[i].name, name, len) &&
			!*known[i].to)
			*known[i].to = xstrdup(value);
}

/* name=value pairs up to the next scheme; also token68 data, which no scheme of ours has. NULL:
 * unreadable. */
static const char *take_parameters(const char *p, struct http_challenge *c)
{
	struct strbuf value _strbuf_ = STRBUF_INIT;
	for (unsigned n = 0; n < PARAMETERS_MAX; n++) {
		const char *from = p = skip_separators(p);
		while (is_token(*p))
			p++;
		size_t len = (size_t)(p - from);
		const char *eq = skip_spaces(p);
		if (!len || *eq != '=')
			return len || !*from ? from : NULL; /* the next scheme, or the end */
		p = take_value(skip_spaces(eq + 1), &value);
		if (!p)
			return NULL;
		keep(c, from, len, value.data ? value.data : "");
	}
	return NULL;
}

bool http_challenge_parse(struct http_challenge *out, const char *text)
{
	const char *p = skip_separators(text);
	*out = (struct http_challenge){0};
	while (*p) {
		struct http_challenge c = {0};
		const char *from = p;
		while (is_token(*p))
			p++;
		size_t len = (size_t)(p - from);
		if (len == 6 && !strncasecmp(from, "Bearer", 6))
			c.scheme = HTTP_AUTH_BEARER;
		else if (len == 5 && !strncasecmp(from, "Basic", 5))
			c.scheme = HTTP_AUTH_BASIC;
		/* What follows a scheme is a space, a comma or the end. */
		bool ok = len && (!*p || is_space(*p) || *p == ',');
		p = ok ? take_parameters(p, &c) : NULL;
		if (!p || c.scheme <= out->scheme) {
			http_challenge_done(&c);
		} else {
			http_challenge_done(out);
			*out = c;
		}
		if (!p) {
			http_challenge_done(out);
			return false;
		}
		p = skip_separators(p);
	}
	return true;
}

void http_challenge_done(struct http_challenge *c)
{
	free(c->realm);
	free(c->service);
	free(c->scope);
	free(c->error);
	*c = (struct http_challenge){0};
}

void http_add_escaped(struct strbuf *out, const char *text)
{
	for (; *text; text++) {
		char c = *text;
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			strchr("-._~", c))
			strbuf_addc(out, c);
		else
			strbuf_addf(out, "%%%02X", (unsigned char)c);
	}
}

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void http_add_base64(struct strbuf *out, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16;
		if (i + 1 < len)
			v |= (uint32_t)p[i + 1] << 8;
		if (i + 2 < len)
			v |= p[i + 2];
		strbuf_addc(out, base64_digits[v >> 18]);
		strbuf_addc(out, base64_digits[v >> 12 & 63]);
		strbuf_addc(out, i + 1 < len ? base64_digits[v >> 6 & 63] : '=');
		strbuf_addc(out, i + 2 < len ? base64_digits[v & 63] : '=');
	}
}

int http_base64_decode(const char *text, struct strbuf *out)
{
	uint32_t v = 0;
	unsigned bits = 0;
	size_t n = strlen(text);
	while (n && strchr(" \t\r\n", text[n - 1]))
		n--;
	/* Some programs leave the padding out. */
	for (unsigned pad = 0; pad < 2 && n && text[n - 1] == '='; pad++)
		n--;
	strbuf_reserve(out, 1);
	for (size_t i = 0; i < n; i++) {
		const char *at = text[i] ? strchr(base64_digits, text[i]) : NULL;
		if (!at)
			return -EBADMSG;
		v = v << 6 | (uint32_t)(at - base64_digits);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			strbuf_addc(out, (char)(v >> bits));
		}
	}
	return bits >= 6 ? -EBADMSG : 0;
}
