// SPDX-License-Identifier: Apache-2.0
#include "image/commit.h"

#include "image/names.h"
#include "wire/tar.h"

#include <inttypes.h>
#include <stdio.h>

#define DEFAULT_LIMIT (16 * GiB)
#define ENTRIES_MAX   (2u << 20)

static void add_annotation(struct oci_descriptor *d, const char *key, const char *value)
{
	vec_push(&d->annotations, (struct oci_annotation){xstrdup(key), xstrdup(value)});
}

static int put_config(struct image_store *s, const struct image_config *c,
	const struct oci_descriptor *layer, struct oci_descriptor *out, struct error *err)
{
	struct oci_config oci = {.arch = xstrdup(c->arch), .os = xstrdup("linux")};
	oci.created = c->created ? xstrdup(c->created) : NULL;
	oci.entrypoint = oci_strings_copy(c->entrypoint);
	oci.cmd = oci_strings_copy(c->cmd);
	oci.env = oci_strings_copy(c->env);
	oci.workdir = xstrdup(c->workdir ? c->workdir : "/");
	oci.user = c->user ? xstrdup(c->user) : NULL;
	/* The layer is not compressed: its digest is its diff_id. */
	vec_push(&oci.diff_ids, xstrdup(layer->digest));
	char *json _free_ = oci_config_print(&oci);
	oci_config_done(&oci);
	return blob_put(s, json, strlen(json), OCI_TYPE_CONFIG, out, err);
}

int commit_rootfs(struct image_store *s, const struct image_config *config, bool unconfigured,
	struct oci_descriptor *layer, struct error *err)
{
	struct oci_manifest m = {0};
	struct oci_descriptor d = {0};
	int rc = put_config(s, config, layer, &m.config, err);
	if (rc == 0) {
		vec_push(&m.layers, *layer);
		*layer = (struct oci_descriptor){0};
		char *json _free_ = oci_manifest_print(&m);
		rc = blob_put(s, json, strlen(json), OCI_TYPE_MANIFEST, &d, err);
	}
	if (rc == 0) {
		d.arch = xstrdup(config->arch);
		d.os = xstrdup("linux");
		add_annotation(&d, ANNOTATION_REF, config->ref);
		if (config->created)
			add_annotation(&d, ANNOTATION_CREATED, config->created);
		if (unconfigured)
			add_annotation(&d, ANNOTATION_STATE, "unconfigured");
		rc = store_index_put(s, &d, err);
	}
	oci_descriptor_done(&d);
	oci_manifest_done(&m);
	return rc;
}

int manifest_check(const struct oci_manifest *m, struct error *err)
{
	if (strcmp(m->config.media_type, OCI_TYPE_CONFIG) &&
		strcmp(m->config.media_type, DOCKER_TYPE_CONFIG))
		return error_set(err, ENOTSUP, "is no image but an artifact of type %.100s",
			m->artifact_type ? m->artifact_type : m->config.media_type);
	vec_for_each (l, &m->layers)
		if (!layer_type_ok(l->media_type))
			return error_set(err, ENOTSUP, "has a layer of the unknown type %.100s",
				l->media_type);
	return 0;
}

int config_check(const struct oci_manifest *m, const struct oci_config *c, struct error *err)
{
	if (strcmp(c->os, "linux"))
		return error_set(err, ENOTSUP, "is an image for %.40s", c->os);
	if (c->diff_ids.len != m->layers.len)
		return error_set(err, EBADMSG, "has %zu layers, but %zu diff_ids", m->layers.len,
			c->diff_ids.len);
	return 0;
}

int commit_documents(struct image_store *s, const char *ref, const char *media_type,
	const struct strbuf *manifest_text, const struct oci_manifest *m,
	const struct strbuf *config_text, const struct oci_config *c,
	const struct oci_descriptor *from, struct error *err)
{
	struct oci_descriptor d = {0}, config = {0};
	int rc = blob_put(
		s, config_text->data, config_text->len, m->config.media_type, &config, err);
	if (rc == 0)
		rc = blob_put(s, manifest_text->data, manifest_text->len, media_type, &d, err);
	if (rc == 0) {
		d.arch = xstrdup(c->arch);
		d.os = xstrdup("linux");
		add_annotation(&d, ANNOTATION_REF, ref);
		if (c->created && *c->created)
			add_annotation(&d, ANNOTATION_CREATED, c->created);
		if (from) {
			char size[24];
			snprintf(size, sizeof(size), "%" PRIu64, from->size);
			add_annotation(&d, ANNOTATION_INDEX, from->digest);
			add_annotation(&d, ANNOTATION_INDEX_SIZE, size);
		}
		rc = store_index_put(s, &d, err);
	}
	oci_descriptor_done(&config);
	oci_descriptor_done(&d);
	return rc;
}

/* Trees that the kernel or a boot fills; the directories themselves stay. */
static bool below_volatile(const char *path)
{
	static const char *const dirs[] = {"dev/", "proc/", "run/", "sys/", "tmp/"};
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		if (!strncmp(path, dirs[i], strlen(dirs[i])))
			return true;
	return false;
}

/* Only attributes that mean the same on another host. */
static size_t keep_xattrs(const struct tar_entry *e, struct tar_xattr *out)
{
	size_t n = 0;
	for (size_t i = 0; i < e->n_xattrs; i++)
		if (!strcmp(e->xattrs[i].name, "security.capability") ||
			!strncmp(e->xattrs[i].name, "user.", 5))
			out[n++] = e->xattrs[i];
	return n;
}

/* All parents of an entry must be directories of the stream, so that no reader of the layer can be
 * led through a symbolic link; a name appears once. */
static int check_entry(struct names *seen, const struct tar_entry *e, struct error *err)
{
	char parent[TAR_PATH_MAX + 1];
	snprintf(parent, sizeof(parent), "%s", e->path);
	char *slash = strrchr(parent, '/');
	if (slash) {
		*slash = '\0';
		if (names_get(seen, slice_of(parent)) != TAR_DIR)
			return error_set(
				err, EBADMSG, "%s: its parent is not a directory", e->path);
	}
	if (names_get(seen, slice_of(e->path)) != NAMES_NONE)
		return error_set(err, EBADMSG, "%s: appears twice", e->path);
	if (e->type == TAR_HARDLINK && names_get(seen, slice_of(e->linkname)) != TAR_FILE)
		return error_set(
			err, EBADMSG, "%s: hard link to what is not a file before it", e->path);
	if (seen->len >= ENTRIES_MAX)
		return error_set(err, EBADMSG, "more than %u entries", ENTRIES_MAX);
	/* A hard link is as good a target as the file. */
	names_set(seen, slice_of(e->path), e->type == TAR_HARDLINK ? TAR_FILE : (int)e->type);
	return 0;
}

static int copy_data(struct tar_reader *r, struct tar_writer *w, uint64_t size, struct error *err)
{
	char *chunk _free_ = xmalloc(64 * KiB);
	while (size) {
		ssize_t n = tar_reader_read(r, chunk, (size_t)MIN(size, 64 * KiB), err);
		if (n <= 0)
			return n < 0 ? (int)n : error_set(err, EBADMSG, "archive ends early");
		int rc = tar_writer_data(w, chunk, (size_t)n, err);
		if (rc < 0)
			return rc;
		size -= (uint64_t)n;
	}
	return 0;
}

static int copy_entries(struct tar_reader *r, struct tar_writer *w, struct names *seen,
	const struct image_progress *progress, struct error *err)
{
	struct tar_entry e;
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	int rc;
	while ((rc = tar_reader_next(r, &e, err)) == 1) {
		if (below_volatile(e.path) || e.type == TAR_CHARDEV || e.type == TAR_BLOCKDEV ||
			e.type == TAR_FIFO)
			continue;
		if (!e.path[0] && seen->len)
			continue; /* the root is announced first or not at all */
		rc = check_entry(seen, &e, err);
		if (rc < 0)
			return rc;
		e.n_xattrs = keep_xattrs(&e, xattrs);
		e.xattrs = xattrs;
		rc = tar_writer_entry(w, &e, err);
		if (rc == 0)
			rc = copy_data(r, w, e.size, err);
		if (rc < 0)
			return rc;
		progress_bytes(progress, w->pos, 0);
	}
	return rc < 0 ? rc : tar_writer_end(w, err);
}

int sanitize_tar(int tar_fd, struct blob_writer *blob, const struct image_progress *progress,
	struct error *err)
{
	struct tar_reader r;
	struct tar_writer w;
	struct names seen = {0};
	tar_reader_init_pipe(&r, tar_fd);
	tar_writer_init(&w, blob_writer_write, blob);
	int rc = copy_entries(&r, &w, &seen, progress, err);
	if (rc == 0 && seen.len == 0)
		rc = error_set(err, EBADMSG, "the archive is empty");
	names_done(&seen);
	tar_reader_done(&r);
	return rc;
}

int commit_stream(struct image_store *s, int tar_fd, const struct image_config *config,
	uint64_t limit_bytes, const struct image_progress *progress, struct error *err)
{
	struct blob_writer w;
	struct oci_descriptor layer = {0};
	int rc = blob_writer_open(&w, s, err);
	if (rc < 0)
		return rc;
	w.limit = limit_bytes ? limit_bytes : DEFAULT_LIMIT;
	rc = sanitize_tar(tar_fd, &w, progress, err);
	if (rc == 0)
		rc = blob_writer_commit(&w, OCI_TYPE_LAYER, &layer, err);
	blob_writer_done(&w);
	if (rc == 0)
		rc = commit_rootfs(s, config, false, &layer, err);
	oci_descriptor_done(&layer);
	return rc;
}

int image_commit_layer(struct image_store *s, int tar_fd, const struct image_config *config,
	uint64_t limit_bytes, const struct image_progress *progress, struct error *err)
{
	struct image_config complete = *config;
	char *ref _free_ = NULL;
	int rc = ref_complete(config->ref, &ref, err);
	if (rc < 0)
		return rc;
	complete.ref = ref;
	rc = store_lock_pull(s, true, progress, err);
	if (rc < 0)
		return rc;
	rc = commit_stream(s, tar_fd, &complete, limit_bytes, progress, err);
	store_unlock_pull(s);
	return rc < 0 ? error_wrap(err, rc, "image %s", ref) : 0;
}
