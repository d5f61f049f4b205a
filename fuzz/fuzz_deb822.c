// SPDX-License-Identifier: Apache-2.0
// Stanzas, relations, versions and apt's source lists. The first byte chooses nothing: all run.
#include "wire/apt_sources.h"
#include "wire/deb822.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static bool count(void *opaque, const struct apt_source *s)
{
	*(size_t *)opaque += s->uri.len + s->suite.len + s->components.len;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct deb822 d;
	struct deb822_stanza s;
	size_t n = 0;
	deb822_init(&d, (const char *)data, len);
	while (deb822_next(&d, &s, NULL) == 1) {
		struct slice previous = {0};
		for (size_t i = 0; i < s.n; i++) {
			struct slice rest = s.fields[i].value;
			struct deb_dep dep;
			bool first = true;
			while (deb_dep_next(&rest, &first, &dep) == 1)
				n += deb_dep_version_ok(&dep, previous);
			/* The order of versions is antisymmetric. */
			int ab = deb_version_cmp(previous, s.fields[i].value);
			int ba = deb_version_cmp(s.fields[i].value, previous);
			if ((ab < 0) != (ba > 0) || (ab == 0) != (ba == 0))
				__builtin_trap();
			previous = s.fields[i].value;
		}
	}
	apt_sources_list((const char *)data, len, count, &n);
	apt_sources_deb822((const char *)data, len, count, &n);
	return 0;
}
