// SPDX-License-Identifier: Apache-2.0
// What `strata doctor` looks at. A probe tries the thing itself rather than believing a version.
#ifndef STRATA_CLI_DOCTOR_H
#define STRATA_CLI_DOCTOR_H

#include "base/base.h"

enum finding_state { FINDING_OK, FINDING_WARN, FINDING_NO };

struct finding {
	const char *what;
	enum finding_state state;
	char *why;    /* owned */
	char *remedy; /* owned, or NULL */
};

struct doctor_probe {
	const char *what;
	void (*probe)(struct finding *f);
	bool vital; /* nothing runs without it */
};

extern const struct doctor_probe doctor_probes[]; /* ends with an empty row */

#endif
