// SPDX-License-Identifier: Apache-2.0
// Opening, listing, checking and removing images.
#include "image/store.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void image_free(struct image *img)
{
	if (!img)
		return;
	for (size_t i = 0; i < img->n_layers; i++) {
		struct image_layer *l = &img->layers[i];
		free(l->media_type);
		free(l->path);
		if (l->fd >= 0)
			close(l->fd);
	}
	if (img->manifest_fd >= 0)
		close(img->manifest_fd);
	free(img->layers);
	free(img->ref);
	free(img->arch);
	free(img->workdir);
	free(img->user);
	free(img->kernel_version);
	oci_strings_free(img->entrypoint);
	oci_strings_free(img->cmd);
	oci_strings_free(img->env);
	free(img);
}
DEFINE_CLEANUP(struct image *, cleanup_image, image_free)
#define _image_ CLEANUP(cleanup_image)

static int open_layer(struct image_store *s, const struct oci_descriptor *d, const char *diff_id,
	struct image_layer *l, struct error *err)
{
	struct stat st;
	int rc = 0;
	l->media_type = xstrdup(d->media_type);
	memcpy(l->digest, d->digest, sizeof(l->digest));
	memcpy(l->diff_id, diff_id, sizeof(l->diff_id));
	l->fd = layer_open(s, d, diff_id, &l->path, err);
	if (l->fd < 0)
		return l->fd;
	if (flock(l->fd, LOCK_SH | LOCK_NB) < 0)
		return error_errno(err, errno, "lock %s", l->path);
	if (fstat(l->fd, &st) < 0)
		rc = error_errno(err, errno, "%s", l->path);
	else
		l->size = (uint64_t)st.st_size;
	return rc;
}

/* c NULL: the blobs are what is used (boot images). */
static int open_layers(struct image_store *s, struct image *img, const struct oci_manifest *m,
	const struct oci_config *c, struct error *err)
{
	int rc = 0;
	if (c && c->diff_ids.len != m->layers.len)
		return error_set(err, EBADMSG, "%zu layers, but %zu diff_ids", m->layers.len,
			c->diff_ids.len);
	img->layers = xcalloc(m->layers.len ? m->layers.len : 1, sizeof(*img->layers));
	for (size_t i = 0; rc == 0 && i < m->layers.len; i++) {
		const struct oci_descriptor *d = &m->layers.items[i];
		if (c && !layer_type_ok(d->media_type))
			return error_set(
				err, ENOTSUP, "a layer has the unknown type %.100s", d->media_type);
		img->layers[i].fd = -1;
		img->n_layers++;
		rc = open_layer(s, d, c ? c->diff_ids.items[i] : d->digest, &img->layers[i], err);
	}
	return rc;
}

/* Which layer is what, by media type; the modules layer is the only tar. */
static int find_boot_parts(struct image *img, const struct oci_manifest *m, struct error *err)
{
	static const char *const types[] = {
		BOOT_KERNEL_TYPE, BOOT_INITRAMFS_TYPE, OCI_TYPE_LAYER, BOOT_BUSYBOX_TYPE};
	size_t *const parts[] = {&img->kernel, &img->initramfs, &img->modules, &img->busybox};
	for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
		size_t i = 0;
		while (i < img->n_layers && strcmp(img->layers[i].media_type, types[t]))
			i++;
		if (i == img->n_layers)
			return error_set(
				err, EBADMSG, "boot image without a layer of type %s", types[t]);
		*parts[t] = i;
	}
	const char *version =
		oci_annotation_get(m->annotations.items, m->annotations.len, ANNOTATION_KERNEL);
	img->kernel_version = xstrdup(version ? version : "");
	img->entrypoint = oci_strings_copy(NULL);
	img->cmd = oci_strings_copy(NULL);
	img->env = oci_strings_copy(NULL);
	img->workdir = xstrdup("/");
	img->user = xstrdup("");
	return 0;
}

static int open_rootfs(
	struct image_store *s, struct image *img, const struct oci_manifest *m, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct oci_config c;
	int rc = blob_read(s, &m->config, &text, err);
	if (rc == 0)
		rc = oci_config_parse(&c, text.data, text.len, err);
	if (rc < 0)
		return rc;
	img->entrypoint = TAKE_PTR(c.entrypoint);
	img->cmd = TAKE_PTR(c.cmd);
	img->env = TAKE_PTR(c.env);
	img->workdir = c.workdir && c.workdir[0] ? TAKE_PTR(c.workdir) : xstrdup("/");
	img->user = c.user ? TAKE_PTR(c.user) : xstrdup("");
	if (strcmp(c.arch, img->arch))
		rc = error_set(err, EBADMSG, "the image's configuration says %s", c.arch);
	if (rc == 0)
		rc = open_layers(s, img, m, &c, err);
	oci_config_done(&c);
	return rc;
}

static int open_descriptor(struct image_store *s, const struct oci_descriptor *d, const char *ref,
	struct image **out, struct error *err)
{
	struct image *img _image_ = xcalloc(1, sizeof(*img));
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct oci_manifest m;
	img->kind = descriptor_kind(d);
	img->ref = xstrdup(ref);
	img->arch = xstrdup(d->arch);
	memcpy(img->digest, d->digest, sizeof(img->digest));
	img->manifest_fd = blob_open(s, d->digest, d->size, NULL, err);
	if (img->manifest_fd < 0)
		return img->manifest_fd;
	if (flock(img->manifest_fd, LOCK_SH | LOCK_NB) < 0)
		return error_errno(err, errno, "lock");
	int rc = blob_read(s, d, &text, err);
	if (rc == 0)
		rc = oci_manifest_parse(&m, text.data, text.len, err);
	if (rc < 0)
		return rc;
	rc = img->kind == IMAGE_BOOT ? open_layers(s, img, &m, NULL, err)
				     : open_rootfs(s, img, &m, err);
	if (rc == 0 && img->kind == IMAGE_BOOT)
		rc = find_boot_parts(img, &m, err);
	oci_manifest_done(&m);
	if (rc == 0)
		*out = TAKE_PTR(img);
	return rc;
}

static int open_kind(struct image_store *s, const char *ref, const char *arch, enum image_kind kind,
	struct image **out, struct error *err)
{
	struct oci_index index;
	char *full _free_ = NULL;
	arch = arch ? arch : image_host_arch();
	int rc = kind == IMAGE_BOOT ? ref_boot(ref, &full, err) : ref_complete(ref, &full, err);
	if (rc < 0)
		return rc;
	int lock _close_ = store_lock_index(s, LOCK_SH, err);
	if (lock < 0)
		return lock;
	rc = store_index_load(s, &index, err);
	if (rc < 0)
		return rc;
	const struct oci_descriptor *d = store_find(&index, full, arch, kind);
	if (d) {
		rc = open_descriptor(s, d, full, out, err);
		if (rc < 0)
			error_wrap(err, rc, "image %s (%s)", full, arch);
	} else {
		rc = error_set(err, ENOENT, "no image %s for %s", full, arch);
		error_remedy(err, "get it with `strata image pull --arch %s %s`", arch, ref);
	}
	oci_index_done(&index);
	return rc;
}

int image_open(struct image_store *s, const char *ref, const char *arch, struct image **out,
	struct error *err)
{
	return open_kind(s, ref, arch, IMAGE_ROOTFS, out, err);
}

int image_open_unconfigured(struct image_store *s, const char *ref, const char *arch,
	struct image **out, struct error *err)
{
	return open_kind(s, ref, arch, IMAGE_UNCONFIGURED, out, err);
}

int image_open_step(struct image_store *s, const char *ref, const char *arch, struct image **out,
	struct error *err)
{
	return open_kind(s, ref, arch, IMAGE_STEP, out, err);
}

int boot_open(struct image_store *s, const char *ref, const char *arch, struct image **out,
	struct error *err)
{
	return open_kind(s, ref, arch, IMAGE_BOOT, out, err);
}

/* The best match of a reference for commands that take any kind: finished images first. */
static struct oci_descriptor *find_any(struct oci_index *index, const char *ref, const char *arch)
{
	static const enum image_kind order[] = {
		IMAGE_ROOTFS, IMAGE_BOOT, IMAGE_UNCONFIGURED, IMAGE_STEP};
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		struct oci_descriptor *d = store_find(index, ref, arch, order[i]);
		if (d)
			return d;
	}
	return NULL;
}

static int load_manifest(struct image_store *s, const struct oci_descriptor *d, struct strbuf *text,
	struct oci_manifest *m, struct error *err)
{
	int rc = blob_read(s, d, text, err);
	return rc < 0 ? rc : oci_manifest_parse(m, text->data, text->len, err);
}

static void fill_info(
	struct image_store *s, const struct oci_descriptor *d, struct image_info *info)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct oci_manifest m;
	const char *ref = descriptor_ref(d);
	const char *created =
		oci_annotation_get(d->annotations.items, d->annotations.len, ANNOTATION_CREATED);
	*info = (struct image_info){.kind = descriptor_kind(d), .size = d->size};
	info->ref = xstrdup(*ref ? ref : "(none)");
	info->arch = xstrdup(d->arch ? d->arch : "unknown");
	info->created = xstrdup(created ? created : "");
	memcpy(info->digest, d->digest, sizeof(info->digest));
	if (load_manifest(s, d, &text, &m, NULL) < 0) {
		info->damaged = true;
		return;
	}
	info->size += m.config.size;
	vec_for_each (l, &m.layers) {
		int fd _close_ = blob_open(s, l->digest, l->size, NULL, NULL);
		info->damaged |= fd < 0;
		info->size += l->size;
	}
	oci_manifest_done(&m);
}

static void info_done(struct image_info *info)
{
	free(info->ref);
	free(info->arch);
	free(info->created);
}

static int compare_info(const void *a, const void *b)
{
	const struct image_info *x = a, *y = b;
	int c = strcmp(x->ref, y->ref);
	if (!c)
		c = strcmp(x->arch, y->arch);
	return c ? c : (int)x->kind - (int)y->kind;
}

int image_list(struct image_store *s, struct image_info **out, size_t *n, struct error *err)
{
	struct oci_index index;
	int lock _close_ = store_lock_index(s, LOCK_SH, err);
	if (lock < 0)
		return lock;
	int rc = store_index_load(s, &index, err);
	if (rc < 0)
		return rc;
	struct image_info *list = xcalloc(index.manifests.len + 1, sizeof(*list));
	*n = 0;
	for (size_t i = 0; i < index.manifests.len; i++)
		if (descriptor_kind(&index.manifests.items[i]) != IMAGE_STEP)
			fill_info(s, &index.manifests.items[i], &list[(*n)++]);
	qsort(list, *n, sizeof(*list), compare_info);
	*out = list;
	oci_index_done(&index);
	return 0;
}

void image_list_free(struct image_info *list, size_t n)
{
	for (size_t i = 0; list && i < n; i++)
		info_done(&list[i]);
	free(list);
}

/* Runs fn on the descriptor of a reference, under the shared index lock. */
typedef int descriptor_fn(struct image_store *s, const struct oci_descriptor *d, const char *ref,
	void *opaque, struct error *err);

static int with_descriptor(struct image_store *s, const char *ref, const char *arch,
	descriptor_fn *fn, void *opaque, struct error *err)
{
	struct oci_index index;
	char *full _free_ = NULL;
	int rc = ref_complete(ref, &full, err);
	if (rc < 0)
		return rc;
	int lock _close_ = store_lock_index(s, LOCK_SH, err);
	if (lock < 0)
		return lock;
	rc = store_index_load(s, &index, err);
	if (rc < 0)
		return rc;
	const struct oci_descriptor *d = find_any(&index, full, arch ? arch : image_host_arch());
	if (!d && !arch)
		d = find_any(&index, full, NULL);
	rc = d ? fn(s, d, full, opaque, err)
	       : error_set(err, ENOENT, "no image %s%s%s", full, arch ? " for " : "",
			 arch ? arch : "");
	oci_index_done(&index);
	return rc;
}

static void set_new(json_t *o, const char *key, json_t *value)
{
	json_object_set_new(o, key, value ? value : json_null());
}

static int inspect(struct image_store *s, const struct oci_descriptor *d, const char *ref,
	void *opaque, struct error *err)
{
	struct strbuf *out = opaque;
	struct strbuf text _strbuf_ = STRBUF_INIT, config _strbuf_ = STRBUF_INIT;
	struct oci_manifest m;
	struct image_info info;
	int rc = load_manifest(s, d, &text, &m, err);
	if (rc < 0)
		return error_wrap(err, rc, "image %s", ref);
	rc = blob_read(s, &m.config, &config, err);
	oci_manifest_done(&m);
	if (rc < 0)
		return error_wrap(err, rc, "image %s", ref);
	fill_info(s, d, &info);
	json_t *o = json_object();
	set_new(o, "ref", json_string(info.ref));
	set_new(o, "arch", json_string(info.arch));
	set_new(o, "kind", json_string(image_kind_name(info.kind)));
	set_new(o, "digest", json_string(info.digest));
	set_new(o, "created", json_string(info.created));
	set_new(o, "size", json_integer((json_int_t)info.size));
	set_new(o, "damaged", json_boolean(info.damaged));
	set_new(o, "manifest", json_loadb(text.data, text.len, 0, NULL));
	set_new(o, "config", json_loadb(config.data, config.len, 0, NULL));
	char *printed = json_dumps(o, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	strbuf_adds(out, printed ? printed : "{}");
	strbuf_addc(out, '\n');
	free(printed);
	json_decref(o);
	info_done(&info);
	return 0;
}

int image_inspect(struct image_store *s, const char *ref, const char *arch, struct strbuf *json,
	struct error *err)
{
	return with_descriptor(s, ref, arch, inspect, json, err);
}

struct verify_state {
	const struct image_progress *progress;
	uint64_t done, total;
};

static void verify_bytes(void *opaque, uint64_t n)
{
	struct verify_state *v = opaque;
	v->done += n;
	progress_bytes(v->progress, v->done, v->total);
}

static int verify_blob(struct image_store *s, const struct oci_descriptor *d,
	struct verify_state *v, struct error *err)
{
	int fd _close_ = blob_open(s, d->digest, d->size, NULL, err);
	return fd < 0 ? fd : blob_verify(s, d->digest, fd, verify_bytes, v, err);
}

static int verify(struct image_store *s, const struct oci_descriptor *d, const char *ref,
	void *opaque, struct error *err)
{
	struct verify_state *v = opaque;
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct oci_manifest m;
	int rc = load_manifest(s, d, &text, &m, err);
	if (rc < 0)
		return error_wrap(err, rc, "image %s", ref);
	v->total = m.config.size;
	vec_for_each (l, &m.layers)
		v->total += l->size;
	progress_stage(v->progress, "Verifying %s", ref);
	rc = verify_blob(s, &m.config, v, err);
	for (size_t i = 0; rc == 0 && i < m.layers.len; i++)
		rc = verify_blob(s, &m.layers.items[i], v, err);
	oci_manifest_done(&m);
	return rc < 0 ? error_wrap(err, rc, "image %s", ref) : 0;
}

int image_verify(struct image_store *s, const char *ref, const char *arch,
	const struct image_progress *progress, struct error *err)
{
	struct verify_state v = {.progress = progress};
	return with_descriptor(s, ref, arch, verify, &v, err);
}

bool store_in_use(struct image_store *s, const struct oci_descriptor *d)
{
	int fd _close_ = blob_open(s, d->digest, d->size, NULL, NULL);
	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

static int remove_refs(struct image_store *s, struct oci_index *index, const char *ref,
	const char *arch, struct error *err)
{
	size_t removed = 0;
	for (size_t i = index->manifests.len; i-- > 0;) {
		struct oci_descriptor *d = &index->manifests.items[i];
		if (strcmp(descriptor_ref(d), ref) || (arch && (!d->arch || strcmp(d->arch, arch))))
			continue;
		if (store_in_use(s, d)) {
			error_set(err, EBUSY, "image %s (%s) is in use", ref, d->arch);
			error_remedy(err, "stop the instances that run it first");
			return -EBUSY;
		}
		oci_descriptor_done(d);
		memmove(d, d + 1, (index->manifests.len - i - 1) * sizeof(*d));
		index->manifests.len--;
		removed++;
	}
	if (!removed)
		return error_set(
			err, ENOENT, "no image %s%s%s", ref, arch ? " for " : "", arch ? arch : "");
	return store_index_save(s, index, err);
}

int image_remove(struct image_store *s, const char *ref, const char *arch, uint64_t *freed_bytes,
	struct error *err)
{
	struct oci_index index;
	char *full _free_ = NULL;
	uint64_t freed = 0;
	int rc = ref_complete(ref, &full, err);
	if (rc < 0)
		return rc;
	/* While another process pulls, its blobs are not referenced yet: then only the reference
	 * goes, and the next removal collects. */
	bool collect = store_lock_pull(s, false, NULL, NULL) == 0;
	int lock _close_ = store_lock_index(s, LOCK_EX, err);
	rc = lock < 0 ? lock : store_index_load(s, &index, err);
	if (rc == 0) {
		rc = remove_refs(s, &index, full, arch, err);
		if (rc == 0 && collect)
			rc = store_collect(s, &index, &freed, err);
		oci_index_done(&index);
	}
	if (collect)
		store_unlock_pull(s);
	if (rc == 0 && freed_bytes)
		*freed_bytes = freed;
	return rc;
}
