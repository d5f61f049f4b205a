// SPDX-License-Identifier: Apache-2.0
// Long work, shown on stderr: a bar with bytes, rate and remaining time on a terminal, one line a
// stage elsewhere.
#ifndef STRATA_CLI_METER_H
#define STRATA_CLI_METER_H

#include "cli/command.h"
#include "image/image.h"

struct meter {
	bool tty;
	bool shown; /* an unfinished line stands on the terminal */
	char *stage;
	uint64_t begun_ns, drawn_ns;	 /* of the stage; of the last drawing */
	struct image_progress callbacks; /* for image.h; opaque is this */
};

void meter_init(struct meter *p, const struct cli *cli);
void meter_done(struct meter *p); /* clears an unfinished line */
void meter_stage(struct meter *p, const char *what);
void meter_bytes(struct meter *p, uint64_t done, uint64_t total);
/* Things rather than bytes: a bar on a terminal, elsewhere a line for each tenth of them. */
void meter_items(struct meter *p, uint64_t done, uint64_t total, const char *what);
void meter_tick(struct meter *p); /* a stage without a size: redraws its seconds */

#endif
