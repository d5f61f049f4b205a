// SPDX-License-Identifier: Apache-2.0
#include "wire/containerfile.h"

#include <ctype.h>
#include <jansson.h>

static const struct {
	const char *name;
	bool options, json;
} ops[] = {
#define X(name, options, json) {#name, options, json},
	CONTAINERFILE_OPS(X)
#undef X
};

struct reader {
	struct containerfile *c;
	const char *at, *end;
	unsigned line; /* of at, from 1 */
};

const char *containerfile_op_name(enum containerfile_op op)
{
	return ops[op].name;
}

static const char *keep(struct containerfile *c, const char *text, size_t len)
{
	char *copy = ARENA_ARRAY(&c->arena, char, len + 1);
	memcpy(copy, text, len);
	return copy;
}

static const char *skip_blanks(const char *p)
{
	return p + strspn(p, " \t\r\v\f");
}

/* The next line without its end; false when there is none. */
static bool next_line(struct reader *r, const char **line, size_t *len)
{
	if (r->at == r->end)
		return false;
	const char *newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
	const char *stop = newline ? newline : r->end;
	*line = r->at;
	*len = (size_t)(stop - r->at);
	r->at = newline ? newline + 1 : r->end;
	r->line++;
	if (*len && stop[-1] == '\r')
		--*len;
	return true;
}

static size_t leading_blanks(const char *line, size_t len)
{
	size_t n = 0;
	while (n < len && (line[n] == ' ' || line[n] == '\t'))
		n++;
	return n;
}

/* Comments and empty lines may stand between the lines of an instruction. */
static bool is_nothing(const char *line, size_t len)
{
	size_t n = leading_blanks(line, len);
	return n == len || line[n] == '#';
}

/* Takes the escape at the end away. */
static bool continues(const struct reader *r, const char *line, size_t *len)
{
	size_t n = *len;
	while (n && (line[n - 1] == ' ' || line[n - 1] == '\t'))
		n--;
	if (!n || line[n - 1] != r->c->escape)
		return false;
	*len = n - 1;
	return true;
}

/* One instruction's lines as one. False at the end of the text. */
static bool next_logical(struct reader *r, struct strbuf *out, unsigned *first)
{
	const char *line;
	size_t len;
	strbuf_clear(out);
	do {
		if (!next_line(r, &line, &len))
			return false;
	} while (is_nothing(line, len));
	*first = r->line - 1;
	for (;;) {
		bool more = continues(r, line, &len);
		strbuf_add(out, line, len);
		if (!more)
			return true;
		do {
			if (!next_line(r, &line, &len))
				return true;
		} while (is_nothing(line, len));
	}
}

/* Comments at the top that are directives: "# escape=`". */
static int directives(struct reader *r, struct error *err)
{
	for (;;) {
		struct reader before = *r;
		const char *line, *p;
		size_t len;
		if (!next_line(r, &line, &len))
			return 0;
		char *text _free_ = strndup(line, len);
		p = skip_blanks(text);
		if (*p != '#') {
			*r = before;
			return 0;
		}
		p = skip_blanks(p + 1);
		size_t name = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
		const char *value = skip_blanks(p + name);
		if (!name || *value != '=') {
			*r = before;
			return 0;
		}
		value = skip_blanks(value + 1);
		if (name != 6 || strncasecmp(p, "escape", 6))
			continue; /* syntax, check: nothing to us */
		if ((*value != '\\' && *value != '`') || *skip_blanks(value + 1))
			return error_set(err, EBADMSG, "line %u: escape is \\ or `", r->line - 1);
		r->c->escape = *value;
	}
}

static bool find_op(const char *word, size_t len, enum containerfile_op *op)
{
	for (unsigned n = 0; n < ARRAY_SIZE(ops); n++)
		if (strlen(ops[n].name) == len && !strncasecmp(ops[n].name, word, len)) {
			*op = (enum containerfile_op)n;
			return true;
		}
	return false;
}

/* NULL: it is no list of strings, which makes it words for a shell. */
static const char **json_list(struct containerfile *c, const char *text)
{
	if (*text != '[')
		return NULL;
	json_t *all = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *word;
	const char **list = NULL;
	size_t n = json_array_size(all), i;
	if (json_is_array(all) && n < CONTAINERFILE_WORDS_MAX)
		list = ARENA_ARRAY(&c->arena, const char *, n + 1);
	json_array_foreach(all, i, word)
	{
		if (!list || !json_is_string(word)) {
			list = NULL;
			break;
		}
		list[i] = keep(c, json_string_value(word), json_string_length(word));
	}
	json_decref(all);
	return list;
}

static const char *take_options(
	struct containerfile *c, const char *p, struct containerfile_ins *out)
{
	VEC(const char *) all = {0};
	while (!strncmp(p, "--", 2) && all.len < CONTAINERFILE_WORDS_MAX) {
		size_t len = strcspn(p, " \t");
		if (len > 2)
			vec_push(&all, keep(c, p, len));
		p = skip_blanks(p + len);
		if (len == 2)
			break;
	}
	out->options = ARENA_ARRAY(&c->arena, const char *, all.len + 1);
	if (all.len)
		memcpy(out->options, all.items, all.len * sizeof(*all.items));
	vec_done(&all);
	return p;
}

static int instruction(struct containerfile *c, const char *text, unsigned line,
	struct containerfile_ins *out, struct error *err)
{
	const char *p = skip_blanks(text);
	size_t word = strcspn(p, " \t");
	*out = (struct containerfile_ins){.line = line};
	if (!find_op(p, word, &out->op))
		return error_set(err, EBADMSG, "line %u: there is no instruction %.*s", line,
			(int)MIN(word, 40), p);
	p = skip_blanks(p + word);
	if (ops[out->op].options)
		p = take_options(c, p, out);
	else
		out->options = ARENA_ARRAY(&c->arena, const char *, 1);
	size_t len = strlen(p);
	while (len && strchr(" \t\r", p[len - 1]))
		len--;
	out->text = keep(c, p, len);
	if (!len)
		return error_set(err, EBADMSG, "line %u: %s of what?", line, ops[out->op].name);
	if (ops[out->op].json)
		out->list = json_list(c, out->text);
	if (out->op == CONTAINERFILE_SHELL && !out->list)
		return error_set(
			err, EBADMSG, "line %u: SHELL takes a list: [\"/bin/sh\", \"-c\"]", line);
	return 0;
}

/* --- here-documents --- */
/* The next `<<[-]NAME` that is not quoted. False: there is none. */
static bool find_here(struct containerfile *c, const char **at, struct containerfile_here *out)
{
	char quote = 0;
	for (const char *p = *at; *p; p++) {
		if (quote) {
			quote = *p == quote ? 0 : quote;
		} else if (*p == '\'' || *p == '"') {
			quote = *p;
		} else if (*p == c->escape && p[1]) {
			p++;
		} else if (!strncmp(p, "<<<", 3)) {
			p += 2;
		} else if (!strncmp(p, "<<", 2)) {
			p += 2;
			bool strip = *p == '-';
			p += strip;
			char mark = *p == '"' || *p == '\'' ? *p++ : 0;
			size_t len = 0;
			while (isalnum((unsigned char)p[len]) || p[len] == '_' || p[len] == '.' ||
				p[len] == '-')
				len++;
			if (!len || (mark && p[len] != mark)) {
				p--;
				continue;
			}
			*out = (struct containerfile_here){
				.name = keep(c, p, len), .literal = mark, .strip_tabs = strip};
			*at = p + len + (mark != 0);
			return true;
		}
	}
	return false;
}

static int here_body(struct reader *r, struct containerfile_here *h, struct error *err)
{
	struct strbuf body _strbuf_ = STRBUF_INIT;
	unsigned first = r->line - 1;
	const char *line;
	size_t len;
	while (next_line(r, &line, &len)) {
		size_t tabs = 0;
		while (h->strip_tabs && tabs < len && line[tabs] == '\t')
			tabs++;
		if (len - tabs == strlen(h->name) && !memcmp(line + tabs, h->name, len - tabs)) {
			h->body = keep(r->c, body.data ? body.data : "", body.len);
			return 0;
		}
		strbuf_add(&body, line + tabs, len - tabs);
		strbuf_addc(&body, '\n');
	}
	return error_set(err, EBADMSG, "line %u: the text after <<%s does not end", first, h->name);
}

static int here_documents(struct reader *r, struct containerfile_ins *ins, struct error *err)
{
	VEC(struct containerfile_here) all = {0};
	struct containerfile_here h;
	const char *at = ins->text;
	int ret = 0;
	bool may = ins->op == CONTAINERFILE_RUN || ins->op == CONTAINERFILE_COPY ||
		   ins->op == CONTAINERFILE_ADD;
	while (may && !ins->list && ret == 0 && find_here(r->c, &at, &h)) {
		ret = here_body(r, &h, err);
		vec_push(&all, h);
	}
	if (ret == 0 && all.len) {
		ins->n_here = all.len;
		ins->here = ARENA_ARRAY(&r->c->arena, struct containerfile_here, all.len);
		memcpy(ins->here, all.items, all.len * sizeof(*all.items));
	}
	vec_done(&all);
	return ret;
}

/* --- the whole --- */
static int parse(struct reader *r, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct containerfile_ins ins;
	unsigned line;
	int ret = directives(r, err);
	while (ret == 0 && next_logical(r, &text, &line)) {
		ret = instruction(r->c, text.data ? text.data : "", line, &ins, err);
		if (ret == 0)
			ret = here_documents(r, &ins, err);
		if (ret == 0)
			vec_push(&r->c->ins, ins);
	}
	if (ret == 0 && !r->c->ins.len)
		ret = error_set(err, EBADMSG, "there is no instruction in it");
	return ret;
}

int containerfile_parse(struct containerfile *out, const char *text, size_t len, struct error *err)
{
	struct containerfile c = {.arena = ARENA_INIT, .escape = '\\'};
	if (len > CONTAINERFILE_BYTES_MAX)
		return error_set(err, EFBIG, "a Containerfile has at most %d MiB",
			CONTAINERFILE_BYTES_MAX >> 20);
	if (memchr(text, 0, len))
		return error_set(err, EBADMSG, "it holds bytes that are no text");
	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) { /* byte order mark */
		text += 3;
		len -= 3;
	}
	struct reader r = {&c, text, text + len, 1};
	int ret = parse(&r, err);
	if (ret < 0)
		containerfile_done(&c);
	else
		*out = c;
	return ret;
}

int containerfile_parse_onbuild(struct containerfile *c, const struct containerfile_ins *onbuild,
	struct containerfile_ins *out, struct error *err)
{
	int ret = instruction(c, onbuild->text, onbuild->line, out, err);
	if (ret == 0 && (out->op == CONTAINERFILE_ONBUILD || out->op == CONTAINERFILE_FROM ||
				out->op == CONTAINERFILE_MAINTAINER))
		ret = error_set(err, EBADMSG, "line %u: ONBUILD cannot hold %s", onbuild->line,
			ops[out->op].name);
	return ret;
}

void containerfile_done(struct containerfile *c)
{
	vec_done(&c->ins);
	arena_done(&c->arena);
}
