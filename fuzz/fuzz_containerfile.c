// SPDX-License-Identifier: Apache-2.0
// A Containerfile, and each of its texts as words, pairs and one expansion.
#include "wire/containerfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *lookup(void *opaque, const char *name)
{
	return *name < 'M' ? "value $A" : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct containerfile c;
	if (containerfile_parse(&c, (const char *)data, len, NULL) < 0)
		return 0;
	const struct containerfile_scope scope = {lookup, NULL, c.escape};
	for (size_t n = 0; n < c.ins.len; n++) {
		struct containerfile_ins *i = &c.ins.items[n], inner;
		containerfile_words words = {0};
		struct strbuf text _strbuf_ = STRBUF_INIT;
		containerfile_split(&scope, i->text, &words, NULL);
		containerfile_pairs(&scope, i->text, &words, NULL);
		containerfile_words_done(&words);
		containerfile_expand(&scope, i->text, &text, NULL);
		if (i->op == CONTAINERFILE_ONBUILD)
			containerfile_parse_onbuild(&c, i, &inner, NULL);
	}
	containerfile_done(&c);
	return 0;
}
