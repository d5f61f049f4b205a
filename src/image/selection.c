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

char *selection_index(const struct selection *sel)
{
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
