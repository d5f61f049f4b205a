// SPDX-License-Identifier: Apache-2.0
#include "ir/pass.h"

const struct ir_pass ir_passes[] = {
	{"copy", ir_pass_copy},
	{"fold", ir_pass_fold},
	{"dead", ir_pass_dead},
	{0},
};

int ir_optimise(struct ir_func *f, bool check, struct strbuf *dump, struct error *err)
{
	if (dump) {
		strbuf_adds(dump, "# as lifted\n");
		ir_print(f, dump);
	}
	for (const struct ir_pass *p = ir_passes; p->name; p++) {
		p->fn(f);
		if (dump) {
			strbuf_addf(dump, "# after %s\n", p->name);
			ir_print(f, dump);
		}
		int r = check ? ir_verify(f, err) : 0;
		if (r < 0)
			return error_wrap(err, r, "after pass %s", p->name);
	}
	return 0;
}
