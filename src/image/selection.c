// SPDX-License-Identifier: Apache-2.0
#include "image/selection.h"

#include <sys/file.h>
#include <unistd.h>

void selection_done(struct selection *sel)
{
	vec_for_each (i, &sel->items) {
		oci_descriptor_done(&i->d);
		oci_manifest_done(&i->m);
		strbuf_done(&i->text);
		close(i->fd);
	}
	vec_done(&sel->items);
}

static int load(struct selection *sel, struct image_store *s, const struct oci_descriptor *d,
	struct error *err)
{
	struct selected i = {.fd = blob_open(s, d->digest, d->size, NULL, err)};
	if (i.fd < 0)
		return i.fd;
	if (flock(i.fd, LOCK_SH | LOCK_NB) < 0) {
		int code = errno;
		close(i.fd);
		return error_errno(err, code, "lock");
	}
	i.d = descriptor_copy(d);
	int rc = blob_read(s, d, &i.text, err);
	if (rc == 0)
		rc = oci_manifest_parse(&i.m, i.text.data, i.text.len, err);
	vec_push(&sel->items, i);
	return rc;
}

int selection_load(struct selection *out, struct image_store *s, const struct oci_index *index,
	const char *ref, const char *arch, struct error *err)
{
	static const enum image_kind kinds[] = {IMAGE_ROOTFS, IMAGE_BOOT};
	int rc = 0;
	for (size_t k = 0; k < ARRAY_SIZE(kinds) && !out->items.len; k++)
		vec_for_each (d, &index->manifests)
			if (rc == 0 && !strcmp(descriptor_ref(d), ref) &&
				descriptor_kind(d) == kinds[k] &&
				(!arch || (d->arch && !strcmp(d->arch, arch))))
				rc = load(out, s, d, err);
	if (rc == 0 && !out->items.len)
		rc = error_set(
			err, ENOENT, "no image %s%s%s", ref, arch ? " for " : "", arch ? arch : "");
	return rc;
}

int selection_open(struct selection *out, struct image_store *s, const char *ref, const char *arch,
	struct error *err)
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
	rc = selection_load(out, s, &index, full, arch, err);
	oci_index_done(&index);
	return rc;
}

static const char *annotation(const struct selected *i, const char *key)
{
	return oci_annotation_get(i->d.annotations.items, i->d.annotations.len, key);
}

static bool selected(const struct selection *sel, const char *digest)
{
	vec_for_each (i, &sel->items)
		if (!strcmp(i->d.digest, digest))
			return true;
	return false;
}

/* The index that all of them say they came from. */
static int read_original(const struct selection *sel, struct image_store *s, struct strbuf *out)
{
	struct oci_descriptor d = {0};
	const char *digest = annotation(&sel->items.items[0], ANNOTATION_INDEX);
	const char *size = annotation(&sel->items.items[0], ANNOTATION_INDEX_SIZE);
	if (!size || !oci_digest_ok(digest))
		return -ENOENT;
	vec_for_each (i, &sel->items) {
		const char *other = annotation(i, ANNOTATION_INDEX);
		if (!other || strcmp(other, digest))
			return -ENOENT;
	}
	memcpy(d.digest, digest, sizeof(d.digest));
	d.size = strtoull(size, NULL, 10);
	return blob_read(s, &d, out, NULL);
}

static char *original_index(const struct selection *sel, struct image_store *s, char **media_type)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct oci_index index;
	enum oci_document kind;
	char *type = NULL;
	if (read_original(sel, s, &text) < 0 ||
		oci_document_kind(text.data, text.len, NULL, &kind, &type, NULL) < 0)
		return NULL;
	bool whole = kind == OCI_DOCUMENT_INDEX &&
		     oci_index_parse(&index, text.data, text.len, NULL) == 0;
	if (whole) {
		vec_for_each (d, &index.manifests)
			whole &= selected(sel, d->digest);
		oci_index_done(&index);
	}
	if (!whole) {
		free(type);
		return NULL;
	}
	*media_type = type;
	return strbuf_take(&text);
}

char *selection_index(const struct selection *sel, struct image_store *s, char **media_type)
{
	char *original = original_index(sel, s, media_type);
	if (original)
		return original;
	*media_type = xstrdup(OCI_TYPE_INDEX);
	struct oci_index index = {0};
	vec_for_each (i, &sel->items) {
		/* What our own index says about it is nobody else's. */
		struct oci_descriptor plain = i->d;
		memset(&plain.annotations, 0, sizeof(plain.annotations));
		vec_push(&index.manifests, plain);
	}
	char *json = oci_index_print(&index);
	vec_done(&index.manifests); /* the descriptors are the images' */
	return json;
}
