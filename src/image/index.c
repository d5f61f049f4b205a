// SPDX-License-Identifier: Apache-2.0
// index.json: which reference is which manifest, and the collector of what nothing refers to.
#include "image/store.h"

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
	return state && !strcmp(state, "unconfigured") ? IMAGE_UNCONFIGURED : IMAGE_ROOTFS;
}

const char *image_kind_name(enum image_kind kind)
{
	return kind == IMAGE_BOOT ? "boot" : kind == IMAGE_UNCONFIGURED ? "unconfigured" : "image";
}

static const char *descriptor_ref(const struct oci_descriptor *d)
{
	return oci_annotation_get(d->annotations.items, d->annotations.len, ANNOTATION_REF);
}

struct oci_descriptor *store_find(
	struct oci_index *index, const char *ref, const char *arch, enum image_kind kind)
{
	vec_for_each (d, &index->manifests) {
		const char *name = descriptor_ref(d);
		if (name && !strcmp(name, ref) && descriptor_kind(d) == kind &&
			(!arch || (d->arch && !strcmp(d->arch, arch))))
			return d;
	}
	return NULL;
}

/* Letters, digits, and separators inside. */
static bool part_ok(const char *s, size_t len, size_t max, const char *separators)
{
	if (!len || len > max || strchr(separators, s[0]) || strchr(separators, s[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') ||
			    (s[i] >= 'A' && s[i] <= 'Z') || (s[i] && strchr(separators, s[i]))))
			return false;
	return true;
}

int ref_complete(const char *ref, char **out, struct error *err)
{
	const char *slash = strrchr(ref, '/'), *colon = strrchr(slash ? slash : ref, ':');
	size_t name_len = colon ? (size_t)(colon - ref) : strlen(ref);
	if (!part_ok(ref, name_len, 255, "._-/:") ||
		(colon && !part_ok(colon + 1, strlen(colon + 1), 128, "._-")))
		return error_set(
			err, EINVAL, "'%.300s' is not an image reference (NAME[:TAG])", ref);
	bool debian = !strncmp(ref, "debian", name_len) || !strncmp(ref, "debian-boot", name_len);
	*out = colon ? xstrdup(ref) : xasprintf("%s:%s", ref, debian ? "trixie" : "latest");
	return 0;
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

static int add_reachable(struct image_store *s, const struct oci_index *index, struct name_set *set,
	struct error *err)
{
	vec_for_each (d, &index->manifests) {
		struct strbuf text _strbuf_ = STRBUF_INIT;
		struct oci_manifest m;
		vec_push(&set->names, xstrdup(d->digest + 7));
		/* A damaged manifest reaches nothing; its image must be pulled again anyhow. */
		if (blob_read(s, d, &text, NULL) < 0 ||
			oci_manifest_parse(&m, text.data, text.len, NULL) < 0)
			continue;
		vec_push(&set->names, xstrdup(m.config.digest + 7));
		vec_for_each (l, &m.layers)
			vec_push(&set->names, xstrdup(l->digest + 7));
		oci_manifest_done(&m);
	}
	if (set->names.len)
		qsort(set->names.items, set->names.len, sizeof(char *), compare_names);
	return 0;
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

int store_collect(
	struct image_store *s, const struct oci_index *index, uint64_t *freed, struct error *err)
{
	struct name_set keep = {0}, none = {0};
	char *blobs _free_ = xasprintf("%s/blobs/sha256", s->images);
	char *tmp _free_ = xasprintf("%s/tmp", s->images);
	char *verified _free_ = xasprintf("%s/verified", s->images);
	int rc = add_reachable(s, index, &keep, err);
	if (rc == 0)
		rc = sweep(s, blobs, &keep, freed, err);
	if (rc == 0)
		rc = sweep(s, verified, &keep, NULL, err);
	if (rc == 0)
		rc = sweep(s, tmp, &none, NULL, err);
	name_set_done(&keep);
	return rc;
}
