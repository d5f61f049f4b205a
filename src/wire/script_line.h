// SPDX-License-Identifier: Apache-2.0
// The first line of a script: `#!INTERPRETER [ARGUMENT]` (execve(2)).
#ifndef STRATA_WIRE_SCRIPT_LINE_H
#define STRATA_WIRE_SCRIPT_LINE_H

#include "base/base.h"

/* As much of a file as is looked at. */
enum { SCRIPT_LINE_BYTES = 256 };

struct script_line {
	char interpreter[SCRIPT_LINE_BYTES];
	char argument[SCRIPT_LINE_BYTES]; /* all that follows, as one word; "" when there is none */
};

/* head: the file's first bytes, SCRIPT_LINE_BYTES or as many as it has. 0: it is a script; -ENOENT:
 * it is none; -ENOEXEC: it names no interpreter, or one that does not end within the bytes. */
int script_line_read(const char *head, size_t bytes, struct script_line *out);

#endif
