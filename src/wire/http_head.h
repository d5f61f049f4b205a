// SPDX-License-Identifier: Apache-2.0
// The header of an HTTP answer (RFC 9110) and what a registry says in it: a hostile server wrote
// it, so every length is bounded. Thread: the caller's.
#ifndef STRATA_WIRE_HTTP_HEAD_H
#define STRATA_WIRE_HTTP_HEAD_H

#include "base/error.h"
#include "base/strbuf.h"

/* "HTTP/1.1 200 OK\r\nName: value\r\n…\r\n\r\n" and perhaps a body. The n-th value of a header
 * (from 0; names without regard to case), without spaces around it; NULL: there is none. The caller
 * frees it. */
char *http_head_get(const char *head, size_t len, const char *name, size_t n);
/* What comes after the empty line; *body_len may be 0. */
const char *http_head_body(const char *head, size_t len, size_t *body_len);

enum http_scheme { HTTP_AUTH_NONE, HTTP_AUTH_BASIC, HTTP_AUTH_BEARER };

/* A challenge that we can answer (RFC 9110 section 11.6.1, RFC 6750 section 3). */
struct http_challenge {
	enum http_scheme scheme;
	char *realm, *service, *scope; /* Bearer; NULL when missing */
	char *error;		       /* "insufficient_scope", or NULL */
};

/* The best challenge in one value of WWW-Authenticate: Bearer before Basic; unknown schemes are
 * skipped. False: it cannot be read; *out is then empty. */
bool http_challenge_parse(struct http_challenge *out, const char *value);
void http_challenge_done(struct http_challenge *c);

/* Appends text so that it can be a value in a query or form (RFC 3986 section 2.3). */
void http_add_escaped(struct strbuf *out, const char *text);
/* Base64 (RFC 4648 section 4), for Basic credentials. */
void http_add_base64(struct strbuf *out, const void *bytes, size_t len);
/* -EBADMSG for anything else. Appends. Spaces at the end are ignored. */
int http_base64_decode(const char *text, struct strbuf *out);

#endif
