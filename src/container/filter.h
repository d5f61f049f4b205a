// SPDX-License-Identifier: Apache-2.0
// Compiles linux.seccomp with libseccomp.
#ifndef STRATA_CONTAINER_FILTER_H
#define STRATA_CONTAINER_FILTER_H

#include "base/error.h"
#include "container/spec.h"

/* Writes the program (struct sock_filter[]) into fd and returns its bytes. A system call that
 * libseccomp does not know, and an architecture without it, are left out: they cannot be allowed.
 *
 * cache: a directory of ours alone, or -1. Compiling an engine's usual profile takes longer than
 * all the rest of a container's birth, and it is always the same: programs are kept there, each
 * with all that it was made from, which must be equal for it to be used. */
ssize_t filter_compile(const struct spec_seccomp *s, int cache, int fd, struct error *err);

#endif
