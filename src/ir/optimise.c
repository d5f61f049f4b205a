// SPDX-License-Identifier: Apache-2.0
#include "ir/pass.h"

const struct ir_pass ir_passes[] = {
	{"copy", ir_pass_copy},
	{"fold", ir_pass_fold},
	{"dead", ir_pass_dead},
	{0},
};

bool ir_wants_stage(const char *stages, const char *stage)
{
	size_t len = strlen(stage);
	for (const char *p = stages; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, stage, len) && (!p[len] || p[len] == ','))
			return true;
	}
	return !stages;
}

int ir_optimise(
	struct ir_func *f, bool check, struct strbuf *dump, const char *stages, struct error *err)
{
	if (dump && ir_wants_stage(stages, "lift")) {
		strbuf_adds(dump, "# as lifted\n");
		ir_print(f, dump);
	}
	for (const struct ir_pass *p = ir_passes; p->name; p++) {
		p->fn(f);
		if (dump && ir_wants_stage(stages, p->name)) {
			strbuf_addf(dump, "# after %s\n", p->name);
			ir_print(f, dump);
		}
		int r = check ? ir_verify(f, err) : 0;
		if (r < 0)
			return error_wrap(err, r, "after pass %s", p->name);
	}
	return 0;
}
