// SPDX-License-Identifier: Apache-2.0
// The text formats of a Debian archive: stanzas of fields (deb822(5)), versions and relations
// (deb-version(7), Debian policy 5.6.12 and 7.1). Nothing is copied: a slice points into the
// caller's text and lives as long as that. No function needs a terminating NUL.
#ifndef STRATA_WIRE_DEB822_H
#define STRATA_WIRE_DEB822_H

#include "base/error.h"

#define DEB822_FIELDS_MAX 128

struct slice {
	const char *p;
	size_t len; /* bytes */
};

#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})
static inline struct slice slice_of(const char *s)
{
	return (struct slice){s, strlen(s)};
}
static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (!a.len || memcmp(a.p, b.p, a.len) == 0);
}
static inline bool slice_is(struct slice a, const char *s)
{
	return slice_eq(a, slice_of(s));
}
char *slice_dup(struct slice s); /* NUL-terminated copy; for lengths that were checked */
/* Order of bytes, then of length. */
int slice_cmp(struct slice a, struct slice b);
/* The next word (or line) of *rest, which is moved past it; false when there is none. */
bool slice_word(struct slice *rest, struct slice *word);
bool slice_line(struct slice *rest, struct slice *line); /* line without blanks around it */
/* Decimal digits only, at most max. */
bool slice_u64(struct slice s, uint64_t max, uint64_t *out);

struct deb822_field {
	struct slice name;
	struct slice
		value; /* trimmed; the lines of a folded field with their newlines and indents */
};

struct deb822_stanza {
	struct slice text; /* from the first field to the end of the last line */
	size_t n;
	struct deb822_field fields[DEB822_FIELDS_MAX];
};

struct deb822 {
	const char *p, *end;
	unsigned line; /* of p, from 1 */
};

void deb822_init(struct deb822 *d, const char *text, size_t len);
/* 1: *out is the next stanza; 0: no more; -EBADMSG: malformed, with the line in the message.
 * Lines that start with '#' are comments. A field twice in a stanza is an error. */
int deb822_next(struct deb822 *d, struct deb822_stanza *out, struct error *err);
/* The value, or an empty slice with p == NULL. Names compare without case. */
struct slice deb822_get(const struct deb822_stanza *s, const char *name);

/* <0, 0, >0. Any text has an order; no text is refused. */
int deb_version_cmp(struct slice a, struct slice b);

enum deb_relation { DEB_ANY, DEB_LT, DEB_LE, DEB_EQ, DEB_GE, DEB_GT };

struct deb_dep {
	struct slice name;	/* without the architecture qualifier */
	struct slice qualifier; /* "any", "riscv64" or empty */
	enum deb_relation relation;
	struct slice version;
	bool first; /* starts a group; the others are alternatives ('|') to it */
};

/* Takes one alternative off *rest: 1, 0 at the end, -EBADMSG. */
int deb_dep_next(struct slice *rest, bool *first, struct deb_dep *out);
bool deb_dep_version_ok(const struct deb_dep *dep, struct slice version);

#endif
