// SPDX-License-Identifier: Apache-2.0
#include "wire/tar.h"

#include <sys/stat.h>
#include <unistd.h>

/* The ustar header block, POSIX.1-2017 "ustar Interchange Format". */
struct ustar {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char chksum[8];
	char typeflag;
	char linkname[100];
	char magic[6];
	char version[2];
	char uname[32];
	char gname[32];
	char devmajor[8];
	char devminor[8];
	char prefix[155];
	char pad[12];
};
_Static_assert(sizeof(struct ustar) == TAR_BLOCK_BYTES, "ustar header");

/* What a pax header overrides. */
struct pax_values {
	const char *path, *linkpath;
	bool has_size, has_uid, has_gid, has_mtime;
	uint64_t size;
	uint32_t uid, gid;
	int64_t mtime_sec;
	uint32_t mtime_nsec;
};

static void reader_init(struct tar_reader *r)
{
	*r = (struct tar_reader){.fd = -1, .size = UINT64_MAX};
}

int tar_reader_init_fd(struct tar_reader *r, int fd, struct error *err)
{
	struct stat st;
	reader_init(r);
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "archive");
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "archive: not a regular file");
	r->fd = fd;
	r->size = (uint64_t)st.st_size;
	return 0;
}

void tar_reader_init_mem(struct tar_reader *r, const void *data, size_t len)
{
	reader_init(r);
	r->mem = data ? data : "";
	r->size = len;
}

static ssize_t read_pipe(void *opaque, void *buf, size_t len, struct error *err)
{
	struct tar_reader *r = opaque;
	for (;;) {
		ssize_t n = read(r->fd, buf, len);
		if (n >= 0)
			return n;
		if (errno != EINTR)
			return error_errno(err, errno, "read");
	}
}

void tar_reader_init_pipe(struct tar_reader *r, int fd)
{
	reader_init(r);
	r->read = read_pipe;
	r->opaque = r;
	r->fd = fd;
}

void tar_reader_init_stream(struct tar_reader *r, tar_read_fn *read_fn, void *opaque)
{
	reader_init(r);
	r->read = read_fn;
	r->opaque = opaque;
}

void tar_reader_done(struct tar_reader *r)
{
	strbuf_done(&r->path);
	strbuf_done(&r->link);
	strbuf_done(&r->longname);
	strbuf_done(&r->longlink);
	strbuf_done(&r->pax);
	vec_done(&r->xattrs);
}

/* Fills buf as far as the archive goes; returns the bytes got or -errno. */
static ssize_t read_some(struct tar_reader *r, void *buf, size_t len, struct error *err)
{
	size_t got = 0;
	while (got < len) {
		ssize_t n;
		if (r->read) {
			n = r->read(r->opaque, (char *)buf + got, len - got, err);
			if (n < 0)
				return n;
		} else if (r->mem) {
			n = (ssize_t)MIN(
				(uint64_t)(len - got), r->pos < r->size ? r->size - r->pos : 0);
			memcpy((char *)buf + got, r->mem + r->pos, (size_t)n);
		} else {
			n = pread(r->fd, (char *)buf + got, len - got, (off_t)r->pos);
			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				return error_errno(err, errno, "read");
		}
		if (n == 0)
			break;
		got += (size_t)n;
		r->pos += (uint64_t)n;
	}
	return (ssize_t)got;
}

static int read_all(
	struct tar_reader *r, void *buf, size_t len, const char *what, struct error *err)
{
	ssize_t n = read_some(r, buf, len, err);
	if (n < 0)
		return (int)n;
	if ((size_t)n < len)
		return error_set(
			err, EBADMSG, "archive ends inside %s at byte %" PRIu64, what, r->pos);
	return 0;
}

static int seek_to(struct tar_reader *r, uint64_t target, struct error *err)
{
	if (!r->read) {
		r->pos = target;
		return 0;
	}
	char sink[16384];
	while (r->pos < target) {
		size_t n = (size_t)MIN(target - r->pos, (uint64_t)sizeof(sink));
		int rc = read_all(r, sink, n, "an entry's data", err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* A numeric field: octal with blanks around it, or base-256 (GNU). Empty is 0. */
static int parse_number(const char *field, size_t len, int64_t *out)
{
	const uint8_t *p = (const uint8_t *)field;
	if (p[0] & 0x80) {
		bool negative = p[0] & 0x40;
		uint64_t v = negative ? UINT64_MAX << 6 | (p[0] & 0x3f) : p[0] & 0x3f;
		for (size_t i = 1; i < len; i++) {
			/* What is shifted out must be sign bits only. */
			int64_t top = (int64_t)v >> 55;
			if (top != (negative ? -1 : 0))
				return -EBADMSG;
			v = v << 8 | p[i];
		}
		if (((int64_t)v < 0) != negative)
			return -EBADMSG;
		*out = (int64_t)v;
		return 0;
	}
	size_t i = 0;
	uint64_t v = 0;
	while (i < len && p[i] == ' ')
		i++;
	for (; i < len && p[i] >= '0' && p[i] <= '7'; i++) {
		if (v >> 60)
			return -EBADMSG;
		v = v << 3 | (uint64_t)(p[i] - '0');
	}
	for (; i < len; i++)
		if (p[i] != ' ' && p[i] != '\0')
			return -EBADMSG;
	*out = (int64_t)v;
	return 0;
}

static int parse_u32(const char *field, size_t len, uint32_t *out)
{
	int64_t v;
	if (parse_number(field, len, &v) < 0 || v < 0 || v > UINT32_MAX)
		return -EBADMSG;
	*out = (uint32_t)v;
	return 0;
}

static bool checksum_ok(const struct ustar *h)
{
	const uint8_t *p = (const uint8_t *)h;
	int64_t want, sum = 0, signed_sum = 0;
	if (parse_number(h->chksum, sizeof(h->chksum), &want) < 0)
		return false;
	for (size_t i = 0; i < sizeof(*h); i++) {
		bool in_field = i >= offsetof(struct ustar, chksum) &&
				i < offsetof(struct ustar, chksum) + sizeof(h->chksum);
		sum += in_field ? ' ' : p[i];
		signed_sum += in_field ? ' ' : (int8_t)p[i]; /* historic tars */
	}
	return want == sum || want == signed_sum;
}

static bool all_zero(const void *p, size_t len)
{
	const uint8_t *b = p;
	return b[0] == 0 && memcmp(b, b + 1, len - 1) == 0;
}

int tar_path_clean(const char *path, struct strbuf *out)
{
	strbuf_clear(out);
	strbuf_reserve(out, 0);
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");
		if (n > TAR_NAME_MAX || (n == 2 && p[0] == '.' && p[1] == '.'))
			return -EINVAL;
		if (n && !(n == 1 && p[0] == '.')) {
			if (out->len)
				strbuf_addc(out, '/');
			strbuf_add(out, p, n);
			if (out->len > TAR_PATH_MAX)
				return -EINVAL;
		}
		p += n + (p[n] == '/');
	}
	out->data[out->len] = '\0';
	return 0;
}

/* Decimal digits only, the whole string. */
static int parse_decimal(const char *s, const char *end, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;
	if (s == end)
		return -EBADMSG;
	for (; s < end; s++) {
		if (*s < '0' || *s > '9' || v > (max - (uint64_t)(*s - '0')) / 10)
			return -EBADMSG;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	*out = v;
	return 0;
}

/* "[-]SECONDS[.FRACTION]"; digits past nanoseconds are dropped. */
static int parse_pax_time(const char *s, const char *end, int64_t *sec, uint32_t *nsec)
{
	bool negative = s < end && *s == '-';
	const char *dot = memchr(s, '.', (size_t)(end - s));
	uint64_t whole;
	uint32_t ns = 0, scale = 100000000;
	if (parse_decimal(s + negative, dot ? dot : end, INT64_MAX / 2, &whole) < 0)
		return -EBADMSG;
	for (const char *p = dot ? dot + 1 : end; p < end; p++, scale /= 10) {
		if (*p < '0' || *p > '9')
			return -EBADMSG;
		ns += scale * (uint32_t)(*p - '0');
	}
	*sec = negative ? -(int64_t)whole : (int64_t)whole;
	if (negative && ns) {
		*sec -= 1;
		ns = 1000000000 - ns;
	}
	*nsec = ns;
	return 0;
}

static bool is_pax_key(const char *key, const char *prefix)
{
	return strncmp(key, prefix, strlen(prefix)) == 0;
}

/* One record, key and value NUL-terminated in place. global: only harmless keys are allowed. */
static int pax_record(struct tar_reader *r, const char *key, const char *value, const char *end,
	bool global, struct pax_values *v, struct error *err)
{
	static const char xattr_prefix[] = "SCHILY.xattr.";
	bool has_nul = memchr(value, '\0', (size_t)(end - value)) != NULL;
	uint64_t n;
	int rc = 0;
	if (is_pax_key(key, "GNU.sparse."))
		return error_set(err, ENOTSUP, "sparse files are not supported");
	bool is_xattr = is_pax_key(key, xattr_prefix);
	bool is_path = !strcmp(key, "path") || !strcmp(key, "linkpath");
	bool is_number = !strcmp(key, "size") || !strcmp(key, "uid") || !strcmp(key, "gid") ||
			 !strcmp(key, "mtime");
	if (global && (is_xattr || is_path || is_number))
		return error_set(err, ENOTSUP, "global pax record '%s' is not supported", key);
	if (is_path) {
		if (has_nul)
			return error_set(err, EBADMSG, "pax record '%s' holds a NUL", key);
		*(key[0] == 'p' ? &v->path : &v->linkpath) = value;
	} else if (is_xattr) {
		if (r->xattrs.len >= TAR_XATTRS_MAX || end - value > (ptrdiff_t)TAR_XATTR_MAX ||
			!key[sizeof(xattr_prefix) - 1] ||
			strlen(key) - (sizeof(xattr_prefix) - 1) > TAR_NAME_MAX)
			return error_set(err, EBADMSG, "too many or too large extended attributes");
		vec_push(&r->xattrs, (struct tar_xattr){.name = key + sizeof(xattr_prefix) - 1,
					     .value = value,
					     .len = (size_t)(end - value)});
	} else if (!strcmp(key, "size")) {
		v->has_size = true;
		rc = parse_decimal(value, end, INT64_MAX, &v->size);
	} else if (!strcmp(key, "mtime")) {
		v->has_mtime = true;
		rc = parse_pax_time(value, end, &v->mtime_sec, &v->mtime_nsec);
	} else if (!strcmp(key, "uid")) {
		v->has_uid = true;
		rc = parse_decimal(value, end, UINT32_MAX, &n);
		v->uid = rc < 0 ? 0 : (uint32_t)n;
	} else if (!strcmp(key, "gid")) {
		v->has_gid = true;
		rc = parse_decimal(value, end, UINT32_MAX, &n);
		v->gid = rc < 0 ? 0 : (uint32_t)n;
	}
	return rc < 0 ? error_set(err, EBADMSG, "pax record '%s' is malformed", key) : 0;
}

/* Records "LENGTH KEY=VALUE\n", LENGTH counting all of itself. */
static int parse_pax(struct tar_reader *r, struct strbuf *buf, bool global, struct pax_values *v,
	struct error *err)
{
	char *p = buf->data, *stop = buf->data + buf->len;
	while (p < stop) {
		char *space = memchr(p, ' ', (size_t)(stop - p));
		uint64_t len;
		if (!space || parse_decimal(p, space, TAR_PAX_MAX, &len) < 0 ||
			len > (uint64_t)(stop - p) || len <= (uint64_t)(space + 1 - p) ||
			p[len - 1] != '\n')
			return error_set(err, EBADMSG, "malformed pax header");
		char *key = space + 1, *end = p + len - 1;
		char *eq = memchr(key, '=', (size_t)(end - key));
		if (!eq || eq == key || memchr(key, '\0', (size_t)(eq - key)))
			return error_set(err, EBADMSG, "malformed pax header");
		*eq = '\0';
		*end = '\0';
		int rc = pax_record(r, key, eq + 1, end, global, v, err);
		if (rc < 0)
			return rc;
		p += len;
	}
	return 0;
}

/* Reads the data of an extension header into buf. */
static int read_extension(struct tar_reader *r, const struct ustar *h, uint64_t max,
	struct strbuf *buf, struct error *err)
{
	int64_t size;
	if (parse_number(h->size, sizeof(h->size), &size) < 0 || size < 0 || (uint64_t)size > max)
		return error_set(err, EBADMSG, "extension header with a bad size");
	strbuf_clear(buf);
	strbuf_reserve(buf, (size_t)size);
	int rc = read_all(r, buf->data, (size_t)size, "an extension header", err);
	if (rc < 0)
		return rc;
	buf->len = (size_t)size;
	buf->data[buf->len] = '\0';
	return seek_to(r, align_up(r->pos, TAR_BLOCK_BYTES), err);
}

static const char *field_string(const char *field, size_t len, struct strbuf *out)
{
	strbuf_add(out, field, strnlen(field, len));
	return out->data;
}

/* Chooses among pax, GNU and header fields and cleans. */
static int entry_names(struct tar_reader *r, const struct ustar *h, const struct pax_values *v,
	struct tar_entry *e, struct error *err)
{
	struct strbuf raw _strbuf_ = STRBUF_INIT;
	if (v->path)
		strbuf_adds(&raw, v->path);
	else if (r->longname.len)
		strbuf_adds(&raw, r->longname.data);
	else {
		/* GNU headers ("ustar  ") keep times where ustar has the prefix. */
		if (!memcmp(h->magic, "ustar", 6) && h->prefix[0]) {
			field_string(h->prefix, sizeof(h->prefix), &raw);
			strbuf_addc(&raw, '/');
		}
		field_string(h->name, sizeof(h->name), &raw);
	}
	if (raw.len == 0 || raw.len > TAR_PATH_MAX || tar_path_clean(raw.data, &r->path) < 0)
		return error_set(err, EBADMSG, "entry with an unsafe name '%.200s'",
			raw.data ? raw.data : "");
	if (e->type == TAR_FILE && raw.data[raw.len - 1] == '/')
		e->type = TAR_DIR; /* v7 had no type for directories */

	strbuf_clear(&raw);
	strbuf_clear(&r->link);
	strbuf_reserve(&r->link, 0);
	if (e->type == TAR_HARDLINK || e->type == TAR_SYMLINK) {
		if (v->linkpath)
			strbuf_adds(&raw, v->linkpath);
		else if (r->longlink.len)
			strbuf_adds(&raw, r->longlink.data);
		else
			field_string(h->linkname, sizeof(h->linkname), &raw);
		if (raw.len == 0 || raw.len > TAR_PATH_MAX)
			return error_set(err, EBADMSG, "%s: bad link target", r->path.data);
		if (e->type == TAR_SYMLINK)
			strbuf_adds(&r->link, raw.data);
		else if (tar_path_clean(raw.data, &r->link) < 0 || r->link.len == 0)
			return error_set(err, EBADMSG, "%s: unsafe hard link to '%.200s'",
				r->path.data, raw.data);
	}
	e->path = r->path.data;
	e->linkname = r->link.data;
	if (!e->path[0] && e->type != TAR_DIR)
		return error_set(err, EBADMSG, "the root is not a directory");
	return 0;
}

static int entry_type(const struct ustar *h, struct tar_entry *e, struct error *err)
{
	switch (h->typeflag) {
	case '\0':
	case '7':
		e->type = TAR_FILE;
		return 0;
	case TAR_FILE:
	case TAR_HARDLINK:
	case TAR_SYMLINK:
	case TAR_CHARDEV:
	case TAR_BLOCKDEV:
	case TAR_DIR:
	case TAR_FIFO:
		e->type = (enum tar_type)h->typeflag;
		return 0;
	}
	return error_set(err, ENOTSUP, "entry type 0x%02x is not supported", (uint8_t)h->typeflag);
}

static int entry_numbers(struct tar_reader *r, const struct ustar *h, const struct pax_values *v,
	struct tar_entry *e, struct error *err)
{
	int64_t size = 0;
	bool bad = parse_u32(h->mode, sizeof(h->mode), &e->mode) < 0;
	bad |= !v->has_uid && parse_u32(h->uid, sizeof(h->uid), &e->uid) < 0;
	bad |= !v->has_gid && parse_u32(h->gid, sizeof(h->gid), &e->gid) < 0;
	bad |= !v->has_size && (parse_number(h->size, sizeof(h->size), &size) < 0 || size < 0);
	bad |= !v->has_mtime && parse_number(h->mtime, sizeof(h->mtime), &e->mtime_sec) < 0;
	if (e->type == TAR_CHARDEV || e->type == TAR_BLOCKDEV) {
		bad |= parse_u32(h->devmajor, sizeof(h->devmajor), &e->devmajor) < 0;
		bad |= parse_u32(h->devminor, sizeof(h->devminor), &e->devminor) < 0;
	}
	if (v->has_uid)
		e->uid = v->uid;
	if (v->has_gid)
		e->gid = v->gid;
	if (v->has_mtime) {
		e->mtime_sec = v->mtime_sec;
		e->mtime_nsec = v->mtime_nsec;
	}
	e->mode &= 07777;
	e->size = v->has_size ? v->size : (uint64_t)size;
	if (e->type != TAR_FILE)
		e->size = 0; /* old tars give hard links and directories a size, but no data */
	uint64_t limit = MIN(r->size, (uint64_t)INT64_MAX - TAR_BLOCK_BYTES);
	if (bad)
		return error_set(err, EBADMSG, "%s: malformed number", e->path);
	if (!range_fits(r->pos, e->size, limit))
		return error_set(err, EBADMSG, "%s: %" PRIu64 " bytes go past the archive's end",
			e->path, e->size);
	return 0;
}

/* Reads a header block: 1, 0 at the end of the archive, -errno. */
static int read_header(struct tar_reader *r, struct ustar *h, bool inside, struct error *err)
{
	ssize_t n = read_some(r, h, sizeof(*h), err);
	if (n < 0)
		return (int)n;
	if (n == 0 || (size_t)n < sizeof(*h))
		return error_set(
			err, EBADMSG, "archive ends without its end mark at byte %" PRIu64, r->pos);
	if (all_zero(h, sizeof(*h))) {
		/* Two zero blocks end an archive; some writers leave out the second. */
		n = inside ? 1 : read_some(r, h, sizeof(*h), err);
		if (n < 0)
			return (int)n;
		if (n && !(n == sizeof(*h) && all_zero(h, sizeof(*h))))
			return error_set(err, EBADMSG, "stray zero block at byte %" PRIu64, r->pos);
		return 0;
	}
	if (!checksum_ok(h))
		return error_set(
			err, EBADMSG, "bad header checksum at byte %" PRIu64, r->pos - sizeof(*h));
	return 1;
}

/* Reads extension headers and the entry's own header. */
static int read_headers(
	struct tar_reader *r, struct ustar *h, struct pax_values *v, struct error *err)
{
	bool inside = false, seen_pax = false;
	for (;;) {
		int rc = read_header(r, h, inside, err);
		if (rc <= 0)
			return rc;
		struct strbuf global _strbuf_ = STRBUF_INIT;
		switch (h->typeflag) {
		case 'L':
			rc = r->longname.len ? -EBADMSG : 0;
			if (!rc)
				rc = read_extension(r, h, TAR_PATH_MAX + 1, &r->longname, err);
			break;
		case 'K':
			rc = r->longlink.len ? -EBADMSG : 0;
			if (!rc)
				rc = read_extension(r, h, TAR_PATH_MAX + 1, &r->longlink, err);
			break;
		case 'x':
			rc = seen_pax ? -EBADMSG : 0;
			seen_pax = true;
			if (!rc)
				rc = read_extension(r, h, TAR_PAX_MAX, &r->pax, err);
			if (!rc)
				rc = parse_pax(r, &r->pax, false, v, err);
			break;
		case 'g':
			rc = read_extension(r, h, TAR_PAX_MAX, &global, err);
			if (!rc)
				rc = parse_pax(r, &global, true, v, err);
			break;
		default:
			return 1;
		}
		if (rc < 0 && err && !err->code)
			error_set(err, EBADMSG, "two extension headers of one kind in a row");
		if (rc < 0)
			return rc;
		inside = h->typeflag != 'g';
	}
}

static int next_entry(struct tar_reader *r, struct tar_entry *e, struct error *err)
{
	struct ustar h;
	struct pax_values v = {0};
	strbuf_clear(&r->longname);
	strbuf_clear(&r->longlink);
	strbuf_clear(&r->pax);
	vec_clear(&r->xattrs);
	int rc = seek_to(r, r->next_header, err);
	if (rc < 0)
		return rc;
	rc = read_headers(r, &h, &v, err);
	if (rc <= 0)
		return rc;
	rc = entry_type(&h, e, err);
	if (rc == 0)
		rc = entry_names(r, &h, &v, e, err);
	if (rc == 0)
		rc = entry_numbers(r, &h, &v, e, err);
	if (rc < 0)
		return rc;
	e->xattrs = r->xattrs.items;
	e->n_xattrs = r->xattrs.len;
	e->data_offset = r->pos;
	r->data_left = e->size;
	r->next_header = align_up(r->pos + e->size, TAR_BLOCK_BYTES);
	return 1;
}

int tar_reader_next(struct tar_reader *r, struct tar_entry *out, struct error *err)
{
	struct tar_entry e = {0};
	if (r->failed)
		return error_set(err, EBADMSG, "archive is damaged");
	if (r->ended)
		return 0;
	int rc = next_entry(r, &e, err);
	if (rc == 1)
		*out = e;
	else if (rc == 0)
		r->ended = true;
	else
		r->failed = true;
	return rc;
}

ssize_t tar_reader_read(struct tar_reader *r, void *buf, size_t len, struct error *err)
{
	size_t want = (size_t)MIN((uint64_t)len, r->data_left);
	if (want == 0)
		return 0;
	int rc = read_all(r, buf, want, "an entry's data", err);
	if (rc < 0) {
		r->failed = true;
		return rc;
	}
	r->data_left -= want;
	return (ssize_t)want;
}
