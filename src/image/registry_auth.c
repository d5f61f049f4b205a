// SPDX-License-Identifier: Apache-2.0
// Credentials: our own file, which `strata login` writes, and those of Podman and Docker, which are
// only read.
#include "image/registry.h"
#include "os/file.h"
#include "wire/auth_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

/* $variable/rest, else ~/fallback/rest; NULL. */
static char *path_of(const char *variable, const char *fallback, const char *rest)
{
	const char *v = getenv(variable), *home = getenv("HOME");
	if (v && *v == '/')
		return xasprintf("%s/%s", v, rest);
	if (!fallback || !home || *home != '/')
		return NULL;
	return *fallback ? xasprintf("%s/%s/%s", home, fallback, rest)
			 : xasprintf("%s/%s", home, rest);
}

static int load(const char *path, struct auth_file *out, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	*out = (struct auth_file){0};
	int rc = store_read_file(path, AUTH_FILE_MAX, &text, err);
	if (rc == -ENOENT)
		return 0;
	if (rc == 0 && text.len) {
		rc = auth_file_parse(out, text.data, text.len, err);
		explicit_bzero(text.data, text.len);
		if (rc < 0)
			return error_wrap(err, rc, "%s", path);
	}
	return rc;
}

static char *copy(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

int registry_credentials_load(
	struct registry_credentials *out, const char *host, const char *name, struct error *err)
{
	const char *named = getenv("REGISTRY_AUTH_FILE");
	char *paths[] = {named && *named ? xstrdup(named) : NULL,
		path_of("XDG_CONFIG_HOME", ".config", "strata/auth.json"),
		path_of("XDG_RUNTIME_DIR", NULL, "containers/auth.json"),
		path_of("XDG_CONFIG_HOME", ".config", "containers/auth.json"),
		path_of("DOCKER_CONFIG", ".docker", "config.json")};
	int rc = 0;
	bool found = false;
	*out = (struct registry_credentials){0};
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct auth_file f = {0};
		/* Files of other programs that we cannot read are as good as none. */
		if (rc == 0 && !found && paths[i])
			rc = load(paths[i], &f, i < 2 ? err : NULL);
		if (i >= 2)
			rc = 0;
		const struct auth_entry *e = auth_file_find(&f, host, name);
		if (e) {
			*out = (struct registry_credentials){
				copy(e->user), copy(e->password), copy(e->identity_token)};
			found = true;
		}
		auth_file_done(&f);
		free(paths[i]);
	}
	return rc;
}

static void forget(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void registry_credentials_done(struct registry_credentials *c)
{
	free(c->user);
	forget(c->password);
	forget(c->identity_token);
	*c = (struct registry_credentials){0};
}

/* Changes our own file under a lock. user NULL: removes. *changed says whether there was a change.
 */
static int edit(
	const char *host, const char *user, const char *password, bool *changed, struct error *err)
{
	char *dir _free_ = path_of("XDG_CONFIG_HOME", ".config", "strata");
	struct auth_file f;
	if (!dir) {
		error_set(err, ENOENT, "no home directory to keep credentials in");
		error_remedy(err, "set HOME or XDG_CONFIG_HOME");
		return -ENOENT;
	}
	char *path _free_ = xasprintf("%s/auth.json", dir);
	int rc = dir_make_all(dir, err);
	if (rc < 0)
		return rc;
	int dir_fd _close_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0 || flock(dir_fd, LOCK_EX) < 0)
		return error_errno(err, errno, "%s", dir);
	rc = load(path, &f, err);
	if (rc < 0)
		return rc;
	if (user) {
		auth_file_set(&f, host, user, password);
		*changed = true;
	} else {
		*changed = auth_file_remove(&f, host);
	}
	char *text = auth_file_print(&f);
	auth_file_done(&f);
	if (*changed)
		rc = file_write_atomic(dir_fd, "auth.json", text, strlen(text), 0600, err);
	forget(text);
	return rc;
}

int image_login(const char *host, const char *user, const char *password, struct error *err)
{
	struct registry_place *places;
	size_t n;
	struct registry r;
	bool changed;
	const struct registry_credentials c = {
		(char *)(uintptr_t)user, (char *)(uintptr_t)password, NULL};
	host = strcmp(host, "index.docker.io") ? host : "docker.io";
	if (!reference_host_ok(host))
		return error_set(err, EINVAL, "'%.200s' is no host of a registry", host);
	int rc = registry_places(host, &places, &n, err);
	if (rc < 0)
		return rc;
	/* The place itself is the last one; mirrors have accounts of their own. */
	const struct registry_purpose purpose = {.credentials = &c};
	rc = registry_open(&r, &places[n - 1], &purpose, err);
	if (rc == 0) {
		/* With a header of ours, the answer counts. */
		struct registry_call call = REGISTRY_CALL;
		struct strbuf body _strbuf_ = STRBUF_INIT;
		call.url = xasprintf("%s/v2/", r.base);
		rc = registry_get(&r, &call, "login", 64 * KiB, &body, err);
		registry_call_done(&call);
	}
	registry_done(&r);
	registry_places_free(places, n);
	return rc < 0 ? rc : edit(host, user, password, &changed, err);
}

int image_logout(const char *host, struct error *err)
{
	bool changed = false;
	host = strcmp(host, "index.docker.io") ? host : "docker.io";
	int rc = edit(host, NULL, NULL, &changed, err);
	if (rc == 0 && !changed)
		return error_set(err, ENOENT, "nobody is logged in at %.200s", host);
	return rc;
}
