// SPDX-License-Identifier: Apache-2.0
// Which blobs were found to have their digest: verified/HEX says which file that was, as it was
// then. The change time cannot be set, so a file that somebody wrote to, replaced or copied is read
// again before it is used; what a disk corrupts silently only image_verify() finds.
#include "image/store.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STAMP_BYTES = 160 };

static char *stamp_path(const struct image_store *s, const char *digest)
{
	return xasprintf("%s/verified/%s", s->images, digest + 7);
}

static int stamp_of(int fd, char out[STAMP_BYTES])
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	snprintf(out, STAMP_BYTES, "inode %" PRIu64 " size %" PRIu64 " changed %" PRId64 ".%09ld\n",
		(uint64_t)st.st_ino, (uint64_t)st.st_size, (int64_t)st.st_ctim.tv_sec,
		st.st_ctim.tv_nsec);
	return 0;
}

/* A store that cannot be written to, or a torn stamp, costs reading the blob again. */
static void write_stamp(const struct image_store *s, const char *digest, const char *stamp)
{
	char *dir _free_ = xasprintf("%s/verified", s->images);
	char *path _free_ = stamp_path(s, digest);
	mkdir(dir, 0777);
	int fd _close_ = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (fd >= 0 && write(fd, stamp, strlen(stamp)) < 0)
		unlink(path);
}

void blob_note_verified(const struct image_store *s, const char *digest, int fd)
{
	char stamp[STAMP_BYTES];
	if (stamp_of(fd, stamp) == 0)
		write_stamp(s, digest, stamp);
}

int blob_verify(struct image_store *s, const char *digest, int fd,
	void (*bytes)(void *opaque, uint64_t n), void *opaque, struct error *err)
{
	char hex[DIGEST_HEX_LEN + 1], before[STAMP_BYTES], after[STAMP_BYTES];
	int rc = stamp_of(fd, before);
	if (rc < 0)
		return error_errno(err, -rc, "blob %.19s…", digest);
	rc = digest_fd(fd, hex, bytes, opaque, err);
	if (rc < 0)
		return rc;
	if (strcmp(hex, digest + 7)) {
		char *path _free_ = stamp_path(s, digest);
		unlink(path);
		error_set(err, EBADMSG, "blob %.19s… is damaged", digest);
		error_remedy(err, "get the image again with `strata image pull --refresh`");
		return -EBADMSG;
	}
	if (stamp_of(fd, after) == 0 && !strcmp(before, after))
		write_stamp(s, digest, after);
	return 0;
}

int blob_verify_changed(struct image_store *s, const char *digest, int fd, struct error *err)
{
	char now[STAMP_BYTES];
	char *path _free_ = stamp_path(s, digest);
	struct strbuf then _strbuf_ = STRBUF_INIT;
	if (stamp_of(fd, now) == 0 && store_read_file(path, STAMP_BYTES, &then, NULL) == 0 &&
		then.len == strlen(now) && !memcmp(then.data, now, then.len))
		return 0;
	return blob_verify(s, digest, fd, NULL, NULL, err);
}
