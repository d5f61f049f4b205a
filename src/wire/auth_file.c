// SPDX-License-Identifier: Apache-2.0
#include "wire/auth_file.h"

#include "wire/http_head.h"

#include <jansson.h>

#define ENTRIES_MAX 4096

DEFINE_CLEANUP(json_t *, cleanup_json, json_decref)
#define _json_ CLEANUP(cleanup_json)

static void forget(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

static void entry_done(struct auth_entry *e)
{
	free(e->key);
	free(e->user);
	forget(e->password);
	forget(e->identity_token);
	*e = (struct auth_entry){0};
}

void auth_file_done(struct auth_file *f)
{
	vec_for_each (e, &f->entries)
		entry_done(e);
	vec_done(&f->entries);
}

/* Docker's keys may be URLs: "https://index.docker.io/v1/" means the hub. */
static char *key_of(const char *key)
{
	static const char *const schemes[] = {"https://", "http://"};
	bool url = false;
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
		if (!strncmp(key, schemes[i], strlen(schemes[i]))) {
			key += strlen(schemes[i]);
			url = true;
		}
	size_t len = url ? strcspn(key, "/") : strlen(key);
	while (len && key[len - 1] == '/')
		len--;
	if ((len == 15 && !strncmp(key, "index.docker.io", len)) ||
		(len == 20 && !strncmp(key, "registry-1.docker.io", len)))
		return xstrdup("docker.io");
	char *copy = xmalloc(len + 1);
	memcpy(copy, key, len);
	copy[len] = '\0';
	return copy;
}

static bool parse_auth(const char *auth, struct auth_entry *e)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	if (!auth || http_base64_decode(auth, &text) < 0 || memchr(text.data, '\0', text.len))
		return false;
	char *colon = strchr(text.data, ':');
	if (!colon || colon == text.data)
		return false;
	*colon = '\0';
	e->user = xstrdup(text.data);
	e->password = xstrdup(colon + 1);
	explicit_bzero(text.data, text.len);
	return true;
}

int auth_file_parse(struct auth_file *out, const char *json, size_t len, struct error *err)
{
	json_error_t je;
	*out = (struct auth_file){0};
	if (len > AUTH_FILE_MAX)
		return error_set(err, EBADMSG, "credentials: too large");
	json_t *root _json_ = json_loadb(json, len, 0, &je), *value;
	if (!root)
		return error_set(err, EBADMSG, "credentials: line %d: %s", je.line, je.text);
	json_t *auths = json_object_get(root, "auths");
	const char *key;
	if (!json_is_object(root) || (auths && !json_is_object(auths)) ||
		json_object_size(auths) > ENTRIES_MAX)
		return error_set(err, EBADMSG, "credentials: not the form of an auth.json");
	json_object_foreach(auths, key, value)
	{
		struct auth_entry e = {0};
		const char *token = json_string_value(json_object_get(value, "identitytoken"));
		bool ok = parse_auth(json_string_value(json_object_get(value, "auth")), &e);
		if (token && *token) {
			e.identity_token = xstrdup(token);
			ok = true;
		}
		e.key = key_of(key);
		if (ok && *e.key)
			vec_push(&out->entries, e);
		else
			entry_done(&e);
	}
	return 0;
}

char *auth_file_print(const struct auth_file *f)
{
	json_t *root = json_object(), *auths = json_object();
	vec_for_each (e, &f->entries) {
		json_t *o = json_object();
		if (e->user) {
			struct strbuf plain _strbuf_ = STRBUF_INIT, coded _strbuf_ = STRBUF_INIT;
			strbuf_addf(&plain, "%s:%s", e->user, e->password);
			http_add_base64(&coded, plain.data, plain.len);
			json_object_set_new(o, "auth", json_string(coded.data));
			explicit_bzero(plain.data, plain.len);
		}
		if (e->identity_token)
			json_object_set_new(o, "identitytoken", json_string(e->identity_token));
		json_object_set_new(auths, e->key, o);
	}
	json_object_set_new(root, "auths", auths);
	char *text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
	json_decref(root);
	return text ? text : xstrdup("{}");
}

const struct auth_entry *auth_file_find(
	const struct auth_file *f, const char *host, const char *name)
{
	char *full _free_ = xasprintf("%s/%s", host, name);
	const struct auth_entry *best = NULL;
	vec_for_each (e, &f->entries) {
		size_t len = strlen(e->key);
		if (!strncmp(full, e->key, len) && (full[len] == '/' || !full[len]) &&
			(!best || len > strlen(best->key)))
			best = e;
	}
	return best;
}

bool auth_file_remove(struct auth_file *f, const char *key)
{
	bool found = false;
	for (size_t i = f->entries.len; i-- > 0;) {
		struct auth_entry *e = &f->entries.items[i];
		if (strcmp(e->key, key))
			continue;
		entry_done(e);
		memmove(e, e + 1, (f->entries.len - i - 1) * sizeof(*e));
		f->entries.len--;
		found = true;
	}
	return found;
}

void auth_file_set(struct auth_file *f, const char *key, const char *user, const char *password)
{
	auth_file_remove(f, key);
	struct auth_entry e = {
		.key = xstrdup(key), .user = xstrdup(user), .password = xstrdup(password)};
	vec_push(&f->entries, e);
}
