// SPDX-License-Identifier: Apache-2.0
#include "base/strbuf.h"

#include <stdarg.h>
#include <stdio.h>

void strbuf_done(struct strbuf *sb)
{
	free(sb->data);
	*sb = STRBUF_INIT;
}

void strbuf_reserve(struct strbuf *sb, size_t more)
{
	size_t need;
	if (add_overflows(sb->len, more, &need) || add_overflows(need, 1, &need))
		abort();
	if (need <= sb->cap)
		return;
	sb->cap = MAX(need, sb->cap < 32 ? 64 : sb->cap + sb->cap / 2);
	sb->data = xrealloc(sb->data, sb->cap);
	sb->data[sb->len] = '\0';
}

void strbuf_add(struct strbuf *sb, const void *bytes, size_t len)
{
	strbuf_reserve(sb, len);
	if (len)
		memcpy(sb->data + sb->len, bytes, len);
	sb->len += len;
	sb->data[sb->len] = '\0';
}

void strbuf_adds(struct strbuf *sb, const char *s)
{
	strbuf_add(sb, s, strlen(s));
}

void strbuf_addc(struct strbuf *sb, char c)
{
	strbuf_add(sb, &c, 1);
}

void strbuf_addf(struct strbuf *sb, const char *fmt, ...)
{
	char small[128];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n < sizeof(small)) {
		strbuf_add(sb, small, (size_t)n);
		return;
	}
	strbuf_reserve(sb, (size_t)n);
	va_start(ap, fmt);
	vsnprintf(sb->data + sb->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	sb->len += (size_t)n;
}

void strbuf_clear(struct strbuf *sb)
{
	sb->len = 0;
	if (sb->data)
		sb->data[0] = '\0';
}

char *strbuf_take(struct strbuf *sb)
{
	strbuf_reserve(sb, 0);
	char *s = sb->data;
	*sb = STRBUF_INIT;
	return s;
}
