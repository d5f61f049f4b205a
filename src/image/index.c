// SPDX-License-Identifier: Apache-2.0
// index.json: which reference is which manifest, and the collector of what nothing refers to.
#include "image/store.h"
#include "image/tree.h"

#include "wire/reference.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum image_kind descriptor_kind(const struct oci_descriptor *d)
{
	const char *state =
		oci_annotation_get(d->annotations.items, d->annotations.len, ANNOTATION_STATE);
	if (d->artifact_type && !strcmp(d->artifact_type, BOOT_ARTIFACT_TYPE))
		return IMAGE_BOOT;
	if (state && !strcmp(state, "step"))
		return IMAGE_STEP;
	return state && !strcmp(state, "unconfigured") ? IMAGE_UNCONFIGURED : IMAGE_ROOTFS;
}

const char *image_kind_name(enum image_kind kind)
{
	static const char *const names[] = {
		[IMAGE_ROOTFS] = "image",
		[IMAGE_BOOT] = "boot",
		[IMAGE_UNCONFIGURED] = "unconfigured",
		[IMAGE_STEP] = "step",
	};
	return names[kind];
}

const char *descriptor_ref(const struct oci_descriptor *d)
{
	const char *ref =
		oci_annotation_get(d->annotations.items, d->annotations.len, ANNOTATION_REF);
	return ref ? ref : "";
}

static char *copy(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

struct oci_descriptor descriptor_copy(const struct oci_descriptor *d)
{
	struct oci_descriptor c = {.media_type = copy(d->media_type),
		.size = d->size,
		.artifact_type = copy(d->artifact_type),
		.arch = copy(d->arch),
		.os = copy(d->os),
		.variant = copy(d->variant)};
	memcpy(c.digest, d->digest, sizeof(c.digest));
	vec_for_each (a, &d->annotations)
		vec_push(&c.annotations,
			(struct oci_annotation){xstrdup(a->key), xstrdup(a->value)});
	return c;
}

void descriptor_annotate(struct oci_descriptor *d, const char *key, const char *value)
{
	vec_for_each (a, &d->annotations)
		if (!strcmp(a->key, key)) {
			free(a->value);
			a->value = xstrdup(value);
			return;
		}
	vec_push(&d->annotations, (struct oci_annotation){xstrdup(key), xstrdup(value)});
}

struct oci_descriptor *store_find(
	struct oci_index *index, const char *ref, const char *arch, enum image_kind kind)
{
	vec_for_each (d, &index->manifests) {
		if (!strcmp(descriptor_ref(d), ref) && descriptor_kind(d) == kind &&
			(!arch || (d->arch && !strcmp(d->arch, arch))))
			return d;
	}
	return NULL;
}

int ref_complete(const char *ref, char **out, struct error *err)
{
	struct reference r;
	int rc = reference_parse(&r, ref, err);
	if (rc < 0)
		return rc;
	bool debian = !r.host && (!strcmp(r.name, "debian") || !strcmp(r.name, "debian-boot"));
	if (debian && !r.tag)
		r.tag = xstrdup("trixie");
	*out = reference_print(&r);
	reference_done(&r);
	return 0;
}

enum image_source image_ref_source(const char *ref)
{
	struct reference r;
	if (reference_parse(&r, ref, NULL) < 0)
		return IMAGE_SOURCE_NONE;
	enum image_source source = r.host ? IMAGE_SOURCE_REGISTRY
				   : strcmp(r.name, "debian") && strcmp(r.name, "debian-boot")
					   ? IMAGE_SOURCE_NONE
					   : IMAGE_SOURCE_DEBIAN;
	reference_done(&r);
	return source;
}

bool image_ref_same(const char *a, const char *b)
{
	char *x _free_ = NULL, *y _free_ = NULL;
	return ref_complete(a, &x, NULL) == 0 && ref_complete(b, &y, NULL) == 0 && !strcmp(x, y);
}

int ref_boot(const char *ref, char **out, struct error *err)
{
	char *full _free_ = NULL;
	int rc = ref_complete(ref, &full, err);
	if (rc < 0)
		return rc;
	char *tag = strrchr(full, ':') + 1;
	*out = xasprintf("debian-boot:%s", tag);
	if (strncmp(full, "debian:", 7) && strncmp(full, "debian-boot:", 12)) {
		/* Any other image runs on the default Debian kernel. */
		free(*out);
		*out = xstrdup("debian-boot:trixie");
	}
	return 0;
}

int store_index_load(struct image_store *s, struct oci_index *out, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	char *path _free_ = xasprintf("%s/index.json", s->images);
	int rc = store_read_file(path, OCI_DOCUMENT_MAX, &text, err);
	if (rc == -ENOENT) {
		*out = (struct oci_index){0};
		return 0;
	}
	if (rc == 0)
		rc = oci_index_parse(out, text.data, text.len, err);
	if (rc == -EBADMSG) {
		error_wrap(err, rc, "%s", path);
		error_remedy(err, "the image store is damaged: remove this file and pull again");
	}
	return rc;
}

int store_index_save(struct image_store *s, const struct oci_index *index, struct error *err)
{
	char *path _free_ = xasprintf("%s/index.json", s->images);
	char *text _free_ = oci_index_print(index);
	return store_write_file(s, path, text, strlen(text), err);
}

int store_index_put(struct image_store *s, struct oci_descriptor *d, struct error *err)
{
	struct oci_index index;
	int lock _close_ = store_lock_index(s, LOCK_EX, err);
	if (lock < 0)
		return lock;
	int rc = store_index_load(s, &index, err);
	if (rc < 0)
		return rc;
	struct oci_descriptor *old =
		store_find(&index, descriptor_ref(d), d->arch, descriptor_kind(d));
	if (!old) {
		vec_push(&index.manifests, (struct oci_descriptor){0});
		old = &index.manifests.items[index.manifests.len - 1];
	}
	oci_descriptor_done(old);
	*old = *d;
	*d = (struct oci_descriptor){0};
	rc = store_index_save(s, &index, err);
	oci_index_done(&index);
	return rc;
}

struct name_set {
	VEC(char *) names; /* sorted once filled */
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void name_set_done(struct name_set *set)
{
	vec_for_each (n, &set->names)
		free(*n);
	vec_done(&set->names);
}

static void add_name(struct name_set *set, const char *digest)
{
	vec_push(&set->names, xstrdup(digest + 7));
}

/* The uncompressed layers, which may be blobs as well when another image has them so. */
static void add_diff_ids(
	struct image_store *s, const struct oci_descriptor *config, struct name_set *set)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct oci_config c;
	if (strcmp(config->media_type, OCI_TYPE_EMPTY) == 0 ||
		blob_read(s, config, &text, NULL) < 0 ||
		oci_config_parse(&c, text.data, text.len, NULL) < 0)
		return;
	vec_for_each (id, &c.diff_ids)
		add_name(set, *id);
	oci_config_done(&c);
}

static void add_reachable(
	struct image_store *s, const struct oci_index *index, struct name_set *set)
{
	vec_for_each (d, &index->manifests) {
		struct strbuf text _strbuf_ = STRBUF_INIT;
		struct oci_manifest m;
		const char *from = oci_annotation_get(
			d->annotations.items, d->annotations.len, ANNOTATION_INDEX);
		add_name(set, d->digest);
		if (from && oci_digest_ok(from))
			add_name(set, from);
		/* A damaged manifest reaches nothing; its image must be pulled again anyhow. */
		if (blob_read(s, d, &text, NULL) < 0 ||
			oci_manifest_parse(&m, text.data, text.len, NULL) < 0)
			continue;
		add_name(set, m.config.digest);
		vec_for_each (l, &m.layers)
			add_name(set, l->digest);
		add_diff_ids(s, &m.config, set);
		oci_manifest_done(&m);
	}
	if (set->names.len)
		qsort(set->names.items, set->names.len, sizeof(char *), compare_names);
}

/* Removes the files of a directory whose names are not in keep; whoever reads one keeps his
 * descriptor and its bytes. */
static int sweep(struct image_store *s, const char *dir, const struct name_set *keep,
	uint64_t *freed, struct error *err)
{
	DIR *d = opendir(dir);
	if (!d)
		return errno == ENOENT ? 0 : store_error(s, err, errno, dir, "cannot read");
	struct dirent *e;
	int rc = 0;
	while (rc == 0 && (e = readdir(d))) {
		const char *name = e->d_name;
		struct stat st;
		if (!strcmp(name, ".") || !strcmp(name, "..") ||
			(keep->names.len && bsearch(&name, keep->names.items, keep->names.len,
						    sizeof(char *), compare_names)))
			continue;
		if (fstatat(dirfd(d), name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(st.st_mode))
			continue;
		if (unlinkat(dirfd(d), name, 0) < 0)
			rc = store_error(s, err, errno, dir, "cannot remove a blob");
		else if (freed)
			*freed += (uint64_t)st.st_size;
	}
	closedir(d);
	return rc;
}

int store_empty_dir(struct image_store *s, const char *path, uint64_t *freed, struct error *err)
{
	const struct name_set none = {0};
	return sweep(s, path, &none, freed, err);
}

static bool keep_tree(void *opaque, const char *diff_id)
{
	const struct name_set *keep = opaque;
	const char *name = diff_id + strlen("sha256:");
	return keep->names.len &&
	       bsearch(&name, keep->names.items, keep->names.len, sizeof(char *), compare_names);
}

int store_collect(
	struct image_store *s, const struct oci_index *index, uint64_t *freed, struct error *err)
{
	struct name_set keep = {0}, none = {0};
	char *blobs _free_ = xasprintf("%s/blobs/sha256", s->images);
	char *tmp _free_ = xasprintf("%s/tmp", s->images);
	char *verified _free_ = xasprintf("%s/verified", s->images);
	char *layers _free_ = xasprintf("%s/layers", s->images);
	add_reachable(s, index, &keep);
	int rc = sweep(s, blobs, &keep, freed, err);
	if (rc == 0)
		rc = sweep(s, layers, &keep, freed, err);
	if (rc == 0)
		rc = sweep(s, verified, &keep, NULL, err);
	if (rc == 0)
		rc = sweep(s, tmp, &none, NULL, err);
	if (rc == 0)
		image_trees_collect(s, keep_tree, &keep, freed);
	name_set_done(&keep);
	return rc;
}
