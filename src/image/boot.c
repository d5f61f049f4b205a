// SPDX-License-Identifier: Apache-2.0
// Pulling a boot image: Debian's kernel package becomes kernel, initramfs and modules layer.
#include "image/depmod.h"
#include "image/initramfs.h"
#include "image/package.h"
#include "image/pull.h"

#include <stdio.h>
#include <unistd.h>

#define KERNEL_LIMIT  (256 * MiB)
#define MODULES_LIMIT (4 * GiB)
#define BUSYBOX_MAX   (UINT64_C(16) << 20)
#define VERSION_MAX   128
#define LIST_MAX      (UINT64_C(4) << 20) /* bytes of a list of modules */

struct boot {
	struct image_store *store;
	char version[VERSION_MAX]; /* of the kernel, "" until it was seen */
	struct blob_writer kernel, modules;
	struct tar_writer tar; /* into modules */
	struct names directories;
	struct module_set set;
	struct strbuf busybox;
	int64_t mtime_sec;		 /* of the package's files */
	struct oci_descriptor layers[4]; /* kernel, initramfs, modules, busybox */
};

static void boot_done(struct boot *b)
{
	blob_writer_done(&b->kernel);
	blob_writer_done(&b->modules);
	names_done(&b->directories);
	module_set_done(&b->set);
	strbuf_done(&b->busybox);
	for (size_t i = 0; i < ARRAY_SIZE(b->layers); i++)
		oci_descriptor_done(&b->layers[i]);
}

static struct archive_package *chosen_starting(struct archive *a, const char *prefix)
{
	size_t n = strlen(prefix);
	vec_for_each (p, &a->packages) {
		if (p->chosen && p->name.len > n && !memcmp(p->name.p, prefix, n) &&
			p->name.p[n] >= '0' && p->name.p[n] <= '9')
			return p;
	}
	return NULL;
}

/* linux-image-riscv64 depends on linux-image-VERSION-riscv64, which is the one with the files; what
 * that depends on (initramfs-tools, kmod) serves an installation, not us. */
static int choose_packages(struct archive *a, struct archive_package **kernel,
	struct archive_package **busybox, struct error *err)
{
	struct archive_package *meta = archive_find(a, slice_of(a->arch->linux_image));
	struct deb822 d;
	struct deb822_stanza s;
	struct deb_dep dep;
	bool first = true;
	if (!meta)
		return error_set(err, ENOENT, "the archive has no %s", a->arch->linux_image);
	deb822_init(&d, meta->text.p, meta->text.len);
	if (deb822_next(&d, &s, err) != 1)
		return -EBADMSG;
	struct slice depends = deb822_get(&s, "Depends");
	while (deb_dep_next(&depends, &first, &dep) == 1) {
		struct archive_package *p = archive_find(a, dep.name);
		if (p && dep.name.len > 12 && !memcmp(dep.name.p, "linux-image-", 12) &&
			deb_dep_version_ok(&dep, p->version))
			p->chosen = true;
	}
	*kernel = chosen_starting(a, "linux-image-");
	*busybox = archive_find(a, SLICE("busybox-static"));
	if (!*kernel)
		return error_set(err, ENOENT, "%s depends on no kernel", a->arch->linux_image);
	if (!*busybox)
		return error_set(err, ENOENT, "the archive has no busybox-static");
	(*busybox)->chosen = true;
	return 0;
}

static int open_package(
	struct archive *a, const struct archive_package *p, struct package *out, struct error *err)
{
	struct download d = {0};
	int rc = archive_download(a, p, &d, err);
	int fd = rc < 0 ? rc : download_open(a->store, d.sha256, err);
	download_done(&d);
	return fd < 0 ? fd : package_open(out, fd, p->name, p->version, err);
}

/* Pours the current entry's data into a function of tar_write_fn's type. */
static int pour(struct tar_reader *in, uint64_t size, tar_write_fn *write_fn, void *opaque,
	struct error *err)
{
	char *chunk _free_ = xmalloc(64 * KiB);
	for (uint64_t left = size; left;) {
		ssize_t n = tar_reader_read(in, chunk, (size_t)MIN(left, 64 * KiB), err);
		if (n <= 0)
			return n < 0 ? (int)n : error_set(err, EBADMSG, "entry is cut short");
		int rc = write_fn(opaque, chunk, (size_t)n, err);
		if (rc < 0)
			return rc;
		left -= (uint64_t)n;
	}
	return 0;
}

static int pour_buffer(void *opaque, const void *bytes, size_t len, struct error *err)
{
	strbuf_add(opaque, bytes, len);
	return 0;
}

static int pour_tar(void *opaque, const void *bytes, size_t len, struct error *err)
{
	return tar_writer_data(opaque, bytes, len, err);
}

/* Parents that the package does not list. */
static int modules_directories(struct boot *b, const char *path, int64_t mtime, struct error *err)
{
	for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
		struct slice dir = {path, (size_t)(p - path)};
		if (names_get(&b->directories, dir) != NAMES_NONE)
			continue;
		char *name _free_ = slice_dup(dir);
		struct tar_entry e = {.path = name,
			.linkname = "",
			.type = TAR_DIR,
			.mode = 0755,
			.mtime_sec = mtime};
		names_set(&b->directories, dir, 1);
		int rc = tar_writer_entry(&b->tar, &e, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* "usr/lib/modules/VERSION/rest", or without "usr/": returns rest and notes the version. */
static const char *below_modules(const char *path, char version[VERSION_MAX])
{
	static const char *const prefixes[] = {"usr/lib/modules/", "lib/modules/"};
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		size_t n = strlen(prefixes[i]), len;
		if (strncmp(path, prefixes[i], n))
			continue;
		len = strcspn(path + n, "/");
		if (!len || len >= VERSION_MAX || path[n + len] != '/')
			return NULL;
		memcpy(version, path + n, len);
		version[len] = '\0';
		return path + n + len + 1;
	}
	return NULL;
}

static int add_module_file(struct boot *b, struct tar_reader *in, const struct tar_entry *e,
	const char *version, const char *rest, struct error *err)
{
	if (e->type == TAR_DIR)
		return 0; /* made when something is in it */
	if (depmod_makes(rest))
		return 0;
	if (e->type != TAR_FILE)
		return 0; /* "build" and "source": links to headers that are not here */
	if (b->version[0] && strcmp(b->version, version))
		return error_set(err, EBADMSG, "modules of two kernels in one package");
	strcpy(b->version, version);
	b->mtime_sec = e->mtime_sec;
	char *path _free_ = xasprintf("usr/lib/modules/%s/%s", version, rest);
	int rc = modules_directories(b, path, e->mtime_sec, err);
	if (rc < 0)
		return rc;
	struct tar_entry out = *e;
	out.path = path;
	out.n_xattrs = 0;
	rc = tar_writer_entry(&b->tar, &out, err);
	if (rc < 0)
		return rc;
	module_set_add(&b->set, rest, b->tar.pos, e->size);
	struct strbuf *list = !strcmp(rest, "modules.builtin")		 ? &b->set.builtin
			      : !strcmp(rest, "modules.builtin.modinfo") ? &b->set.builtin_modinfo
			      : !strcmp(rest, "modules.order")		 ? &b->set.order
									 : NULL;
	if (list && e->size && e->size <= LIST_MAX && !list->len) {
		rc = pour(in, e->size, pour_buffer, list, err);
		return rc < 0 ? rc : tar_writer_data(&b->tar, list->data, list->len, err);
	}
	return e->size ? pour(in, e->size, pour_tar, &b->tar, err)
		       : tar_writer_data(&b->tar, "", 0, err);
}

static int unpack_kernel(struct boot *b, const struct package *p, const struct image_arch *arch,
	const struct image_progress *progress, struct error *err)
{
	struct package_data data;
	struct tar_entry e;
	char version[VERSION_MAX];
	uint64_t begin = p->deb.data.offset, total = p->deb.data.size;
	bool seen_kernel = false;
	int rc = package_data_open(&data, p, err);
	if (rc < 0)
		return rc;
	while ((rc = tar_reader_next(&data.tar, &e, err)) == 1) {
		const char *rest = below_modules(e.path, version);
		if (rest)
			rc = add_module_file(b, &data.tar, &e, version, rest, err);
		else if (e.type == TAR_FILE && !strncmp(e.path, "boot/", 5) &&
			 !strncmp(e.path + 5, arch->kernel_glob, strlen(arch->kernel_glob))) {
			if (seen_kernel)
				rc = error_set(err, EBADMSG, "two kernels in one package");
			else
				rc = pour(&data.tar, e.size, blob_writer_write, &b->kernel, err);
			seen_kernel = true;
		}
		if (rc < 0)
			break;
		progress_bytes(progress, data.range.pos - begin, total);
	}
	package_data_done(&data);
	if (rc == 0 && (!seen_kernel || !b->version[0]))
		rc = error_set(err, EBADMSG, "the package has no kernel or no modules");
	return rc;
}

static int read_busybox(struct boot *b, const struct package *p, struct error *err)
{
	struct package_data data;
	struct tar_entry e;
	int rc = package_data_open(&data, p, err);
	if (rc < 0)
		return rc;
	while ((rc = tar_reader_next(&data.tar, &e, err)) == 1) {
		if (e.type != TAR_FILE || e.size > BUSYBOX_MAX ||
			(strcmp(e.path, "usr/bin/busybox") && strcmp(e.path, "bin/busybox")))
			continue;
		rc = pour(&data.tar, e.size, pour_buffer, &b->busybox, err);
		break;
	}
	package_data_done(&data);
	if (rc == 0 && !b->busybox.len)
		rc = error_set(err, EBADMSG, "the package has no busybox");
	return rc;
}

/* Into the layer that holds the modules. */
static int add_indexes(struct boot *b, const struct image_progress *progress, struct error *err)
{
	struct depmod_file files[DEPMOD_FILES];
	int rc = blob_writer_flush(&b->modules, err); /* they are read from there */
	if (rc < 0)
		return rc;
	rc = depmod_make(&b->set, b->modules.fd, progress, files, err);
	for (size_t i = 0; rc == 0 && i < DEPMOD_FILES; i++) {
		char *path _free_ = xasprintf("usr/lib/modules/%s/%s", b->version, files[i].name);
		struct tar_entry e = {.path = path,
			.linkname = "",
			.type = TAR_FILE,
			.mode = 0644,
			.mtime_sec = b->mtime_sec,
			.size = files[i].text.len};
		rc = tar_writer_entry(&b->tar, &e, err);
		if (rc == 0)
			rc = tar_writer_data(&b->tar, files[i].text.len ? files[i].text.data : "",
				files[i].text.len, err);
	}
	depmod_done(files);
	return rc < 0 ? error_wrap(err, rc, "module indexes") : 0;
}

/* All blobs; then the initramfs is made from the modules layer, which can be read at any place. */
static int write_blobs(struct boot *b, struct error *err)
{
	struct strbuf initramfs _strbuf_ = STRBUF_INIT;
	int rc = tar_writer_end(&b->tar, err);
	if (rc == 0)
		rc = blob_writer_commit(&b->kernel, BOOT_KERNEL_TYPE, &b->layers[0], err);
	if (rc == 0)
		rc = blob_writer_commit(&b->modules, OCI_TYPE_LAYER, &b->layers[2], err);
	if (rc < 0)
		return rc;
	int fd _close_ = blob_open(b->store, b->layers[2].digest, b->layers[2].size, NULL, err);
	if (fd < 0)
		return fd;
	module_set_read_builtin(&b->set);
	rc = initramfs_make(&b->set, fd, b->version, &b->busybox, &initramfs, err);
	if (rc == 0)
		rc = blob_put(b->store, initramfs.data, initramfs.len, BOOT_INITRAMFS_TYPE,
			&b->layers[1], err);
	if (rc == 0)
		rc = blob_put(b->store, b->busybox.data, b->busybox.len, BOOT_BUSYBOX_TYPE,
			&b->layers[3], err);
	return rc;
}

static int commit_boot(struct boot *b, const char *ref, const struct image_arch *arch, int64_t date,
	struct error *err)
{
	struct oci_manifest m = {.artifact_type = xstrdup(BOOT_ARTIFACT_TYPE)};
	struct oci_descriptor d = {0};
	char created[21];
	/* image-spec 1.1, "Guidelines for Artifact Usage": the empty config. */
	int rc = blob_put(b->store, "{}", 2, OCI_TYPE_EMPTY, &m.config, err);
	if (rc == 0) {
		for (size_t i = 0; i < ARRAY_SIZE(b->layers); i++) {
			vec_push(&m.layers, b->layers[i]);
			b->layers[i] = (struct oci_descriptor){0};
		}
		vec_push(&m.annotations,
			(struct oci_annotation){xstrdup(ANNOTATION_KERNEL), xstrdup(b->version)});
		char *json _free_ = oci_manifest_print(&m);
		rc = blob_put(b->store, json, strlen(json), OCI_TYPE_MANIFEST, &d, err);
	}
	if (rc == 0) {
		archive_format_date(date, created);
		d.artifact_type = xstrdup(BOOT_ARTIFACT_TYPE);
		d.arch = xstrdup(arch->name);
		d.os = xstrdup("linux");
		vec_push(&d.annotations,
			(struct oci_annotation){xstrdup(ANNOTATION_REF), xstrdup(ref)});
		vec_push(&d.annotations,
			(struct oci_annotation){xstrdup(ANNOTATION_CREATED), xstrdup(created)});
		rc = store_index_put(b->store, &d, err);
	}
	oci_descriptor_done(&d);
	oci_manifest_done(&m);
	return rc;
}

static int make(struct boot *b, struct archive *a, const char *ref,
	const struct image_pull_options *o, struct error *err)
{
	struct archive_package *kernel = NULL, *busybox = NULL;
	struct package p;
	int rc = choose_packages(a, &kernel, &busybox, err);
	if (rc == 0)
		rc = pull_downloads(a, o->progress, err);
	if (rc == 0)
		rc = blob_writer_open(&b->kernel, b->store, err);
	if (rc == 0)
		rc = blob_writer_open(&b->modules, b->store, err);
	if (rc < 0)
		return rc;
	b->kernel.limit = KERNEL_LIMIT;
	b->modules.limit = MODULES_LIMIT;
	tar_writer_init(&b->tar, blob_writer_write, &b->modules);
	rc = open_package(a, busybox, &p, err);
	if (rc == 0) {
		rc = read_busybox(b, &p, err);
		package_done(&p);
	}
	if (rc == 0)
		rc = open_package(a, kernel, &p, err);
	if (rc == 0) {
		progress_stage(
			o->progress, "Unpacking %.*s", (int)kernel->name.len, kernel->name.p);
		rc = unpack_kernel(b, &p, a->arch, o->progress, err);
		package_done(&p);
	}
	if (rc == 0)
		rc = add_indexes(b, o->progress, err);
	if (rc == 0)
		rc = write_blobs(b, err);
	return rc < 0 ? rc : commit_boot(b, ref, a->arch, a->date, err);
}

int boot_make(struct image_store *s, const char *ref, const struct image_arch *arch,
	const struct image_pull_options *options, struct error *err)
{
	struct archive a;
	struct boot b = {.store = s, .kernel.fd = -1, .modules.fd = -1};
	struct image *img = NULL;
	/* Another process may have made it while we waited for the lock. */
	if (!options->refresh && boot_open(s, ref, arch->name, &img, NULL) == 0) {
		image_free(img);
		return 0;
	}
	int rc = archive_open(&a, s, strchr(ref, ':') + 1, arch, options->progress, err);
	if (rc == 0)
		rc = make(&b, &a, ref, options, err);
	boot_done(&b);
	archive_done(&a);
	return rc;
}
