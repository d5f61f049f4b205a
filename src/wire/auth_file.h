// SPDX-License-Identifier: Apache-2.0
// Credentials of registries in the form that Docker, Podman and we share (containers-auth.json(5)):
// {"auths": {"HOST[/NAME]": {"auth": base64("USER:PASSWORD"), "identitytoken": "…"}}}.
// Thread: the caller's.
#ifndef STRATA_WIRE_AUTH_FILE_H
#define STRATA_WIRE_AUTH_FILE_H

#include "base/error.h"
#include "base/vec.h"

#define AUTH_FILE_MAX (1u << 20) /* bytes */

struct auth_entry {
	char *key;	       /* "127.0.0.1:5000", "quay.io/team": no scheme, no path of an API */
	char *user, *password; /* both, or both NULL */
	char *identity_token;  /* or NULL */
};

struct auth_file {
	VEC(struct auth_entry) entries;
};

/* -EBADMSG. An entry without usable credentials is left out. *out holds nothing after an error. */
int auth_file_parse(struct auth_file *out, const char *json, size_t len, struct error *err);
void auth_file_done(struct auth_file *f); /* overwrites the secrets */
char *auth_file_print(const struct auth_file *f);
/* The entry of the longest key that is host/name or a parent of it; NULL. */
const struct auth_entry *auth_file_find(
	const struct auth_file *f, const char *host, const char *name);
void auth_file_set(struct auth_file *f, const char *key, const char *user, const char *password);
bool auth_file_remove(struct auth_file *f, const char *key); /* false: there was none */

#endif
