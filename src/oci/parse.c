// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include "base/vec.h"
#include "oci/command.h"

static const struct option *find(
	const struct option *options, size_t n, const char *word, size_t len)
{
	for (size_t i = 0; i < n; i++) {
		if (word[1] == '-' && strlen(options[i].name) == len - 2 &&
			!strncmp(options[i].name, word + 2, len - 2))
			return &options[i];
		if (word[1] != '-' && len == 2 && options[i].letter == word[1])
			return &options[i];
	}
	return NULL;
}

static int store(const struct option *o, const char *value, void *values, struct error *err)
{
	void *at = (char *)values + o->offset;
	char *end;
	if (o->type == OPTION_STRING) {
		*(const char **)at = value;
	} else if (o->type == OPTION_LIST) {
		struct strings *list = at;
		vec_push(list, value);
	} else {
		errno = 0;
		long long v = strtoll(value, &end, 10);
		if (end == value || *end || errno ||
			(o->type == OPTION_UINT && (v < 0 || v > 4096)))
			return error_set(err, EINVAL,
				"--%s: \"%s\" is no number that is possible here", o->name, value);
		if (o->type == OPTION_UINT)
			*(unsigned *)at = (unsigned)v;
		else
			*(int64_t *)at = v;
	}
	return 0;
}

int command_parse(const struct option *options, size_t n_options, char **argv, void *values,
	bool options_first, size_t *n_operands, bool *help, struct error *err)
{
	size_t kept = 0;
	char **p = argv;
	for (; *p; p++) {
		char *word = *p;
		if (*word != '-' || !word[1]) {
			if (options_first && *word)
				break;
			argv[kept++] = word;
			continue;
		}
		if (!strcmp(word, "--")) {
			p++;
			break;
		}
		if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
			*help = true;
			continue;
		}
		size_t len = strcspn(word, "=");
		const struct option *o = find(options, n_options, word, len);
		if (!o)
			return error_set(
				err, EINVAL, "there is no option %.*s here", (int)len, word);
		if (o->type == OPTION_FLAG) {
			*(bool *)((char *)values + o->offset) = strcmp(word + len, "=false") != 0;
			continue;
		}
		const char *value = word[len] ? word + len + 1 : *++p;
		if (!value)
			return error_set(err, EINVAL, "--%s needs a value", o->name);
		int r = store(o, value, values, err);
		if (r < 0)
			return r;
	}
	while (*p)
		argv[kept++] = *p++;
	argv[kept] = NULL;
	*n_operands = kept;
	return 0;
}

void options_help(const struct option *options, size_t n, FILE *out)
{
	for (size_t i = 0; i < n; i++) {
		char name[64], letter[8] = "    ";
		snprintf(name, sizeof(name), "--%s%s%s", options[i].name, options[i].arg ? " " : "",
			options[i].arg ? options[i].arg : "");
		if (options[i].letter)
			snprintf(letter, sizeof(letter), "-%c, ", options[i].letter);
		fprintf(out, "  %s%-26s %s\n", letter, name, options[i].help);
	}
}

void command_help(const struct command *c, FILE *out)
{
	fprintf(out, "usage: strata-oci [OPTION...] %s%s %s\n%s.\n", c->name,
		c->n_options ? " [OPTION...]" : "", c->operands, c->summary);
	if (c->n_options)
		fputs("\n", out);
	options_help(c->options, c->n_options, out);
}

int format_is_json(const char *format, bool *json, struct error *err)
{
	*json = format && !strcmp(format, "json");
	if (format && !*json && strcmp(format, "table"))
		return error_set(err, EINVAL, "--format is table or json");
	return 0;
}

int signal_number(const char *text)
{
	char *end;
	long v = strtol(text, &end, 10);
	if (end != text && !*end)
		return v > 0 && v <= SIGRTMAX ? (int)v : 0;
	if (!strncasecmp(text, "SIG", 3))
		text += 3;
	for (int i = 1; i < 32; i++)
		if (sigabbrev_np(i) && !strcasecmp(text, sigabbrev_np(i)))
			return i;
	if (!strncasecmp(text, "RTMIN", 5))
		return SIGRTMIN + atoi(text + 5) <= SIGRTMAX ? SIGRTMIN + atoi(text + 5) : 0;
	return 0;
}
