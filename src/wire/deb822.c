// SPDX-License-Identifier: Apache-2.0
#include "wire/deb822.h"

#include <strings.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static struct slice trim(struct slice s)
{
	while (s.len && (is_blank(s.p[0]) || s.p[0] == '\n'))
		s.p++, s.len--;
	while (s.len && (is_blank(s.p[s.len - 1]) || s.p[s.len - 1] == '\n'))
		s.len--;
	return s;
}

char *slice_dup(struct slice s)
{
	char *copy = xmalloc(s.len + 1);
	if (s.len)
		memcpy(copy, s.p, s.len);
	copy[s.len] = '\0';
	return copy;
}

int slice_cmp(struct slice a, struct slice b)
{
	size_t n = MIN(a.len, b.len);
	int c = n ? memcmp(a.p, b.p, n) : 0;
	return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* A field that is not there has no bytes to point at; arithmetic needs some. */
static struct slice not_null(struct slice s)
{
	return s.p ? s : SLICE("");
}

bool slice_word(struct slice *rest, struct slice *word)
{
	struct slice s = not_null(*rest);
	while (s.len && (is_blank(s.p[0]) || s.p[0] == '\n'))
		s.p++, s.len--;
	size_t n = 0;
	while (n < s.len && !is_blank(s.p[n]) && s.p[n] != '\n')
		n++;
	*word = (struct slice){s.p, n};
	*rest = (struct slice){s.p + n, s.len - n};
	return n > 0;
}

bool slice_line(struct slice *rest, struct slice *line)
{
	if (!rest->len)
		return false;
	const char *nl = memchr(rest->p, '\n', rest->len);
	size_t n = nl ? (size_t)(nl - rest->p) : rest->len, skip = n + (nl != NULL);
	*line = trim((struct slice){rest->p, n});
	*rest = (struct slice){rest->p + skip, rest->len - skip};
	return true;
}

bool slice_u64(struct slice s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;
	if (!s.len)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint64_t digit = (uint64_t)(s.p[i] - '0');
		if (!is_digit(s.p[i]) || digit > max || v > (max - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*out = v;
	return true;
}

void deb822_init(struct deb822 *d, const char *text, size_t len)
{
	*d = (struct deb822){.p = text, .end = text + len, .line = 1};
}

static int malformed(const struct deb822 *d, const char *what, struct error *err)
{
	return error_set(err, EBADMSG, "line %u: %s", d->line, what);
}

/* Field name characters, Debian policy 5.1. */
static bool name_ok(struct slice s)
{
	if (!s.len || s.p[0] == '-' || s.p[0] == '#')
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == ':')
			return false;
	return true;
}

static int add_field(struct deb822 *d, struct deb822_stanza *s, const char *eol, struct error *err)
{
	const char *colon = memchr(d->p, ':', (size_t)(eol - d->p));
	if (!colon || !name_ok((struct slice){d->p, (size_t)(colon - d->p)}))
		return malformed(d, "not a field", err);
	struct deb822_field f = {
		.name = {d->p, (size_t)(colon - d->p)},
		.value = {colon + 1, (size_t)(eol - colon - 1)},
	};
	if (s->n == DEB822_FIELDS_MAX)
		return malformed(d, "too many fields", err);
	for (size_t i = 0; i < s->n; i++)
		if (s->fields[i].name.len == f.name.len &&
			!strncasecmp(s->fields[i].name.p, f.name.p, f.name.len))
			return malformed(d, "the same field twice", err);
	s->fields[s->n++] = f;
	return 0;
}

int deb822_next(struct deb822 *d, struct deb822_stanza *out, struct error *err)
{
	struct deb822_stanza *s = out;
	s->n = 0;
	s->text = (struct slice){0};
	for (const char *eol; d->p < d->end; d->p = eol + (eol < d->end), d->line++) {
		eol = memchr(d->p, '\n', (size_t)(d->end - d->p));
		if (!eol)
			eol = d->end;
		if (*d->p == '#' && d->p < eol)
			continue;
		if (trim((struct slice){d->p, (size_t)(eol - d->p)}).len == 0) {
			if (s->n)
				break;
			continue;
		}
		if (memchr(d->p, '\0', (size_t)(eol - d->p)))
			return malformed(d, "NUL byte", err);
		if (is_blank(*d->p)) {
			if (!s->n)
				return malformed(d, "continuation without a field", err);
			struct slice *v = &s->fields[s->n - 1].value;
			v->len = (size_t)(eol - v->p);
		} else {
			if (!s->n)
				s->text.p = d->p;
			int rc = add_field(d, s, eol, err);
			if (rc < 0)
				return rc;
		}
		s->text.len = (size_t)(eol - s->text.p);
	}
	for (size_t i = 0; i < s->n; i++)
		s->fields[i].value = trim(s->fields[i].value);
	return s->n > 0;
}

struct slice deb822_get(const struct deb822_stanza *s, const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; i < s->n; i++)
		if (s->fields[i].name.len == len && !strncasecmp(s->fields[i].name.p, name, len))
			return s->fields[i].value;
	return (struct slice){0};
}

/* deb-version(7): '~' before the end, the end before letters, letters before the rest. */
static int char_order(char c)
{
	if (c == '~')
		return -1;
	if (is_digit(c))
		return 0;
	if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
		return c;
	return (unsigned char)c + 256;
}

static int part_cmp(struct slice a, struct slice b)
{
	size_t i = 0, j = 0;
	while (i < a.len || j < b.len) {
		while ((i < a.len && !is_digit(a.p[i])) || (j < b.len && !is_digit(b.p[j]))) {
			int ca = i < a.len ? char_order(a.p[i]) : 0;
			int cb = j < b.len ? char_order(b.p[j]) : 0;
			if (ca != cb)
				return ca - cb;
			i += i < a.len;
			j += j < b.len;
		}
		while (i < a.len && a.p[i] == '0')
			i++;
		while (j < b.len && b.p[j] == '0')
			j++;
		int first = 0;
		for (; i < a.len && j < b.len && is_digit(a.p[i]) && is_digit(b.p[j]); i++, j++)
			if (!first)
				first = a.p[i] - b.p[j];
		if (i < a.len && is_digit(a.p[i]))
			return 1;
		if (j < b.len && is_digit(b.p[j]))
			return -1;
		if (first)
			return first;
	}
	return 0;
}

/* [epoch:]upstream[-revision] */
static void split_version(
	struct slice v, struct slice *epoch, struct slice *upstream, struct slice *revision)
{
	const char *colon = v.len ? memchr(v.p, ':', v.len) : NULL;
	const char *dash = v.len ? memrchr(v.p, '-', v.len) : NULL;
	*epoch = *revision = (struct slice){0};
	v = not_null(v);
	const char *end = v.p + v.len;
	if (colon) {
		*epoch = (struct slice){v.p, (size_t)(colon - v.p)};
		v.p = colon + 1;
		if (dash && dash < v.p)
			dash = NULL;
	}
	if (dash)
		*revision = (struct slice){dash + 1, (size_t)(end - dash - 1)};
	*upstream = (struct slice){v.p, (size_t)((dash ? dash : end) - v.p)};
}

int deb_version_cmp(struct slice a, struct slice b)
{
	struct slice ea, ua, ra, eb, ub, rb;
	split_version(a, &ea, &ua, &ra);
	split_version(b, &eb, &ub, &rb);
	int c = part_cmp(ea, eb);
	if (!c)
		c = part_cmp(ua, ub);
	return c ? c : part_cmp(ra, rb);
}

static int parse_relation(struct slice body, struct deb_dep *dep)
{
	static const struct {
		const char *op;
		enum deb_relation relation;
	} table[] = {{"<<", DEB_LT}, {"<=", DEB_LE}, {">=", DEB_GE}, {">>", DEB_GT}, {"=", DEB_EQ},
		{"<", DEB_LE}, {">", DEB_GE}}; /* the last two: obsolete spellings */
	body = trim(body);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		size_t n = strlen(table[i].op);
		if (body.len <= n || memcmp(body.p, table[i].op, n))
			continue;
		dep->relation = table[i].relation;
		dep->version = trim((struct slice){body.p + n, body.len - n});
		return dep->version.len && !memchr(dep->version.p, ' ', dep->version.len) &&
				       !strchr("<=>", dep->version.p[0])
			       ? 0
			       : -EBADMSG;
	}
	return -EBADMSG;
}

/* "name[:arch] [(op version)] [[archs]] [<profiles>]" */
static int parse_dep(struct slice s, struct deb_dep *dep)
{
	size_t n = 0;
	while (n < s.len && !is_blank(s.p[n]) && s.p[n] != '(' && s.p[n] != '[' && s.p[n] != '<' &&
		s.p[n] != ':' && s.p[n] != '\n')
		n++;
	dep->name = (struct slice){s.p, n};
	if (!n)
		return -EBADMSG;
	if (n < s.len && s.p[n] == ':') {
		size_t q = ++n;
		while (n < s.len && !is_blank(s.p[n]) && s.p[n] != '(' && s.p[n] != '\n')
			n++;
		dep->qualifier = (struct slice){s.p + q, n - q};
	}
	struct slice rest = trim((struct slice){s.p + n, s.len - n});
	if (!rest.len)
		return 0;
	if (rest.p[0] == '(') {
		const char *close = memchr(rest.p, ')', rest.len);
		if (!close ||
			parse_relation(
				(struct slice){rest.p + 1, (size_t)(close - rest.p - 1)}, dep) < 0)
			return -EBADMSG;
		rest = trim((struct slice){close + 1, (size_t)(rest.p + rest.len - close - 1)});
	}
	/* Restrictions appear in source packages only. */
	return rest.len ? -EBADMSG : 0;
}

int deb_dep_next(struct slice *rest, bool *first, struct deb_dep *out)
{
	struct slice s = not_null(*rest);
	*out = (struct deb_dep){.first = *first};
	for (;;) {
		size_t n = 0;
		while (n < s.len && s.p[n] != ',' && s.p[n] != '|')
			n++;
		struct slice one = trim((struct slice){s.p, n});
		bool at_end = n == s.len, comma = !at_end && s.p[n] == ',';
		n += !at_end;
		s = (struct slice){s.p + n, s.len - n};
		*rest = s;
		if (!one.len && (at_end || comma) && out->first) { /* empty list, stray comma */
			if (at_end)
				return 0;
			continue;
		}
		*first = comma || at_end;
		return parse_dep(one, out) < 0 ? -EBADMSG : 1;
	}
}

bool deb_dep_version_ok(const struct deb_dep *dep, struct slice version)
{
	if (dep->relation == DEB_ANY)
		return true;
	int c = deb_version_cmp(version, dep->version);
	switch (dep->relation) {
	case DEB_LT:
		return c < 0;
	case DEB_LE:
		return c <= 0;
	case DEB_EQ:
		return c == 0;
	case DEB_GE:
		return c >= 0;
	default:
		return c > 0;
	}
}
