// SPDX-License-Identifier: Apache-2.0
// registries.json: mirrors, certificates and plain HTTP, by host. The system's file and the user's;
// what the user's says about a host replaces what the system's says.
//
//     {"registries": {"docker.io": {"mirrors": ["mirror.example/hub"]},
//                     "mirror.example": {"ca": "/etc/ssl/our.pem"},
//                     "10.0.0.5:5000": {"http": true}}}
#include "image/registry.h"

#include <jansson.h>
#include <stdio.h>

#define CONFIG_MAX  (1u << 20) /* bytes */
#define MIRRORS_MAX 16

DEFINE_CLEANUP(json_t *, cleanup_json, json_decref)
#define _json_ CLEANUP(cleanup_json)

static json_t *load(const char *path, struct error *err, int *rc)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	json_error_t je;
	*rc = store_read_file(path, CONFIG_MAX, &text, err);
	if (*rc == -ENOENT || *rc == -ENOTDIR) {
		*rc = 0;
		return NULL;
	}
	if (*rc < 0)
		return NULL;
	json_t *root = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &je);
	if (!root)
		*rc = error_set(err, EBADMSG, "%s: line %d: %s", path, je.line, je.text);
	else if (!json_is_object(json_object_get(root, "registries")))
		*rc = error_set(err, EBADMSG, "%s: has no object \"registries\"", path);
	return root;
}

static char *user_file(void)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	if (xdg && *xdg == '/')
		return xasprintf("%s/strata/registries.json", xdg);
	return home && *home == '/' ? xasprintf("%s/.config/strata/registries.json", home) : NULL;
}

/* The two files, merged; NULL when there is nothing, or an error. */
static json_t *load_both(struct error *err, int *rc)
{
	char *path _free_ = user_file();
	json_t *system = load("/etc/strata/registries.json", err, rc);
	json_t *user = *rc == 0 && path ? load(path, err, rc) : NULL;
	json_t *all = json_object();
	if (*rc == 0) {
		json_object_update(all, json_object_get(system, "registries"));
		json_object_update(all, json_object_get(user, "registries"));
	}
	json_decref(system);
	json_decref(user);
	return all;
}

static int fill(struct registry_place *p, const json_t *all, struct error *err)
{
	const json_t *o = json_object_get(all, p->host);
	const json_t *ca = json_object_get(o, "ca"), *http = json_object_get(o, "http");
	const json_t *verify = json_object_get(o, "verify");
	if ((o && !json_is_object(o)) || (ca && !json_is_string(ca)) ||
		(http && !json_is_boolean(http)) || (verify && !json_is_boolean(verify)))
		return error_set(err, EBADMSG,
			"registries.json: %s: \"ca\" is a path, \"http\" and \"verify\" are true "
			"or false",
			p->host);
	p->ca_file = ca ? xstrdup(json_string_value(ca)) : NULL;
	p->http = json_is_true(http);
	p->no_verify = json_is_false(verify);
	return 0;
}

/* "mirror.example:5000/hub" */
static int parse_mirror(struct registry_place *p, const char *text, struct error *err)
{
	size_t len = text ? strcspn(text, "/") : 0;
	*p = (struct registry_place){0};
	if (!len)
		return error_set(err, EBADMSG, "registries.json: a mirror is HOST[:PORT][/PREFIX]");
	p->host = xasprintf("%.*s", (int)len, text);
	p->prefix = text[len] && text[len + 1] ? xasprintf("%s/", text + len + 1) : xstrdup("");
	char *probe _free_ = xasprintf("%s/%sx", p->host, p->prefix);
	struct reference r;
	if (!reference_host_ok(p->host) || reference_parse(&r, probe, NULL) < 0)
		return error_set(err, EBADMSG,
			"registries.json: '%.200s' is no mirror (HOST[:PORT][/PREFIX])", text);
	reference_done(&r);
	return 0;
}

void registry_places_free(struct registry_place *places, size_t n)
{
	for (size_t i = 0; places && i < n; i++) {
		free(places[i].host);
		free(places[i].prefix);
		free(places[i].ca_file);
	}
	free(places);
}

int registry_places(const char *host, struct registry_place **out, size_t *n, struct error *err)
{
	int rc;
	json_t *all _json_ = load_both(err, &rc);
	const json_t *mirrors = json_object_get(json_object_get(all, host), "mirrors");
	if (rc == 0 && mirrors && !json_is_array(mirrors))
		rc = error_set(err, EBADMSG, "registries.json: %s: \"mirrors\" is no list", host);
	size_t count = MIN(json_array_size(mirrors), (size_t)MIRRORS_MAX);
	struct registry_place *places = xcalloc(count + 1, sizeof(*places));
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = parse_mirror(&places[i], json_string_value(json_array_get(mirrors, i)), err);
		if (rc == 0)
			rc = fill(&places[i], all, err);
	}
	places[count] = (struct registry_place){.host = xstrdup(host), .prefix = xstrdup("")};
	if (rc == 0)
		rc = fill(&places[count], all, err);
	if (rc < 0) {
		registry_places_free(places, count + 1);
		return rc;
	}
	*out = places;
	*n = count + 1;
	return 0;
}
