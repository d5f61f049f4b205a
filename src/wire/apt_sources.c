// SPDX-License-Identifier: Apache-2.0
#include "wire/apt_sources.h"

void apt_sources_list(const char *text, size_t len, apt_source_fn *fn, void *opaque)
{
	struct slice rest = {text, len}, line, word;
	while (slice_line(&rest, &line)) {
		struct apt_source s;
		const char *hash = line.len ? memchr(line.p, '#', line.len) : NULL;
		if (hash)
			line.len = (size_t)(hash - line.p);
		if (!slice_word(&line, &word) || !slice_is(word, "deb") ||
			!slice_word(&line, &word))
			continue;
		if (word.p[0] == '[') { /* options, up to the bracket that closes them */
			const char *close =
				memchr(word.p, ']', (size_t)(line.p + line.len - word.p));
			if (!close)
				continue;
			line = (struct slice){close + 1, (size_t)(line.p + line.len - close - 1)};
			if (!slice_word(&line, &word))
				continue;
		}
		s.uri = word;
		if (!slice_word(&line, &s.suite))
			continue;
		s.components = line;
		if (!fn(opaque, &s))
			return;
	}
}

static bool has_word(struct slice list, const char *wanted)
{
	struct slice word;
	while (slice_word(&list, &word))
		if (slice_is(word, wanted))
			return true;
	return false;
}

void apt_sources_deb822(const char *text, size_t len, apt_source_fn *fn, void *opaque)
{
	struct deb822 d;
	struct deb822_stanza st;
	deb822_init(&d, text, len);
	while (deb822_next(&d, &st, NULL) == 1) {
		struct slice uris = deb822_get(&st, "URIs"), uri;
		if (!has_word(deb822_get(&st, "Types"), "deb") ||
			has_word(deb822_get(&st, "Enabled"), "no"))
			continue;
		while (slice_word(&uris, &uri)) {
			struct slice suites = deb822_get(&st, "Suites"), suite;
			while (slice_word(&suites, &suite)) {
				struct apt_source s = {.uri = uri,
					.suite = suite,
					.components = deb822_get(&st, "Components")};
				if (!fn(opaque, &s))
					return;
			}
		}
	}
}
