// SPDX-License-Identifier: Apache-2.0
// Encoding: a field is  u8 kind | u8 tag_len | tag | payload, where the payload is
//   'i'  u8 width (1, 2, 4, 8) | little-endian integer
//   'b'  u32 len | bytes
//   '{'  u32 version | u32 len | fields          (a record; len is patched when it closes)
#include "wire/state.h"

#include <stdarg.h>
#include <stdio.h>

enum { MAX_DEPTH = 16 };

struct record {
	uint32_t version;
	size_t mark; /* saving: where the length is patched; restoring: end offset */
};

struct state {
	bool saving;
	struct strbuf *out;
	const uint8_t *in;
	size_t pos, len;
	struct record stack[MAX_DEPTH];
	unsigned depth;
	unsigned skipped; /* records opened after the error */
	struct error err;
};

struct state *state_new_save(struct strbuf *out)
{
	struct state *s = xcalloc(1, sizeof(*s));
	s->saving = true;
	s->out = out;
	return s;
}

struct state *state_new_restore(const void *bytes, size_t len)
{
	struct state *s = xcalloc(1, sizeof(*s));
	s->in = bytes;
	s->len = len;
	return s;
}

void state_free(struct state *s)
{
	if (!s)
		return;
	error_done(&s->err);
	free(s);
}

bool state_saving(const struct state *s)
{
	return s->saving;
}

void state_fail(struct state *s, const char *fmt, ...)
{
	if (s->err.code)
		return;
	char message[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	error_set(&s->err, EBADMSG, "saved state at byte %zu: %s", s->saving ? s->out->len : s->pos,
		message);
}

int state_finish(struct state *s, struct error *err)
{
	if (!s->err.code && !s->saving && s->pos != s->len)
		state_fail(s, "%zu bytes left over", s->len - s->pos);
	if (!s->err.code)
		return 0;
	int code = s->err.code;
	if (err) {
		error_done(err);
		*err = s->err;
		s->err = ERROR_INIT;
		s->err.code = code; /* stays failed */
	}
	return -code;
}

static size_t limit(const struct state *s)
{
	return s->depth ? s->stack[s->depth - 1].mark : s->len;
}

static const uint8_t *take(struct state *s, size_t n)
{
	if (!range_fits(s->pos, n, limit(s))) {
		state_fail(s, "cut short");
		return NULL;
	}
	const uint8_t *p = s->in + s->pos;
	s->pos += n;
	return p;
}

/* Writes or checks the head of a field; false on error. */
static bool head(struct state *s, char kind, const char *tag)
{
	if (s->err.code)
		return false;
	size_t tag_len = strlen(tag);
	if (s->saving) {
		strbuf_addc(s->out, kind);
		strbuf_addc(s->out, (char)tag_len);
		strbuf_add(s->out, tag, tag_len);
		return true;
	}
	const uint8_t *p = take(s, 2);
	if (!p)
		return false;
	uint8_t got_kind = p[0], got_len = p[1];
	const uint8_t *got = take(s, got_len);
	if (!got)
		return false;
	if (got_kind != (uint8_t)kind || got_len != tag_len || memcmp(got, tag, tag_len)) {
		state_fail(s, "expected field '%s'", tag);
		return false;
	}
	return true;
}

bool state_begin(struct state *s, const char *name, uint32_t version)
{
	if (!s->err.code && s->depth == MAX_DEPTH)
		state_fail(s, "records nested too deep");
	if (!head(s, '{', name)) {
		s->skipped++;
		return false;
	}
	struct record *r = &s->stack[s->depth];
	if (s->saving) {
		uint8_t fixed[8] = {0};
		store_le32(fixed, version);
		strbuf_add(s->out, fixed, sizeof(fixed));
		*r = (struct record){version, s->out->len - 4};
	} else {
		const uint8_t *p = take(s, 8);
		uint32_t got = p ? load_le32(p) : 0, len = p ? load_le32(p + 4) : 0;
		if (p && (got == 0 || got > version))
			state_fail(s, "record '%s' has version %u, this program reads up to %u",
				name, got, version);
		else if (p && !range_fits(s->pos, len, limit(s)))
			state_fail(s, "record '%s' is cut short", name);
		if (s->err.code) {
			s->skipped++;
			return false;
		}
		*r = (struct record){got, s->pos + len};
	}
	s->depth++;
	return true;
}

uint32_t state_version(const struct state *s)
{
	return s->depth ? s->stack[s->depth - 1].version : 0;
}

void state_end(struct state *s)
{
	if (s->skipped) {
		s->skipped--;
		return;
	}
	if (!s->depth)
		return;
	struct record *r = &s->stack[s->depth - 1];
	if (s->saving)
		store_le32(s->out->data + r->mark, (uint32_t)(s->out->len - r->mark - 4));
	else if (!s->err.code && s->pos != r->mark)
		state_fail(s, "unknown fields at the end of a record");
	s->depth--;
}

static void integer(struct state *s, const char *tag, uint64_t *v, uint8_t width)
{
	if (!head(s, 'i', tag))
		return;
	uint8_t buf[9] = {width};
	if (s->saving) {
		store_le64(buf + 1, *v);
		strbuf_add(s->out, buf, 1u + width);
		return;
	}
	const uint8_t *p = take(s, 1u + width);
	if (!p)
		return;
	if (p[0] != width) {
		state_fail(s, "field '%s' is %u bytes wide, expected %u", tag, p[0], width);
		return;
	}
	uint64_t x = 0;
	for (unsigned i = 0; i < width; i++)
		x |= (uint64_t)p[1 + i] << (8 * i);
	*v = x;
}

#define DEFINE_INTEGER(name, type)                                                                 \
	void state_##name(struct state *s, const char *tag, type *v)                               \
	{                                                                                          \
		uint64_t x = *v;                                                                   \
		integer(s, tag, &x, sizeof(type));                                                 \
		if (!s->saving && !s->err.code)                                                    \
			*v = (type)x;                                                              \
	}
DEFINE_INTEGER(u8, uint8_t)
DEFINE_INTEGER(u16, uint16_t)
DEFINE_INTEGER(u32, uint32_t)
DEFINE_INTEGER(u64, uint64_t)

void state_bool(struct state *s, const char *tag, bool *v)
{
	uint8_t x = *v;
	state_u8(s, tag, &x);
	if (x > 1)
		state_fail(s, "field '%s' is not a truth value", tag);
	else if (!s->err.code)
		*v = x;
}

void state_bytes(struct state *s, const char *tag, void *bytes, size_t len)
{
	if (!head(s, 'b', tag))
		return;
	uint8_t size[4];
	if (s->saving) {
		store_le32(size, (uint32_t)len);
		strbuf_add(s->out, size, sizeof(size));
		strbuf_add(s->out, bytes, len);
		return;
	}
	const uint8_t *p = take(s, 4);
	if (!p)
		return;
	if (load_le32(p) != len) {
		state_fail(s, "field '%s' has %u bytes, expected %zu", tag, load_le32(p), len);
		return;
	}
	p = take(s, len);
	if (p)
		memcpy(bytes, p, len);
}

void state_u64s(struct state *s, const char *tag, uint64_t *v, size_t n)
{
	uint8_t *buf _free_ = xmalloc(n * 8);
	for (size_t i = 0; i < n; i++)
		store_le64(buf + 8 * i, v[i]);
	state_bytes(s, tag, buf, n * 8);
	for (size_t i = 0; i < n && !s->saving && !s->err.code; i++)
		v[i] = load_le64(buf + 8 * i);
}

void state_blob(struct state *s, const char *tag, void **bytes, size_t *len, size_t max_len)
{
	if (s->saving) {
		state_bytes(s, tag, *bytes, *len);
		return;
	}
	if (!head(s, 'b', tag))
		return;
	const uint8_t *p = take(s, 4);
	if (!p)
		return;
	size_t n = load_le32(p);
	if (n > max_len) {
		state_fail(s, "field '%s' has %zu bytes, at most %zu are allowed", tag, n, max_len);
		return;
	}
	p = take(s, n);
	if (!p)
		return;
	*bytes = n ? memcpy(xmalloc(n), p, n) : NULL;
	*len = n;
}
