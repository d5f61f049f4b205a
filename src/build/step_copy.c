// SPDX-License-Identifier: Apache-2.0
// COPY, ADD and WORKDIR.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "build/internal.h"
#include "image/tree.h"
#include "os/file.h"
#include "wire/stream.h"

struct request {
	struct build *b;
	struct stage *s;
	const struct containerfile_ins *i;
	containerfile_words words; /* sources and, last, the destination */
	const char *from, *owner;  /* of the options; NULL: none */
	struct copy copy;
	copy_names sources;
	struct image *image; /* that from names, when it is no stage */
	struct work other;   /* its tree */
	char *to;	     /* absolute */
};

static void request_done(struct request *q)
{
	containerfile_words_done(&q->words);
	copy_names_done(&q->sources);
	work_close(&q->other);
	image_free(q->image);
	free(q->to);
}

static int options(struct request *q, struct error *err)
{
	for (const char **option = q->i->options; *option; option++) {
		const char *equals = strchr(*option, '='), *value = equals ? equals + 1 : "";
		char *end;
		if (!strncmp(*option, "--from=", 7) && q->i->op == CONTAINERFILE_COPY) {
			q->from = value;
		} else if (!strncmp(*option, "--chown=", 8)) {
			q->owner = value;
		} else if (!strncmp(*option, "--chmod=", 8)) {
			q->copy.mode = strtol(value, &end, 8);
			if (!*value || *end || q->copy.mode < 0 || q->copy.mode > 07777)
				return error_set(
					err, EINVAL, "%s: not a mode such as 0755", *option);
		} else if (strcmp(*option, "--link") && strcmp(*option, "--link=true") &&
			   strcmp(*option, "--link=false")) {
			return error_set(err, EINVAL, "%s has no option %s",
				containerfile_op_name(q->i->op), *option);
		}
	}
	return 0;
}

static int words(struct request *q, struct error *err)
{
	struct containerfile_scope scope = stage_scope(q->b, q->s);
	int r = 0;
	if (q->i->list) {
		for (const char **word = q->i->list; *word && r == 0; word++) {
			struct strbuf text _strbuf_ = STRBUF_INIT;
			r = containerfile_expand(&scope, *word, &text, err);
			vec_push(&q->words, strbuf_take(&text));
		}
	} else {
		r = containerfile_split(&scope, q->i->text, &q->words, err);
	}
	if (r == 0 && q->words.len < 2)
		return error_set(err, EBADMSG, "it takes sources and, last, where they go");
	for (size_t n = 0; r == 0 && n + 1 < q->words.len; n++)
		if (strstr(q->words.items[n], "://") && q->i->op == CONTAINERFILE_ADD) {
			error_set(
				err, ENOTSUP, "ADD %s: nothing is fetched here", q->words.items[n]);
			error_remedy(err, "fetch it in a RUN, or before the build, and check it");
			return -ENOTSUP;
		}
	return r;
}

/* Absolute, against the working directory. */
static char *absolute(struct stage *s, const char *path)
{
	const char *dir = json_string_value(json_object_get(stage_section(s), "WorkingDir"));
	return *path == '/' ? xstrdup(path) : xasprintf("%s/%s", dir && *dir ? dir : "", path);
}

/* --- where from --- */
static int open_from(struct request *q, struct error *err)
{
	struct stage *stage = build_stage(q->b, q->from);
	struct image *image = stage ? stage->image : NULL;
	if (stage == q->s)
		return error_set(err, EINVAL, "--from=%s is this stage itself", q->from);
	if (!stage) {
		int r = image_open(q->b->o->store, q->from, q->b->arch, &q->image, NULL);
		if (r == -ENOENT && q->b->o->pull)
			r = q->b->o->pull(q->b->o->opaque, q->from, q->b->arch, err);
		if (!q->image && r == 0)
			r = image_open(q->b->o->store, q->from, q->b->arch, &q->image, err);
		if (r < 0)
			return error_wrap(err, r, "--from=%s", q->from);
		image = q->image;
	}
	stage_key_add(q->s, (const char *const[]){"from", image ? image->digest : ""}, 2);
	if (!image)
		return error_set(err, EINVAL, "--from=%s: there is nothing in it", q->from);
	int r = work_open(&q->other, q->b, image, err);
	q->copy.from_root = q->other.root;
	return r;
}

static int find_sources(struct request *q, struct error *err)
{
	int r = q->from ? open_from(q, err) : 0;
	if (!q->from) {
		q->copy.from_root = q->b->context;
		q->copy.ignore = &q->b->ignore;
	}
	for (size_t n = 0; r == 0 && n + 1 < q->words.len; n++)
		if (strncmp(q->words.items[n], "<<", 2))
			r = copy_find(&q->copy, q->words.items[n], &q->sources, err);
	return r;
}

static int add_key(struct request *q, struct error *err)
{
	char hex[DIGEST_HEX_LEN + 1], mode[32];
	struct digest d;
	int r = 0;
	digest_init(&d);
	for (size_t n = 0; r == 0 && n < q->sources.len && !q->from; n++)
		r = copy_digest(&q->copy, q->sources.items[n], &d, err);
	digest_finish(&d, hex);
	snprintf(mode, sizeof(mode), "%lld", (long long)q->copy.mode);
	stage_key_add(q->s,
		(const char *const[]){containerfile_op_name(q->i->op), q->to, hex, mode,
			q->owner ? q->owner : "", q->from ? "from" : "context"},
		6);
	stage_key_add(q->s, (const char *const *)q->words.items, q->words.len);
	for (size_t n = 0; n < q->sources.len; n++)
		stage_key_add(q->s, (const char *const[]){q->sources.items[n]}, 1);
	for (size_t n = 0; n < q->i->n_here; n++)
		stage_key_add(
			q->s, (const char *const[]){q->i->here[n].name, q->i->here[n].body}, 2);
	return r;
}

/* --- the work --- */
/* What ADD unpacks: a tar, plain or compressed, by what is in it. */
static enum compression compression_of(const uint8_t *head, size_t n)
{
	static const uint8_t gzip[] = {0x1f, 0x8b}, xz[] = {0xfd, '7', 'z', 'X', 'Z'},
			     zstd[] = {0x28, 0xb5, 0x2f, 0xfd};
	if (n >= sizeof(gzip) && !memcmp(head, gzip, sizeof(gzip)))
		return COMPRESSION_GZIP;
	if (n >= sizeof(xz) && !memcmp(head, xz, sizeof(xz)))
		return COMPRESSION_XZ;
	if (n >= sizeof(zstd) && !memcmp(head, zstd, sizeof(zstd)))
		return COMPRESSION_ZSTD;
	return COMPRESSION_NONE;
}

static int decompressed(int fd, int out, enum compression c, struct error *err)
{
	struct stat st;
	struct decompress *d = NULL;
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "archive");
	struct stream_range range = {fd, 0, (uint64_t)st.st_size};
	int r = decompress_new(&d, c, stream_range_read, &range, 16 * GiB, err);
	char *chunk _free_ = xmalloc(64 * KiB);
	ssize_t n = 0;
	while (r == 0 && (n = decompress_read(d, chunk, 64 * KiB, err)) > 0)
		if (write(out, chunk, (size_t)n) != n)
			r = error_errno(err, errno, "archive");
	decompress_free(d);
	return r < 0 ? r : (int)MIN(n, 0);
}

/* 1: it is an archive, and *tar is its uncompressed form. */
static int as_archive(
	struct request *q, struct work *w, const char *path, int *tar, struct error *err)
{
	uint8_t head[512];
	int fd _close_ = copy_open(q->copy.from_root, path, O_RDONLY | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : pread(fd, head, sizeof(head), 0);
	if (n <= 0)
		return 0;
	enum compression c = compression_of(head, (size_t)n);
	*tar = openat(w->instance->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (*tar < 0)
		return error_errno(err, errno, "%s", w->instance->path);
	if (c == COMPRESSION_NONE && (n < 512 || memcmp(head + 257, "ustar", 5)))
		return 0;
	/* A compressed file that is damaged, or holds something else, is copied as it is. */
	if (decompressed(fd, *tar, c, NULL) < 0)
		return 0;
	return pread(*tar, head, sizeof(head), 0) == sizeof(head) &&
	       !memcmp(head + 257, "ustar", 5);
}

static int unpack(struct request *q, struct work *w, int tar, int to, struct error *err)
{
	if (mkdirat(w->instance->dir_fd, "unpacked", 0755) < 0)
		return error_errno(err, errno, "%s", w->instance->path);
	int dir _close_ =
		openat(w->instance->dir_fd, "unpacked", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dir < 0 ? error_errno(err, errno, "%s", w->instance->path)
			: tree_extract(tar, dir, q->b->o->one_id, NULL, err);
	struct copy c = {.from_root = dir, .uid = -1, .gid = -1, .mode = -1};
	if (r == 0)
		r = copy_path(&c, "", to, NULL, err);
	dir_remove_tree(w->instance->dir_fd, "unpacked", NULL);
	return r;
}

/* An archive goes into a directory whatever the destination looks like. */
static int add_archive(struct request *q, struct work *w, int tar, struct error *err)
{
	int to _close_ = copy_open_dir(w->root, q->to, true, err);
	return to < 0 ? to : unpack(q, w, tar, to, err);
}

static int copy_source(struct request *q, struct work *w, const char *path, int to,
	const char *name, struct error *err)
{
	int tar _close_ = -1;
	int is = q->i->op == CONTAINERFILE_ADD ? as_archive(q, w, path, &tar, err) : 0;
	if (is < 0)
		return is;
	return is ? add_archive(q, w, tar, err) : copy_path(&q->copy, path, to, name, err);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static int write_here(struct request *q, int to, const struct containerfile_here *h,
	const char *name, struct error *err)
{
	struct containerfile_scope scope = stage_scope(q->b, q->s);
	struct strbuf text _strbuf_ = STRBUF_INIT;
	int r = 0;
	if (h->literal)
		strbuf_adds(&text, h->body);
	else
		r = containerfile_expand(&scope, h->body, &text, err);
	mode_t mode = q->copy.mode >= 0 ? (mode_t)q->copy.mode : 0644;
	if (r == 0)
		r = file_write_atomic(to, name, text.data ? text.data : "", text.len, mode, err);
	if (r == 0 && fchownat(to, name, (uid_t)q->copy.uid, (gid_t)q->copy.gid, 0) < 0)
		r = error_errno(err, errno, "%s", name);
	return r;
}

/* The directory that things go into, or the parent of what one of them becomes. */
static int place(struct request *q, struct work *w, const char **name, struct error *err)
{
	size_t len = strlen(q->to), n = q->sources.len + q->i->n_here;
	bool into = n > 1 || q->to[len - 1] == '/' || !strcmp(base_name(q->to), ".");
	int there = into ? -1 : copy_open_dir(w->root, q->to, false, NULL);
	cleanup_close_fd(&there);
	into |= there >= 0;
	if (!into && q->sources.len == 1) {
		int dir = copy_is_dir(&q->copy, q->sources.items[0], err);
		if (dir < 0)
			return dir;
		into = dir;
	}
	*name = into ? NULL : base_name(q->to);
	char *parent _free_ = into ? xstrdup(q->to) : strndup(q->to, len - strlen(*name));
	return copy_open_dir(w->root, parent, true, err);
}

static int owner(struct request *q, struct work *w, struct error *err)
{
	struct bundle_user u = {0};
	if (!q->owner)
		return 0;
	int r = bundle_find_user(w->root, q->owner, &u, err);
	if (r == 0) {
		q->copy.uid = u.uid;
		q->copy.gid = u.gid;
	}
	bundle_user_done(&u);
	return r;
}

static int copy_all(struct request *q, struct work *w, struct error *err)
{
	const char *name;
	int r = owner(q, w, err);
	if (r < 0)
		return r;
	int to _close_ = place(q, w, &name, err);
	if (to < 0)
		return to;
	for (size_t n = 0; r == 0 && n < q->sources.len; n++) {
		const char *path = q->sources.items[n];
		r = copy_source(q, w, path, to, name ? name : base_name(path), err);
	}
	for (size_t n = 0; r == 0 && n < q->i->n_here; n++)
		r = write_here(q, to, &q->i->here[n], name ? name : q->i->here[n].name, err);
	return r;
}

static int carry_out(struct request *q, const char *created_by, struct error *err)
{
	struct work w CLEANUP(work_close) = WORK_INIT;
	int r = work_open(&w, q->b, q->s->image, err);
	if (r == 0)
		r = copy_all(q, &w, err);
	return r < 0 ? r : stage_commit(q->b, q->s, &w, created_by, err);
}

int step_copy(
	struct build *b, struct stage *s, const struct containerfile_ins *i, struct error *err)
{
	struct request q CLEANUP(request_done) = {.b = b,
		.s = s,
		.i = i,
		.copy = {.from_root = -1, .to_root = -1, .mode = -1},
		.other = WORK_INIT};
	int r = options(&q, err);
	if (r == 0)
		r = words(&q, err);
	if (r < 0)
		return r;
	q.to = absolute(s, q.words.items[q.words.len - 1]);
	r = find_sources(&q, err);
	if (r == 0)
		r = add_key(&q, err);
	if (r < 0)
		return r;
	char *created_by _free_ = xasprintf("%s %s", containerfile_op_name(i->op), i->text);
	return stage_cached(b, s, created_by) ? 0 : carry_out(&q, created_by, err);
}

int step_workdir(
	struct build *b, struct stage *s, const struct containerfile_ins *i, struct error *err)
{
	struct containerfile_scope scope = stage_scope(b, s);
	struct strbuf text _strbuf_ = STRBUF_INIT, clean _strbuf_ = STRBUF_INIT;
	int r = containerfile_expand(&scope, i->text, &text, err);
	if (r < 0)
		return r;
	char *path _free_ = absolute(s, text.data ? text.data : "");
	if (tar_path_clean(path + strspn(path, "/"), &clean) < 0)
		return error_set(err, EINVAL, "WORKDIR %s: no .. please", path);
	char *dir _free_ = xasprintf("/%s", clean.data ? clean.data : "");
	char *created_by _free_ = xasprintf("WORKDIR %s", dir);
	json_object_set_new(stage_section(s), "WorkingDir", json_string(dir));
	stage_key_add(s, (const char *const[]){"WORKDIR", dir}, 2);
	if (stage_cached(b, s, created_by))
		return 0;
	struct work w CLEANUP(work_close) = WORK_INIT;
	r = work_open(&w, b, s->image, err);
	int fd _close_ = r < 0 ? r : copy_open_dir(w.root, dir, true, err);
	return fd < 0 ? fd : stage_commit(b, s, &w, created_by, err);
}
