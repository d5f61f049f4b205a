// SPDX-License-Identifier: Apache-2.0
// A Containerfile (Dockerfile reference of BuildKit's front end 1.4; Containerfile(5)): the text
// becomes instructions; words and variables are looked at when an instruction is carried out, since
// they depend on those before it. All memory is the containerfile's. Any thread, one at a time.
#ifndef STRATA_WIRE_CONTAINERFILE_H
#define STRATA_WIRE_CONTAINERFILE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "base/vec.h"

enum {
	CONTAINERFILE_BYTES_MAX = 1 << 20,
	CONTAINERFILE_EXPANDED_MAX = 1 << 20, /* bytes that one expansion may make */
	CONTAINERFILE_WORDS_MAX = 10000,
};

/* X(name, takes options, may be written as a JSON list) */
#define CONTAINERFILE_OPS(X)                                                                       \
	X(ADD, true, true)                                                                         \
	X(ARG, false, false)                                                                       \
	X(CMD, false, true)                                                                        \
	X(COPY, true, true)                                                                        \
	X(ENTRYPOINT, false, true)                                                                 \
	X(ENV, false, false)                                                                       \
	X(EXPOSE, false, false)                                                                    \
	X(FROM, true, false)                                                                       \
	X(HEALTHCHECK, true, false)                                                                \
	X(LABEL, false, false)                                                                     \
	X(MAINTAINER, false, false)                                                                \
	X(ONBUILD, false, false)                                                                   \
	X(RUN, true, true)                                                                         \
	X(SHELL, false, true)                                                                      \
	X(STOPSIGNAL, false, false)                                                                \
	X(USER, false, false)                                                                      \
	X(VOLUME, false, true)                                                                     \
	X(WORKDIR, false, false)

enum containerfile_op {
#define X(name, options, json) CONTAINERFILE_##name,
	CONTAINERFILE_OPS(X)
#undef X
		CONTAINERFILE_OP_COUNT
};

/* A here-document (`<<NAME`, `<<-NAME`, `<<"NAME"`) of RUN, COPY or ADD. */
struct containerfile_here {
	const char *name, *body;
	bool literal;	 /* the name was quoted: nothing in the body is expanded */
	bool strip_tabs; /* done already */
};

struct containerfile_ins {
	enum containerfile_op op;
	unsigned line;	      /* where it begins, from 1 */
	const char **options; /* "--from=build", NULL at the end */
	const char *text;     /* what follows them, lines joined, comments taken out */
	const char **list;    /* the JSON list that text is, NULL at the end; or NULL */
	struct containerfile_here *here;
	size_t n_here;
};

struct containerfile {
	struct arena arena;
	VEC(struct containerfile_ins) ins;
	char escape; /* '\\', or as "# escape=`" says */
};

/* -EBADMSG names the line. *out is to be freed with containerfile_done() only on success. */
int containerfile_parse(struct containerfile *out, const char *text, size_t len, struct error *err);
void containerfile_done(struct containerfile *c);
const char *containerfile_op_name(enum containerfile_op op);
/* The instruction behind ONBUILD, in c's memory. */
int containerfile_parse_onbuild(struct containerfile *c, const struct containerfile_ins *onbuild,
	struct containerfile_ins *out, struct error *err);

/* A variable's value; NULL when it is not set. */
typedef const char *containerfile_variable_fn(void *opaque, const char *name);
struct containerfile_scope {
	containerfile_variable_fn *variable;
	void *opaque;
	char escape;
};

/* Variables ($A ${A} ${A:-word} ${A-word} ${A:+word} ${A+word} ${A:?word}) are replaced, quotes and
 * escapes taken away. Appends to *out. */
int containerfile_expand(const struct containerfile_scope *s, const char *text, struct strbuf *out,
	struct error *err);
typedef VEC(char *) containerfile_words;
void containerfile_words_done(containerfile_words *w);
/* text between blanks that are not quoted, each word expanded. */
int containerfile_split(const struct containerfile_scope *s, const char *text,
	containerfile_words *out, struct error *err);
/* NAME=VALUE words of ENV and LABEL, or the old form `NAME all that follows`: name, value, name, …
 */
int containerfile_pairs(const struct containerfile_scope *s, const char *text,
	containerfile_words *out, struct error *err);

#endif
