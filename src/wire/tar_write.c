// SPDX-License-Identifier: Apache-2.0
#include "wire/tar.h"

#include <stdio.h>

void tar_writer_init(struct tar_writer *w, tar_write_fn *write, void *opaque)
{
	*w = (struct tar_writer){.write = write, .opaque = opaque};
}

/* Octal digits and a NUL; false when the value does not fit. */
static bool put_octal(char *field, size_t len, uint64_t v)
{
	for (size_t i = len - 1; i-- > 0; v >>= 3)
		field[i] = (char)('0' + (v & 7));
	field[len - 1] = '\0';
	return v == 0;
}

/* A name that ustar can hold in its name field, or split at a slash into prefix and name. */
static bool put_name(char *block, const char *name, size_t len)
{
	if (len <= 100) {
		memcpy(block, name, len);
		return true;
	}
	for (size_t i = MIN(len - 1, (size_t)155); i > 0; i--) {
		if (name[i] != '/' || len - i - 1 > 100 || len - i - 1 == 0)
			continue;
		memcpy(block + 345, name, i);
		memcpy(block, name + i + 1, len - i - 1);
		return true;
	}
	return false;
}

static void pax_add(struct strbuf *pax, const char *key, const void *value, size_t len)
{
	/* The length counts its own digits. */
	size_t body = strlen(key) + len + 3, total = body + 1;
	char digits[24];
	for (;;) {
		int n = snprintf(digits, sizeof(digits), "%zu", total);
		if (body + (size_t)n == total)
			break;
		total = body + (size_t)n;
	}
	strbuf_addf(pax, "%s %s=", digits, key);
	strbuf_add(pax, value, len);
	strbuf_addc(pax, '\n');
}

static void pax_add_u64(struct strbuf *pax, const char *key, uint64_t v)
{
	char s[24];
	int n = snprintf(s, sizeof(s), "%" PRIu64, v);
	pax_add(pax, key, s, (size_t)n);
}

static void put_checksum(char *b)
{
	uint32_t sum = 0;
	memset(b + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK_BYTES; i++)
		sum += (uint8_t)b[i];
	put_octal(b + 148, 7, sum);
}

/* Fills the header block b; what does not fit goes to pax. */
static void fill_header(char *b, const struct tar_entry *e, struct strbuf *pax)
{
	struct strbuf path _strbuf_ = STRBUF_INIT;
	strbuf_adds(&path, e->path[0] ? e->path : "./");
	if (e->type == TAR_DIR && path.data[path.len - 1] != '/')
		strbuf_addc(&path, '/');
	if (!put_name(b, path.data, path.len)) {
		memcpy(b, path.data, 100);
		pax_add(pax, "path", path.data, path.len);
	}
	put_octal(b + 100, 8, e->mode & 07777);
	if (!put_octal(b + 108, 8, e->uid))
		pax_add_u64(pax, "uid", e->uid);
	if (!put_octal(b + 116, 8, e->gid))
		pax_add_u64(pax, "gid", e->gid);
	if (!put_octal(b + 124, 12, e->size))
		pax_add_u64(pax, "size", e->size);
	bool odd_time = e->mtime_sec < 0 || e->mtime_nsec;
	if (!put_octal(b + 136, 12, e->mtime_sec < 0 ? 0 : (uint64_t)e->mtime_sec) || odd_time) {
		char s[64];
		int64_t sec = e->mtime_sec;
		uint32_t ns = e->mtime_nsec;
		bool negative = sec < 0;
		if (negative && ns) {
			sec++;
			ns = 1000000000 - ns;
		}
		int n = snprintf(s, sizeof(s), "%s%" PRIu64, negative ? "-" : "",
			negative ? (uint64_t)0 - (uint64_t)sec : (uint64_t)sec);
		if (ns)
			n += snprintf(s + n, sizeof(s) - (size_t)n, ".%09u", ns);
		pax_add(pax, "mtime", s, (size_t)n);
	}
	b[156] = (char)e->type;
	if (e->type == TAR_HARDLINK || e->type == TAR_SYMLINK) {
		size_t n = strlen(e->linkname);
		memcpy(b + 157, e->linkname, MIN(n, (size_t)100));
		if (n > 100)
			pax_add(pax, "linkpath", e->linkname, n);
	}
	memcpy(b + 257, "ustar\00000", 8);
	if (e->type == TAR_CHARDEV || e->type == TAR_BLOCKDEV) {
		put_octal(b + 329, 8, e->devmajor);
		put_octal(b + 337, 8, e->devminor);
	}
	for (size_t i = 0; i < e->n_xattrs; i++) {
		char *key _free_ = xasprintf("SCHILY.xattr.%s", e->xattrs[i].name);
		pax_add(pax, key, e->xattrs[i].value, e->xattrs[i].len);
	}
	put_checksum(b);
}

static int put(struct tar_writer *w, const void *bytes, size_t len, struct error *err)
{
	int rc = w->write(w->opaque, bytes, len, err);
	if (rc == 0)
		w->pos += len;
	return rc;
}

static int pad(struct tar_writer *w, struct error *err)
{
	static const char zeros[TAR_BLOCK_BYTES];
	size_t over = (size_t)(w->pos % TAR_BLOCK_BYTES);
	return over ? put(w, zeros, TAR_BLOCK_BYTES - over, err) : 0;
}

int tar_writer_entry(struct tar_writer *w, const struct tar_entry *e, struct error *err)
{
	char header[TAR_BLOCK_BYTES] = {0};
	struct strbuf pax _strbuf_ = STRBUF_INIT;
	uint64_t size = e->type == TAR_FILE ? e->size : 0;
	struct tar_entry copy = *e;
	if (w->data_left)
		return error_set(err, EINVAL, "%s: the entry before lacks data", e->path);
	copy.size = size;
	fill_header(header, &copy, &pax);
	if (pax.len > TAR_PAX_MAX)
		return error_set(err, E2BIG, "%s: attributes too large for an archive", e->path);
	int rc = 0;
	if (pax.len) {
		char xheader[TAR_BLOCK_BYTES] = {0};
		struct tar_entry x = {
			.path = "PaxHeader", .type = TAR_FILE, .size = pax.len, .mode = 0644};
		struct strbuf none = STRBUF_INIT;
		fill_header(xheader, &x, &none);
		xheader[156] = 'x';
		put_checksum(xheader);
		rc = put(w, xheader, sizeof(xheader), err);
		if (rc == 0)
			rc = put(w, pax.data, pax.len, err);
		if (rc == 0)
			rc = pad(w, err);
	}
	if (rc == 0)
		rc = put(w, header, sizeof(header), err);
	if (rc == 0)
		w->data_left = size;
	return rc;
}

int tar_writer_data(struct tar_writer *w, const void *bytes, size_t len, struct error *err)
{
	if (len > w->data_left)
		return error_set(err, EINVAL, "more data than the archive entry announced");
	int rc = len ? put(w, bytes, len, err) : 0;
	if (rc < 0)
		return rc;
	w->data_left -= len;
	return w->data_left ? 0 : pad(w, err);
}

int tar_writer_end(struct tar_writer *w, struct error *err)
{
	static const char zeros[2 * TAR_BLOCK_BYTES];
	if (w->data_left)
		return error_set(err, EINVAL, "the last archive entry lacks data");
	return put(w, zeros, sizeof(zeros), err);
}
