// SPDX-License-Identifier: Apache-2.0
// Reads apt's lists of archives, sources.list(5): one-line style (*.list) and deb822 (*.sources).
// The text is the administrator's, but lines that make no sense are skipped as comments are:
// a file we cannot understand must not stop us, it only tells us less.
#ifndef STRATA_WIRE_APT_SOURCES_H
#define STRATA_WIRE_APT_SOURCES_H

#include "wire/deb822.h"

struct apt_source {
	struct slice uri, suite;
	struct slice components; /* blank-separated */
};

/* Called for each binary (`deb`) archive and suite, in the order of the file. False stops. */
typedef bool apt_source_fn(void *opaque, const struct apt_source *source);

void apt_sources_list(const char *text, size_t len, apt_source_fn *fn, void *opaque);
void apt_sources_deb822(const char *text, size_t len, apt_source_fn *fn, void *opaque);

#endif
