// SPDX-License-Identifier: Apache-2.0
// A growing byte string, always NUL-terminated after its last byte. Not thread-safe.
#ifndef STRATA_BASE_STRBUF_H
#define STRATA_BASE_STRBUF_H

#include "base/base.h"

struct strbuf {
	char *data; /* owned; NULL while nothing was added */
	size_t len; /* bytes, without the terminator */
	size_t cap;
};

#define STRBUF_INIT ((struct strbuf){0})
#define _strbuf_    CLEANUP(strbuf_done)

void strbuf_done(struct strbuf *sb);
void strbuf_reserve(struct strbuf *sb, size_t more);
void strbuf_add(struct strbuf *sb, const void *bytes, size_t len);
void strbuf_adds(struct strbuf *sb, const char *s);
void strbuf_addc(struct strbuf *sb, char c);
void strbuf_addf(struct strbuf *sb, const char *fmt, ...) PRINTF_LIKE(2, 3);
void strbuf_clear(struct strbuf *sb); /* keeps the memory */
/* Hands the string over (never NULL) and leaves sb empty. */
char *strbuf_take(struct strbuf *sb);

#endif
