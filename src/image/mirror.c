// SPDX-License-Identifier: Apache-2.0
// Which Debian mirror this host uses.
#include "image/archive.h"
#include "wire/apt_sources.h"

#include <dirent.h>
#include <stdio.h>

#define FALLBACK	 "http://deb.debian.org/debian"
#define SOURCES_MAX	 (1u << 20)
#define SOURCE_FILES_MAX 1000

static bool starts_with(struct slice s, const char *prefix)
{
	size_t n = strlen(prefix);
	return s.len >= n && !memcmp(s.p, prefix, n);
}

/* Names of main suites of Debian; third parties have names of their own. */
static bool is_debian_suite(struct slice s)
{
	static const char *const names[] = {"stable", "oldstable", "oldoldstable", "testing",
		"unstable", "sid", "buster", "bullseye", "bookworm", "trixie", "forky", "duke"};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (slice_is(s, names[i]))
			return true;
	return false;
}

static bool consider(void *opaque, const struct apt_source *s)
{
	char **found = opaque;
	struct slice components = s->components, word;
	bool main_component = false;
	while (slice_word(&components, &word))
		main_component |= slice_is(word, "main");
	if (!main_component || !is_debian_suite(s->suite) || s->uri.len > 2000 ||
		(!starts_with(s->uri, "http://") && !starts_with(s->uri, "https://")))
		return true;
	struct slice uri = s->uri;
	while (uri.len && uri.p[uri.len - 1] == '/')
		uri.len--;
	*found = slice_dup(uri);
	return false;
}

static void read_list(const char *path, char **found)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	if (store_read_file(path, SOURCES_MAX, &text, NULL) < 0)
		return;
	size_t n = strlen(path);
	if (n > 8 && !strcmp(path + n - 8, ".sources"))
		apt_sources_deb822(text.data, text.len, consider, found);
	else
		apt_sources_list(text.data, text.len, consider, found);
}

static int is_source_file(const struct dirent *e)
{
	size_t n = strlen(e->d_name);
	return (n > 5 && !strcmp(e->d_name + n - 5, ".list")) ||
	       (n > 8 && !strcmp(e->d_name + n - 8, ".sources"));
}

char *mirror_find(const char *apt_dir)
{
	char *found = NULL;
	char *list _free_ = xasprintf("%s/sources.list", apt_dir);
	char *dir _free_ = xasprintf("%s/sources.list.d", apt_dir);
	struct dirent **entries = NULL;
	read_list(list, &found);
	int n = found ? 0 : scandir(dir, &entries, is_source_file, alphasort);
	for (int i = 0; i < n; i++) {
		char *path _free_ = xasprintf("%s/%s", dir, entries[i]->d_name);
		if (!found && i < SOURCE_FILES_MAX)
			read_list(path, &found);
		free(entries[i]);
	}
	free(entries);
	return found ? found : xstrdup(FALLBACK);
}

char *mirror_public(const char *mirror)
{
	const char *host = strstr(mirror, "://");
	host = host ? host + 3 : mirror;
	size_t authority = strcspn(host, "/");
	const char *at = memrchr(host, '@', authority);
	return at ? xasprintf("%.*s%s", (int)(host - mirror), mirror, at + 1) : xstrdup(mirror);
}
