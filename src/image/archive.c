// SPDX-License-Identifier: Apache-2.0
#include "image/archive.h"

#include "wire/stream.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define INRELEASE_MAX  (8u << 20)
#define PACKAGES_MAX   (UINT64_C(512) << 20)
#define DEB_MAX	       (UINT64_C(1) << 30)
#define N_PACKAGES_MAX 400000u

void archive_done(struct archive *a)
{
	free(a->mirror);
	free(a->suite);
	strbuf_done(&a->text);
	vec_done(&a->packages);
	vec_done(&a->provides);
	*a = (struct archive){0};
}

/* RFC 2822 date in UTC, the only form that archives use. */
int archive_date(struct slice s, int64_t *out)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	char text[64], month[4], zone[8];
	struct tm tm = {0};
	if (s.len >= sizeof(text))
		return -EBADMSG;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	const char *comma = strchr(text, ',');
	if (!comma || sscanf(comma + 1, " %2d %3s %4d %2d:%2d:%2d %7s", &tm.tm_mday, month,
			      &tm.tm_year, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, zone) != 7)
		return -EBADMSG;
	const char *m = strstr(months, month);
	if (strlen(month) != 3 || !m || (m - months) % 3 ||
		(strcmp(zone, "UTC") && strcmp(zone, "GMT") && strcmp(zone, "+0000")))
		return -EBADMSG;
	tm.tm_mon = (int)(m - months) / 3;
	tm.tm_year -= 1900;
	*out = timegm(&tm);
	return 0;
}

void archive_format_date(int64_t date, char out[21])
{
	time_t t = date;
	struct tm tm;
	out[0] = '\0';
	if (gmtime_r(&t, &tm))
		strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static bool list_has(struct slice list, const char *wanted)
{
	struct slice word;
	while (slice_word(&list, &word))
		if (slice_is(word, wanted))
			return true;
	return false;
}

static bool is_sha256(struct slice s)
{
	if (s.len != DIGEST_HEX_LEN)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!strchr("0123456789abcdef", s.p[i]) || !s.p[i])
			return false;
	return true;
}

/* The index must be of the suite that was asked for (another suite's index has a valid signature
 * too), and in force. */
static int check_release(struct archive *a, const struct deb822_stanza *r, struct error *err)
{
	struct slice until = deb822_get(r, "Valid-Until");
	int64_t end;
	if (!slice_is(deb822_get(r, "Codename"), a->suite) &&
		!slice_is(deb822_get(r, "Suite"), a->suite))
		return error_set(err, EBADMSG, "the index is of suite %.*s, not of %s",
			(int)MIN(deb822_get(r, "Codename").len, (size_t)64),
			deb822_get(r, "Codename").p, a->suite);
	if (!list_has(deb822_get(r, "Architectures"), a->arch->debian))
		return error_set(
			err, ENOENT, "suite %s has no architecture %s", a->suite, a->arch->debian);
	if (archive_date(deb822_get(r, "Date"), &a->date) < 0)
		return error_set(err, EBADMSG, "the index has no date");
	if (until.len) {
		if (archive_date(until, &end) < 0)
			return error_set(err, EBADMSG, "the index has a malformed Valid-Until");
		if (end < time(NULL)) {
			error_set(err, EBADMSG, "the index has expired: the mirror is out of date");
			error_remedy(err, "let STRATA_MIRROR name another mirror, and check "
					  "this host's clock");
			return -EBADMSG;
		}
	}
	return 0;
}

/* Finds the Packages file in the SHA256 list. */
static int find_packages(struct archive *a, const struct deb822_stanza *r, struct download *d,
	enum compression *compression, struct error *err)
{
	static const struct {
		const char *suffix;
		enum compression c;
	} forms[] = {{".xz", COMPRESSION_XZ}, {".gz", COMPRESSION_GZIP}, {"", COMPRESSION_NONE}};
	bool by_hash = slice_is(deb822_get(r, "Acquire-By-Hash"), "yes");
	for (size_t f = 0; f < ARRAY_SIZE(forms); f++) {
		char *name _free_ =
			xasprintf("main/binary-%s/Packages%s", a->arch->debian, forms[f].suffix);
		struct slice rest = deb822_get(r, "SHA256"), line;
		while (slice_line(&rest, &line)) {
			struct slice hash, size, path;
			if (!slice_word(&line, &hash) || !slice_word(&line, &size) ||
				!slice_word(&line, &path) || !slice_is(path, name))
				continue;
			if (!is_sha256(hash) || !slice_u64(size, PACKAGES_MAX, &d->size))
				return error_set(err, EBADMSG, "malformed index entry of %s", name);
			memcpy(d->sha256, hash.p, DIGEST_HEX_LEN);
			d->name = xasprintf("package index of %s", a->suite);
			d->url = by_hash ? xasprintf("%s/dists/%s/main/binary-%s/by-hash/SHA256/%s",
						   a->mirror, a->suite, a->arch->debian, d->sha256)
					 : xasprintf("%s/dists/%s/%s", a->mirror, a->suite, name);
			*compression = forms[f].c;
			return 0;
		}
	}
	return error_set(err, EBADMSG, "the index lists no packages for %s", a->arch->debian);
}

static int compare_packages(const void *x, const void *y)
{
	const struct archive_package *a = x, *b = y;
	int c = slice_cmp(a->name, b->name);
	return c ? c : deb_version_cmp(b->version, a->version);
}

static int compare_provides(const void *x, const void *y)
{
	const struct archive_provide *a = x, *b = y;
	int c = slice_cmp(a->name, b->name);
	return c ? c : (a->package > b->package) - (a->package < b->package);
}

/* Debian policy 5.6.7: these go into paths and messages. */
static bool package_name_ok(struct slice s)
{
	if (s.len < 2 || s.len > 128)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			    (i && (c == '+' || c == '-' || c == '.'))))
			return false;
	}
	return true;
}

static bool version_ok(struct slice s)
{
	if (!s.len || s.len > 200)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("/\\\"'", s.p[i]))
			return false;
	return true;
}

static int index_provides(struct archive *a, uint32_t i, struct slice list, struct error *err)
{
	bool first = true;
	struct deb_dep dep;
	int rc;
	while ((rc = deb_dep_next(&list, &first, &dep)) == 1)
		vec_push(&a->provides, (struct archive_provide){dep.name, dep.version, i});
	return rc < 0 ? error_set(err, EBADMSG, "package %.*s: malformed Provides",
				(int)a->packages.items[i].name.len, a->packages.items[i].name.p)
		      : 0;
}

int archive_index(struct archive *a, struct error *err)
{
	struct deb822 d;
	struct deb822_stanza s;
	int rc;
	deb822_init(&d, a->text.data ? a->text.data : "", a->text.len);
	while ((rc = deb822_next(&d, &s, err)) == 1) {
		struct archive_package p = {.name = deb822_get(&s, "Package"),
			.version = deb822_get(&s, "Version"),
			.text = s.text};
		struct slice arch = deb822_get(&s, "Architecture");
		if (!package_name_ok(p.name) || !version_ok(p.version))
			return error_set(err, EBADMSG, "line %u: malformed package", d.line);
		if (!slice_is(arch, "all") && !slice_is(arch, a->arch->debian))
			continue;
		p.base = slice_is(deb822_get(&s, "Essential"), "yes") ||
			 slice_is(deb822_get(&s, "Priority"), "required") ||
			 slice_is(p.name, "apt");
		vec_push(&a->packages, p);
		if (a->packages.len > N_PACKAGES_MAX)
			return error_set(err, EBADMSG, "too many packages");
	}
	if (rc < 0)
		return rc;
	if (!a->packages.len)
		return error_set(err, EBADMSG, "the index lists no packages");
	qsort(a->packages.items, a->packages.len, sizeof(*a->packages.items), compare_packages);
	for (size_t i = 0; rc == 0 && i < a->packages.len; i++) {
		struct archive_package *p = &a->packages.items[i];
		deb822_init(&d, p->text.p, p->text.len);
		if (deb822_next(&d, &s, NULL) == 1)
			rc = index_provides(a, (uint32_t)i, deb822_get(&s, "Provides"), err);
	}
	if (a->provides.len)
		qsort(a->provides.items, a->provides.len, sizeof(*a->provides.items),
			compare_provides);
	return rc;
}

struct archive_package *archive_find(struct archive *a, struct slice name)
{
	size_t low = 0, high = a->packages.len;
	while (low < high) { /* the first one: the newest version */
		size_t mid = low + (high - low) / 2;
		if (slice_cmp(a->packages.items[mid].name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < a->packages.len && slice_eq(a->packages.items[low].name, name)
		       ? &a->packages.items[low]
		       : NULL;
}

/* "pool/main/…": relative, and no way up. */
static bool filename_ok(struct slice s)
{
	if (!s.len || s.len > 1000 || s.p[0] == '/')
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '?' || s.p[i] == '#' ||
			(s.p[i] == '.' && i + 1 < s.len && s.p[i + 1] == '.'))
			return false;
	return true;
}

int archive_download(const struct archive *a, const struct archive_package *p, struct download *out,
	struct error *err)
{
	struct deb822 d;
	struct deb822_stanza s;
	deb822_init(&d, p->text.p, p->text.len);
	if (deb822_next(&d, &s, err) != 1)
		return -EBADMSG;
	struct slice file = deb822_get(&s, "Filename"), hash = deb822_get(&s, "SHA256");
	uint64_t size;
	if (!filename_ok(file) || !is_sha256(hash) ||
		!slice_u64(deb822_get(&s, "Size"), DEB_MAX, &size))
		return error_set(err, EBADMSG, "package %.*s: malformed index entry",
			(int)p->name.len, p->name.p);
	*out = (struct download){.size = size};
	memcpy(out->sha256, hash.p, DIGEST_HEX_LEN);
	out->name = xasprintf(
		"%.*s %.*s", (int)p->name.len, p->name.p, (int)p->version.len, p->version.p);
	out->url = xasprintf("%s/%.*s", a->mirror, (int)file.len, file.p);
	return 0;
}

static int load_packages(struct archive *a, const struct download *d, enum compression compression,
	struct error *err)
{
	struct decompress *z;
	int fd _close_ = download_open(a->store, d->sha256, err);
	if (fd < 0)
		return fd;
	struct stream_range range = {.fd = fd, .end = d->size};
	int rc = decompress_new(&z, compression, stream_range_read, &range, PACKAGES_MAX, err);
	if (rc < 0)
		return rc;
	rc = stream_read_all(decompress_read, z, PACKAGES_MAX, &a->text, err);
	decompress_free(z);
	return rc < 0 ? error_wrap(err, rc, "%s", d->name) : archive_index(a, err);
}

static int get_release(struct archive *a, struct strbuf *release, struct error *err)
{
	struct strbuf signed_text _strbuf_ = STRBUF_INIT;
	char *url _free_ = xasprintf("%s/dists/%s/InRelease", a->mirror, a->suite);
	int rc = download_text(a->store, url, INRELEASE_MAX, &signed_text, err);
	if (rc == -ENOENT) {
		error_remedy(err, "the mirror has no suite '%s': check its name, or STRATA_MIRROR",
			a->suite);
		return rc;
	}
	if (rc == 0)
		rc = gpgv_verify(a->store->keyring, &signed_text, release, err);
	return rc < 0 ? error_wrap(err, rc, "%s", url) : 0;
}

int archive_open(struct archive *a, struct image_store *s, const char *suite,
	const struct image_arch *arch, const struct image_progress *progress, struct error *err)
{
	struct strbuf release _strbuf_ = STRBUF_INIT;
	struct deb822 parser;
	struct deb822_stanza stanza;
	struct download packages = {0};
	enum compression compression = COMPRESSION_NONE;
	*a = (struct archive){.store = s, .arch = arch, .suite = xstrdup(suite)};
	a->mirror = s->mirror ? xstrdup(s->mirror) : mirror_find(s->apt_dir);
	for (size_t n = strlen(a->mirror); n && a->mirror[n - 1] == '/'; n--)
		a->mirror[n - 1] = '\0';
	progress_stage(progress, "Reading the index of %s", suite);
	int rc = get_release(a, &release, err);
	if (rc < 0)
		return rc;
	deb822_init(&parser, release.data, release.len);
	rc = deb822_next(&parser, &stanza, err);
	if (rc != 1)
		return rc < 0 ? error_wrap(err, rc, "index of %s", suite)
			      : error_set(err, EBADMSG, "the index of %s is empty", suite);
	rc = check_release(a, &stanza, err);
	if (rc == 0)
		rc = find_packages(a, &stanza, &packages, &compression, err);
	if (rc == 0)
		rc = download_all(s, &packages, 1, progress, err);
	if (rc == 0)
		rc = load_packages(a, &packages, compression, err);
	download_done(&packages);
	return rc;
}
