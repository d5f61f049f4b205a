// SPDX-License-Identifier: Apache-2.0
// Everything that is printed about commands comes from their declarations: help and manual page.
#include "cli/command.h"

enum { WIDTH = 88, HELP_COLUMN = 28 };

/* Wraps at blanks; a newline in the text ends a line. */
static void wrap(FILE *out, const char *text, int column)
{
	int at = column;
	while (*text) {
		if (*text == '\n') {
			fprintf(out, "\n%*s", text[1] && text[1] != '\n' ? column : 0, "");
			at = column;
			text++;
			continue;
		}
		int word = (int)strcspn(text, " \n");
		if (at > column && at + 1 + word > WIDTH) {
			fprintf(out, "\n%*s", column, "");
			at = column;
		} else if (at > column) {
			fputc(' ', out);
			at++;
		}
		fprintf(out, "%.*s", word, text);
		at += word;
		text += word;
		while (*text == ' ')
			text++;
	}
	fputc('\n', out);
}

static bool has_subcommands(const struct command *c)
{
	return !c->run;
}

static bool is_sub_of(const struct command *c, const struct command *group)
{
	size_t n = strlen(group->name);
	return !strncmp(c->name, group->name, n) && c->name[n] == ' ';
}

void help_usage(const struct command *c, FILE *out)
{
	if (has_subcommands(c))
		fprintf(out, "Usage: strata %s COMMAND\n", c->name);
	else
		fprintf(out, "Usage: strata %s%s%s%s\n", c->name, c->n_options ? " [OPTIONS]" : "",
			c->operands ? " " : "", c->operands ? c->operands : "");
}

static char *option_left(const struct option *o)
{
	char letter[8] = "    ";
	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	if (o->type == OPTION_MAYBE)
		return xasprintf("%s--%s[=%s]", letter, o->name, o->arg);
	return xasprintf("%s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
}

static char *option_help(const struct option *o)
{
	if (o->type == OPTION_LIST)
		return xasprintf("%s; may be given several times", o->help);
	if (o->type != OPTION_ENUM && o->type != OPTION_MAYBE)
		return xstrdup(o->help);
	char *all = xasprintf("%s: ", o->help);
	for (size_t i = 0; o->choices[i]; i++) {
		char *longer = xasprintf(
			"%s%s%s%s", all, i ? ", " : "", o->choices[i], i ? "" : " (default)");
		free(all);
		all = longer;
	}
	return all;
}

static void print_row(FILE *out, const char *left, const char *text)
{
	int n = fprintf(out, "  %s", left);
	if (n >= HELP_COLUMN)
		fprintf(out, "\n%*s", HELP_COLUMN, "");
	else
		fprintf(out, "%*s", HELP_COLUMN - n, "");
	wrap(out, text, HELP_COLUMN);
}

static void print_commands(FILE *out, const struct command *group)
{
	for (size_t i = 0; i < n_commands; i++) {
		const struct command *c = commands[i];
		if (c->hidden || (group ? !is_sub_of(c, group) : strchr(c->name, ' ') != NULL))
			continue;
		print_row(out, group ? c->name + strlen(group->name) + 1 : c->name, c->summary);
	}
}

void help_overview(FILE *out)
{
	fputs("Usage: strata COMMAND [OPTIONS] ...\n\n"
	      "Runs an image at the level of isolation and on the instruction set that you "
	      "pick.\n\n"
	      "Commands:\n",
		out);
	print_commands(out, NULL);
	fputs("\n`strata COMMAND --help` tells more about one of them.\n", out);
}

void help_command(const struct command *c, FILE *out)
{
	help_usage(c, out);
	fprintf(out, "\n%s.\n", c->summary);
	if (c->description) {
		fputc('\n', out);
		wrap(out, c->description, 0);
	}
	if (has_subcommands(c)) {
		fputs("\nCommands:\n", out);
		print_commands(out, c);
	}
	if (c->n_options)
		fputs("\nOptions:\n", out);
	for (size_t i = 0; i < c->n_options; i++) {
		char *left _free_ = option_left(&c->options[i]);
		char *help _free_ = option_help(&c->options[i]);
		print_row(out, left, help);
	}
	if (c->n_examples)
		fputs("\nExamples:\n", out);
	for (size_t i = 0; i < c->n_examples; i++)
		fprintf(out, "  %s\n      %s\n", c->examples[i].line, c->examples[i].what);
}

/* Manual page */

static void roff(FILE *out, const char *text)
{
	bool line_start = true;
	for (; *text; text++) {
		if (line_start && (*text == '.' || *text == '\''))
			fputs("\\&", out);
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else
			fputc(*text, out);
		line_start = *text == '\n';
	}
}

static void man_command(FILE *out, const struct command *c)
{
	fputs(".SS strata ", out);
	roff(out, c->name);
	fputs(c->n_options ? " [OPTIONS]" : "", out);
	if (c->operands) {
		fputc(' ', out);
		roff(out, c->operands);
	}
	fputc('\n', out);
	roff(out, c->summary);
	fputs(".\n", out);
	if (c->description) {
		fputs(".PP\n", out);
		roff(out, c->description);
		fputc('\n', out);
	}
	for (size_t i = 0; i < c->n_options; i++) {
		char *left _free_ = option_left(&c->options[i]);
		char *help _free_ = option_help(&c->options[i]);
		fputs(".TP\n.B ", out);
		roff(out, left + strspn(left, " "));
		fputc('\n', out);
		roff(out, help);
		fputs(".\n", out);
	}
	for (size_t i = 0; i < c->n_examples; i++) {
		fputs(".PP\n", out);
		roff(out, c->examples[i].what);
		fputs(":\n.PP\n.RS\n.nf\n", out);
		roff(out, c->examples[i].line);
		fputs("\n.fi\n.RE\n", out);
	}
}

void help_man(FILE *out)
{
	fputs(".TH STRATA 1 \"\" \"strata " STRATA_VERSION "\" \"User Commands\"\n"
	      ".SH NAME\nstrata \\- run images as virtual machines\n"
	      ".SH SYNOPSIS\n.B strata\nCOMMAND [OPTIONS] ...\n.SH COMMANDS\n",
		out);
	for (size_t i = 0; i < n_commands; i++) {
		if (!commands[i]->hidden && commands[i]->run)
			man_command(out, commands[i]);
	}
	fputs(".SH EXIT STATUS\n"
	      "0 success, 1 failure, 2 wrong usage. \\fBstrata run\\fR passes on the status of "
	      "the\n"
	      "guest's command (128 and the number of a signal that killed it); its own failures\n"
	      "are 125, a command that cannot be executed is 126, one that is not found 127.\n"
	      ".SH ENVIRONMENT\n.TP\n.B STRATA_HOME\n"
	      "Where images and instances are kept; else $XDG_DATA_HOME/strata, else\n"
	      "~/.local/share/strata.\n.TP\n.B NO_COLOR\nIf set, output has no colours.\n",
		out);
}
