// SPDX-License-Identifier: Apache-2.0
// Pulling from a registry: index -> manifest -> configuration -> layers, each checked against the
// digest that the document before it promises. The store's index comes last.
#include "image/commit.h"
#include "image/registry.h"

#include "wire/http_head.h"

#include <stdio.h>

/* A document of the registry, and what it is. */
struct document {
	struct strbuf text;
	char *media_type;
	enum oci_document kind;
	char digest[OCI_DIGEST_LEN + 1];
};

static void document_done(struct document *d)
{
	strbuf_done(&d->text);
	free(d->media_type);
	*d = (struct document){0};
}

/* reference: a tag or a digest, which then is compared. */
static int get_document(
	struct registry *r, const char *reference, struct document *out, struct error *err)
{
	static const char *const headers[] = {REGISTRY_ACCEPT, NULL};
	struct registry_call c = REGISTRY_CALL;
	char *what _free_ = xasprintf("manifest %.100s", reference);
	*out = (struct document){0};
	c.url = xasprintf("%s/v2/%s/manifests/%s", r->base, r->name, reference);
	c.headers = headers;
	int rc = registry_get(r, &c, what, OCI_DOCUMENT_MAX, &out->text, err);
	if (rc == 0) {
		char *type _free_ = http_head_get(c.head.data, c.head.len, "Content-Type", 0);
		if (type)
			type[strcspn(type, "; \t")] = '\0';
		digest_text(out->text.data, out->text.len, out->digest);
		if (strchr(reference, ':') && strcmp(reference, out->digest))
			rc = error_set(err, EBADMSG, "has the digest %.19s…", out->digest);
		else
			rc = oci_document_kind(out->text.data, out->text.len, type, &out->kind,
				&out->media_type, err);
		if (rc < 0)
			error_wrap(err, rc, "%s: %s: %s", r->place->host, r->name, what);
	}
	registry_call_done(&c);
	if (rc < 0)
		document_done(out);
	return rc;
}

/* "arm64", or "arm/v7" for one of several variants. An entry without a variant is the general one.
 */
static const struct oci_descriptor *choose(const struct oci_index *index, const char *arch)
{
	const char *slash = strchr(arch, '/');
	size_t len = slash ? (size_t)(slash - arch) : strlen(arch);
	const struct oci_descriptor *best = NULL;
	vec_for_each (d, &index->manifests) {
		if (!d->arch || strncmp(d->arch, arch, len) || d->arch[len] || !d->os ||
			strcmp(d->os, "linux"))
			continue;
		if (slash ? d->variant && !strcmp(d->variant, slash + 1)
			  : !best || (best->variant && !d->variant))
			best = d;
	}
	return best;
}

static int no_arch(const struct oci_index *index, const char *arch, struct error *err)
{
	struct strbuf have _strbuf_ = STRBUF_INIT;
	vec_for_each (d, &index->manifests) {
		if (!d->arch || !d->os || strcmp(d->os, "linux") || have.len > 200)
			continue;
		strbuf_addf(&have, "%s%.20s%s%.10s", have.len ? ", " : "", d->arch,
			d->variant ? "/" : "", d->variant ? d->variant : "");
	}
	error_set(err, ENOENT, "there is none for linux on %s", arch);
	if (have.len)
		error_remedy(err, "with --arch there are: %s", have.data);
	return -ENOENT;
}

struct pull {
	struct image_store *store;
	struct registry *r;
	const char *ref; /* complete */
	const char *arch;
	const struct image_progress *progress;
	const struct document *index; /* that led here, or NULL */
	struct oci_descriptor from;   /* the same, once it is a blob; size 0 before */
	struct oci_manifest manifest;
	struct strbuf config_text;
	struct oci_config config;
};

static int get_config(struct pull *p, struct error *err)
{
	const struct oci_descriptor *d = &p->manifest.config;
	char digest[OCI_DIGEST_LEN + 1];
	int rc = manifest_check(&p->manifest, err);
	if (rc == 0 && blob_read(p->store, d, &p->config_text, NULL) < 0) {
		struct registry_call c = REGISTRY_CALL;
		strbuf_clear(&p->config_text);
		c.url = xasprintf("%s/v2/%s/blobs/%s", p->r->base, p->r->name, d->digest);
		rc = registry_get(
			p->r, &c, "configuration", OCI_DOCUMENT_MAX, &p->config_text, err);
		registry_call_done(&c);
		if (rc < 0)
			return rc;
		digest_text(p->config_text.data, p->config_text.len, digest);
		if (strcmp(digest, d->digest) || p->config_text.len != d->size)
			return error_set(err, EBADMSG,
				"%s: the configuration is not what the manifest says",
				p->r->place->host);
	}
	return rc < 0 ? rc
		      : oci_config_parse(&p->config, p->config_text.data, p->config_text.len, err);
}

static int check_config(const struct pull *p, struct error *err)
{
	const struct oci_config *c = &p->config;
	size_t len = strcspn(p->arch, "/");
	if (strcmp(p->arch, IMAGE_ARCH_ALL) && (strncmp(c->arch, p->arch, len) || c->arch[len])) {
		error_set(err, ENOENT, "is for %.40s only", c->arch);
		error_remedy(err, "add --arch %.40s", c->arch);
		return -ENOENT;
	}
	return config_check(&p->manifest, c, err);
}

static int get_layers(struct pull *p, struct error *err)
{
	VEC(struct registry_layer) layers = {0};
	for (size_t i = 0; i < p->manifest.layers.len; i++)
		vec_push(&layers, (struct registry_layer){&p->manifest.layers.items[i],
					  p->config.diff_ids.items[i]});
	int rc = registry_layers(p->r, p->store, layers.items, layers.len, p->progress, err);
	vec_done(&layers);
	return rc;
}

static int pull_document(struct pull *p, const struct document *doc, struct error *err)
{
	int rc = oci_manifest_parse(&p->manifest, doc->text.data, doc->text.len, err);
	if (rc == 0)
		rc = get_config(p, err);
	if (rc == 0)
		rc = check_config(p, err);
	if (rc == 0)
		rc = get_layers(p, err);
	if (rc == 0 && p->index && !p->from.size)
		rc = blob_put(p->store, p->index->text.data, p->index->text.len,
			p->index->media_type, &p->from, err);
	if (rc == 0)
		rc = commit_documents(p->store, p->ref, doc->media_type, &doc->text, &p->manifest,
			&p->config_text, &p->config, p->from.size ? &p->from : NULL, err);
	oci_manifest_done(&p->manifest);
	oci_config_done(&p->config);
	strbuf_done(&p->config_text);
	return rc;
}

/* One entry of an index. */
static int pull_entry(struct pull *p, const struct oci_descriptor *d, struct error *err)
{
	struct document doc;
	int rc = get_document(p->r, d->digest, &doc, err);
	if (rc < 0)
		return rc;
	rc = doc.kind == OCI_DOCUMENT_MANIFEST ? pull_document(p, &doc, err)
					       : error_set(err, EBADMSG, "an index in an index");
	document_done(&doc);
	return rc;
}

/* Each architecture once; what is for none is left out. */
static int pull_all(struct pull *p, const struct oci_index *index, struct error *err)
{
	size_t n = 0;
	int rc = 0;
	vec_for_each (d, &index->manifests) {
		if (rc < 0 || !d->arch || choose(index, d->arch) != d)
			continue;
		p->arch = d->arch;
		rc = pull_entry(p, d, err);
		n++;
	}
	return rc == 0 && !n ? no_arch(index, "any architecture", err) : rc;
}

static int pull_index(struct pull *p, const struct document *doc, struct error *err)
{
	struct oci_index index;
	int rc = oci_index_parse(&index, doc->text.data, doc->text.len, err);
	if (rc < 0)
		return rc;
	bool all = !strcmp(p->arch, IMAGE_ARCH_ALL);
	const struct oci_descriptor *d = all ? NULL : choose(&index, p->arch);
	if (!all && !d)
		rc = no_arch(&index, p->arch, err);
	p->index = doc;
	if (rc == 0)
		rc = all ? pull_all(p, &index, err) : pull_entry(p, d, err);
	oci_descriptor_done(&p->from);
	oci_index_done(&index);
	return rc;
}

static int pull_from(struct image_store *s, const struct registry_place *place,
	const struct reference *ref, const char *arch, const struct image_progress *progress,
	struct error *err)
{
	struct registry r;
	struct document doc;
	char *full _free_ = reference_print(ref);
	const char *tag = ref->tag ? ref->tag : "latest";
	progress_stage(progress, "Asking %s for %s", place->host, full);
	const struct registry_purpose purpose = {.repository = ref->name};
	int rc = registry_open(&r, place, &purpose, err);
	if (rc < 0)
		return rc;
	rc = get_document(&r, ref->digest ? ref->digest : tag, &doc, err);
	if (rc == 0) {
		struct pull p = {
			.store = s, .r = &r, .ref = full, .arch = arch, .progress = progress};
		rc = doc.kind == OCI_DOCUMENT_INDEX ? pull_index(&p, &doc, err)
						    : pull_document(&p, &doc, err);
		document_done(&doc);
	}
	registry_done(&r);
	return rc;
}

int registry_pull(struct image_store *s, const struct reference *ref, const char *arch,
	const struct image_progress *progress, struct error *err)
{
	struct registry_place *places;
	size_t n;
	int rc = registry_places(ref->host, &places, &n, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n; i++) {
		bool last = i + 1 == n;
		rc = pull_from(s, &places[i], ref, arch, progress, last ? err : NULL);
		if (rc == 0)
			break;
		if (!last)
			progress_stage(progress, "The mirror %s does not have it (%s)",
				places[i].host, strerror(-rc));
	}
	registry_places_free(places, n);
	return rc;
}
