// SPDX-License-Identifier: Apache-2.0
// The layers of an image: downloaded side by side into STORE/partial, where an interrupted pull
// goes on; then unpacked and compared side by side, and only then renamed into the store.
#include "image/registry.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_MAX 4

struct item {
	struct registry_layer layer;
	int fd;	       /* of the blob, or of its partial file */
	uint64_t have; /* bytes of an earlier attempt */
	bool download; /* the blob is not here */
	bool bad;      /* what was downloaded is not the blob */
	int rc;
	struct error err;
};

struct work {
	struct image_store *store;
	struct registry *r;
	const struct image_progress *progress;
	struct item *items;
	size_t n;
	uint64_t done, total; /* bytes to download */
	/* While unpacking. */
	atomic_size_t next;
	_Atomic uint64_t read; /* bytes */
	uint64_t to_read;
	pthread_t main_thread;
};

static char *partial_path(const struct image_store *s, const char *digest)
{
	return xasprintf("%s/partial/%s", s->images, digest + 7);
}

static bool seen_before(const struct registry_layer *layers, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (!strcmp(layers[k].d->digest, layers[i].d->digest))
			return true;
	return false;
}

static bool compressed(const struct item *it)
{
	return strcmp(it->layer.d->digest, it->layer.diff_id) != 0;
}

/* A blob that is here, whole and unchanged. */
static int open_blob(struct image_store *s, const struct oci_descriptor *d)
{
	int fd _close_ = blob_open(s, d->digest, d->size, NULL, NULL);
	return fd >= 0 && blob_verify_changed(s, d->digest, fd, NULL) == 0 ? TAKE_FD(fd) : -1;
}

/* Whether there is anything to do for a layer; *out is then what. */
static int plan(struct work *w, const struct registry_layer *l, struct error *err)
{
	struct item it = {.layer = *l, .fd = open_blob(w->store, l->d)};
	struct stat st;
	if (it.fd >= 0 && (!compressed(&it) || layer_ready(w->store, l->diff_id))) {
		close(it.fd);
		return 0;
	}
	if (it.fd < 0) {
		char *path _free_ = partial_path(w->store, l->d->digest);
		it.download = true;
		it.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
		if (it.fd < 0 || fstat(it.fd, &st) < 0) {
			int rc = store_error(w->store, err, errno, path, "cannot write");
			if (it.fd >= 0)
				close(it.fd);
			return rc;
		}
		/* Longer than it should be: something else. As long: perhaps it is whole. */
		if ((uint64_t)st.st_size > l->d->size && ftruncate(it.fd, 0) < 0)
			st.st_size = 0;
		it.have = (uint64_t)st.st_size > l->d->size ? 0 : (uint64_t)st.st_size;
		w->total += l->d->size;
		w->done += it.have;
	}
	w->items[w->n++] = it;
	return 0;
}

static void on_bytes(void *opaque, int64_t n)
{
	struct work *w = opaque;
	/* The helper is not trusted with our arithmetic. */
	if (n < 0)
		w->done -= MIN(w->done, (uint64_t)0 - (uint64_t)n);
	else
		w->done = MIN(w->total, w->done + MIN((uint64_t)n, w->total));
	progress_bytes(w->progress, w->done, w->total);
}

static int check_call(const struct work *w, const struct item *it, const struct registry_call *c,
	struct error *err)
{
	struct stat st;
	char *what _free_ = xasprintf("layer %.19s…", it->layer.d->digest);
	int rc = registry_check(w->r, c, what, err);
	if (rc == 0 && fstat(it->fd, &st) == 0 && (uint64_t)st.st_size != it->layer.d->size)
		rc = error_set(err, EBADMSG,
			"%s: %s: %" PRIu64 " bytes, but the manifest says %" PRIu64,
			w->r->place->host, what, (uint64_t)st.st_size, it->layer.d->size);
	return rc;
}

/* Downloads items[from..to) where it is needed. */
static int download_batch(struct work *w, size_t from, size_t to, struct error *err)
{
	struct registry_call calls[FETCH_JOBS_MAX];
	size_t which[FETCH_JOBS_MAX], n = 0;
	for (size_t i = from; i < to; i++) {
		struct item *it = &w->items[i];
		if (!it->download || it->have == it->layer.d->size)
			continue;
		calls[n] = REGISTRY_CALL;
		calls[n].url =
			xasprintf("%s/v2/%s/blobs/%s", w->r->base, w->r->name, it->layer.d->digest);
		calls[n].fd = it->fd;
		calls[n].have = it->have;
		calls[n].limit = it->layer.d->size;
		which[n++] = i;
	}
	int rc = n ? registry_run(w->r, calls, n, on_bytes, w, err) : 0;
	for (size_t i = 0; i < n; i++) {
		struct item *it = &w->items[which[i]];
		if (rc == 0)
			rc = check_call(w, it, &calls[i], err);
		if (rc == -ENOSPC || rc == -EDQUOT)
			store_error(w->store, err, -rc, w->store->images, "cannot write");
		registry_call_done(&calls[i]);
	}
	return rc;
}

static int download(struct work *w, struct error *err)
{
	int rc = 0;
	for (size_t at = 0; rc == 0 && at < w->n; at += FETCH_JOBS_MAX)
		rc = download_batch(w, at, MIN(at + FETCH_JOBS_MAX, w->n), err);
	return rc;
}

static void on_read(void *opaque, uint64_t n)
{
	struct work *w = opaque;
	uint64_t sum = atomic_fetch_add(&w->read, n) + n;
	if (pthread_equal(pthread_self(), w->main_thread))
		progress_bytes(w->progress, MIN(sum, w->to_read), w->to_read);
}

static int check_plain(struct work *w, struct item *it)
{
	char hex[DIGEST_HEX_LEN + 1];
	int rc = digest_fd(it->fd, hex, on_read, w, &it->err);
	if (rc == 0 && strcmp(hex, it->layer.d->digest + 7)) {
		it->bad = true;
		rc = error_set(&it->err, EBADMSG, "layer %.19s… is damaged", it->layer.d->digest);
	}
	return rc;
}

/* Moves what was checked to its place. */
static int accept_blob(struct work *w, struct item *it)
{
	const char *digest = it->layer.d->digest;
	char *from _free_ = partial_path(w->store, digest);
	char *to _free_ = xasprintf("%s/blobs/sha256/%s", w->store->images, digest + 7);
	if (fchmod(it->fd, 0444) < 0 || fsync(it->fd) < 0 || rename(from, to) < 0)
		return store_error(w->store, &it->err, errno, to, "cannot write");
	blob_note_verified(w->store, digest, it->fd);
	return 0;
}

static void finish(struct work *w, struct item *it)
{
	it->bad = false;
	it->rc = compressed(it) ? layer_unpack(w->store, it->fd, it->layer.d, it->layer.diff_id,
					  LAYER_BYTES_MAX, &it->bad, on_read, w, &it->err)
				: check_plain(w, it);
	if (it->rc == 0 && it->download)
		it->rc = accept_blob(w, it);
	if (it->rc == 0)
		it->download = false;
}

static void *finish_all(void *opaque)
{
	struct work *w = opaque;
	for (;;) {
		size_t i = atomic_fetch_add(&w->next, 1);
		if (i >= w->n)
			return NULL;
		if (w->items[i].rc != 0)
			finish(w, &w->items[i]);
	}
}

/* Unpacks all items whose rc is not 0 yet, on some threads and this one. */
static int unpack(struct work *w, struct error *err)
{
	pthread_t threads[THREADS_MAX];
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t extra = MIN((size_t)(cpus > 1 ? cpus - 1 : 0), (size_t)THREADS_MAX), started = 0;
	size_t left = 0;
	w->to_read = 0;
	for (size_t i = 0; i < w->n; i++)
		if (w->items[i].rc) {
			w->to_read += w->items[i].layer.d->size;
			left++;
		}
	if (!left)
		return 0;
	atomic_store(&w->next, 0);
	atomic_store(&w->read, 0);
	w->main_thread = pthread_self();
	progress_stage(w->progress, "Unpacking %zu layer%s", left, left == 1 ? "" : "s");
	while (started < extra && started + 1 < left &&
		pthread_create(&threads[started], NULL, finish_all, w) == 0)
		started++;
	finish_all(w);
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < w->n; i++) {
		struct item *it = &w->items[i];
		if (it->rc < 0 && !(it->bad && it->have)) {
			error_set(err, it->err.code, "%s: %s", w->r->place->host, it->err.message);
			if (it->err.remedy)
				error_remedy(err, "%s", it->err.remedy);
			return it->rc;
		}
	}
	return 0;
}

/* What was taken up again and turned out to be something else begins at 0, once. */
static int again(struct work *w, struct error *err)
{
	bool any = false;
	for (size_t i = 0; i < w->n; i++) {
		struct item *it = &w->items[i];
		if (it->rc == 0)
			continue;
		any = true;
		it->have = 0;
		error_done(&it->err);
		if (it->download && ftruncate(it->fd, 0) < 0)
			return store_error(w->store, err, errno, w->store->images, "cannot write");
	}
	if (!any)
		return 0;
	int rc = download(w, err);
	return rc < 0 ? rc : unpack(w, err);
}

/* Damaged downloads go; what is only unfinished stays for the next pull. */
static void clean(struct work *w)
{
	for (size_t i = 0; i < w->n; i++) {
		struct item *it = &w->items[i];
		if (it->bad && it->download) {
			char *path _free_ = partial_path(w->store, it->layer.d->digest);
			unlink(path);
		}
		close(it->fd);
		error_done(&it->err);
	}
	free(w->items);
}

int registry_layers(struct registry *r, struct image_store *s, const struct registry_layer *layers,
	size_t n, const struct image_progress *progress, struct error *err)
{
	struct work w = {.store = s, .r = r, .progress = progress};
	char *dir _free_ = xasprintf("%s/partial", s->images);
	int rc = store_mkdirs(s, dir, err);
	w.items = xcalloc(n + 1, sizeof(*w.items));
	for (size_t i = 0; rc == 0 && i < n; i++)
		if (!seen_before(layers, i))
			rc = plan(&w, &layers[i], err);
	for (size_t i = 0; i < w.n; i++)
		w.items[i].rc = -EINPROGRESS;
	if (rc == 0 && w.total)
		progress_stage(progress, "Downloading %zu layer%s (%" PRIu64 " MiB)", w.n,
			w.n == 1 ? "" : "s", (w.total + MiB - 1) / MiB);
	if (rc == 0)
		rc = download(&w, err);
	if (rc == 0)
		rc = unpack(&w, err);
	if (rc == 0)
		rc = again(&w, err);
	clean(&w);
	return rc;
}
