// SPDX-License-Identifier: Apache-2.0
// Images from files: an OCI layout, a docker archive, or the tar of a file tree. Documents and
// layers are kept as they are; digests are compared on the way.
#include "image/bundle.h"
#include "image/commit.h"
#include "wire/docker_archive.h"
#include "wire/stream.h"

#include <stdio.h>
#include <unistd.h>

#define ANNOTATION_FULL_NAME "io.containerd.image.name"

struct import {
	struct image_store *store;
	struct bundle bundle;
	const struct image_import_options *o;
	char *name; /* complete, or NULL: as the archive says */
	struct strbuf *names;
	size_t images;
	const struct oci_descriptor *from; /* the index whose manifests are imported, or NULL */
};

/* Copies bytes into a blob; want may be NULL. Fills digest, size and media_type of *out. */
static int copy_blob(struct import *im, int fd, uint64_t offset, uint64_t bytes, const char *want,
	const char *media_type, struct oci_descriptor *out, struct error *err)
{
	struct blob_writer w;
	struct stream_range r = {.fd = fd, .pos = offset, .end = offset + bytes};
	char *chunk _free_ = xmalloc(256 * KiB);
	ssize_t n = 0;
	int rc = blob_writer_open(&w, im->store, err);
	if (rc < 0)
		return rc;
	w.want = want;
	while (rc == 0 && (n = stream_range_read(&r, chunk, 256 * KiB, err)) > 0) {
		rc = blob_writer_write(&w, chunk, (size_t)n, err);
		progress_bytes(im->o->progress, w.size, bytes);
	}
	rc = n < 0 ? (int)n : rc;
	if (rc == 0)
		rc = blob_writer_commit(&w, media_type, out, err);
	blob_writer_done(&w);
	return rc;
}

static char *blob_name(const char *digest)
{
	return xasprintf("blobs/sha256/%s", digest + 7);
}

static int copy_layer(struct import *im, const struct oci_descriptor *d, struct error *err)
{
	char *name _free_ = blob_name(d->digest);
	struct oci_descriptor out = {0};
	uint64_t offset, bytes;
	int have _close_ = blob_open(im->store, d->digest, d->size, NULL, NULL);
	if (have >= 0 && blob_verify_changed(im->store, d->digest, have, NULL) == 0)
		return 0;
	int fd _close_ = bundle_find(&im->bundle, name, &offset, &bytes, err);
	if (fd < 0)
		return fd;
	if (bytes != d->size)
		return error_set(
			err, EBADMSG, "%s: is not of the size that the manifest says", name);
	int rc = copy_blob(im, fd, offset, bytes, d->digest, d->media_type, &out, err);
	oci_descriptor_done(&out);
	return rc < 0 ? error_wrap(err, rc, "%s", name) : 0;
}

static int read_document(
	struct import *im, const char *digest, struct strbuf *out, struct error *err)
{
	char *name _free_ = blob_name(digest), found[OCI_DIGEST_LEN + 1];
	int rc = bundle_read(&im->bundle, name, OCI_DOCUMENT_MAX, out, err);
	if (rc < 0)
		return rc;
	digest_text(out->data, out->len, found);
	return strcmp(found, digest) ? error_set(err, EBADMSG, "%s: is damaged", name) : 0;
}

/* All is in the store but the documents. */
static int finish(struct import *im, const char *ref, const char *media_type,
	const struct strbuf *text, const struct oci_manifest *m, const struct strbuf *config_text,
	const struct oci_config *c, struct error *err)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < m->layers.len; i++) {
		int fd _close_ =
			layer_open(im->store, &m->layers.items[i], c->diff_ids.items[i], NULL, err);
		rc = MIN(fd, 0);
	}
	if (rc == 0)
		rc = commit_documents(
			im->store, ref, media_type, text, m, config_text, c, im->from, err);
	if (rc == 0) {
		strbuf_addf(im->names, "%s\n", ref);
		im->images++;
	}
	return rc;
}

static bool arch_wanted(const struct import *im, const char *arch)
{
	return !im->o->arch || !strcmp(im->o->arch, arch);
}

static int import_manifest(struct import *im, const char *ref, const char *media_type,
	const struct strbuf *text, struct error *err)
{
	struct strbuf config_text _strbuf_ = STRBUF_INIT;
	struct oci_manifest m;
	struct oci_config c = {0};
	int rc = oci_manifest_parse(&m, text->data, text->len, err);
	if (rc < 0)
		return rc;
	rc = manifest_check(&m, err);
	if (rc == 0)
		rc = read_document(im, m.config.digest, &config_text, err);
	if (rc == 0)
		rc = oci_config_parse(&c, config_text.data, config_text.len, err);
	if (rc == 0)
		rc = config_check(&m, &c, err);
	if (rc == 0 && arch_wanted(im, c.arch)) {
		progress_stage(im->o->progress, "Importing %s (%s)", ref, c.arch);
		for (size_t i = 0; rc == 0 && i < m.layers.len; i++)
			rc = copy_layer(im, &m.layers.items[i], err);
		if (rc == 0)
			rc = finish(im, ref, media_type, text, &m, &config_text, &c, err);
	}
	oci_config_done(&c);
	oci_manifest_done(&m);
	return rc;
}

static int import_descriptor(struct import *im, const char *ref, const struct oci_descriptor *d,
	unsigned depth, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	enum oci_document kind;
	char *media_type _free_ = NULL;
	struct oci_index index;
	int rc = read_document(im, d->digest, &text, err);
	if (rc == 0)
		rc = oci_document_kind(text.data, text.len, d->media_type, &kind, &media_type, err);
	if (rc < 0)
		return rc;
	if (kind == OCI_DOCUMENT_MANIFEST)
		return import_manifest(im, ref, media_type, &text, err);
	if (depth)
		return error_set(err, EBADMSG, "an index in an index in an index");
	struct oci_descriptor from = {0};
	rc = oci_index_parse(&index, text.data, text.len, err);
	if (rc == 0)
		rc = blob_put(im->store, text.data, text.len, media_type, &from, err);
	if (rc < 0)
		return rc;
	im->from = &from;
	vec_for_each (e, &index.manifests) {
		char *name _free_ = blob_name(e->digest);
		/* Attestations and the like are for no platform; archives of one architecture
		 * leave the others out. */
		if (rc == 0 && e->arch && strcmp(e->arch, "unknown") && arch_wanted(im, e->arch) &&
			bundle_has(&im->bundle, name))
			rc = import_descriptor(im, ref, e, depth + 1, err);
	}
	im->from = NULL;
	oci_descriptor_done(&from);
	oci_index_done(&index);
	return rc;
}

/* The name that the archive gives; only a whole one will do. */
static int name_of(struct import *im, const char *text, char **out, struct error *err)
{
	if (im->name) {
		*out = xstrdup(im->name);
		return 0;
	}
	if (text && strpbrk(text, "/:") && ref_complete(text, out, NULL) == 0)
		return 0;
	error_set(err, EINVAL, "the image in it has no name%s%.100s", text ? " but " : "",
		text ? text : "");
	error_remedy(err, "give it one: `strata image import FILE NAME[:TAG]`");
	return -EINVAL;
}

static int import_layout(struct import *im, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct oci_index index;
	int rc = bundle_read(&im->bundle, "index.json", OCI_DOCUMENT_MAX, &text, err);
	if (rc == 0)
		rc = oci_index_parse(&index, text.data, text.len, err);
	if (rc < 0)
		return rc;
	if (im->name && index.manifests.len > 1) {
		/* One name for several: fine when they are architectures of one. */
		const char *first = descriptor_ref(&index.manifests.items[0]);
		vec_for_each (d, &index.manifests)
			if (rc == 0 && strcmp(descriptor_ref(d), first))
				rc = error_set(err, EINVAL,
					"there are several images in it: they keep their names");
	}
	vec_for_each (d, &index.manifests) {
		char *ref _free_ = NULL;
		const char *full = oci_annotation_get(
			d->annotations.items, d->annotations.len, ANNOTATION_FULL_NAME);
		const char *own = *descriptor_ref(d) ? descriptor_ref(d) : NULL;
		if (rc == 0)
			rc = name_of(im, full ? full : own, &ref, err);
		if (rc == 0)
			rc = import_descriptor(im, ref, d, 0, err);
	}
	oci_index_done(&index);
	return rc;
}

static int docker_layers(
	struct import *im, const struct docker_image *i, struct oci_manifest *m, struct error *err)
{
	int rc = 0;
	vec_for_each (name, &i->layers) {
		struct oci_descriptor d = {0};
		uint64_t offset, bytes;
		uint8_t head[8] = {0};
		int fd _close_ = bundle_find(&im->bundle, *name, &offset, &bytes, err);
		if (fd < 0)
			return fd;
		ssize_t n = pread(fd, head, MIN(sizeof(head), bytes), (off_t)offset);
		enum compression c = compression_of_bytes(head, n > 0 ? (size_t)n : 0);
		rc = copy_blob(im, fd, offset, bytes, NULL,
			c == COMPRESSION_GZIP	? OCI_TYPE_LAYER "+gzip"
			: c == COMPRESSION_ZSTD ? OCI_TYPE_LAYER "+zstd"
						: OCI_TYPE_LAYER,
			&d, err);
		if (rc < 0)
			return rc;
		vec_push(&m->layers, d);
	}
	return 0;
}

static int import_docker_image(struct import *im, const struct docker_image *i, struct error *err)
{
	struct strbuf config _strbuf_ = STRBUF_INIT, text _strbuf_ = STRBUF_INIT;
	struct oci_manifest m = {0};
	struct oci_config c = {0};
	int rc = bundle_read(&im->bundle, i->config, OCI_DOCUMENT_MAX, &config, err);
	if (rc == 0)
		rc = oci_config_parse(&c, config.data, config.len, err);
	if (rc == 0 && arch_wanted(im, c.arch)) {
		m.config = (struct oci_descriptor){
			.media_type = xstrdup(OCI_TYPE_CONFIG), .size = config.len};
		digest_text(config.data, config.len, m.config.digest);
		rc = docker_layers(im, i, &m, err);
		if (rc == 0)
			rc = config_check(&m, &c, err);
		char *json = oci_manifest_print(&m);
		strbuf_adds(&text, json);
		free(json);
		size_t n = im->name || !i->tags.len ? 1 : i->tags.len;
		for (size_t k = 0; rc == 0 && k < n; k++) {
			char *ref _free_ = NULL;
			rc = name_of(im, i->tags.len ? i->tags.items[k] : NULL, &ref, err);
			if (rc == 0)
				rc = finish(
					im, ref, OCI_TYPE_MANIFEST, &text, &m, &config, &c, err);
		}
	}
	oci_config_done(&c);
	oci_manifest_done(&m);
	return rc;
}

static int import_docker(struct import *im, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct docker_archive a;
	int rc = bundle_read(&im->bundle, "manifest.json", OCI_DOCUMENT_MAX, &text, err);
	if (rc == 0)
		rc = docker_archive_parse(&a, text.data, text.len, err);
	if (rc < 0)
		return rc;
	if (im->name && a.images.len > 1)
		rc = error_set(
			err, EINVAL, "there are several images in it: they keep their names");
	vec_for_each (i, &a.images)
		if (rc == 0)
			rc = import_docker_image(im, i, err);
	docker_archive_done(&a);
	return rc;
}

/* The archive itself becomes the layer. */
static int import_tree(struct import *im, struct error *err)
{
	static const char *const env[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	static const char *const cmd[] = {"/bin/sh", NULL};
	struct oci_descriptor layer = {0};
	char *ref _free_ = NULL;
	int rc = name_of(im, NULL, &ref, err);
	if (rc < 0)
		return rc;
	const struct image_config config = {.ref = ref,
		.arch = im->o->arch ? im->o->arch : image_host_arch(),
		.cmd = cmd,
		.env = env};
	progress_stage(im->o->progress, "Importing %s (%s)", ref, config.arch);
	rc = copy_blob(im, im->bundle.fd, 0, im->bundle.bytes, NULL, OCI_TYPE_LAYER, &layer, err);
	if (rc == 0)
		rc = commit_rootfs(im->store, &config, false, &layer, err);
	oci_descriptor_done(&layer);
	if (rc == 0) {
		strbuf_addf(im->names, "%s\n", ref);
		im->images++;
	}
	return rc;
}

static int import_bundle(struct import *im, const char *path, struct error *err)
{
	const struct bundle *b = &im->bundle;
	int rc;
	if (bundle_has(b, "oci-layout") && bundle_has(b, "index.json"))
		rc = import_layout(im, err);
	else if (bundle_has(b, "manifest.json") && !bundle_has(b, "etc/passwd"))
		rc = import_docker(im, err);
	else if (!b->is_dir)
		rc = import_tree(im, err);
	else {
		rc = error_set(err, EINVAL, "holds neither an OCI layout nor a docker archive");
		error_remedy(err,
			"a file tree is imported as a tar: `tar -C %s -c . | strata "
			"image import - NAME`",
			path);
	}
	if (rc == 0 && !im->images)
		rc = error_set(err, ENOENT, "there is no image%s%s in it",
			im->o->arch ? " for " : "", im->o->arch ? im->o->arch : "");
	return rc;
}

int image_import(struct image_store *s, const char *path, const struct image_import_options *o,
	struct strbuf *names, struct error *err)
{
	struct import im = {.store = s, .o = o, .names = names};
	int rc = o->name ? ref_complete(o->name, &im.name, err) : 0;
	if (rc == 0)
		rc = store_lock_pull(s, true, o->progress, err);
	if (rc < 0) {
		free(im.name);
		return rc;
	}
	rc = bundle_open(&im.bundle, s, path, o->progress, err);
	if (rc == 0) {
		rc = import_bundle(&im, path, err);
		bundle_done(&im.bundle);
		if (rc < 0)
			error_wrap(err, rc, "%s", strcmp(path, "-") ? path : "stdin");
	}
	store_unlock_pull(s);
	free(im.name);
	return rc;
}
