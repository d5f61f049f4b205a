// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"
#include "cli/units.h"

const char *const format_choices[] = {"table", "json", NULL};

/* Edit distance with a bound that keeps silly suggestions away. */
static unsigned distance(const char *a, const char *b)
{
	enum { MAX = 32 };
	size_t n = strlen(a), m = strlen(b);
	if (n > MAX || m > MAX)
		return MAX;
	unsigned row[MAX + 1];
	for (size_t j = 0; j <= m; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			unsigned replace = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			row[j] = MIN(replace, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[m];
}

const char *nearest_word(const char *word, const char *const *candidates, size_t n)
{
	const char *best = NULL;
	unsigned best_distance = 3;
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(word);
		bool prefix = len >= 2 && !strncmp(word, candidates[i], len);
		unsigned d = prefix ? 1 : distance(word, candidates[i]);
		if (d < best_distance && d < strlen(candidates[i])) {
			best = candidates[i];
			best_distance = d;
		}
	}
	return best;
}

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < n_commands; i++) {
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	}
	return NULL;
}

/* Suggests among the commands whose name begins with prefix ("" or "image "). */
static void unknown_command(const char *prefix, const char *word, struct error *err)
{
	const char **names _free_ = xcalloc(n_commands, sizeof(*names));
	size_t n = 0, skip = strlen(prefix);
	for (size_t i = 0; i < n_commands; i++) {
		const char *name = commands[i]->name;
		if (!commands[i]->hidden && !strncmp(name, prefix, skip) &&
			!strchr(name + skip, ' '))
			names[n++] = name + skip;
	}
	const char *near = nearest_word(word, names, n);
	error_set(err, EINVAL, "there is no command \"%s%s\"", prefix, word);
	if (near)
		error_remedy(err, "did you mean \"strata %s%s\"?", prefix, near);
}

const struct command *command_lookup(int argc, char **argv, int *used, struct error *err)
{
	*used = 1;
	const struct command *c = command_find(argv[1]);
	if (!c) {
		unknown_command("", argv[1], err);
		return NULL;
	}
	if (c->run || argc < 3 || argv[2][0] == '-')
		return c;
	char *name _free_ = xasprintf("%s %s", argv[1], argv[2]);
	*used = 2;
	const struct command *sub = command_find(name);
	if (!sub) {
		char *prefix _free_ = xasprintf("%s ", argv[1]);
		unknown_command(prefix, argv[2], err);
	}
	return sub;
}

static const struct option *find_option(const struct command *c, const char *name, size_t len)
{
	for (size_t i = 0; i < c->n_options; i++) {
		const struct option *o = &c->options[i];
		if (strlen(o->name) == len && !strncmp(o->name, name, len))
			return o;
	}
	return NULL;
}

static const struct option *find_letter(const struct command *c, char letter)
{
	for (size_t i = 0; i < c->n_options; i++) {
		if (c->options[i].letter && c->options[i].letter == letter)
			return &c->options[i];
	}
	return NULL;
}

static int unknown_option(const struct command *c, const char *word, size_t len, struct error *err)
{
	char *name _free_ = xasprintf("%.*s", (int)len, word);
	const char **names _free_ = xcalloc(c->n_options + 1, sizeof(*names));
	for (size_t i = 0; i < c->n_options; i++)
		names[i] = c->options[i].name;
	const char *near = nearest_word(name, names, c->n_options);
	error_set(err, EINVAL, "%s: unknown option --%s", c->name, name);
	if (near)
		error_remedy(err, "did you mean --%s?", near);
	return -EINVAL;
}

static int store_choice(const struct command *c, const struct option *o, const char *value,
	const char **slot, struct error *err)
{
	size_t n = 0;
	for (; o->choices[n]; n++) {
		if (!strcmp(o->choices[n], value)) {
			*slot = o->choices[n];
			return 0;
		}
	}
	char *all _free_ = xstrdup("");
	for (size_t i = 0; i < n; i++) {
		char *longer = xasprintf("%s%s%s", all, i ? ", " : "", o->choices[i]);
		free(all);
		all = longer;
	}
	const char *near = nearest_word(value, o->choices, n);
	error_set(err, EINVAL, "%s: --%s %s: must be one of %s", c->name, o->name, value, all);
	if (near)
		error_remedy(err, "did you mean --%s %s?", o->name, near);
	return -EINVAL;
}

/* Zero is how the values tell that an option was left out; no option means anything by it. */
static int parse_positive(
	const char *value, int (*parse)(const char *s, uint64_t *out), uint64_t *out)
{
	uint64_t v;
	if (parse(value, &v) || !v)
		return -EINVAL;
	*out = v;
	return 0;
}

static int store_value(const struct command *c, const struct option *o, const char *value,
	uint8_t *values, struct error *err)
{
	void *slot = values + o->offset;
	int r = 0;
	switch (o->type) {
	case OPTION_FLAG:
		*(bool *)slot = true;
		break;
	case OPTION_STRING:
		*(const char **)slot = value;
		break;
	case OPTION_LIST:
		vec_push((struct strings *)slot, value);
		break;
	case OPTION_UINT:
		r = parse_positive(value, parse_uint, slot);
		if (r)
			error_set(err, EINVAL, "%s: --%s %s: not a number from 1 up", c->name,
				o->name, value);
		break;
	case OPTION_SIZE:
		r = parse_positive(value, parse_size, slot);
		if (r) {
			error_set(err, EINVAL, "%s: --%s %s: not a size", c->name, o->name, value);
			error_remedy(err, "write bytes with a unit, as in 512M or 2GiB");
		}
		break;
	case OPTION_ENUM:
	case OPTION_MAYBE:
		r = store_choice(c, o, value, slot, err);
		break;
	}
	return r;
}

static int need_value(const struct command *c, const struct option *o, struct error *err)
{
	return error_set(err, EINVAL, "%s: --%s needs a value: %s", c->name, o->name, o->arg);
}

/* One word that begins with "--". *i moves over a value in the next word. */
static int parse_long(const struct command *c, char **argv, size_t *i, uint8_t *values, bool *help,
	struct error *err)
{
	const char *word = argv[*i] + 2;
	size_t len = strcspn(word, "=");
	if (!strcmp(word, "help")) {
		*help = true;
		return 0;
	}
	const struct option *o = find_option(c, word, len);
	if (!o)
		return unknown_option(c, word, len, err);
	const char *value = word[len] ? word + len + 1 : NULL;
	if (o->type == OPTION_FLAG && value)
		return error_set(err, EINVAL, "%s: --%s takes no value", c->name, o->name);
	if (o->type == OPTION_MAYBE && !value)
		value = o->choices[0];
	if (o->type != OPTION_FLAG && !value && !(value = argv[++*i]))
		return need_value(c, o, err);
	return store_value(c, o, value, values, err);
}

/* -m 512M, -m512M, -ti */
static int parse_short(const struct command *c, char **argv, size_t *i, uint8_t *values, bool *help,
	struct error *err)
{
	for (const char *p = argv[*i] + 1; *p; p++) {
		const struct option *o = find_letter(c, *p);
		if (!o && *p == 'h') {
			*help = true;
			continue;
		}
		if (!o)
			return error_set(err, EINVAL, "%s: unknown option -%c", c->name, *p);
		if (o->type == OPTION_FLAG) {
			store_value(c, o, NULL, values, err);
			continue;
		}
		const char *value = p[1] ? p + 1 + (p[1] == '=') : argv[++*i];
		return value ? store_value(c, o, value, values, err) : need_value(c, o, err);
	}
	return 0;
}

static int check_operands(const struct command *c, char **argv, size_t n, struct error *err)
{
	if (n > c->max_operands)
		return error_set(err, EINVAL, "%s: \"%s\" is one argument too many", c->name,
			argv[c->max_operands]);
	if (n < c->min_operands)
		return error_set(err, EINVAL, "%s: %s is missing", c->name, c->operands);
	return 0;
}

int command_parse(const struct command *c, char **argv, void *values, size_t *n_operands,
	bool *help, struct error *err)
{
	size_t n = 0, i = 0;
	int r = 0;
	*help = false;
	for (; argv[i]; i++) {
		if (!strcmp(argv[i], "--") && !(c->options_first && n)) {
			i++;
			break;
		}
		if (argv[i][0] != '-' || !argv[i][1]) {
			argv[n++] = argv[i];
			if (!c->options_first)
				continue;
			i++;
			break;
		}
		r = argv[i][1] == '-' ? parse_long(c, argv, &i, values, help, err)
				      : parse_short(c, argv, &i, values, help, err);
		if (r < 0)
			return r;
	}
	while (argv[i])
		argv[n++] = argv[i++];
	argv[n] = NULL;
	*n_operands = n;
	return *help ? 0 : check_operands(c, argv, n, err);
}

void command_values_done(const struct command *c, void *values)
{
	for (size_t i = 0; i < c->n_options; i++) {
		if (c->options[i].type == OPTION_LIST)
			vec_done((struct strings *)(void *)((uint8_t *)values +
							    c->options[i].offset));
	}
}
