// SPDX-License-Identifier: Apache-2.0
#include "wire/docker_archive.h"

#include "wire/oci.h"

#include <jansson.h>

#define IMAGES_MAX 1024

DEFINE_CLEANUP(json_t *, cleanup_json, json_decref)
#define _json_ CLEANUP(cleanup_json)

#define strings_done(v)                                                                            \
	do {                                                                                       \
		vec_for_each (s_, v)                                                               \
			free(*s_);                                                                 \
		vec_done(v);                                                                       \
	} while (0)

void docker_archive_done(struct docker_archive *a)
{
	vec_for_each (i, &a->images) {
		free(i->config);
		strings_done(&i->tags);
		strings_done(&i->layers);
	}
	vec_done(&a->images);
}

static int bad(struct error *err)
{
	return error_set(err, EBADMSG, "manifest.json is not that of a docker archive");
}

/* A list of strings, or nothing. */
#define parse_strings(array, v, err)                                                               \
	({                                                                                         \
		const json_t *list_ = (array);                                                     \
		bool ok_ = (!list_ || json_is_null(list_) || json_is_array(list_)) &&              \
			   json_array_size(list_) <= OCI_LAYERS_MAX;                               \
		for (size_t i_ = 0; ok_ && i_ < json_array_size(list_); i_++) {                    \
			const char *s_ = json_string_value(json_array_get(list_, i_));             \
			ok_ = s_ != NULL;                                                          \
			if (ok_)                                                                   \
				vec_push((v), xstrdup(s_));                                        \
		}                                                                                  \
		ok_ ? 0 : bad(err);                                                                \
	})

static int parse_image(const json_t *o, struct docker_image *i, struct error *err)
{
	const char *config = json_string_value(json_object_get(o, "Config"));
	if (!config || !json_is_array(json_object_get(o, "Layers")))
		return bad(err);
	i->config = xstrdup(config);
	int rc = parse_strings(json_object_get(o, "RepoTags"), &i->tags, err);
	return rc < 0 ? rc : parse_strings(json_object_get(o, "Layers"), &i->layers, err);
}

int docker_archive_parse(
	struct docker_archive *out, const char *json, size_t len, struct error *err)
{
	*out = (struct docker_archive){0};
	if (len > OCI_DOCUMENT_MAX)
		return bad(err);
	json_t *root _json_ = json_loadb(json, len, 0, NULL);
	if (!json_is_array(root) || !json_array_size(root) || json_array_size(root) > IMAGES_MAX)
		return bad(err);
	int rc = 0;
	for (size_t k = 0; rc == 0 && k < json_array_size(root); k++) {
		vec_push(&out->images, (struct docker_image){0});
		rc = parse_image(json_array_get(root, k), &out->images.items[k], err);
	}
	if (rc < 0)
		docker_archive_done(out);
	return rc;
}

char *docker_archive_print(const struct docker_archive *a)
{
	json_t *root = json_array();
	vec_for_each (i, &a->images) {
		json_t *o = json_object(), *tags = json_array(), *layers = json_array();
		vec_for_each (t, &i->tags)
			json_array_append_new(tags, json_string(*t));
		vec_for_each (l, &i->layers)
			json_array_append_new(layers, json_string(*l));
		json_object_set_new(o, "Config", json_string(i->config));
		json_object_set_new(o, "RepoTags", tags);
		json_object_set_new(o, "Layers", layers);
		json_array_append_new(root, o);
	}
	char *text = json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER);
	json_decref(root);
	return text ? text : xstrdup("[]");
}
