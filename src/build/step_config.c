// SPDX-License-Identifier: Apache-2.0
// Instructions that change the configuration alone (image-spec, "config.md").
#include <ctype.h>

#include "build/internal.h"

static json_t *object_in(json_t *parent, const char *key)
{
	json_t *o = json_object_get(parent, key);
	if (!json_is_object(o)) {
		json_object_set_new(parent, key, json_object());
		o = json_object_get(parent, key);
	}
	return o;
}

json_t *stage_section(struct stage *s)
{
	return object_in(s->config, "config");
}

static json_t *array_in(json_t *parent, const char *key)
{
	json_t *a = json_object_get(parent, key);
	if (!json_is_array(a)) {
		json_object_set_new(parent, key, json_array());
		a = json_object_get(parent, key);
	}
	return a;
}

static void set_env(struct stage *s, const char *name, const char *value)
{
	json_t *env = array_in(stage_section(s), "Env"), *word;
	char *text _free_ = xasprintf("%s=%s", name, value);
	size_t n, len = strlen(name);
	json_array_foreach(env, n, word)
	{
		const char *old = json_string_value(word);
		if (old && !strncmp(old, name, len) && old[len] == '=') {
			json_array_set_new(env, n, json_string(text));
			return;
		}
	}
	json_array_append_new(env, json_string(text));
}

/* Words of a list, or of a text for the shell. */
static json_t *command(struct stage *s, const struct containerfile_ins *i)
{
	json_t *list = json_array();
	if (i->list) {
		for (const char **word = i->list; *word; word++)
			json_array_append_new(list, json_string(*word));
		return list;
	}
	for (size_t n = 0; n < s->shell.len; n++)
		json_array_append_new(list, json_string(s->shell.items[n]));
	json_array_append_new(list, json_string(i->text));
	return list;
}

/* "1m30s" in nanoseconds; -1 for what is none. */
static int64_t duration(const char *p)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
	double all = 0;
	if (!*p)
		return -1;
	while (*p) {
		char *end;
		double n = strtod(p, &end);
		size_t unit = 0, len = 0;
		while (isalpha((unsigned char)end[len]))
			len++;
		while (unit < ARRAY_SIZE(units) &&
			(strlen(units[unit].unit) != len || strncmp(units[unit].unit, end, len)))
			unit++;
		if (end == p || unit == ARRAY_SIZE(units) || !(n >= 0) || n > 1e9)
			return -1;
		all += n * units[unit].ns;
		p = end + len;
	}
	return all < 9e18 ? (int64_t)all : -1;
}

static int healthcheck(struct stage *s, const struct containerfile_ins *i, struct error *err)
{
	static const struct {
		const char *option, *member;
	} times[] = {{"--interval=", "Interval"}, {"--timeout=", "Timeout"},
		{"--start-period=", "StartPeriod"}, {"--start-interval=", "StartInterval"}};
	json_t *check = json_object();
	json_object_set_new(stage_section(s), "Healthcheck", check);
	if (!strcasecmp(i->text, "NONE")) {
		json_object_set_new(check, "Test", json_pack("[s]", "NONE"));
		return 0;
	}
	if (strncasecmp(i->text, "CMD", 3) || !strchr(" \t[", i->text[3]))
		return error_set(err, EBADMSG, "HEALTHCHECK is NONE or CMD and a command");
	const char *rest = i->text + 3 + strspn(i->text + 3, " \t");
	json_t *list = *rest == '[' ? json_loads(rest, 0, NULL) : NULL;
	if (json_is_array(list)) {
		json_array_insert_new(list, 0, json_string("CMD"));
		json_object_set_new(check, "Test", list);
	} else {
		json_decref(list);
		json_object_set_new(check, "Test", json_pack("[ss]", "CMD-SHELL", rest));
	}
	for (const char **option = i->options; *option; option++) {
		size_t n = 0;
		while (n < ARRAY_SIZE(times) &&
			strncmp(*option, times[n].option, strlen(times[n].option)))
			n++;
		if (n < ARRAY_SIZE(times)) {
			int64_t ns = duration(*option + strlen(times[n].option));
			if (ns < 0)
				return error_set(
					err, EINVAL, "%s: not a time such as 1m30s", *option);
			json_object_set_new(check, times[n].member, json_integer(ns));
		} else if (!strncmp(*option, "--retries=", 10)) {
			json_object_set_new(check, "Retries", json_integer(atoi(*option + 10)));
		} else {
			return error_set(err, EINVAL, "HEALTHCHECK has no option %s", *option);
		}
	}
	return 0;
}

static int pairs(
	struct build *b, struct stage *s, const struct containerfile_ins *i, struct error *err)
{
	struct containerfile_scope scope = stage_scope(b, s);
	containerfile_words w = {0};
	int r = containerfile_pairs(&scope, i->text, &w, err);
	for (size_t n = 0; r == 0 && n < w.len; n += 2) {
		if (i->op == CONTAINERFILE_ENV)
			set_env(s, w.items[n], w.items[n + 1]);
		else
			json_object_set_new(object_in(stage_section(s), "Labels"), w.items[n],
				json_string(w.items[n + 1]));
	}
	containerfile_words_done(&w);
	return r;
}

/* "80", "80/udp", "8000-8010" */
static int expose(json_t *ports, const char *text, struct error *err)
{
	char *end, *after;
	unsigned long first = strtoul(text, &end, 10), last = first;
	after = end;
	if (*end == '-')
		last = strtoul(end + 1, &after, 10);
	const char *protocol = *after == '/' ? after + 1 : "tcp";
	bool known = !strcasecmp(protocol, "tcp") || !strcasecmp(protocol, "udp") ||
		     !strcasecmp(protocol, "sctp");
	if (!isdigit((unsigned char)*text) || (*after && *after != '/') || !known || !first ||
		last < first || last > 65535)
		return error_set(err, EINVAL, "EXPOSE %s: not a port such as 80 or 53/udp", text);
	for (unsigned long port = first; port <= last; port++) {
		char *name _free_ = xasprintf("%lu/%s", port, protocol);
		json_object_set_new(ports, name, json_object());
	}
	return 0;
}

/* EXPOSE and VOLUME: a set of names. */
static int set_of(
	struct build *b, struct stage *s, const struct containerfile_ins *i, struct error *err)
{
	struct containerfile_scope scope = stage_scope(b, s);
	containerfile_words w = {0};
	bool ports = i->op == CONTAINERFILE_EXPOSE;
	json_t *set = object_in(stage_section(s), ports ? "ExposedPorts" : "Volumes");
	int r = 0;
	for (const char **word = i->list; word && *word; word++)
		vec_push(&w, xstrdup(*word));
	if (!i->list)
		r = containerfile_split(&scope, i->text, &w, err);
	for (size_t n = 0; r == 0 && n < w.len; n++) {
		if (ports)
			r = expose(set, w.items[n], err);
		else
			json_object_set_new(set, w.items[n], json_object());
	}
	containerfile_words_done(&w);
	return r;
}

static int text_member(struct build *b, struct stage *s, const struct containerfile_ins *i,
	const char *key, struct error *err)
{
	struct containerfile_scope scope = stage_scope(b, s);
	struct strbuf text _strbuf_ = STRBUF_INIT;
	int r = containerfile_expand(&scope, i->text, &text, err);
	if (r == 0)
		json_object_set_new(stage_section(s), key, json_string(text.data ? text.data : ""));
	return r;
}

static void shell(struct stage *s, const struct containerfile_ins *i)
{
	containerfile_words_done(&s->shell);
	for (const char **word = i->list; *word; word++)
		vec_push(&s->shell, xstrdup(*word));
	json_object_set_new(stage_section(s), "Shell", command(s, i));
}

static int change(
	struct build *b, struct stage *s, const struct containerfile_ins *i, struct error *err)
{
	json_t *section = stage_section(s);
	switch (i->op) {
	case CONTAINERFILE_ENV:
	case CONTAINERFILE_LABEL:
		return pairs(b, s, i, err);
	case CONTAINERFILE_CMD:
		s->cmd_set = true;
		json_object_set_new(section, "Cmd", command(s, i));
		return 0;
	case CONTAINERFILE_ENTRYPOINT:
		/* The base's command was for the base's entry point. */
		if (!s->cmd_set)
			json_object_del(section, "Cmd");
		json_object_set_new(section, "Entrypoint", command(s, i));
		return 0;
	case CONTAINERFILE_EXPOSE:
	case CONTAINERFILE_VOLUME:
		return set_of(b, s, i, err);
	case CONTAINERFILE_USER:
		return text_member(b, s, i, "User", err);
	case CONTAINERFILE_STOPSIGNAL:
		return text_member(b, s, i, "StopSignal", err);
	case CONTAINERFILE_MAINTAINER:
		json_object_set_new(
			object_in(section, "Labels"), "maintainer", json_string(i->text));
		return 0;
	case CONTAINERFILE_SHELL:
		shell(s, i);
		return 0;
	case CONTAINERFILE_ONBUILD:
		json_array_append_new(array_in(section, "OnBuild"), json_string(i->text));
		return 0;
	case CONTAINERFILE_HEALTHCHECK:
		return healthcheck(s, i, err);
	default:
		return error_set(err, EINVAL, "%s cannot stand here", containerfile_op_name(i->op));
	}
}

int step_config(
	struct build *b, struct stage *s, const struct containerfile_ins *i, struct error *err)
{
	int r = change(b, s, i, err);
	if (r < 0)
		return r;
	char *created_by _free_ = xasprintf("%s %s", containerfile_op_name(i->op), i->text);
	char *config _free_ = json_dumps(stage_section(s), JSON_COMPACT | JSON_SORT_KEYS);
	stage_key_add(s, (const char *const[]){"config", config}, 2);
	stage_history(b, s, created_by, true);
	return 0;
}
