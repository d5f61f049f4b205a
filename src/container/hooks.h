// SPDX-License-Identifier: Apache-2.0
// Hooks: programs that the configuration has run at certain moments, with the container's state on
// stdin (runtime.md of the specification, "Lifecycle").
#ifndef STRATA_CONTAINER_HOOKS_H
#define STRATA_CONTAINER_HOOKS_H

#include "base/error.h"
#include "container/spec.h"

/* Runs one to its end. A status other than 0, a time-out and a program that cannot be executed are
 * errors; one that does not read its stdin is not. */
int hook_run(const struct spec_hook *hook, const char *state, struct error *err);
/* All of a kind; until one fails, but for poststart and poststop: "the remaining hooks and
 * lifecycle continue as if the hook had succeeded". The first error. */
int hooks_run(const struct spec *spec, enum hook_kind kind, const char *state, struct error *err);

#endif
