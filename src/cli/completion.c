// SPDX-License-Identifier: Apache-2.0
// Completion scripts for shells, from the commands' declarations.
#include "cli/command.h"

static void print_words(FILE *out, const char *prefix)
{
	size_t skip = strlen(prefix);
	for (size_t i = 0; i < n_commands; i++) {
		const char *name = commands[i]->name;
		if (!commands[i]->hidden && !strncmp(name, prefix, skip) &&
			!strchr(name + skip, ' '))
			fprintf(out, "%s ", name + skip);
	}
}

static void print_options(FILE *out, const struct command *c)
{
	for (size_t i = 0; i < c->n_options; i++)
		fprintf(out, "--%s ", c->options[i].name);
	fputs("--help", out);
}

/* The body that bash and zsh share: sets `words` from $command and $previous. */
static void print_cases(FILE *out)
{
	fputs("\tcase \"$command\" in\n\t'') words=\"", out);
	print_words(out, "");
	fputs("\" ;;\n", out);
	for (size_t i = 0; i < n_commands; i++) {
		const struct command *c = commands[i];
		if (c->hidden)
			continue;
		fprintf(out, "\t'%s')\n\t\twords=\"", c->name);
		if (!c->run) {
			char *prefix _free_ = xasprintf("%s ", c->name);
			print_words(out, prefix);
		}
		print_options(out, c);
		fputs("\"\n", out);
		if (c->completes == OPERAND_INSTANCE)
			fputs("\t\twords=\"$words $(strata list --quiet 2>/dev/null)\"\n", out);
		if (c->completes == OPERAND_IMAGE)
			fputs("\t\twords=\"$words $(strata image list --quiet 2>/dev/null)\"\n",
				out);
		if (c->completes == OPERAND_COMMAND) {
			fputs("\t\twords=\"$words ", out);
			print_words(out, "");
			fputs("\"\n", out);
		}
		for (size_t j = 0; j < c->n_options; j++) {
			const struct option *o = &c->options[j];
			if (o->type == OPTION_FLAG || o->type == OPTION_MAYBE)
				continue;
			fprintf(out, "\t\t[ \"$previous\" = --%s ] && words=\"", o->name);
			for (size_t k = 0; o->type == OPTION_ENUM && o->choices[k]; k++)
				fprintf(out, "%s ", o->choices[k]);
			fputs("\"\n", out);
		}
		fputs("\t\t;;\n", out);
	}
	fputs("\tesac\n", out);
}

static void print_groups(FILE *out)
{
	for (size_t i = 0; i < n_commands; i++) {
		if (!commands[i]->run)
			fprintf(out, "%s|", commands[i]->name);
	}
	fputs("''", out);
}

static void bash(FILE *out)
{
	fputs("# bash completion for strata: source <(strata completion bash)\n_strata() {\n"
	      "\tlocal command='' words='' previous=${COMP_WORDS[COMP_CWORD-1]}\n"
	      "\tlocal current=${COMP_WORDS[COMP_CWORD]}\n"
	      "\tif [ \"$COMP_CWORD\" -gt 1 ]; then command=${COMP_WORDS[1]}; fi\n"
	      "\tcase \"$command\" in ",
		out);
	print_groups(out);
	fputs(") if [ \"$COMP_CWORD\" -gt 2 ]; then command=\"$command ${COMP_WORDS[2]}\"; fi ;; "
	      "esac\n",
		out);
	print_cases(out);
	fputs("\tCOMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n}\n"
	      "complete -o default -F _strata strata\n",
		out);
}

static void zsh(FILE *out)
{
	fputs("#compdef strata\n_strata() {\n"
	      "\tlocal command='' words='' previous=${words[CURRENT-1]}\n"
	      "\tlocal -a typed=(\"${(@)words}\")\n",
		out);
	fputs("\tif (( CURRENT > 2 )); then command=$typed[2]; fi\n\tcase \"$command\" in ", out);
	print_groups(out);
	fputs(") if (( CURRENT > 3 )); then command=\"$command $typed[3]\"; fi ;; esac\n", out);
	print_cases(out);
	fputs("\tcompadd -- ${=words} || _files\n}\ncompdef _strata strata\n", out);
}

static void quote_fish(FILE *out, const char *s)
{
	fputc('\'', out);
	for (; *s; s++) {
		if (*s == '\'' || *s == '\\')
			fputc('\\', out);
		fputc(*s, out);
	}
	fputc('\'', out);
}

static void fish(FILE *out)
{
	fputs("# fish completion for strata: strata completion fish | source\n", out);
	for (size_t i = 0; i < n_commands; i++) {
		const struct command *c = commands[i];
		const char *blank = strchr(c->name, ' ');
		if (c->hidden)
			continue;
		if (blank)
			fprintf(out,
				"complete -c strata -f -n '__fish_seen_subcommand_from %.*s' -a %s "
				"-d ",
				(int)(blank - c->name), c->name, blank + 1);
		else
			fprintf(out, "complete -c strata -f -n __fish_use_subcommand -a %s -d ",
				c->name);
		quote_fish(out, c->summary);
		fputc('\n', out);
		for (size_t j = 0; j < c->n_options; j++) {
			const struct option *o = &c->options[j];
			fprintf(out, "complete -c strata -n '__fish_seen_subcommand_from %s' -l %s",
				blank ? blank + 1 : c->name, o->name);
			if (o->letter)
				fprintf(out, " -s %c", o->letter);
			if (o->type != OPTION_FLAG && o->type != OPTION_MAYBE)
				fputs(" -r", out);
			fputs(" -d ", out);
			quote_fish(out, o->help);
			for (size_t k = 0; o->type == OPTION_ENUM && o->choices[k]; k++)
				fprintf(out, "%s%s", k ? " " : " -f -a '", o->choices[k]);
			fputs(o->type == OPTION_ENUM ? "'\n" : "\n", out);
		}
	}
}

bool completion_print(const char *shell, FILE *out)
{
	if (!strcmp(shell, "bash"))
		bash(out);
	else if (!strcmp(shell, "zsh"))
		zsh(out);
	else if (!strcmp(shell, "fish"))
		fish(out);
	else
		return false;
	return true;
}
