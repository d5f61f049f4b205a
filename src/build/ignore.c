// SPDX-License-Identifier: Apache-2.0
#include <fnmatch.h>
#include <limits.h>

#include "build/internal.h"

void ignore_parse(struct ignore *out, const char *text)
{
	char *copy _free_ = xstrdup(text), *rest = copy;
	*out = (struct ignore){0};
	for (char *line; (line = strsep(&rest, "\n"));) {
		struct ignore_rule rule = {0};
		line += strspn(line, " \t");
		if (*line == '#')
			continue;
		rule.except = *line == '!';
		line += rule.except;
		line += strspn(line, " \t/");
		if (!strncmp(line, "./", 2))
			line += 2;
		size_t len = strlen(line);
		while (len && strchr(" \t\r/", line[len - 1]))
			len--;
		if (!len)
			continue;
		rule.pattern = strndup(line, len);
		vec_push(&out->rules, rule);
	}
}

void ignore_done(struct ignore *g)
{
	vec_for_each (rule, &g->rules)
		free(rule->pattern);
	vec_done(&g->rules);
}

/* One component against one of the pattern's. */
static bool component(const char *pattern, size_t p, const char *path, size_t n)
{
	char a[NAME_MAX + 1], b[NAME_MAX + 1];
	if (p >= sizeof(a) || n >= sizeof(b))
		return false;
	memcpy(a, pattern, p);
	memcpy(b, path, n);
	a[p] = b[n] = 0;
	return fnmatch(a, b, 0) == 0;
}

bool ignore_pattern_match(const char *pattern, const char *path)
{
	/* The last ** and what it stands for: longer and longer. */
	const char *star = NULL, *star_path = NULL;
	for (;;) {
		size_t p = strcspn(pattern, "/"), n = strcspn(path, "/");
		if (p == 2 && !memcmp(pattern, "**", 2)) {
			star = pattern + 2 + (pattern[2] == '/');
			star_path = path;
			pattern = star;
			if (!*pattern)
				return true;
			continue;
		}
		if (!*pattern && !*path)
			return true;
		if (*pattern && *path && component(pattern, p, path, n)) {
			pattern += p + (pattern[p] == '/');
			path += n + (path[n] == '/');
			continue;
		}
		if (!star || !*star_path)
			return false;
		n = strcspn(star_path, "/");
		star_path += n + (star_path[n] == '/');
		pattern = star;
		path = star_path;
	}
}

/* A pattern that fits a directory is for all that is in it. */
static bool fits(const char *pattern, const char *path)
{
	char part[PATH_MAX];
	for (const char *end = path; *end;) {
		end += strspn(end, "/");
		end += strcspn(end, "/");
		size_t n = (size_t)(end - path);
		if (n >= sizeof(part))
			return false;
		memcpy(part, path, n);
		part[n] = 0;
		if (ignore_pattern_match(pattern, part))
			return true;
	}
	return false;
}

bool ignore_match(const struct ignore *g, const char *path)
{
	bool ignored = false;
	vec_for_each (rule, &g->rules)
		if (ignored == rule->except && fits(rule->pattern, path))
			ignored = !rule->except;
	return ignored;
}
