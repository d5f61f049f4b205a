// SPDX-License-Identifier: Apache-2.0
// The error object: last parameter of every function that can fail for a reason a user may read.
//
// A function returns 0 or -errno and, when it fails, has set *err once. Each caller that knows
// more wraps it: "start web: disk root.img: header: short read". Libraries never print.
// err may be NULL everywhere: the code is still returned. An error belongs to one thread.
#ifndef STRATA_BASE_ERROR_H
#define STRATA_BASE_ERROR_H

#include "base/base.h"

struct error {
	int code;      /* positive errno, 0 when nothing happened */
	char *message; /* owned; NULL when code == 0 */
	char *remedy;  /* owned; what the user can do about it, or NULL */
};

#define ERROR_INIT ((struct error){0})
/* struct error err _error_ = ERROR_INIT; */
#define _error_ CLEANUP(error_done)

void error_done(struct error *err); /* frees; leaves it empty and reusable */

/* Both return -code, so that `return error_set(err, EINVAL, "...")` reads well.
 * error_set on an error that is already set replaces it. */
int error_set(struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4) COLD;
/* As error_set, with ": <strerror(code)>" appended. */
int error_errno(struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4) COLD;
/* Puts "<fmt>: " before the message and returns `code`, the negative one that the callee returned:
 * without err nobody else knows it. */
int error_wrap(struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4) COLD;
/* Sets the remedy sentence; keeps an earlier one. Returns nothing: without err it knows no code. */
void error_remedy(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3) COLD;

#endif
