// SPDX-License-Identifier: Apache-2.0
// A command of strata-oci is one declaration, `const struct command cmd_NAME` in cmd_NAME.c, and
// one row in main.c; parsing and help come from it.
#ifndef STRATA_OCI_COMMAND_H
#define STRATA_OCI_COMMAND_H

#include <stdio.h>

#include "base/error.h"

enum option_type {
	OPTION_FLAG,   /* bool */
	OPTION_STRING, /* const char * */
	OPTION_UINT,   /* unsigned */
	OPTION_INT64,  /* int64_t, untouched when not given */
	OPTION_LIST,   /* struct strings: may be given several times */
};

struct strings {
	const char **items; /* owned; the strings belong to argv */
	size_t len, cap;
};

struct option {
	const char *name; /* without dashes */
	char letter;	  /* 0: none */
	enum option_type type;
	size_t offset;	 /* in the command's values */
	const char *arg; /* what stands for the value in the help */
	const char *help;
};

/* The options before the command. */
struct global {
	const char *root, *log, *log_format, *cgroup_manager;
	bool debug, systemd_cgroup, version, help;
	bool quiet; /* errors go to the log alone */
	bool log_json;
	int log_fd; /* -1: none */
};

struct command {
	const char *name, *summary, *operands;
	const struct option *options;
	size_t n_options;
	size_t values_bytes;
	unsigned min_operands, max_operands;
	void (*defaults)(void *values); /* or NULL */
	/* 0 or -errno and *err; *status: what to exit with when there is no error. */
	int (*run)(const struct global *g, const void *values, char **operands, int *status,
		struct error *err);
};

/* Fills values and sorts the operands to the front of argv; stops at the first operand when
 * options_first. */
int command_parse(const struct option *options, size_t n_options, char **argv, void *values,
	bool options_first, size_t *n_operands, bool *help, struct error *err);
void command_help(const struct command *c, FILE *out);
void options_help(const struct option *options, size_t n, FILE *out);

/* --format: NULL and "table" are false, "json" is true. */
int format_is_json(const char *format, bool *json, struct error *err);
/* "TERM", "SIGTERM", "15" -> 15; 0: no such signal. */
int signal_number(const char *text);

#endif
