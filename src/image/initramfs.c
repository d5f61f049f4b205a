// SPDX-License-Identifier: Apache-2.0
#include "image/initramfs.h"

#include "wire/cpio.h"
#include "wire/modinfo.h"

#define MODULE_MAX  (UINT64_C(64) << 20) /* bytes of one module, decompressed */
#define MODULES_MAX 512			 /* in the initramfs */
#define DEPTH_MAX   32

/* What the machine's devices and the root file system need; what is built in or unknown to
 * this kernel is left out. crc32c is asked for by name when ext4 mounts, so no dependency says so.
 */
static const char *const wanted[] = {"virtio_mmio", "virtio_pci", "virtio_blk", "virtio_net",
	"virtio_console", "virtio_rng", "vsock", "vmw_vsock_virtio_transport", "fuse", "virtiofs",
	"overlay", "crc32c_generic", "ext4"};

void module_set_done(struct module_set *set)
{
	vec_for_each (m, &set->items)
		free(m->path);
	vec_done(&set->items);
	names_done(&set->by_name);
	names_done(&set->builtin_names);
	strbuf_done(&set->builtin);
	strbuf_done(&set->builtin_modinfo);
	strbuf_done(&set->order);
}

void module_name_normalize(char *name)
{
	for (char *c = name; *c; c++)
		if (*c == '-')
			*c = '_';
}

bool module_name(struct slice path, char out[MODULE_NAME_BYTES])
{
	const char *slash = memrchr(path.p, '/', path.len);
	const char *base = slash ? slash + 1 : path.p, *end = path.p + path.len;
	static const char *const suffixes[] = {".ko", ".ko.xz", ".ko.gz", ".ko.zst"};
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		size_t n = strlen(suffixes[i]), len = (size_t)(end - base);
		if (len <= n || len - n >= MODULE_NAME_BYTES || memcmp(end - n, suffixes[i], n))
			continue;
		memcpy(out, base, len - n);
		out[len - n] = '\0';
		module_name_normalize(out);
		return true;
	}
	return false;
}

void module_set_add(struct module_set *set, const char *path, uint64_t offset, uint64_t size)
{
	char name[MODULE_NAME_BYTES];
	if (!module_name(slice_of(path), name))
		return;
	names_set(&set->by_name, slice_of(name), (int)set->items.len);
	vec_push(&set->items, (struct module){xstrdup(path), offset, size});
}

void module_set_read_builtin(struct module_set *set)
{
	struct slice rest = {set->builtin.data, set->builtin.len}, line;
	char name[MODULE_NAME_BYTES];
	while (slice_line(&rest, &line))
		if (line.len && module_name(line, name))
			names_set(&set->builtin_names, slice_of(name), 1);
}

struct builder {
	const struct module_set *set;
	int layer_fd;
	const char *version;
	struct strbuf *out;
	struct strbuf order; /* lib/strata/modules */
	struct names done;   /* names that are loaded or being loaded */
	struct names directories;
	size_t count;
};

int module_read(const struct module *m, int layer_fd, struct strbuf *out, struct error *err)
{
	struct stream_range range = {.fd = layer_fd, .pos = m->offset, .end = m->offset + m->size};
	struct decompress *z;
	int rc = decompress_new(
		&z, compression_of_name(m->path), stream_range_read, &range, MODULE_MAX, err);
	if (rc < 0)
		return rc;
	rc = stream_read_all(decompress_read, z, MODULE_MAX, out, err);
	decompress_free(z);
	return rc < 0 ? error_wrap(err, rc, "module %s", m->path) : 0;
}

static void add_directories(struct builder *b, const char *path)
{
	for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
		struct slice dir = {path, (size_t)(p - path)};
		if (names_get(&b->directories, dir) != NAMES_NONE)
			continue;
		char *name _free_ = slice_dup(dir);
		names_set(&b->directories, dir, 1);
		cpio_add_dir(b->out, name, 0755);
	}
}

static int load(
	struct builder *b, const char *name, bool optional, unsigned depth, struct error *err);

/* "a,b" or "a b" */
static int load_list(
	struct builder *b, const char *list, bool optional, unsigned depth, struct error *err)
{
	while (*list) {
		size_t n = strcspn(list, ", ");
		char name[MODULE_NAME_BYTES];
		if (n && n < sizeof(name)) {
			memcpy(name, list, n);
			name[n] = '\0';
			int rc = load(b, name, optional, depth, err);
			if (rc < 0)
				return rc;
		}
		list += n + (list[n] != '\0');
	}
	return 0;
}

/* "softdep=pre: a b post: c": which = "pre:" or "post:". */
static int load_soft(struct builder *b, const struct modinfo *info, const char *which,
	unsigned depth, struct error *err)
{
	const char *cursor = NULL, *value;
	while ((value = modinfo_next(info, "softdep", &cursor))) {
		const char *at = strstr(value, which);
		if (!at)
			continue;
		at += strlen(which);
		const char *colon = strchr(at, ':'); /* the other list's head: "post:" */
		size_t n = colon ? (size_t)(colon - at) : strlen(at);
		while (colon && n && at[n - 1] != ' ')
			n--;
		char *list _free_ = slice_dup((struct slice){at, n});
		int rc = load_list(b, list, true, depth, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int load_module(struct builder *b, const struct module *m, unsigned depth, struct error *err)
{
	struct strbuf elf _strbuf_ = STRBUF_INIT;
	struct modinfo info;
	const char *cursor = NULL, *depends;
	if (++b->count > MODULES_MAX || depth > DEPTH_MAX)
		return error_set(err, EBADMSG, "too many kernel modules depend on one another");
	int rc = module_read(m, b->layer_fd, &elf, err);
	if (rc == 0)
		rc = modinfo_open(&info, elf.data, elf.len, err);
	if (rc < 0)
		return error_wrap(err, rc, "%s", m->path);
	while (rc == 0 && (depends = modinfo_next(&info, "depends", &cursor)))
		rc = load_list(b, depends, false, depth + 1, err);
	if (rc == 0)
		rc = load_soft(b, &info, "pre:", depth + 1, err);
	if (rc < 0)
		return rc;
	const char *end = strstr(m->path, ".ko");
	char *path _free_ =
		xasprintf("lib/modules/%s/%.*s.ko", b->version, (int)(end - m->path), m->path);
	add_directories(b, path);
	cpio_add_file(b->out, path, 0644, elf.data, elf.len);
	strbuf_addf(&b->order, "/%s\n", path);
	return load_soft(b, &info, "post:", depth + 1, err);
}

static int load(
	struct builder *b, const char *asked, bool optional, unsigned depth, struct error *err)
{
	char name[MODULE_NAME_BYTES];
	size_t n = strlen(asked);
	if (n >= sizeof(name) - sizeof("_generic"))
		return error_set(err, EBADMSG, "overlong module name");
	memcpy(name, asked, n + 1);
	module_name_normalize(name);
	if (names_get(&b->done, slice_of(name)) != NAMES_NONE)
		return 0;
	names_set(&b->done, slice_of(name), 1);
	int i = names_get(&b->set->by_name, slice_of(name));
	if (i != NAMES_NONE)
		return load_module(b, &b->set->items.items[i], depth, err);
	if (optional) {
		/* A soft dependency may be an alias: of "crc32c" the plain C version is x_generic.
		 */
		strcat(name, "_generic");
		if (names_get(&b->set->by_name, slice_of(name)) != NAMES_NONE)
			return load(b, name, true, depth + 1, err);
		return 0;
	}
	if (names_get(&b->set->builtin_names, slice_of(name)) != NAMES_NONE)
		return 0;
	return error_set(err, EBADMSG, "kernel module %s is missing", name);
}

int initramfs_make(const struct module_set *set, int layer_fd, const char *version,
	const struct strbuf *busybox, struct strbuf *out, struct error *err)
{
	static const char *const dirs[] = {
		"dev/", "proc/", "sys/", "run/", "tmp/", "bin/", "lib/strata/", "lib/modules/"};
	struct builder b = {.set = set, .layer_fd = layer_fd, .version = version, .out = out};
	int rc = 0;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		add_directories(&b, dirs[i]);
	cpio_add_file(out, "bin/busybox", 0755, busybox->data, busybox->len);
	cpio_add_symlink(out, "bin/sh", "busybox");
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(wanted); i++)
		rc = load(&b, wanted[i], true, 0, err);
	if (rc == 0) {
		cpio_add_file(out, "lib/strata/modules", 0644, b.order.data, b.order.len);
		cpio_add_trailer(out);
	}
	strbuf_done(&b.order);
	names_done(&b.done);
	names_done(&b.directories);
	return rc < 0 ? error_wrap(err, rc, "initramfs") : 0;
}
