// SPDX-License-Identifier: Apache-2.0
#include "oci/config_annotations.h"

#include "container/foreign.h"

void config_annotations(struct reader *r, struct spec *s)
{
	for (size_t i = 0; i < s->annotations.n && !r->failed; i++) {
		const struct spec_pair *p = &s->annotations.items[i];
		int code = 0;
		if (!strcmp(p->key, "dev.strata.arch"))
			code = foreign_mode(p->value, &s->foreign, r->err);
		if (code < 0)
			r->failed = error_wrap(r->err, code, "%s: annotations.%s", r->file, p->key);
	}
}
