// SPDX-License-Identifier: Apache-2.0
// The user's terminal: size, raw mode, and its restoration whatever happens to this process.
#ifndef STRATA_OS_TERM_H
#define STRATA_OS_TERM_H

#include "base/error.h"

bool term_size(int fd, uint32_t *rows, uint32_t *cols); /* false: no terminal, or size unknown */

/* Raw mode. A child process watches over it: when this process ends without term_raw_end(), even by
 * SIGKILL, the child restores the terminal. One at a time; belongs to one thread. */
struct term_raw;
int term_raw_begin(struct term_raw **out, int fd, struct error *err);
void term_raw_end(struct term_raw *t); /* restores; accepts NULL */
/* Around being stopped (SIGTSTP): the shell has its own mode meanwhile. */
void term_raw_suspend(struct term_raw *t);
void term_raw_resume(struct term_raw *t);

#endif
