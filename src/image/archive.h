// SPDX-License-Identifier: Apache-2.0
// A Debian archive: the mirror, its signed index, its packages. For the files of image/ only.
// Formats: https://wiki.debian.org/DebianRepository/Format, deb822(5), policy chapter 7.
#ifndef STRATA_IMAGE_ARCHIVE_H
#define STRATA_IMAGE_ARCHIVE_H

#include "base/vec.h"
#include "image/download.h"
#include "image/names.h"

struct archive_package {
	struct slice name, version, text; /* text: the whole stanza */
	bool base;			  /* essential, required, or apt */
	bool chosen;			  /* by archive_resolve() */
};

struct archive_provide {
	struct slice name, version; /* version.p NULL: unversioned */
	uint32_t package;
};

struct archive {
	struct image_store *store;
	const struct image_arch *arch;
	char *mirror;			      /* without a '/' at the end */
	char *suite;			      /* as asked: "trixie" */
	int64_t date;			      /* of the release, seconds since 1970 */
	struct strbuf text;		      /* Packages */
	VEC(struct archive_package) packages; /* sorted by name, newest version first */
	VEC(struct archive_provide) provides; /* sorted by name */
};

/* Gets and checks everything; *a is zeroed on entry. The pull lock must be held. */
int archive_open(struct archive *a, struct image_store *s, const char *suite,
	const struct image_arch *arch, const struct image_progress *progress, struct error *err);
void archive_done(struct archive *a);

/* The newest package of that name, or NULL. */
struct archive_package *archive_find(struct archive *a, struct slice name);
/* Reads what a .deb is downloaded by from the stanza. */
int archive_download(const struct archive *a, const struct archive_package *p, struct download *out,
	struct error *err);
/* Indexes a Packages text that is in a->text. Called by archive_open(); tests call it too. */
int archive_index(struct archive *a, struct error *err);

/* Marks what must be installed for `roots` (package indexes): their Pre-Depends and Depends, and so
 * on. The first alternative that exists and does not conflict is taken; there is no going back.
 * -ENOENT, -EBADMSG. */
int archive_resolve(struct archive *a, const uint32_t *roots, size_t n, struct error *err);

/* Verifies a clear-signed document with gpgv; *out gets what was signed and nothing else.
 * -EKEYREJECTED when no key of the keyring made a valid signature, or one is bad. */
int gpgv_verify(const char *keyring, const struct strbuf *signed_text, struct strbuf *out,
	struct error *err);

/* The first Debian archive in apt's lists; the public one when there is none. */
char *mirror_find(const char *apt_dir);
/* Without user:password@. */
char *mirror_public(const char *mirror);
/* "Sat, 12 Sep 2026 07:55:41 UTC" -> seconds since 1970. */
int archive_date(struct slice s, int64_t *out);
void archive_format_date(int64_t date, char out[21]); /* RFC 3339 */

#endif
