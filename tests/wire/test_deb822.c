// SPDX-License-Identifier: Apache-2.0
#include "tap.h"
#include "wire/apt_sources.h"
#include "wire/deb822.h"

static void stanzas(void)
{
	static const char text[] = "\n# comment\nPackage: a\nDepends: b,\n c (>= 1),\n\td\n"
				   "# inside\nEmpty:\nVersion:   1.0  \n \t \n\n"
				   "package: z\r\nX-Y: 1:2:3";
	struct deb822 d;
	struct deb822_stanza s;
	struct error err _error_ = ERROR_INIT;
	deb822_init(&d, text, sizeof(text) - 1);
	REQUIRE(deb822_next(&d, &s, &err) == 1);
	CHECK_EQ(s.n, 4);
	CHECK(slice_is(deb822_get(&s, "PACKAGE"), "a"));
	CHECK(slice_is(deb822_get(&s, "Version"), "1.0"));
	CHECK(slice_is(deb822_get(&s, "Empty"), ""));
	CHECK(deb822_get(&s, "Empty").p && !deb822_get(&s, "None").p);
	CHECK(slice_is(deb822_get(&s, "Depends"), "b,\n c (>= 1),\n\td"));
	REQUIRE(deb822_next(&d, &s, &err) == 1);
	CHECK(slice_is(deb822_get(&s, "Package"), "z"));
	CHECK(slice_is(deb822_get(&s, "X-Y"), "1:2:3"));
	CHECK_EQ(deb822_next(&d, &s, &err), 0);
}

static void malformed(void)
{
	static const char *const texts[] = {" continuation: first\n", "no colon\n", ": no name\n",
		"A: 1\na: 2\n", "-A: 1\n", "A B: 1\n"};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct deb822 d;
		struct deb822_stanza s;
		struct error err _error_ = ERROR_INIT;
		deb822_init(&d, texts[i], strlen(texts[i]));
		CHECK_EQ(deb822_next(&d, &s, &err), -EBADMSG);
		CHECK_CONTAINS(err.message, "line ");
	}
	struct deb822 d;
	struct deb822_stanza s;
	deb822_init(&d, "A: \0\n", 5);
	CHECK_EQ(deb822_next(&d, &s, NULL), -EBADMSG);
}

/* Each pair was compared with `dpkg --compare-versions`. */
static void versions(void)
{
	static const struct {
		const char *a;
		char op;
		const char *b;
	} cases[] = {
		{"1", '=', "1"},
		{"1.0", '<', "1.1"},
		{"1.9", '<', "1.10"},
		{"1.0~rc1", '<', "1.0"},
		{"1.0~~", '<', "1.0~"},
		{"1.0~", '<', "1.0"},
		{"1:0.1", '>', "9.9"},
		{"0:1", '=', "1"},
		{"1.0-1", '>', "1.0"},
		{"1.0-0", '=', "1.0"},
		{"1.0-1", '<', "1.0-1.1"},
		{"1.0-1-1", '>', "1.0-1"},
		{"1.0+b1", '>', "1.0"},
		{"1.0a", '>', "1.0"},
		{"1.0a", '<', "1.0+"},
		{"1.0.", '>', "1.0"},
		{"1.a", '<', "1.+"},
		{"1.001", '=', "1.1"},
		{"a", '<', "b"},
		{"Z", '<', "a"},
		{"12345678901234567890", '<', "12345678901234567891"},
		{"2.41-12+deb13u4", '>', "2.41-12"},
		{"2.41-12+deb13u4", '<', "2.42"},
		{"1:4.16.0-2+really2.41.5-0+deb13u1", '>', "1:4.16.0-1~"},
		{"5.4.0~", '<', "5.4.0"},
		{"", '<', "1"},
		{"", '=', "0"},
		{"1-", '=', "1"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct slice a = slice_of(cases[i].a), b = slice_of(cases[i].b);
		int ab = deb_version_cmp(a, b), ba = deb_version_cmp(b, a);
		char got = ab < 0   ? '<'
			   : ab > 0 ? '>'
				    : '=',
		     back = ba < 0   ? '>'
			    : ba > 0 ? '<'
				     : '=';
		if (got != cases[i].op || back != got)
			TAP_FAIL_("%s %c %s, got %c (%c)", cases[i].a, cases[i].op, cases[i].b, got,
				back);
	}
}

static void relations(void)
{
	struct slice list = SLICE("a (>= 1.0), b:any | c (<< 2~) |d ,\n e(=3),,");
	struct deb_dep dep;
	bool first = true;
	REQUIRE(deb_dep_next(&list, &first, &dep) == 1);
	CHECK(dep.first && slice_is(dep.name, "a") && dep.relation == DEB_GE);
	CHECK(deb_dep_version_ok(&dep, SLICE("1.0")) && !deb_dep_version_ok(&dep, SLICE("1.0~")));
	REQUIRE(deb_dep_next(&list, &first, &dep) == 1);
	CHECK(dep.first && slice_is(dep.name, "b") && slice_is(dep.qualifier, "any"));
	REQUIRE(deb_dep_next(&list, &first, &dep) == 1);
	CHECK(!dep.first && slice_is(dep.name, "c") && slice_is(dep.version, "2~"));
	CHECK(deb_dep_version_ok(&dep, SLICE("1")) && !deb_dep_version_ok(&dep, SLICE("2")));
	REQUIRE(deb_dep_next(&list, &first, &dep) == 1);
	CHECK(!dep.first && slice_is(dep.name, "d") && dep.relation == DEB_ANY);
	REQUIRE(deb_dep_next(&list, &first, &dep) == 1);
	CHECK(dep.first && slice_is(dep.name, "e") && dep.relation == DEB_EQ);
	CHECK_EQ(deb_dep_next(&list, &first, &dep), 0);
	static const char *const bad[] = {
		"a (1.0)", "a (>= )", "a (>= 1", "(>= 1)", "a | | b", "a b", "a [amd64]"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct slice s = slice_of(bad[i]);
		int rc;
		first = true;
		while ((rc = deb_dep_next(&s, &first, &dep)) == 1)
			;
		if (rc != -EBADMSG)
			TAP_FAIL_("'%s' was accepted", bad[i]);
	}
}

struct seen {
	char text[512];
};

static bool remember(void *opaque, const struct apt_source *s)
{
	struct seen *seen = opaque;
	size_t n = strlen(seen->text);
	snprintf(seen->text + n, sizeof(seen->text) - n, "%.*s %.*s;", (int)s->uri.len, s->uri.p,
		(int)s->suite.len, s->suite.p);
	return true;
}

static void apt_sources(void)
{
	static const char list[] =
		"# deb http://no x main\ndeb [arch=amd64 signed-by=/x] http://a/debian trixie "
		"main\n"
		"deb-src http://src trixie main\ndeb http://b/ sid main contrib # end\n"
		"deb [ arch=amd64 ] http://c/ bookworm main\ndeb\ndeb [x http://d y "
		"main\nnonsense\n";
	static const char sources[] = "Types: deb deb-src\nURIs: http://a http://b\nSuites: x y\n\n"
				      "Types: deb-src\nURIs: http://c\nSuites: x\n\n"
				      "Enabled: no\nTypes: deb\nURIs: http://d\nSuites: x\n";
	struct seen seen = {{0}};
	apt_sources_list(list, sizeof(list) - 1, remember, &seen);
	CHECK_STR(seen.text, "http://a/debian trixie;http://b/ sid;http://c/ bookworm;");
	seen.text[0] = '\0';
	apt_sources_deb822(sources, sizeof(sources) - 1, remember, &seen);
	CHECK_STR(seen.text, "http://a x;http://a y;http://b x;http://b y;");
}

int main(void)
{
	RUN(stanzas);
	RUN(malformed);
	RUN(versions);
	RUN(relations);
	RUN(apt_sources);
	return tap_done();
}
