// SPDX-License-Identifier: Apache-2.0
// Numbers as people write and read them.
#ifndef STRATA_CLI_UNITS_H
#define STRATA_CLI_UNITS_H

#include "base/base.h"

int parse_uint(const char *s, uint64_t *out); /* decimal digits only; -EINVAL, *out untouched */
/* Three digits after the point at most: "1.5" -> 1500. -EINVAL. */
int parse_millis(const char *s, uint64_t *out);
/* 512M, 2G, 1.5GiB, 4096; units are powers of 1024. */
int parse_size(const char *s, uint64_t *out);
/* "512 MiB", "1.4 GiB" */
void format_size(uint64_t bytes, char text[24]);
/* "3 s", "2 min 5 s", "4 h 10 min" */
void format_duration(uint64_t seconds, char text[32]);

#endif
