// SPDX-License-Identifier: Apache-2.0
// Pushing: blobs, then manifests, then the index when there are several architectures. Everything
// goes as it lies in the store, so that its digests stay.
#include "image/registry.h"
#include "image/selection.h"

#include "wire/http_head.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

struct push {
	struct image_store *store;
	struct reference to;
	const struct image_progress *progress;
	struct selection images;
	VEC(struct registry_blob) blobs;
	char *mount_from; /* another repository of the registry that has some of the blobs */
};

static void push_done(struct push *p)
{
	selection_done(&p->images);
	vec_done(&p->blobs);
	free(p->mount_from);
	reference_done(&p->to);
}

static void add_blob(struct push *p, const struct oci_descriptor *d)
{
	vec_for_each (b, &p->blobs)
		if (!strcmp(b->d->digest, d->digest))
			return;
	vec_push(&p->blobs, (struct registry_blob){.d = d});
}

static void list_blobs(struct push *p)
{
	vec_for_each (i, &p->images.items) {
		add_blob(p, &i->m.config);
		vec_for_each (l, &i->m.layers)
			add_blob(p, l);
	}
}

static size_t mark_shared(struct push *p, const struct oci_manifest *m, bool mark)
{
	size_t n = 0;
	vec_for_each (b, &p->blobs) {
		bool has = !strcmp(b->d->digest, m->config.digest);
		vec_for_each (l, &m->layers)
			has |= !strcmp(b->d->digest, l->digest);
		n += has;
		if (mark && has)
			b->mount = true;
	}
	return n;
}

/* Images of the same registry that are here as well tell where it may have our blobs already: the
 * one that shares most is asked. */
static void find_source(struct push *p, const struct oci_index *index)
{
	size_t best = 0;
	vec_for_each (d, &index->manifests) {
		struct reference r;
		struct strbuf text _strbuf_ = STRBUF_INIT;
		struct oci_manifest m;
		if (reference_parse(&r, descriptor_ref(d), NULL) < 0)
			continue;
		bool other = r.host && !strcmp(r.host, p->to.host) && strcmp(r.name, p->to.name) &&
			     blob_read(p->store, d, &text, NULL) == 0 &&
			     oci_manifest_parse(&m, text.data, text.len, NULL) == 0;
		size_t shared = other ? mark_shared(p, &m, false) : 0;
		if (shared > best) {
			best = shared;
			vec_for_each (b, &p->blobs)
				b->mount = false;
			mark_shared(p, &m, true);
			free(p->mount_from);
			p->mount_from = xstrdup(r.name);
		}
		if (other)
			oci_manifest_done(&m);
		reference_done(&r);
	}
}

static int put_document(struct registry *r, const char *reference, const char *media_type,
	const void *bytes, size_t len, char **digest, struct error *err)
{
	char *type _free_ = xasprintf("Content-Type: %s", media_type);
	char *what _free_ = xasprintf("manifest %.100s", reference);
	const char *headers[] = {type, NULL};
	struct registry_call c = REGISTRY_CALL;
	struct digest d;
	char ours[OCI_DIGEST_LEN + 1] = "sha256:";
	int fd _close_ = memfd_create("manifest", MFD_CLOEXEC);
	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		return error_errno(err, errno, "%s", what);
	digest_init(&d);
	digest_update(&d, bytes, len);
	digest_finish(&d, ours + 7);
	c.method = "PUT";
	c.url = xasprintf("%s/v2/%s/manifests/%s", r->base, r->name, reference);
	c.headers = headers;
	c.body_fd = fd;
	c.body_bytes = len;
	int rc = registry_run(r, &c, 1, NULL, NULL, err);
	if (rc == 0)
		rc = registry_check(r, &c, what, err);
	if (rc == 0) {
		char *theirs _free_ =
			http_head_get(c.head.data, c.head.len, "Docker-Content-Digest", 0);
		if (theirs && strcmp(theirs, ours))
			rc = error_set(err, EBADMSG, "%s: %s: took it as %.80s instead of %s",
				r->place->host, what, theirs, ours);
	}
	registry_call_done(&c);
	if (rc == 0 && digest) {
		free(*digest);
		*digest = xstrdup(ours);
	}
	return rc;
}

static int put_documents(struct push *p, struct registry *r, char **digest, struct error *err)
{
	const char *name = p->to.digest ? p->to.digest : p->to.tag ? p->to.tag : "latest";
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < p->images.items.len; i++) {
		const struct selected *img = &p->images.items.items[i];
		bool alone = p->images.items.len == 1;
		rc = put_document(r, alone ? name : img->d.digest, img->d.media_type,
			img->text.data, img->text.len, digest, err);
	}
	if (rc == 0 && p->images.items.len > 1) {
		char *type _free_ = NULL,
			   *json _free_ = selection_index(&p->images, p->store, &type);
		rc = put_document(r, name, type, json, strlen(json), digest, err);
	}
	return rc;
}

static int send_all(struct push *p, char **digest, struct error *err)
{
	struct registry_place *places;
	struct registry r;
	size_t n;
	const struct registry_purpose purpose = {
		.repository = p->to.name, .push = true, .mount_from = p->mount_from};
	int rc = registry_places(p->to.host, &places, &n, err);
	if (rc < 0)
		return rc;
	/* Mirrors are for reading. */
	rc = registry_open(&r, &places[n - 1], &purpose, err);
	if (rc == 0)
		rc = registry_upload(&r, p->store, p->mount_from, p->blobs.items, p->blobs.len,
			p->progress, err);
	if (rc == 0)
		rc = put_documents(p, &r, digest, err);
	registry_done(&r);
	registry_places_free(places, n);
	return rc;
}

int image_push(struct image_store *s, const char *ref, const struct image_push_options *o,
	char **digest, struct error *err)
{
	struct push p = {.store = s, .progress = o->progress};
	struct oci_index index;
	char *full _free_ = NULL, *sent _free_ = NULL;
	int rc = ref_complete(ref, &full, err);
	if (rc == 0)
		rc = reference_parse(&p.to, o->to ? o->to : full, err);
	if (rc < 0)
		return rc;
	if (!p.to.host) {
		error_set(err, EINVAL, "%s: says no registry to send it to", o->to ? o->to : full);
		error_remedy(err, "name it: `strata image push %s HOST[:PORT]/NAME[:TAG]`", ref);
		reference_done(&p.to);
		return -EINVAL;
	}
	int lock _close_ = store_lock_index(s, LOCK_SH, err);
	rc = lock < 0 ? lock : store_index_load(s, &index, err);
	if (rc == 0) {
		rc = selection_load(&p.images, s, &index, full, o->arch, err);
		if (rc == 0) {
			list_blobs(&p);
			find_source(&p, &index);
		}
		oci_index_done(&index);
	}
	cleanup_close_fd(&lock);
	lock = -1;
	if (rc == 0)
		rc = send_all(&p, &sent, err);
	push_done(&p);
	if (rc == 0 && digest)
		*digest = TAKE_PTR(sent);
	return rc < 0 ? error_wrap(err, rc, "image %s", full) : 0;
}
