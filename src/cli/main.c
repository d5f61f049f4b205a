// SPDX-License-Identifier: Apache-2.0
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/command.h"

static const char *color(const struct cli *cli, const char *code)
{
	return cli->color ? code : "";
}

int cli_fail(struct cli *cli, int status, const struct error *err)
{
	fprintf(stderr, "%sstrata:%s %s\n", color(cli, "\033[1;31m"), color(cli, "\033[0m"),
		err->message ? err->message : "failed");
	if (err->remedy)
		fprintf(stderr, "        %s\n", err->remedy);
	return status;
}

int cli_usage(struct cli *cli, const struct error *err)
{
	cli_fail(cli, EXIT_USAGE, err);
	if (cli->command)
		fprintf(stderr, "        `strata %s --help` lists what it takes\n",
			cli->command->name);
	else
		fprintf(stderr, "        `strata help` lists the commands\n");
	return EXIT_USAGE;
}

void cli_note(struct cli *cli, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* Output that did not reach its file is a failure, not a success. */
static int finish(struct cli *cli, int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	if (errno == EPIPE)
		return status ? status : EXIT_FAILED;
	struct error err _error_ = ERROR_INIT;
	error_errno(&err, errno, "standard output");
	return cli_fail(cli, status ? status : EXIT_FAILED, &err);
}

static int run_command(struct cli *cli, char **argv)
{
	const struct command *c = cli->command;
	struct error err _error_ = ERROR_INIT;
	void *values _free_ = xcalloc(1, c->values_bytes + 1);
	size_t n = 0;
	bool help = false;
	int r = command_parse(c, argv, values, &n, &help, &err);
	int status;
	if (r < 0) {
		status = cli_usage(cli, &err);
	} else if (help || !c->run) {
		help_command(c, help ? stdout : stderr);
		status = help ? 0 : EXIT_USAGE;
	} else {
		status = c->run(cli, values, argv, n);
	}
	command_values_done(c, values);
	return finish(cli, status);
}

int main(int argc, char **argv)
{
	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	struct cli cli = {.stdout_tty = isatty(STDOUT_FILENO), .stderr_tty = isatty(STDERR_FILENO)};
	cli.color = cli.stderr_tty && !(no_color && *no_color) && term && strcmp(term, "dumb");
	if (argc < 2) {
		help_overview(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		argv[1] = (char *)(uintptr_t) "help";
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))
		argv[1] = (char *)(uintptr_t) "version";
	struct error err _error_ = ERROR_INIT;
	int used;
	cli.command = command_lookup(argc, argv, &used, &err);
	if (!cli.command)
		return cli_usage(&cli, &err);
	return run_command(&cli, argv + 1 + used);
}
