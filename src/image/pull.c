// SPDX-License-Identifier: Apache-2.0
// Pulling a Debian image: archive -> packages -> unconfigured layer -> configured image.
#include "image/archive.h"
#include "image/commit.h"
#include "image/pull.h"
#include "image/registry.h"
#include "image/rootfs.h"

#include <inttypes.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define LAYER_LIMIT (8 * GiB)

int pull_downloads(struct archive *a, const struct image_progress *progress, struct error *err)
{
	VEC(struct download) list = {0};
	uint64_t bytes = 0;
	int rc = 0;
	vec_for_each (p, &a->packages) {
		struct download d;
		if (!p->chosen)
			continue;
		rc = archive_download(a, p, &d, err);
		if (rc < 0)
			break;
		bytes += d.size;
		vec_push(&list, d);
	}
	if (rc == 0) {
		progress_stage(progress, "Downloading %zu package%s (%" PRIu64 " MiB)", list.len,
			list.len == 1 ? "" : "s", bytes / MiB);
		rc = download_all(a->store, list.items, list.len, progress, err);
	}
	vec_for_each (d, &list)
		download_done(d);
	vec_done(&list);
	return rc;
}

static const char *const debian_env[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
static const char *const debian_cmd[] = {"/bin/bash", NULL};

static int choose_base(struct archive *a, struct error *err)
{
	VEC(uint32_t) roots = {0};
	for (size_t i = 0; i < a->packages.len; i++)
		if (a->packages.items[i].base &&
			archive_find(a, a->packages.items[i].name) == &a->packages.items[i])
			vec_push(&roots, (uint32_t)i);
	int rc = archive_resolve(a, roots.items, roots.len, err);
	vec_done(&roots);
	return rc;
}

static int make_unconfigured(struct image_store *s, const char *ref, const struct image_arch *arch,
	const struct image_progress *progress, struct error *err)
{
	struct archive a;
	struct blob_writer w = {.fd = -1};
	struct oci_descriptor layer = {0};
	char created[21];
	int rc = archive_open(&a, s, strchr(ref, ':') + 1, arch, progress, err);
	if (rc == 0)
		rc = choose_base(&a, err);
	if (rc == 0)
		rc = pull_downloads(&a, progress, err);
	if (rc == 0)
		rc = blob_writer_open(&w, s, err);
	if (rc == 0) {
		w.limit = LAYER_LIMIT;
		rc = rootfs_write(&a, &w, progress, err);
		if (rc == 0)
			rc = blob_writer_commit(&w, OCI_TYPE_LAYER, &layer, err);
		blob_writer_done(&w);
	}
	if (rc == 0) {
		archive_format_date(a.date, created);
		struct image_config c = {.ref = ref,
			.arch = arch->name,
			.cmd = debian_cmd,
			.env = debian_env,
			.created = created};
		rc = commit_rootfs(s, &c, true, &layer, err);
	}
	oci_descriptor_done(&layer);
	archive_done(&a);
	return rc;
}

/* Reads the tar stream while the callback produces it. */
struct receiver {
	int fd;
	struct blob_writer *blob;
	struct error err;
	int rc;
};

static void *receive(void *opaque)
{
	struct receiver *r = opaque;
	r->rc = sanitize_tar(r->fd, r->blob, NULL, &r->err);
	/* tar pads its output with more zeros; a refused stream ends with EPIPE instead. */
	char sink[4096];
	for (unsigned i = 0; r->rc == 0 && i < 1024 && read(r->fd, sink, sizeof(sink)) > 0; i++)
		;
	close(r->fd);
	return NULL;
}

static int run_configure(const struct image *img, struct blob_writer *blob,
	const struct image_pull_options *o, struct error *err)
{
	struct receiver r = {.blob = blob};
	pthread_t thread;
	int pipe_fds[2];
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_errno(err, errno, "configure");
	r.fd = pipe_fds[0];
	int code = pthread_create(&thread, NULL, receive, &r);
	if (code) {
		close(pipe_fds[0]);
		close(pipe_fds[1]);
		return error_errno(err, code, "configure");
	}
	int rc = o->configure(o->opaque, img, pipe_fds[1], err);
	close(pipe_fds[1]);
	pthread_join(thread, NULL);
	/* When the stream was refused, the callback only saw a broken pipe. When the machine
	 * failed, the stream ends early: then the callback knows why. */
	bool broken_pipe = rc == -EPIPE;
	if (r.rc < 0 && (rc == 0 || broken_pipe)) {
		rc = error_set(err, r.err.code, "the configured tree: %s", r.err.message);
		if (r.err.remedy)
			error_remedy(err, "%s", r.err.remedy);
	}
	error_done(&r.err);
	if (rc < 0 && err && !err->code)
		error_set(err, -rc, "the machine could not configure the image");
	return rc;
}

static int configure(struct image_store *s, const char *ref, const char *arch,
	const struct image_pull_options *o, struct error *err)
{
	struct image *img = NULL;
	struct blob_writer w;
	struct oci_descriptor layer = {0};
	int rc = image_open_unconfigured(s, ref, arch, &img, err);
	if (rc < 0)
		return rc;
	progress_stage(o->progress, "Configuring %s", ref);
	rc = blob_writer_open(&w, s, err);
	if (rc == 0) {
		w.limit = LAYER_LIMIT;
		rc = run_configure(img, &w, o, err);
		if (rc == 0)
			rc = blob_writer_commit(&w, OCI_TYPE_LAYER, &layer, err);
		blob_writer_done(&w);
	}
	if (rc == 0) {
		struct image_config c = {.ref = ref,
			.arch = arch,
			.cmd = debian_cmd,
			.env = debian_env,
			.workdir = img->workdir};
		char created[21];
		archive_format_date(time(NULL), created);
		c.created = created;
		rc = commit_rootfs(s, &c, false, &layer, err);
	}
	oci_descriptor_done(&layer);
	image_free(img);
	return rc;
}

/* The unconfigured image has served its purpose; its blobs go with the next collection. */
static void drop_unconfigured(struct image_store *s, const char *ref, const char *arch)
{
	struct oci_index index;
	int lock _close_ = store_lock_index(s, LOCK_EX, NULL);
	if (lock < 0 || store_index_load(s, &index, NULL) < 0)
		return;
	struct oci_descriptor *d = store_find(&index, ref, arch, IMAGE_UNCONFIGURED);
	if (d) {
		oci_descriptor_done(d);
		size_t at = (size_t)(d - index.manifests.items);
		memmove(d, d + 1, (index.manifests.len - at - 1) * sizeof(*d));
		index.manifests.len--;
		/* What fails here is only a leftover. */
		if (store_index_save(s, &index, NULL) == 0)
			(void)store_collect(s, &index, NULL, NULL);
	}
	oci_index_done(&index);
}

static bool have(struct image_store *s, const char *ref, const char *arch, enum image_kind kind)
{
	struct image *img = NULL;
	int rc = kind == IMAGE_ROOTFS ? image_open(s, ref, arch, &img, NULL)
		 : kind == IMAGE_BOOT ? boot_open(s, ref, arch, &img, NULL)
				      : image_open_unconfigured(s, ref, arch, &img, NULL);
	image_free(img);
	return rc == 0;
}

static int pull_image(struct image_store *s, const char *ref, const struct image_arch *arch,
	const struct image_pull_options *o, struct error *err)
{
	int rc = 0;
	if (!o->refresh && have(s, ref, arch->name, IMAGE_ROOTFS))
		return 0;
	if (o->refresh || !have(s, ref, arch->name, IMAGE_UNCONFIGURED))
		rc = make_unconfigured(s, ref, arch, o->progress, err);
	if (rc == 0 && o->configure) {
		rc = configure(s, ref, arch->name, o, err);
		if (rc == 0)
			drop_unconfigured(s, ref, arch->name);
	}
	return rc;
}

static int pull(struct image_store *s, const char *ref, const char *arch_name, bool boot,
	const struct image_pull_options *options, struct error *err)
{
	static const struct image_pull_options none;
	const struct image_arch *arch;
	char *full _free_ = NULL;
	const struct image_pull_options *o = options ? options : &none;
	int rc = boot ? ref_boot(ref, &full, err) : ref_complete(ref, &full, err);
	if (rc < 0)
		return rc;
	arch_name = arch_name ? arch_name : image_host_arch();
	arch = image_arch_find(arch_name);
	if (!arch) {
		error_set(err, EINVAL, "no images for architecture '%.64s'", arch_name);
		error_remedy(err, "choose one of riscv64, amd64, arm64");
		return -EINVAL;
	}
	enum image_kind kind = boot ? IMAGE_BOOT : IMAGE_ROOTFS;
	if (!o->refresh && have(s, full, arch->name, kind))
		return 0; /* needs no lock, no network, no writable store */
	if (!boot && strncmp(full, "debian:", 7)) {
		error_set(err, ENOENT, "no image %s and no source for it", full);
		error_remedy(err,
			"images can be pulled as debian:SUITE, or as HOST/NAME from a "
			"registry: docker.io/library/%.100s",
			full);
		return -ENOENT;
	}
	rc = store_lock_pull(s, true, o->progress, err);
	if (rc < 0)
		return rc;
	rc = boot ? boot_make(s, full, arch, o, err) : pull_image(s, full, arch, o, err);
	store_unlock_pull(s);
	return rc < 0 ? error_wrap(err, rc, "image %s (%s)", full, arch->name) : 0;
}

/* An image of a registry: nothing has to be configured. */
static int pull_registry(struct image_store *s, const struct reference *ref, const char *arch,
	const struct image_pull_options *options, struct error *err)
{
	char *full _free_ = reference_print(ref);
	const struct image_progress *progress = options ? options->progress : NULL;
	if (!(options && options->refresh) && have(s, full, arch, IMAGE_ROOTFS))
		return 0;
	int rc = store_lock_pull(s, true, progress, err);
	if (rc < 0)
		return rc;
	rc = registry_pull(s, ref, arch, progress, err);
	store_unlock_pull(s);
	return rc < 0 ? error_wrap(err, rc, "image %s", full) : 0;
}

int image_pull(struct image_store *s, const char *ref, const char *arch,
	const struct image_pull_options *options, struct error *err)
{
	struct reference r;
	int rc = reference_parse(&r, ref, err);
	if (rc < 0)
		return rc;
	if (r.host) {
		rc = pull_registry(s, &r, arch ? arch : image_host_arch(), options, err);
		reference_done(&r);
		return rc;
	}
	reference_done(&r);
	return pull(s, ref, arch, false, options, err);
}

int boot_pull(struct image_store *s, const char *ref, const char *arch,
	const struct image_pull_options *options, struct error *err)
{
	return pull(s, ref, arch, true, options, err);
}
