// SPDX-License-Identifier: Apache-2.0
// Images to files: an OCI layout as a directory or in a tar, or a docker archive.
#include "image/selection.h"
#include "os/file.h"
#include "wire/docker_archive.h"
#include "wire/stream.h"
#include "wire/tar.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where files go: below a directory, or into a tar. */
struct sink {
	int fd;
	bool is_dir;
	struct tar_writer tar;
	const struct image_progress *progress;
	uint64_t done;
	VEC(char *) names; /* what is in it */
};

static int write_all(int fd, const void *bytes, size_t len, struct error *err)
{
	const char *p = bytes;
	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "write");
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int tar_write(void *opaque, const void *bytes, size_t len, struct error *err)
{
	return write_all(((struct sink *)opaque)->fd, bytes, len, err);
}

/* True for a name that is there already. */
static bool repeated(struct sink *k, const char *name)
{
	vec_for_each (n, &k->names)
		if (!strcmp(*n, name))
			return true;
	vec_push(&k->names, xstrdup(name));
	return false;
}

static int put_stream(struct sink *k, const char *name, stream_read_fn *read, void *opaque,
	uint64_t bytes, struct error *err)
{
	char *chunk _free_ = xmalloc(256 * KiB);
	const struct tar_entry e = {
		.path = name, .linkname = "", .type = TAR_FILE, .mode = 0644, .size = bytes};
	int rc = 0;
	int fd _close_ =
		k->is_dir ? openat(k->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
	ssize_t n = 0;
	if (k->is_dir && fd < 0)
		return error_errno(err, errno, "%s", name);
	if (!k->is_dir)
		rc = tar_writer_entry(&k->tar, &e, err);
	while (rc == 0 && (n = read(opaque, chunk, 256 * KiB, err)) > 0) {
		rc = k->is_dir ? write_all(fd, chunk, (size_t)n, err)
			       : tar_writer_data(&k->tar, chunk, (size_t)n, err);
		k->done += (size_t)n;
		progress_bytes(k->progress, k->done, 0);
	}
	return n < 0 ? (int)n : rc;
}

static int put_bytes(
	struct sink *k, const char *name, const void *bytes, size_t len, struct error *err)
{
	struct stream_mem m = {bytes, (const uint8_t *)bytes + len};
	return repeated(k, name) ? 0 : put_stream(k, name, stream_mem_read, &m, len, err);
}

static int put_fd(struct sink *k, const char *name, int fd, struct error *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "%s", name);
	struct stream_range r = {.fd = fd, .end = (uint64_t)st.st_size};
	return put_stream(k, name, stream_range_read, &r, r.end, err);
}

static int put_dir(struct sink *k, const char *name, struct error *err)
{
	const struct tar_entry e = {.path = name, .linkname = "", .type = TAR_DIR, .mode = 0755};
	if (!k->is_dir)
		return tar_writer_entry(&k->tar, &e, err);
	return mkdirat(k->fd, name, 0777) < 0 ? error_errno(err, errno, "%s", name) : 0;
}

static int put_blob(
	struct sink *k, struct image_store *s, const struct oci_descriptor *d, struct error *err)
{
	char *name _free_ = xasprintf("blobs/sha256/%s", d->digest + 7);
	if (repeated(k, name))
		return 0;
	int fd _close_ = blob_open(s, d->digest, d->size, NULL, err);
	int rc = fd < 0 ? fd : blob_verify_changed(s, d->digest, fd, err);
	return rc < 0 ? rc : put_fd(k, name, fd, err);
}

/* index.json names one thing: a manifest, or an index of several. */
static int put_index(struct sink *k, struct image_store *s, const struct selection *sel,
	const char *ref, struct error *err)
{
	struct oci_index top = {0};
	struct oci_descriptor d = {0};
	int rc = 0;
	if (sel->items.len == 1) {
		struct oci_descriptor plain = sel->items.items[0].d;
		memset(&plain.annotations, 0, sizeof(plain.annotations));
		d = descriptor_copy(&plain);
	} else {
		char *type = NULL, *json _free_ = selection_index(sel, s, &type);
		d = (struct oci_descriptor){.media_type = type, .size = strlen(json)};
		digest_text(json, strlen(json), d.digest);
		char *name _free_ = xasprintf("blobs/sha256/%s", d.digest + 7);
		rc = put_bytes(k, name, json, strlen(json), err);
	}
	/* Most programs want the tag only; those that know better want the name. */
	const char *colon = strrchr(ref, ':');
	descriptor_annotate(&d, ANNOTATION_REF, colon && !strchr(ref, '@') ? colon + 1 : ref);
	descriptor_annotate(&d, "io.containerd.image.name", ref);
	vec_push(&top.manifests, d);
	char *json _free_ = oci_index_print(&top);
	oci_index_done(&top);
	return rc < 0 ? rc : put_bytes(k, "index.json", json, strlen(json), err);
}

static int export_oci(struct sink *k, struct image_store *s, const struct selection *sel,
	const char *ref, struct error *err)
{
	static const char layout[] = "{\"imageLayoutVersion\": \"1.0.0\"}\n";
	int rc = put_bytes(k, "oci-layout", layout, sizeof(layout) - 1, err);
	if (rc == 0)
		rc = put_dir(k, "blobs", err);
	if (rc == 0)
		rc = put_dir(k, "blobs/sha256", err);
	vec_for_each (i, &sel->items) {
		if (rc == 0)
			rc = put_blob(k, s, &i->d, err);
		if (rc == 0)
			rc = put_blob(k, s, &i->m.config, err);
		vec_for_each (l, &i->m.layers)
			if (rc == 0)
				rc = put_blob(k, s, l, err);
	}
	return rc < 0 ? rc : put_index(k, s, sel, ref, err);
}

static int docker_layers(struct sink *k, struct image_store *s, const struct selected *i,
	const struct oci_config *c, struct docker_image *out, struct error *err)
{
	for (size_t n = 0; n < i->m.layers.len; n++) {
		const char *id = c->diff_ids.items[n];
		char *name = xasprintf("%s.tar", id + 7);
		vec_push(&out->layers, name);
		if (repeated(k, name))
			continue;
		int fd _close_ = layer_open(s, &i->m.layers.items[n], id, NULL, err);
		int rc = fd < 0 ? fd : put_fd(k, name, fd, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int export_docker(struct sink *k, struct image_store *s, const struct selection *sel,
	const char *ref, struct error *err)
{
	const struct selected *i = &sel->items.items[0];
	struct strbuf text _strbuf_ = STRBUF_INIT;
	struct docker_archive a = {0};
	struct docker_image image = {.config = xasprintf("%s.json", i->m.config.digest + 7)};
	struct oci_config c = {0};
	int rc = blob_read(s, &i->m.config, &text, err);
	if (rc == 0)
		rc = oci_config_parse(&c, text.data, text.len, err);
	if (rc == 0 && c.diff_ids.len != i->m.layers.len)
		rc = error_set(err, EBADMSG, "layers and diff_ids differ in number");
	if (rc == 0)
		rc = put_bytes(k, image.config, text.data, text.len, err);
	if (rc == 0)
		rc = docker_layers(k, s, i, &c, &image, err);
	if (!strchr(ref, '@'))
		vec_push(&image.tags, xstrdup(ref));
	vec_push(&a.images, image);
	char *json _free_ = docker_archive_print(&a);
	docker_archive_done(&a);
	oci_config_done(&c);
	return rc < 0 ? rc : put_bytes(k, "manifest.json", json, strlen(json), err);
}

static int open_sink(struct sink *k, const char *path, struct error *err)
{
	if (k->is_dir) {
		/* One that is there and empty will do. */
		if (mkdir(path, 0777) < 0 && errno != EEXIST)
			return error_errno(err, errno, "%s", path);
		if (rmdir(path) < 0 || mkdir(path, 0777) < 0)
			return error_errno(err, errno, "%s", path);
		k->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	} else {
		k->fd = strcmp(path, "-")
				? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)
				: fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
		tar_writer_init(&k->tar, tar_write, k);
	}
	return k->fd < 0 ? error_errno(err, errno, "%s", path) : 0;
}

/* What is not whole must not look as if it were. */
static void remove_begun(const struct sink *k, const char *path)
{
	if (k->is_dir)
		(void)dir_remove_tree(AT_FDCWD, path, NULL);
	else if (strcmp(path, "-"))
		unlink(path);
}

static int choose_one(
	struct selection *sel, struct image_store *s, const char *ref, struct error *err)
{
	if (sel->items.len == 1)
		return 0;
	selection_done(sel);
	int rc = selection_open(sel, s, ref, image_host_arch(), err);
	if (rc < 0)
		error_remedy(err, "a docker archive holds one architecture: choose it with --arch");
	return rc;
}

int image_export(struct image_store *s, const char *ref, const char *path,
	const struct image_export_options *o, struct error *err)
{
	const char *format = o->format ? o->format : "oci";
	bool docker = !strcmp(format, "docker");
	struct sink k = {.fd = -1, .is_dir = !strcmp(format, "oci-dir"), .progress = o->progress};
	struct selection sel = {0};
	char *full _free_ = NULL;
	int rc = ref_complete(ref, &full, err);
	if (rc == 0)
		rc = selection_open(&sel, s, ref, o->arch, err);
	if (rc == 0 && docker)
		rc = choose_one(&sel, s, ref, err);
	if (rc == 0 && docker && sel.items.items[0].d.artifact_type)
		rc = error_set(err, ENOTSUP, "a docker archive holds no boot image");
	if (rc == 0)
		rc = open_sink(&k, path, err);
	if (rc == 0) {
		progress_stage(o->progress, "Exporting %s", full);
		rc = docker ? export_docker(&k, s, &sel, full, err)
			    : export_oci(&k, s, &sel, full, err);
		if (rc == 0 && !k.is_dir)
			rc = tar_writer_end(&k.tar, err);
		if (rc < 0) {
			error_wrap(err, rc, "%s", strcmp(path, "-") ? path : "stdout");
			remove_begun(&k, path);
		}
	}
	if (k.fd >= 0)
		close(k.fd);
	vec_for_each (n, &k.names)
		free(*n);
	vec_done(&k.names);
	selection_done(&sel);
	return rc;
}
