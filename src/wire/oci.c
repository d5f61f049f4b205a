// SPDX-License-Identifier: Apache-2.0
#include "wire/oci.h"

#include <jansson.h>

#define STRINGS_MAX	4096
#define ANNOTATIONS_MAX 256
#define HISTORY_MAX	4096

DEFINE_CLEANUP(json_t *, cleanup_json, json_decref)
#define _json_ CLEANUP(cleanup_json)

bool oci_digest_ok(const char *digest)
{
	return digest && !strncmp(digest, "sha256:", 7) && strlen(digest) == OCI_DIGEST_LEN &&
	       strspn(digest + 7, "0123456789abcdef") == 64;
}

const char *oci_annotation_get(const struct oci_annotation *list, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(list[i].key, key))
			return list[i].value;
	return NULL;
}

void oci_strings_free(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}

char **oci_strings_copy(const char *const *list)
{
	size_t n = 0;
	while (list && list[n])
		n++;
	char **copy = xcalloc(n + 1, sizeof(*copy));
	for (size_t i = 0; i < n; i++)
		copy[i] = xstrdup(list[i]);
	return copy;
}

#define annotations_done(v)                                                                        \
	do {                                                                                       \
		vec_for_each (a_, v) {                                                             \
			free(a_->key);                                                             \
			free(a_->value);                                                           \
		}                                                                                  \
		vec_done(v);                                                                       \
	} while (0)

void oci_descriptor_done(struct oci_descriptor *d)
{
	free(d->media_type);
	free(d->artifact_type);
	free(d->arch);
	free(d->os);
	free(d->variant);
	annotations_done(&d->annotations);
	*d = (struct oci_descriptor){0};
}

void oci_index_done(struct oci_index *index)
{
	vec_for_each (d, &index->manifests)
		oci_descriptor_done(d);
	vec_done(&index->manifests);
}

void oci_manifest_done(struct oci_manifest *m)
{
	free(m->artifact_type);
	m->artifact_type = NULL;
	oci_descriptor_done(&m->config);
	vec_for_each (d, &m->layers)
		oci_descriptor_done(d);
	vec_done(&m->layers);
	annotations_done(&m->annotations);
}

void oci_config_done(struct oci_config *c)
{
	free(c->arch);
	free(c->os);
	free(c->created);
	free(c->workdir);
	free(c->user);
	oci_strings_free(c->entrypoint);
	oci_strings_free(c->cmd);
	oci_strings_free(c->env);
	vec_for_each (id, &c->diff_ids)
		free(*id);
	vec_done(&c->diff_ids);
	vec_for_each (h, &c->history) {
		free(h->created);
		free(h->created_by);
		free(h->comment);
	}
	vec_done(&c->history);
	*c = (struct oci_config){0};
}

static int bad(struct error *err, const char *what)
{
	return error_set(err, EBADMSG, "image document: %s", what);
}

static json_t *load(const char *json, size_t len, struct error *err)
{
	json_error_t je;
	if (len > OCI_DOCUMENT_MAX) {
		bad(err, "too large");
		return NULL;
	}
	json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &je);
	if (!root)
		error_set(err, EBADMSG, "image document: line %d: %s", je.line, je.text);
	else if (!json_is_object(root)) {
		bad(err, "not an object");
		json_decref(root);
		root = NULL;
	}
	return root;
}

/* A string member without NUL bytes (jansson refuses \u0000), or NULL. */
static char *get_string(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));
	return s ? xstrdup(s) : NULL;
}

#define parse_annotations(object, v, err)                                                          \
	({                                                                                         \
		json_t *map_ = json_object_get((object), "annotations"), *value_;                  \
		const char *key_;                                                                  \
		int rc_ = 0;                                                                       \
		if (json_object_size(map_) > ANNOTATIONS_MAX)                                      \
			rc_ = bad((err), "too many annotations");                                  \
		else                                                                               \
			json_object_foreach(map_, key_, value_)                                    \
			{                                                                          \
				if (json_is_string(value_))                                        \
					vec_push(                                                  \
						(v), (struct oci_annotation){xstrdup(key_),        \
							     xstrdup(json_string_value(value_))}); \
			}                                                                          \
		rc_;                                                                               \
	})

static int parse_descriptor(const json_t *o, struct oci_descriptor *d, struct error *err)
{
	const char *digest = json_string_value(json_object_get(o, "digest"));
	const json_t *size = json_object_get(o, "size"), *platform = json_object_get(o, "platform");
	*d = (struct oci_descriptor){0};
	d->media_type = get_string(o, "mediaType");
	if (!d->media_type)
		return bad(err, "descriptor without mediaType");
	if (!oci_digest_ok(digest))
		return bad(err, "descriptor without a sha256 digest");
	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return bad(err, "descriptor without a size");
	memcpy(d->digest, digest, OCI_DIGEST_LEN + 1);
	d->size = (uint64_t)json_integer_value(size);
	d->artifact_type = get_string(o, "artifactType");
	d->arch = get_string(platform, "architecture");
	d->os = get_string(platform, "os");
	d->variant = get_string(platform, "variant");
	return parse_annotations(o, &d->annotations, err);
}

/* An array of descriptors into a vector of them. */
#define parse_descriptors(array, v, err)                                                           \
	({                                                                                         \
		const json_t *arr_ = (array);                                                      \
		int rc_ = json_is_array(arr_) && json_array_size(arr_) <= OCI_LAYERS_MAX           \
				  ? 0                                                              \
				  : bad((err), "bad list of descriptors");                         \
		for (size_t i_ = 0; rc_ == 0 && i_ < json_array_size(arr_); i_++) {                \
			vec_push((v), (struct oci_descriptor){0});                                 \
			rc_ = parse_descriptor(json_array_get(arr_, i_), &(v)->items[i_], (err));  \
		}                                                                                  \
		rc_;                                                                               \
	})

static int check_version(const json_t *root, struct error *err)
{
	if (json_integer_value(json_object_get(root, "schemaVersion")) != 2)
		return bad(err, "schemaVersion is not 2");
	return 0;
}

int oci_index_parse(struct oci_index *out, const char *json, size_t len, struct error *err)
{
	json_t *root _json_ = load(json, len, err);
	*out = (struct oci_index){0};
	if (!root)
		return -EBADMSG;
	int rc = check_version(root, err);
	if (rc == 0)
		rc = parse_descriptors(json_object_get(root, "manifests"), &out->manifests, err);
	if (rc < 0)
		oci_index_done(out);
	return rc;
}

int oci_manifest_parse(struct oci_manifest *out, const char *json, size_t len, struct error *err)
{
	json_t *root _json_ = load(json, len, err);
	*out = (struct oci_manifest){0};
	if (!root)
		return -EBADMSG;
	int rc = check_version(root, err);
	if (rc == 0)
		rc = parse_descriptor(json_object_get(root, "config"), &out->config, err);
	if (rc == 0)
		rc = parse_descriptors(json_object_get(root, "layers"), &out->layers, err);
	if (rc == 0)
		rc = parse_annotations(root, &out->annotations, err);
	if (rc == 0)
		out->artifact_type = get_string(root, "artifactType");
	else
		oci_manifest_done(out);
	return rc;
}

static const struct {
	const char *name;
	enum oci_document kind;
} document_types[] = {
	{OCI_TYPE_INDEX, OCI_DOCUMENT_INDEX},
	{DOCKER_TYPE_INDEX, OCI_DOCUMENT_INDEX},
	{OCI_TYPE_MANIFEST, OCI_DOCUMENT_MANIFEST},
	{DOCKER_TYPE_MANIFEST, OCI_DOCUMENT_MANIFEST},
};

static bool document_type(const char *name, enum oci_document *kind)
{
	for (size_t i = 0; name && i < ARRAY_SIZE(document_types); i++)
		if (!strcmp(name, document_types[i].name)) {
			*kind = document_types[i].kind;
			return true;
		}
	return false;
}

/* Programs that read the same bytes must see the same image: a document that could be taken for
 * two things is refused (CVE-2021-41190). */
int oci_document_kind(const char *json, size_t len, const char *content_type,
	enum oci_document *kind, char **media_type, struct error *err)
{
	json_t *root _json_ = load(json, len, err);
	enum oci_document by_type, by_content;
	if (!root)
		return -EBADMSG;
	const char *own = json_string_value(json_object_get(root, "mediaType"));
	bool manifests = json_object_get(root, "manifests") != NULL;
	bool layers = json_object_get(root, "layers") || json_object_get(root, "config");
	if (json_integer_value(json_object_get(root, "schemaVersion")) == 1)
		return error_set(err, ENOTSUP,
			"the registry has the image in the old schema 1 only, without digests");
	if (manifests == layers)
		return bad(err, "neither an index nor a manifest");
	if (own && content_type && document_type(content_type, &by_type) &&
		strcmp(own, content_type))
		return bad(err, "mediaType and the registry's Content-Type differ");
	const char *name = own ? own : content_type;
	by_content = manifests ? OCI_DOCUMENT_INDEX : OCI_DOCUMENT_MANIFEST;
	if (own && !document_type(own, &by_type))
		return error_set(err, ENOTSUP, "an image document of type %.100s", own);
	if (document_type(name, &by_type) && by_type != by_content)
		return bad(err, "its type and its content differ");
	*kind = by_content;
	*media_type = xstrdup(document_type(name, &by_type) ? name
			      : manifests		    ? OCI_TYPE_INDEX
							    : OCI_TYPE_MANIFEST);
	return 0;
}

static int parse_strings(const json_t *o, const char *key, char ***out, struct error *err)
{
	const json_t *list = json_object_get(o, key);
	size_t n = json_array_size(list); /* 0 for null or a missing member */
	if ((list && !json_is_null(list) && !json_is_array(list)) || n > STRINGS_MAX)
		return bad(err, "bad list of strings");
	*out = xcalloc(n + 1, sizeof(**out));
	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(list, i));
		if (!s)
			return bad(err, "bad list of strings");
		(*out)[i] = xstrdup(s);
	}
	return 0;
}

static int parse_history(const json_t *root, struct oci_config *out, struct error *err)
{
	const json_t *list = json_object_get(root, "history");
	if (json_array_size(list) > HISTORY_MAX)
		return bad(err, "too long a history");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *o = json_array_get(list, i);
		struct oci_history h = {get_string(o, "created"), get_string(o, "created_by"),
			get_string(o, "comment"), json_is_true(json_object_get(o, "empty_layer"))};
		vec_push(&out->history, h);
	}
	return 0;
}

int oci_config_parse(struct oci_config *out, const char *json, size_t len, struct error *err)
{
	json_t *root _json_ = load(json, len, err);
	*out = (struct oci_config){0};
	if (!root)
		return -EBADMSG;
	const json_t *c = json_object_get(root, "config");
	const json_t *ids = json_object_get(json_object_get(root, "rootfs"), "diff_ids");
	out->arch = get_string(root, "architecture");
	out->os = get_string(root, "os");
	out->created = get_string(root, "created");
	out->workdir = get_string(c, "WorkingDir");
	out->user = get_string(c, "User");
	int rc = out->arch && out->os ? 0 : bad(err, "configuration without architecture or os");
	if (rc == 0)
		rc = parse_strings(c, "Entrypoint", &out->entrypoint, err);
	if (rc == 0)
		rc = parse_strings(c, "Cmd", &out->cmd, err);
	if (rc == 0)
		rc = parse_strings(c, "Env", &out->env, err);
	if (rc == 0 && json_array_size(ids) > OCI_LAYERS_MAX)
		rc = bad(err, "too many layers");
	for (size_t i = 0; rc == 0 && i < json_array_size(ids); i++) {
		const char *id = json_string_value(json_array_get(ids, i));
		if (!oci_digest_ok(id))
			rc = bad(err, "bad diff_id");
		else
			vec_push(&out->diff_ids, xstrdup(id));
	}
	if (rc == 0)
		rc = parse_history(root, out, err);
	if (rc < 0)
		oci_config_done(out);
	return rc;
}

static void set_string(json_t *o, const char *key, const char *value)
{
	if (value)
		json_object_set_new(o, key, json_string(value));
}

static void set_annotations(json_t *o, const struct oci_annotation *list, size_t n)
{
	if (!n)
		return;
	json_t *map = json_object();
	for (size_t i = 0; i < n; i++)
		set_string(map, list[i].key, list[i].value);
	json_object_set_new(o, "annotations", map);
}

static json_t *descriptor_json(const struct oci_descriptor *d)
{
	json_t *o = json_object();
	set_string(o, "mediaType", d->media_type);
	set_string(o, "digest", d->digest);
	json_object_set_new(o, "size", json_integer((json_int_t)d->size));
	set_string(o, "artifactType", d->artifact_type);
	if (d->arch) {
		json_t *platform = json_object();
		set_string(platform, "architecture", d->arch);
		set_string(platform, "os", d->os ? d->os : "linux");
		set_string(platform, "variant", d->variant);
		json_object_set_new(o, "platform", platform);
	}
	set_annotations(o, d->annotations.items, d->annotations.len);
	return o;
}

static json_t *strings_json(char *const *list)
{
	json_t *array = json_array();
	for (; list && *list; list++)
		json_array_append_new(array, json_string(*list));
	return array;
}

static char *print(json_t *root)
{
	char *text = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	json_decref(root);
	return text ? text : xstrdup("{}");
}

static json_t *new_document(const char *media_type)
{
	json_t *root = json_object();
	json_object_set_new(root, "schemaVersion", json_integer(2));
	set_string(root, "mediaType", media_type);
	return root;
}

char *oci_index_print(const struct oci_index *index)
{
	json_t *root = new_document(OCI_TYPE_INDEX), *list = json_array();
	vec_for_each (d, &index->manifests)
		json_array_append_new(list, descriptor_json(d));
	json_object_set_new(root, "manifests", list);
	return print(root);
}

char *oci_manifest_print(const struct oci_manifest *m)
{
	json_t *root = new_document(OCI_TYPE_MANIFEST), *list = json_array();
	set_string(root, "artifactType", m->artifact_type);
	json_object_set_new(root, "config", descriptor_json(&m->config));
	vec_for_each (d, &m->layers)
		json_array_append_new(list, descriptor_json(d));
	json_object_set_new(root, "layers", list);
	set_annotations(root, m->annotations.items, m->annotations.len);
	return print(root);
}

static json_t *history_json(const struct oci_config *c)
{
	json_t *list = json_array();
	vec_for_each (h, &c->history) {
		json_t *o = json_object();
		set_string(o, "created", h->created);
		set_string(o, "created_by", h->created_by);
		set_string(o, "comment", h->comment);
		if (h->empty_layer)
			json_object_set_new(o, "empty_layer", json_true());
		json_array_append_new(list, o);
	}
	return list;
}

char *oci_config_print(const struct oci_config *c)
{
	json_t *root = json_object(), *run = json_object(), *rootfs = json_object();
	json_t *ids = json_array();
	set_string(root, "created", c->created);
	set_string(root, "architecture", c->arch);
	set_string(root, "os", c->os);
	set_string(run, "User", c->user);
	json_object_set_new(run, "Env", strings_json(c->env));
	if (c->entrypoint && c->entrypoint[0])
		json_object_set_new(run, "Entrypoint", strings_json(c->entrypoint));
	json_object_set_new(run, "Cmd", strings_json(c->cmd));
	set_string(run, "WorkingDir", c->workdir);
	json_object_set_new(root, "config", run);
	vec_for_each (id, &c->diff_ids)
		json_array_append_new(ids, json_string(*id));
	set_string(rootfs, "type", "layers");
	json_object_set_new(rootfs, "diff_ids", ids);
	json_object_set_new(root, "rootfs", rootfs);
	if (c->history.len)
		json_object_set_new(root, "history", history_json(c));
	return print(root);
}
