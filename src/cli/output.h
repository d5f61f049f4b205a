// SPDX-License-Identifier: Apache-2.0
// A listing, printed as a table for people or as JSON for programs.
#ifndef STRATA_CLI_OUTPUT_H
#define STRATA_CLI_OUTPUT_H

#include <jansson.h>
#include <stdio.h>

#include "base/base.h"

struct column {
	const char *title; /* of the table; NULL: only in JSON */
	const char *key;   /* of the JSON object; NULL: only in the table */
	bool right;	   /* aligned */
};

struct table;
struct table *table_new(const struct column *columns, size_t n);
void table_free(struct table *t);
/* One row: for each column the text of its cell (copied) and its JSON value (taken over; NULL: the
 * text as a string). */
void table_row(struct table *t, const char *const *texts, json_t *const *values);
/* format: "table" or "json" (an array of objects; NULL is "table"). */
void table_print(const struct table *t, const char *format, FILE *out);

#endif
