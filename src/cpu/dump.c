// SPDX-License-Identifier: Apache-2.0
// What the compiler makes, stage by stage, for people: STRATA_DUMP=FILE, and which stages:
// STRATA_DUMP_STAGES=lift,copy,fold,dead,host (all unless told). docs/jit.md has an example.
#include "cpu/dump.h"

#include <inttypes.h>

#include "base/log.h"

void code_dump_open(struct code_dump *d)
{
	const char *path = getenv("STRATA_DUMP");
	*d = (struct code_dump){.stages = getenv("STRATA_DUMP_STAGES")};
	pthread_mutex_init(&d->lock, NULL);
	if (!path)
		return;
	d->out = fopen(path, "we");
	if (!d->out)
		log_warn("STRATA_DUMP: cannot write %s: %s", path, strerror(errno));
}

void code_dump_close(struct code_dump *d)
{
	if (d->out)
		fclose(d->out);
	pthread_mutex_destroy(&d->lock);
}

void code_dump_region(
	struct code_dump *d, uint64_t pc, struct strbuf *ir, const uint8_t *host, size_t bytes)
{
	pthread_mutex_lock(&d->lock);
	fprintf(d->out, "# region at 0x%" PRIx64 "\n%s", pc, ir->data ? ir->data : "");
	if (ir_wants_stage(d->stages, "host")) {
		fprintf(d->out, "# host code, %zu bytes\n", bytes);
		for (size_t n = 0; n < bytes; n++)
			fprintf(d->out, "%02x%s", host[n], n % 32 == 31 ? "\n" : "");
		fputs("\n", d->out);
	}
	fflush(d->out);
	pthread_mutex_unlock(&d->lock);
}
