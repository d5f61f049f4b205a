// SPDX-License-Identifier: Apache-2.0
#include "wire/containerfile.h"

#include "tap.h"

static const char *lookup(void *opaque, const char *name)
{
	if (!strcmp(name, "A"))
		return "1";
	if (!strcmp(name, "EMPTY"))
		return "";
	return strcmp(name, "WORDS") ? NULL : "two words";
}

static const struct containerfile_scope scope = {lookup, NULL, '\\'};

static bool parse(struct containerfile *c, const char *text)
{
	struct error err _error_ = ERROR_INIT;
	int r = containerfile_parse(c, text, strlen(text), &err);
	CHECK_STR(r < 0 ? err.message : "", "");
	return r == 0;
}

static void instructions(void)
{
	struct containerfile c;
	REQUIRE(parse(&c, "\xef\xbb\xbf# syntax=docker/dockerfile:1\n\n"
			  "from --platform=linux/riscv64 debian:trixie AS base \r\n"
			  "# a comment\n"
			  "RUN echo a \\\n  # inside\n\n\t&& echo b\\\n c\n"
			  "COPY --from=base --chown=1:2 x y /z/\n"
			  "CMD [\"/bin/sh\", \"-c\", \"a \\u20ac\"]\n"
			  "ENTRYPOINT [ not json ]\n"
			  "Expose 80/tcp"));
	REQUIRE(c.ins.len == 6);
	CHECK_EQ(c.ins.items[0].op, CONTAINERFILE_FROM);
	CHECK_EQ(c.ins.items[0].line, 3);
	CHECK_STR(c.ins.items[0].options[0], "--platform=linux/riscv64");
	CHECK(!c.ins.items[0].options[1]);
	CHECK_STR(c.ins.items[0].text, "debian:trixie AS base");
	CHECK_EQ(c.ins.items[1].line, 5);
	CHECK_STR(c.ins.items[1].text, "echo a \t&& echo b c");
	CHECK(!c.ins.items[1].list);
	CHECK_STR(c.ins.items[2].options[1], "--chown=1:2");
	CHECK_STR(c.ins.items[2].text, "x y /z/");
	REQUIRE(c.ins.items[3].list);
	CHECK_STR(c.ins.items[3].list[2], "a \xe2\x82\xac");
	CHECK(!c.ins.items[3].list[3]);
	CHECK(!c.ins.items[4].list);
	CHECK_STR(containerfile_op_name(c.ins.items[5].op), "EXPOSE");
	containerfile_done(&c);
}

static void escape_directive(void)
{
	struct containerfile c;
	REQUIRE(parse(&c, "# Escape = `\nFROM a\nRUN dir `\n c:\\\n"));
	CHECK_EQ(c.escape, '`');
	REQUIRE(c.ins.len == 2);
	CHECK_STR(c.ins.items[1].text, "dir  c:\\");
	containerfile_done(&c);
	/* Behind anything else it is a comment. */
	REQUIRE(parse(&c, "#\n# escape=`\nFROM a\n"));
	CHECK_EQ(c.escape, '\\');
	containerfile_done(&c);
}

static void here_documents(void)
{
	struct containerfile c;
	REQUIRE(parse(&c, "FROM a\nRUN <<EOF\n#!/bin/sh\necho $A \\\n\nEOF\n"
			  "COPY <<-\"ONE\" <<TWO /x/\n\t1\n\tONE\n2\nTWO\n"
			  "RUN cat <<<word '<<no' && echo \"<<no\" 1 << 2\n"));
	REQUIRE(c.ins.len == 4);
	REQUIRE(c.ins.items[1].n_here == 1);
	CHECK_STR(c.ins.items[1].here[0].body, "#!/bin/sh\necho $A \\\n\n");
	REQUIRE(c.ins.items[2].n_here == 2);
	CHECK(c.ins.items[2].here[0].literal && c.ins.items[2].here[0].strip_tabs);
	CHECK_STR(c.ins.items[2].here[0].body, "1\n");
	CHECK_STR(c.ins.items[2].here[1].name, "TWO");
	CHECK_STR(c.ins.items[2].here[1].body, "2\n");
	CHECK_EQ(c.ins.items[3].n_here, 0);
	containerfile_done(&c);
}

static void refused(void)
{
	static const struct {
		const char *text, *words;
	} cases[] = {{"", "no instruction"}, {"# only\n", "no instruction"},
		{"FROM a\n\nBAKE x\n", "line 3: there is no instruction BAKE"},
		{"FROM a\nRUN \\\n", "line 2: RUN of what?"}, {"SHELL sh\n", "takes a list"},
		{"SHELL [1]\n", "takes a list"}, {"RUN <<X\nbody\n", "line 1: the text after <<X"},
		{"# escape=x\nFROM a\n", "line 1: escape"}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct containerfile c;
		struct error err _error_ = ERROR_INIT;
		CHECK(containerfile_parse(&c, cases[i].text, strlen(cases[i].text), &err) < 0);
		CHECK_CONTAINS(err.message, cases[i].words);
	}
	struct containerfile c;
	CHECK_EQ(containerfile_parse(&c, "RUN a\0b", 7, NULL), -EBADMSG);
}

static void onbuild(void)
{
	struct containerfile c;
	REQUIRE(parse(&c, "ONBUILD RUN [\"x\"]\nONBUILD FROM x\n"));
	struct containerfile_ins i;
	REQUIRE(containerfile_parse_onbuild(&c, &c.ins.items[0], &i, NULL) == 0);
	CHECK_EQ(i.op, CONTAINERFILE_RUN);
	CHECK_STR(i.list[0], "x");
	CHECK_EQ(containerfile_parse_onbuild(&c, &c.ins.items[1], &i, NULL), -EBADMSG);
	containerfile_done(&c);
}

static void expansion(void)
{
	static const struct {
		const char *text, *want; /* NULL: refused */
	} cases[] = {{"a$A", "a1"}, {"${A}b$NONE.", "1b."}, {"\\$A \"\\$A \\x\"", "$A $A \\x"},
		{"'$A'\"$A\"", "$A1"}, {"${NONE:-x${A}}", "x1"}, {"${EMPTY:-x}${EMPTY-x}", "x"},
		{"${A:+yes}${EMPTY:+no}${EMPTY+set}", "yesset"}, {"${NONE:?it is missing}", NULL},
		{"${A:?fine}", "1"}, {"$", "$"}, {"$$A", "$1"}, {"${", NULL}, {"${A", NULL},
		{"${A:=x}", NULL}, {"${A%x}", NULL}, {"'open", NULL}, {"\"open", NULL},
		{"${NONE:-\"a}b\"}", "a}b"}, {"end\\", "end\\"}, {"$WORDS", "two words"}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct strbuf out _strbuf_ = STRBUF_INIT;
		int r = containerfile_expand(&scope, cases[i].text, &out, NULL);
		if (!cases[i].want)
			CHECK(r < 0);
		else
			CHECK_STR(r < 0 ? "refused" : out.data, cases[i].want);
	}
}

static void deep_expansion(void)
{
	struct strbuf text _strbuf_ = STRBUF_INIT, out _strbuf_ = STRBUF_INIT;
	for (unsigned n = 0; n < 10000; n++)
		strbuf_adds(&text, "${x:-");
	struct error err _error_ = ERROR_INIT;
	CHECK_EQ(containerfile_expand(&scope, text.data, &out, &err), -EBADMSG);
	CHECK_CONTAINS(err.message, "braces within braces");
}

static void words(void)
{
	containerfile_words w = {0};
	REQUIRE(containerfile_split(&scope, "  a 'b c' \"$WORDS\" $WORDS d\\ e ", &w, NULL) == 0);
	REQUIRE(w.len == 5);
	CHECK_STR(w.items[1], "b c");
	CHECK_STR(w.items[2], "two words");
	CHECK_STR(w.items[3], "two words"); /* what a variable holds is not split */
	CHECK_STR(w.items[4], "d e");
	containerfile_words_done(&w);
	REQUIRE(containerfile_pairs(&scope, "A=b C=\"d e\" F$A='$A' G=", &w, NULL) == 0);
	REQUIRE(w.len == 8);
	CHECK_STR(w.items[3], "d e");
	CHECK_STR(w.items[4], "F1");
	CHECK_STR(w.items[5], "$A");
	CHECK_STR(w.items[7], "");
	containerfile_words_done(&w);
	REQUIRE(containerfile_pairs(&scope, "OLD  way of $A", &w, NULL) == 0);
	REQUIRE(w.len == 2);
	CHECK_STR(w.items[1], "way of 1");
	containerfile_words_done(&w);
	CHECK(containerfile_pairs(&scope, "A=1 B", &w, NULL) < 0);
	containerfile_words_done(&w);
	CHECK(containerfile_pairs(&scope, "A", &w, NULL) < 0);
	containerfile_words_done(&w);
}

int main(void)
{
	RUN(instructions);
	RUN(escape_directive);
	RUN(here_documents);
	RUN(refused);
	RUN(onbuild);
	RUN(expansion);
	RUN(deep_expansion);
	RUN(words);
	return tap_done();
}
