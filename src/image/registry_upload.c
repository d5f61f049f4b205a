// SPDX-License-Identifier: Apache-2.0
// Blobs to a registry (OCI distribution specification 1.1, "Pushing blobs"). All blobs take their
// next step side by side, a round at a time: is it there? mount it, or begin an upload; send it
// whole, or what is large in chunks, so that a broken connection costs one chunk.
#include "image/registry.h"

#include "wire/http_head.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define CHUNK_BYTES  (64 * MiB) /* larger blobs go in pieces */
#define FAILURES_MAX 4		/* of one blob */

enum step { STEP_CHECK, STEP_BEGIN, STEP_CHUNK, STEP_ASK, STEP_END, STEP_DONE };

struct upload {
	const struct oci_descriptor *d;
	bool mount;
	enum step step;
	char *location; /* of the upload, from the registry's last answer */
	uint64_t sent;	/* bytes that the registry has */
	unsigned failures;
	int fd;
};

struct uploads {
	struct registry *r;
	struct image_store *store;
	const char *mount_from;
	const struct image_progress *progress;
	struct upload *items;
	size_t n;
	uint64_t done, total; /* bytes */
};

static void on_bytes(void *opaque, int64_t n)
{
	struct uploads *u = opaque;
	if (n < 0)
		u->done -= MIN(u->done, (uint64_t)0 - (uint64_t)n);
	else
		u->done = MIN(u->total, u->done + MIN((uint64_t)n, u->total));
	progress_bytes(u->progress, u->done, u->total);
}

static bool in_chunks(const struct upload *b)
{
	return b->d->size > CHUNK_BYTES;
}

static char *with_digest(const struct upload *b)
{
	return xasprintf(
		"%s%cdigest=%s", b->location, strchr(b->location, '?') ? '&' : '?', b->d->digest);
}

/* The last request of a blob that fits one sends it, of a larger one only closes the upload. */
static void prepare_end(struct upload *b, struct registry_call *c)
{
	c->method = "PUT";
	c->url = with_digest(b);
	c->body_fd = b->fd;
	c->body_offset = b->sent;
	c->body_bytes = b->d->size - b->sent;
}

/* range is the Content-Range line, kept by the caller. */
static void prepare(struct uploads *u, struct upload *b, struct registry_call *c,
	const char *headers[4], char range[64])
{
	const char *base = u->r->base, *name = u->r->name;
	headers[0] = "Content-Type: application/octet-stream";
	*c = REGISTRY_CALL;
	switch (b->step) {
	case STEP_CHECK:
		c->method = "HEAD";
		c->url = xasprintf("%s/v2/%s/blobs/%s", base, name, b->d->digest);
		return;
	case STEP_BEGIN:
		c->method = "POST";
		c->url = b->mount ? xasprintf("%s/v2/%s/blobs/uploads/?mount=%s&from=%s", base,
					    name, b->d->digest, u->mount_from)
				  : xasprintf("%s/v2/%s/blobs/uploads/", base, name);
		return;
	case STEP_ASK:
		c->url = xstrdup(b->location);
		return;
	case STEP_CHUNK:
		c->method = "PATCH";
		c->url = xstrdup(b->location);
		c->body_fd = b->fd;
		c->body_offset = b->sent;
		c->body_bytes = MIN(CHUNK_BYTES, b->d->size - b->sent);
		snprintf(range, 64, "Content-Range: %" PRIu64 "-%" PRIu64, b->sent,
			b->sent + c->body_bytes - 1);
		headers[1] = range;
		break;
	case STEP_END:
		prepare_end(b, c);
		break;
	case STEP_DONE:
		return;
	}
	c->headers = headers;
}

/* "Range: 0-N" says that the bytes 0 to N are there. */
static bool parse_range(const struct registry_call *c, uint64_t size, uint64_t *out)
{
	char *value _free_ = http_head_get(c->head.data, c->head.len, "Range", 0);
	const char *p = value;
	char *end;
	if (!p)
		return false;
	if (!strncmp(p, "bytes=", 6))
		p += 6;
	if (strncmp(p, "0-", 2) || p[2] < '0' || p[2] > '9')
		return false;
	errno = 0;
	unsigned long long last = strtoull(p + 2, &end, 10);
	/* An empty upload is "0-0" as well: then one byte less is safe. */
	*out = last ? (uint64_t)last + 1 : 0;
	return !errno && !*end && *out <= size;
}

static int take_location(struct uploads *u, struct upload *b, const struct registry_call *c,
	bool must, struct error *err)
{
	char *location = registry_location(c);
	if (!location && must)
		return error_set(err, EPROTO, "%s: began an upload without a place for it",
			u->r->place->host);
	if (location) {
		free(b->location);
		b->location = location;
	}
	return 0;
}

/* A failure that may pass: a blob in chunks asks what has arrived, others begin again. */
static int fail(
	struct uploads *u, struct upload *b, const struct registry_call *c, struct error *err)
{
	char *what _free_ = xasprintf("blob %.19s…", b->d->digest);
	bool passing = c->result < 0 ? c->result != -EKEYREJECTED
				     : c->status >= 500 || c->status == 404 || c->status == 408 ||
					       c->status == 416 || c->status == 429;
	if (b->step == STEP_CHECK || !passing || ++b->failures > FAILURES_MAX)
		return c->result < 0 ? registry_transport_error(u->r, c, err)
				     : registry_check(u->r, c, what, err);
	usleep(100000u << b->failures);
	bool ask = b->step == STEP_CHUNK || (b->step == STEP_END && in_chunks(b));
	b->step = ask ? STEP_ASK : STEP_BEGIN;
	if (!ask)
		b->sent = 0;
	return 0;
}

static int advance(
	struct uploads *u, struct upload *b, const struct registry_call *c, struct error *err)
{
	int rc = 0;
	bool good = c->result == 0 && c->status >= 200 && c->status < 300;
	if (b->step == STEP_CHECK && c->result == 0 && (good || c->status == 404)) {
		b->step = good ? STEP_DONE : STEP_BEGIN;
		if (!good)
			u->total += b->d->size;
		return 0;
	}
	if (!good)
		return fail(u, b, c, err);
	switch (b->step) {
	case STEP_BEGIN:
		b->sent = 0;
		if (c->status == 201) { /* mounted */
			on_bytes(u, (int64_t)b->d->size);
			b->step = STEP_DONE;
			break;
		}
		rc = take_location(u, b, c, true, err);
		b->step = in_chunks(b) ? STEP_CHUNK : STEP_END;
		break;
	case STEP_CHUNK:
		rc = take_location(u, b, c, false, err);
		if (!parse_range(c, b->d->size, &b->sent))
			b->sent += c->body_bytes;
		b->step = b->sent < b->d->size ? STEP_CHUNK : STEP_END;
		break;
	case STEP_ASK:
		rc = take_location(u, b, c, false, err);
		/* Who cannot say how much has arrived gets it again. */
		b->step = parse_range(c, b->d->size, &b->sent)
				  ? (b->sent < b->d->size ? STEP_CHUNK : STEP_END)
				  : STEP_BEGIN;
		break;
	default:
		b->step = STEP_DONE;
	}
	return rc;
}

/* All blobs that are not done take a step. */
static int round_of(struct uploads *u, bool *any, struct error *err)
{
	struct registry_call calls[FETCH_JOBS_MAX];
	struct upload *whose[FETCH_JOBS_MAX];
	const char *headers[FETCH_JOBS_MAX][4];
	char ranges[FETCH_JOBS_MAX][64];
	size_t n = 0;
	memset(headers, 0, sizeof(headers));
	for (size_t i = 0; i < u->n && n < FETCH_JOBS_MAX; i++) {
		if (u->items[i].step == STEP_DONE)
			continue;
		prepare(u, &u->items[i], &calls[n], headers[n], ranges[n]);
		whose[n++] = &u->items[i];
	}
	*any = n > 0;
	int rc = n ? registry_try(u->r, calls, n, on_bytes, u, err) : 0;
	for (size_t i = 0; i < n; i++) {
		if (rc == 0)
			rc = advance(u, whose[i], &calls[i], err);
		registry_call_done(&calls[i]);
	}
	return rc;
}

int registry_upload(struct registry *r, struct image_store *s, const char *mount_from,
	const struct registry_blob *blobs, size_t n, const struct image_progress *progress,
	struct error *err)
{
	struct uploads u = {
		.r = r, .store = s, .mount_from = mount_from, .progress = progress, .n = n};
	bool any = true, first = true;
	int rc = 0;
	u.items = xcalloc(n + 1, sizeof(*u.items));
	for (size_t i = 0; i < n; i++)
		u.items[i] = (struct upload){.d = blobs[i].d, .mount = blobs[i].mount, .fd = -1};
	for (size_t i = 0; rc == 0 && i < n; i++) {
		u.items[i].fd = blob_open(s, blobs[i].d->digest, blobs[i].d->size, NULL, err);
		rc = u.items[i].fd < 0
			     ? u.items[i].fd
			     : blob_verify_changed(s, blobs[i].d->digest, u.items[i].fd, err);
	}
	while (rc == 0 && any) {
		rc = round_of(&u, &any, err);
		if (first && rc == 0 && u.total)
			progress_stage(progress, "Sending %" PRIu64 " MiB to %s",
				(u.total + MiB - 1) / MiB, r->place->host);
		first = false;
	}
	for (size_t i = 0; i < n; i++) {
		free(u.items[i].location);
		if (u.items[i].fd >= 0)
			close(u.items[i].fd);
	}
	free(u.items);
	return rc;
}
