// SPDX-License-Identifier: Apache-2.0
#include "image/package.h"

#include <unistd.h>

#define CONTROL_FILES_MAX 64

void package_done(struct package *p)
{
	vec_for_each (f, &p->control) {
		free(f->name);
		strbuf_done(&f->content);
	}
	vec_done(&p->control);
	strbuf_done(&p->control_text);
	if (p->fd >= 0)
		close(p->fd);
	*p = (struct package){.fd = -1};
}

static int compare_files(const void *a, const void *b)
{
	return strcmp(
		((const struct package_file *)a)->name, ((const struct package_file *)b)->name);
}

/* dpkg puts these into info/PACKAGE.NAME. */
static bool control_name_ok(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
	return n > 0 && n < 64 && !name[n];
}

static int read_entry(
	struct tar_reader *tar, const struct tar_entry *e, struct strbuf *out, struct error *err)
{
	if (e->size > PACKAGE_CONTROL_MAX)
		return error_set(err, EBADMSG, "%s is too large", e->path);
	strbuf_reserve(out, (size_t)e->size);
	while (out->len < e->size) {
		ssize_t n =
			tar_reader_read(tar, out->data + out->len, (size_t)e->size - out->len, err);
		if (n <= 0)
			return n < 0 ? (int)n : error_set(err, EBADMSG, "%s is cut short", e->path);
		out->len += (size_t)n;
	}
	out->data[out->len] = '\0';
	return 0;
}

static int read_control(struct package *p, struct tar_reader *tar, struct error *err)
{
	struct tar_entry e;
	int rc;
	while ((rc = tar_reader_next(tar, &e, err)) == 1) {
		if (e.type != TAR_FILE)
			continue;
		if (!strcmp(e.path, "control")) {
			strbuf_clear(&p->control_text);
			p->control_mtime = e.mtime_sec;
			rc = read_entry(tar, &e, &p->control_text, err);
		} else if (!control_name_ok(e.path) || p->control.len >= CONTROL_FILES_MAX) {
			rc = error_set(err, EBADMSG, "odd control file '%.100s'", e.path);
		} else {
			vec_push(&p->control, (struct package_file){xstrdup(e.path), e.mode});
			rc = read_entry(
				tar, &e, &p->control.items[p->control.len - 1].content, err);
		}
		if (rc < 0)
			return rc;
	}
	if (p->control.len)
		qsort(p->control.items, p->control.len, sizeof(*p->control.items), compare_files);
	return rc;
}

static int check_identity(
	struct package *p, struct slice name, struct slice version, struct error *err)
{
	struct deb822 d;
	deb822_init(&d, p->control_text.data ? p->control_text.data : "", p->control_text.len);
	int rc = deb822_next(&d, &p->stanza, err);
	if (rc < 0)
		return rc;
	if (rc == 0 || !slice_eq(deb822_get(&p->stanza, "Package"), name) ||
		!slice_eq(deb822_get(&p->stanza, "Version"), version))
		return error_set(err, EBADMSG, "the package is not what the index says");
	return 0;
}

int package_open(
	struct package *p, int fd, struct slice name, struct slice version, struct error *err)
{
	struct decompress *z;
	struct tar_reader tar;
	*p = (struct package){.fd = fd};
	int rc = deb_open(fd, &p->deb, err);
	const struct deb_member *m = &p->deb.control;
	struct stream_range range = {.fd = fd, .pos = m->offset, .end = m->offset + m->size};
	if (rc == 0)
		rc = decompress_new(
			&z, m->compression, stream_range_read, &range, PACKAGE_CONTROL_MAX, err);
	if (rc == 0) {
		tar_reader_init_stream(&tar, decompress_read, z);
		rc = read_control(p, &tar, err);
		tar_reader_done(&tar);
		decompress_free(z);
	}
	if (rc == 0)
		rc = check_identity(p, name, version, err);
	if (rc < 0) {
		package_done(p);
		error_wrap(err, rc, "package %.*s", (int)MIN(name.len, (size_t)128), name.p);
	}
	return rc;
}

const struct package_file *package_control(const struct package *p, const char *name)
{
	vec_for_each (f, &p->control) {
		if (!strcmp(f->name, name))
			return f;
	}
	return NULL;
}

int package_data_open(struct package_data *d, const struct package *p, struct error *err)
{
	const struct deb_member *m = &p->deb.data;
	*d = (struct package_data){
		.range = {.fd = p->fd, .pos = m->offset, .end = m->offset + m->size}};
	int rc = decompress_new(
		&d->z, m->compression, stream_range_read, &d->range, PACKAGE_DATA_MAX, err);
	if (rc == 0)
		tar_reader_init_stream(&d->tar, decompress_read, d->z);
	return rc;
}

void package_data_done(struct package_data *d)
{
	tar_reader_done(&d->tar);
	decompress_free(d->z);
	*d = (struct package_data){0};
}
