// SPDX-License-Identifier: Apache-2.0
#include "image/download.h"

#include "image/fetch.h"
#include "wire/stream.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void download_done(struct download *d)
{
	free(d->name);
	free(d->url);
	*d = (struct download){0};
}

static char *cache_path(const struct image_store *s, const char *dir, const char *name)
{
	return xasprintf("%s/%s/%s", s->cache, dir, name);
}

struct counter {
	const struct image_progress *progress;
	uint64_t done, total;
};

static void on_bytes(void *opaque, int64_t n)
{
	struct counter *c = opaque;
	/* The helper is not trusted with our arithmetic. */
	if (n < 0)
		c->done -= MIN(c->done, (uint64_t)0 - (uint64_t)n);
	else
		c->done = MIN(c->total, c->done + MIN((uint64_t)n, c->total));
	progress_bytes(c->progress, c->done, c->total);
}

static bool digest_matches(int fd, const struct download *d)
{
	struct stat st;
	char hex[DIGEST_HEX_LEN + 1];
	return fstat(fd, &st) == 0 && (uint64_t)st.st_size == d->size &&
	       digest_fd(fd, hex, NULL, NULL, NULL) == 0 && !strcmp(hex, d->sha256);
}

static bool cached(struct image_store *s, const struct download *d)
{
	char *path _free_ = cache_path(s, "sha256", d->sha256);
	int fd _close_ = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (digest_matches(fd, d))
		return true;
	unlink(path); /* damaged on our own disk */
	return false;
}

/* Opens the partial file of d and fills its job. */
static int open_partial(
	struct image_store *s, const struct download *d, struct fetch_job *job, struct error *err)
{
	char *path _free_ = cache_path(s, "partial", d->sha256);
	struct stat st;
	int fd _close_ = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (fd < 0 || fstat(fd, &st) < 0)
		return store_error(s, err, errno, path, "cannot write");
	*job = (struct fetch_job){.url = d->url, .limit = d->size};
	/* A file that is as long as it should be and still here was not checked yet, or is wrong.
	 */
	if ((uint64_t)st.st_size < d->size)
		job->have = (uint64_t)st.st_size;
	else if (ftruncate(fd, 0) < 0)
		return store_error(s, err, errno, path, "cannot write");
	job->fd = TAKE_FD(fd);
	return 0;
}

/* Moves a checked partial file to its place. */
static int accept_partial(
	struct image_store *s, const struct download *d, int fd, struct error *err)
{
	char *from _free_ = cache_path(s, "partial", d->sha256);
	char *to _free_ = cache_path(s, "sha256", d->sha256);
	if (!digest_matches(fd, d)) {
		unlink(from);
		error_set(
			err, EBADMSG, "%s: the download does not match the signed index", d->name);
		error_remedy(err, "try again; if it stays, let STRATA_MIRROR name another "
				  "mirror");
		return -EBADMSG;
	}
	if (fsync(fd) < 0 || rename(from, to) < 0)
		return store_error(s, err, errno, to, "cannot write");
	return 0;
}

/* The helper reports what our files cannot take; say it as the store says it. */
static void explain(
	struct image_store *s, const struct fetch_job *jobs, size_t n, struct error *err)
{
	for (size_t i = 0; i < n; i++) {
		int code = -jobs[i].result;
		if (code == ENOSPC || code == EDQUOT ||
			(code == EFBIG && !strncmp(jobs[i].message, "cannot write", 12))) {
			store_error(s, err, code, s->cache, "cannot write the download");
			return;
		}
	}
}

struct batch {
	const struct download *items[FETCH_JOBS_MAX];
	size_t n;
};

/* Fetches a batch. Files that were taken up again and turned out wrong go to `again`, so that an
 * old piece of something else costs time but is no error. */
static int fetch_batch(struct image_store *s, const struct batch *batch, struct batch *again,
	struct counter *counter, struct error *err)
{
	struct fetch_job jobs[FETCH_JOBS_MAX];
	size_t n = batch->n, opened = 0;
	int rc = 0;
	while (rc == 0 && opened < n) {
		rc = open_partial(s, batch->items[opened], &jobs[opened], err);
		if (rc == 0) {
			counter->done += jobs[opened].have;
			opened++;
		}
	}
	if (rc == 0) {
		rc = fetch_run(jobs, n, on_bytes, counter, err);
		if (rc < 0)
			explain(s, jobs, n, err);
		/* Keep what arrived whole, also when another one failed. */
		for (size_t i = 0; i < n; i++) {
			const struct download *d = batch->items[i];
			bool retry = again && jobs[i].have;
			if (jobs[i].result < 0)
				continue;
			int r = accept_partial(s, d, jobs[i].fd, rc < 0 || retry ? NULL : err);
			if (r == -EBADMSG && retry) {
				counter->done -= MIN(counter->done, d->size);
				again->items[again->n++] = d;
			} else if (r < 0 && rc == 0) {
				rc = r;
			}
		}
	}
	for (size_t i = 0; i < opened; i++)
		close(jobs[i].fd);
	return rc;
}

static int run_batch(struct image_store *s, const struct batch *batch, struct counter *counter,
	struct error *err)
{
	struct batch again = {.n = 0};
	int rc = fetch_batch(s, batch, &again, counter, err);
	/* The partial files of those are gone: they begin at 0, and a second mismatch is final. */
	return rc == 0 && again.n ? fetch_batch(s, &again, NULL, counter, err) : rc;
}

int download_all(struct image_store *s, const struct download *list, size_t n,
	const struct image_progress *progress, struct error *err)
{
	struct counter counter = {.progress = progress};
	char *full _free_ = cache_path(s, "sha256", "");
	char *partial _free_ = cache_path(s, "partial", "");
	int rc = store_mkdirs(s, full, err);
	if (rc == 0)
		rc = store_mkdirs(s, partial, err);
	if (rc < 0)
		return rc;
	VEC(const struct download *) missing = {0};
	for (size_t i = 0; i < n; i++) {
		counter.total += list[i].size;
		if (cached(s, &list[i])) {
			counter.done += list[i].size;
			progress_bytes(progress, counter.done, 0);
		} else
			vec_push(&missing, &list[i]);
	}
	progress_bytes(progress, counter.done, counter.total);
	for (size_t at = 0; rc == 0 && at < missing.len;) {
		struct batch batch = {.n = MIN(missing.len - at, (size_t)FETCH_JOBS_MAX)};
		memcpy(batch.items, missing.items + at, batch.n * sizeof(*batch.items));
		rc = run_batch(s, &batch, &counter, err);
		at += batch.n;
	}
	vec_done(&missing);
	return rc;
}

int download_open(struct image_store *s, const char *sha256, struct error *err)
{
	char *path _free_ = cache_path(s, "sha256", sha256);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? store_error(s, err, errno, path, "cannot open") : fd;
}

int download_text(struct image_store *s, const char *url, uint64_t limit, struct strbuf *out,
	struct error *err)
{
	int fd _close_ = memfd_create("download", MFD_CLOEXEC);
	struct stat st;
	if (fd < 0)
		return error_errno(err, errno, "download");
	struct fetch_job job = {.url = url, .fd = fd, .limit = limit};
	int rc = fetch_run(&job, 1, NULL, NULL, err);
	if (rc < 0)
		return rc;
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "download");
	struct stream_range r = {.fd = fd, .end = (uint64_t)st.st_size};
	return stream_read_all(stream_range_read, &r, limit, out, err);
}

static int clean_dir(struct image_store *s, const char *name, uint64_t *freed, struct error *err)
{
	char *path _free_ = cache_path(s, name, "");
	DIR *d = opendir(path);
	struct dirent *e;
	int rc = 0;
	if (!d)
		return errno == ENOENT ? 0 : store_error(s, err, errno, path, "cannot read");
	while (rc == 0 && (e = readdir(d))) {
		struct stat st;
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			!S_ISREG(st.st_mode))
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) < 0)
			rc = store_error(s, err, errno, path, "cannot remove");
		else
			*freed += (uint64_t)st.st_size;
	}
	closedir(d);
	return rc;
}

int image_cache_clean(struct image_store *s, uint64_t *freed_bytes, struct error *err)
{
	uint64_t freed = 0;
	int rc = store_lock_pull(s, false, NULL, err);
	if (rc < 0)
		return rc;
	rc = clean_dir(s, "sha256", &freed, err);
	if (rc == 0)
		rc = clean_dir(s, "partial", &freed, err);
	if (rc == 0) { /* of registries: they lie where they can be renamed from */
		char *partial _free_ = xasprintf("%s/partial", s->images);
		rc = store_empty_dir(s, partial, &freed, err);
	}
	store_unlock_pull(s);
	if (rc == 0 && freed_bytes)
		*freed_bytes = freed;
	return rc;
}
