// SPDX-License-Identifier: Apache-2.0
// A command is one declaration, `const struct command cmd_NAME`, in cmd_NAME.c, and one word in
// meson.build. Parsing, help, completion and the manual page all come from it.
#ifndef STRATA_CLI_COMMAND_H
#define STRATA_CLI_COMMAND_H

#include <stdio.h>

#include "base/error.h"
#include "base/vec.h"

/* Exit statuses: 0, the command's own, or one of these. */
enum {
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_STRATA = 125,     /* `run`: we failed, not the guest's command */
	EXIT_CANNOT_RUN = 126, /* the guest's command cannot be executed */
	EXIT_NOT_FOUND = 127,  /* there is no such command in the guest */
};

enum option_type {
	OPTION_FLAG,   /* bool */
	OPTION_STRING, /* const char * */
	OPTION_LIST,   /* struct strings: may be given several times */
	OPTION_UINT,   /* uint64_t, never 0 */
	OPTION_SIZE,   /* uint64_t bytes: 512M, 2GiB */
	OPTION_ENUM,   /* const char *, one of choices */
	OPTION_MAYBE,  /* the same, but --name is the first choice, and others are --name=CHOICE */
};

struct strings {
	const char **items; /* owned; the strings belong to argv */
	size_t len, cap;
};

struct option {
	const char *name; /* without dashes */
	char letter;	  /* 0: none */
	enum option_type type;
	size_t offset;		    /* in the command's values */
	const char *arg;	    /* what stands for the value in the help: "SIZE" */
	const char *help;	    /* one sentence without full stop */
	const char *const *choices; /* OPTION_ENUM: ends with NULL; the first is the default */
};

struct example {
	const char *line, *what;
};

enum operand_kind { OPERAND_ANY, OPERAND_IMAGE, OPERAND_INSTANCE, OPERAND_COMMAND };

struct cli;

struct command {
	const char *name;	 /* "run"; a sub-command is "image list" */
	const char *summary;	 /* one line, no full stop */
	const char *operands;	 /* as in the usage line: "IMAGE [--] [COMMAND [ARG...]]" */
	const char *description; /* paragraphs, or NULL */
	const struct option *options;
	size_t n_options;
	const struct example *examples;
	size_t n_examples;
	size_t values_bytes; /* of the structure that the options are stored in */
	unsigned min_operands, max_operands;
	enum operand_kind completes;
	bool options_first; /* the first operand ends the options: what follows is a command line */
	bool hidden;
	/* values: the zeroed structure with what was given; operands end with NULL. Returns the
	 * exit status. NULL: a group of sub-commands. */
	int (*run)(struct cli *cli, const void *values, char **operands, size_t n);
};

/* What a command may know about this process. */
struct cli {
	const struct command *command;
	bool stdout_tty, stderr_tty;
	bool color; /* of stderr */
};

/* Generated from meson.build. */
extern const struct command *const commands[];
extern const size_t n_commands;

/* Prints "strata: <message>" and the remedy; returns status. */
int cli_fail(struct cli *cli, int status, const struct error *err);
/* A mistake on the command line: adds where the help is; returns EXIT_USAGE. */
int cli_usage(struct cli *cli, const struct error *err);
void cli_note(struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3); /* a line on stderr */

/* parse.c */
const struct command *command_find(const char *name);
/* Finds the command in argv[1]…; *used counts the words of its name. NULL and *err otherwise. */
const struct command *command_lookup(int argc, char **argv, int *used, struct error *err);
/* Fills values and sorts the operands to the front of argv. */
int command_parse(const struct command *c, char **argv, void *values, size_t *n_operands,
	bool *help, struct error *err);
void command_values_done(const struct command *c, void *values);
/* The candidate that `word` was probably meant to be, or NULL. */
const char *nearest_word(const char *word, const char *const *candidates, size_t n);

/* help.c */
void help_overview(FILE *out);
void help_command(const struct command *c, FILE *out);
void help_usage(const struct command *c, FILE *out); /* one line */
void help_man(FILE *out);			     /* roff */
/* completion.c: false for an unknown shell */
bool completion_print(const char *shell, FILE *out);

extern const char *const format_choices[]; /* "table", "json" */

#endif
