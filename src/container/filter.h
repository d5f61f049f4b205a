// SPDX-License-Identifier: Apache-2.0
// Compiles linux.seccomp with libseccomp.
#ifndef STRATA_CONTAINER_FILTER_H
#define STRATA_CONTAINER_FILTER_H

#include "base/error.h"
#include "container/spec.h"

/* Writes the program (struct sock_filter[]) into fd and returns its bytes. A system call that
 * libseccomp does not know, and an architecture without it, are left out: they cannot be allowed.
 */
ssize_t filter_compile(const struct spec_seccomp *s, int fd, struct error *err);

#endif
