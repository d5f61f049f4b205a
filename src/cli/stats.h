// SPDX-License-Identifier: Apache-2.0
// What a machine's CPUs have counted, for people or for programs.
#ifndef STRATA_CLI_STATS_H
#define STRATA_CLI_STATS_H

#include <jansson.h>
#include <stdio.h>

/* cpus: an array with an object of numbers for each CPU, all of the same names; NULL or empty: says
 * that there is nothing. format: "table", a row for each number (beyond eight CPUs only its total),
 * or "json", {"cpus": […], "total": {…}}. */
void stats_print(const json_t *cpus, const char *format, FILE *out);

#endif
