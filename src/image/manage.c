// SPDX-License-Identifier: Apache-2.0
// Names, history, and what is not needed any more.
#include "image/store.h"

#include "wire/reference.h"

#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

static void drop_at(struct oci_index *index, size_t i)
{
	struct oci_descriptor *d = &index->manifests.items[i];
	oci_descriptor_done(d);
	memmove(d, d + 1, (index->manifests.len - i - 1) * sizeof(*d));
	index->manifests.len--;
}

static int add_name(struct oci_index *index, const char *ref, const char *name, struct error *err)
{
	VEC(struct oci_descriptor) named = {0};
	vec_for_each (d, &index->manifests)
		if (!strcmp(descriptor_ref(d), ref) && descriptor_kind(d) != IMAGE_UNCONFIGURED) {
			vec_push(&named, descriptor_copy(d));
			descriptor_annotate(&named.items[named.len - 1], ANNOTATION_REF, name);
		}
	if (!named.len)
		return error_set(err, ENOENT, "no image %s", ref);
	for (size_t i = index->manifests.len; i-- > 0;)
		if (!strcmp(descriptor_ref(&index->manifests.items[i]), name))
			drop_at(index, i);
	vec_for_each (d, &named)
		vec_push(&index->manifests, *d);
	vec_done(&named);
	return 0;
}

int image_tag(struct image_store *s, const char *ref, const char *name, struct error *err)
{
	struct oci_index index;
	char *from _free_ = NULL, *to _free_ = NULL;
	int rc = ref_complete(ref, &from, err);
	if (rc == 0)
		rc = ref_complete(name, &to, err);
	if (rc == 0 && strchr(to, '@'))
		rc = error_set(err, EINVAL, "%s: a digest is no name to give", to);
	if (rc < 0 || !strcmp(from, to))
		return rc;
	int lock _close_ = store_lock_index(s, LOCK_EX, err);
	rc = lock < 0 ? lock : store_index_load(s, &index, err);
	if (rc < 0)
		return rc;
	rc = add_name(&index, from, to, err);
	if (rc == 0)
		rc = store_index_save(s, &index, err);
	oci_index_done(&index);
	return rc;
}

static char *text_of(const char *s)
{
	return xstrdup(s ? s : "");
}

/* Oldest first: steps in the order of the configuration, layers to those that made one. */
static size_t list_history(
	const struct oci_manifest *m, const struct oci_config *c, struct image_history *list)
{
	size_t layer = 0, n = 0;
	vec_for_each (h, &c->history) {
		struct image_history *line = &list[n++];
		*line = (struct image_history){.created = text_of(h->created),
			.created_by = text_of(h->created_by),
			.comment = text_of(h->comment)};
		if (h->empty_layer || layer >= m->layers.len)
			continue;
		memcpy(line->digest, m->layers.items[layer].digest, sizeof(line->digest));
		line->size = m->layers.items[layer++].size;
	}
	for (; layer < m->layers.len; layer++) {
		struct image_history *line = &list[n++];
		*line = (struct image_history){.created = text_of(c->created),
			.created_by = text_of(NULL),
			.comment = text_of(NULL),
			.size = m->layers.items[layer].size};
		memcpy(line->digest, m->layers.items[layer].digest, sizeof(line->digest));
	}
	return n;
}

static int read_history(struct image_store *s, const struct oci_descriptor *d,
	struct image_history **out, size_t *n, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT, config _strbuf_ = STRBUF_INIT;
	struct oci_manifest m;
	struct oci_config c;
	int rc = blob_read(s, d, &text, err);
	if (rc == 0)
		rc = oci_manifest_parse(&m, text.data, text.len, err);
	if (rc < 0)
		return rc;
	rc = blob_read(s, &m.config, &config, err);
	if (rc == 0)
		rc = oci_config_parse(&c, config.data, config.len, err);
	if (rc == 0) {
		struct image_history *list =
			xcalloc(c.history.len + m.layers.len + 1, sizeof(*list));
		*n = list_history(&m, &c, list);
		for (size_t i = 0; i < *n / 2; i++) {
			struct image_history t = list[i];
			list[i] = list[*n - 1 - i];
			list[*n - 1 - i] = t;
		}
		*out = list;
		oci_config_done(&c);
	}
	oci_manifest_done(&m);
	return rc;
}

int image_history(struct image_store *s, const char *ref, const char *arch,
	struct image_history **out, size_t *n, struct error *err)
{
	struct oci_index index;
	char *full _free_ = NULL;
	int rc = ref_complete(ref, &full, err);
	if (rc < 0)
		return rc;
	int lock _close_ = store_lock_index(s, LOCK_SH, err);
	rc = lock < 0 ? lock : store_index_load(s, &index, err);
	if (rc < 0)
		return rc;
	const struct oci_descriptor *d =
		store_find(&index, full, arch ? arch : image_host_arch(), IMAGE_ROOTFS);
	if (!d && !arch)
		d = store_find(&index, full, NULL, IMAGE_ROOTFS);
	rc = d ? read_history(s, d, out, n, err)
	       : error_set(err, ENOENT, "no image %s%s%s", full, arch ? " for " : "",
			 arch ? arch : "");
	oci_index_done(&index);
	return rc < 0 ? error_wrap(err, rc, "history") : 0;
}

void image_history_free(struct image_history *list, size_t n)
{
	for (size_t i = 0; list && i < n; i++) {
		free(list[i].created);
		free(list[i].created_by);
		free(list[i].comment);
	}
	free(list);
}

int image_prune(struct image_store *s, bool (*unused)(void *opaque, const char *ref), void *opaque,
	uint64_t *freed_bytes, struct error *err)
{
	struct oci_index index;
	uint64_t freed = 0, cached = 0;
	int rc = store_lock_pull(s, false, NULL, err);
	if (rc < 0)
		return rc;
	int lock _close_ = store_lock_index(s, LOCK_EX, err);
	rc = lock < 0 ? lock : store_index_load(s, &index, err);
	if (rc == 0) {
		bool changed = false;
		for (size_t i = index.manifests.len; i-- > 0;) {
			const struct oci_descriptor *d = &index.manifests.items[i];
			enum image_kind kind = descriptor_kind(d);
			bool goes =
				kind == IMAGE_STEP ||
				(kind != IMAGE_BOOT && unused && unused(opaque, descriptor_ref(d)));
			if (!goes || store_in_use(s, d))
				continue;
			drop_at(&index, i);
			changed = true;
		}
		rc = changed ? store_index_save(s, &index, err) : 0;
		if (rc == 0)
			rc = store_collect(s, &index, &freed, err);
		oci_index_done(&index);
	}
	if (rc == 0)
		rc = image_cache_clean(s, &cached, err);
	store_unlock_pull(s);
	if (rc == 0 && freed_bytes)
		*freed_bytes = freed + cached;
	return rc;
}
