// SPDX-License-Identifier: Apache-2.0
// Images made of another one's layers and one more: what a build makes, step by step.
#include <jansson.h>
#include <sys/stat.h>

#include "image/store.h"
#include "wire/stream.h"
#include "wire/tar.h"

static int put_layer(struct image_store *s, image_layer_fn *write, void *opaque, bool *empty,
	struct oci_descriptor *out, struct error *err)
{
	struct blob_writer blob;
	struct tar_writer tar;
	int r = blob_writer_open(&blob, s, err);
	if (r < 0)
		return r;
	blob.limit = LAYER_BYTES_MAX;
	tar_writer_init(&tar, blob_writer_write, &blob);
	r = write(opaque, &tar, err);
	*empty = r == 0 && !tar.pos;
	if (r == 0 && !*empty) {
		r = tar_writer_end(&tar, err);
		if (r == 0)
			r = blob_writer_commit(&blob, OCI_TYPE_LAYER, out, err);
	}
	blob_writer_done(&blob);
	return r;
}

static int base_manifest(const struct image *base, struct oci_manifest *out, struct error *err)
{
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct stat st;
	if (fstat(base->manifest_fd, &st) < 0)
		return error_errno(err, errno, "manifest");
	struct stream_range range = {base->manifest_fd, 0, (uint64_t)st.st_size};
	int r = stream_read_all(stream_range_read, &range, OCI_DOCUMENT_MAX, &text, err);
	return r < 0 ? r : oci_manifest_parse(out, text.data, text.len, err);
}

/* The configuration with the layers that the manifest has. */
static int put_config(struct image_store *s, const struct image_derived *d, const char *new_diff_id,
	struct oci_descriptor *out, struct error *err)
{
	json_t *ids = json_array();
	for (size_t i = 0; d->base && i < d->base->n_layers; i++)
		json_array_append_new(ids, json_string(d->base->layers[i].diff_id));
	if (new_diff_id)
		json_array_append_new(ids, json_string(new_diff_id));
	json_t *config = json_deep_copy(d->config);
	json_object_set_new(
		config, "rootfs", json_pack("{s:s, s:o}", "type", "layers", "diff_ids", ids));
	char *text _free_ = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(config);
	if (!text)
		return error_set(err, EINVAL, "the configuration is no JSON");
	return blob_put(s, text, strlen(text), OCI_TYPE_CONFIG, out, err);
}

static void annotate(struct oci_descriptor *d, const char *key, const char *value)
{
	if (value)
		vec_push(&d->annotations, (struct oci_annotation){xstrdup(key), xstrdup(value)});
}

static int derive(
	struct image_store *s, const struct image_derived *d, const char *ref, struct error *err)
{
	struct oci_manifest m = {0};
	struct oci_descriptor layer = {0}, out = {0};
	const char *created = json_string_value(json_object_get(d->config, "created"));
	bool empty = true;
	int r = d->base ? base_manifest(d->base, &m, err) : 0;
	oci_descriptor_done(&m.config);
	m.config = (struct oci_descriptor){0};
	if (r == 0 && d->layer)
		r = put_layer(s, d->layer, d->opaque, &empty, &layer, err);
	if (r == 0 && m.layers.len + !empty > OCI_LAYERS_MAX)
		r = error_set(err, E2BIG, "more than %d layers", OCI_LAYERS_MAX);
	if (r == 0)
		r = put_config(s, d, empty ? NULL : layer.digest, &m.config, err);
	if (r == 0) {
		if (!empty) {
			vec_push(&m.layers, layer);
			layer = (struct oci_descriptor){0};
		}
		char *text _free_ = oci_manifest_print(&m);
		r = blob_put(s, text, strlen(text), OCI_TYPE_MANIFEST, &out, err);
	}
	if (r == 0) {
		out.arch = xstrdup(d->arch);
		out.os = xstrdup("linux");
		annotate(&out, ANNOTATION_REF, ref);
		annotate(&out, ANNOTATION_CREATED, created);
		annotate(&out, ANNOTATION_STATE, d->step ? "step" : NULL);
		r = store_index_put(s, &out, err);
	}
	oci_descriptor_done(&layer);
	oci_descriptor_done(&out);
	oci_manifest_done(&m);
	return r;
}

int image_derive(
	struct image_store *s, const struct image_derived *d, const char *ref, struct error *err)
{
	char *full _free_ = NULL;
	int r = ref_complete(ref, &full, err);
	if (r == 0)
		r = store_lock_pull(s, true, NULL, err);
	if (r < 0)
		return r;
	r = derive(s, d, full, err);
	store_unlock_pull(s);
	return r < 0 ? error_wrap(err, r, "image %s", full) : 0;
}
