// SPDX-License-Identifier: Apache-2.0
#include "wire/deb.h"

#include <sys/stat.h>
#include <unistd.h>

struct ar_header {
	char name[16];
	char mtime[12], uid[6], gid[6], mode[8];
	char size[10];
	char end[2];
};
_Static_assert(sizeof(struct ar_header) == 60, "ar header");

#define MEMBERS_MAX 64

static int read_at(int fd, void *buf, size_t len, uint64_t pos, struct error *err)
{
	struct stream_range r = {.fd = fd, .pos = pos, .end = pos + len};
	for (size_t got = 0; got < len;) {
		ssize_t n = stream_range_read(&r, (char *)buf + got, len - got, err);
		if (n < 0)
			return (int)n;
		got += (size_t)n;
	}
	return 0;
}

static int parse_size(const char *field, size_t len, uint64_t *out)
{
	size_t i = 0;
	*out = 0;
	for (; i < len && field[i] >= '0' && field[i] <= '9'; i++)
		*out = *out * 10 + (uint64_t)(field[i] - '0');
	if (i == 0)
		return -EBADMSG;
	for (; i < len; i++)
		if (field[i] != ' ')
			return -EBADMSG;
	return 0;
}

/* "control.tar", "control.tar.xz": true when name is stem plus a known suffix. */
static bool member_is(const char *name, const char *stem, struct deb_member *m)
{
	size_t n = strlen(stem);
	if (strncmp(name, stem, n))
		return false;
	m->compression = compression_of_name(name);
	return !name[n] || m->compression != COMPRESSION_NONE;
}

static int check_version(int fd, uint64_t offset, uint64_t size, struct error *err)
{
	char version[2];
	if (size < 4 || size > 64 || read_at(fd, version, 2, offset, NULL) < 0 ||
		memcmp(version, "2.", 2))
		return error_set(err, EBADMSG, "not a package of format 2");
	return 0;
}

int deb_open(int fd, struct deb *out, struct error *err)
{
	struct stat st;
	struct deb deb = {0};
	char magic[8];
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "package");
	uint64_t size = (uint64_t)st.st_size, pos = sizeof(magic);
	if (!S_ISREG(st.st_mode) || size < sizeof(magic) ||
		read_at(fd, magic, sizeof(magic), 0, NULL) < 0 || memcmp(magic, "!<arch>\n", 8))
		return error_set(err, EBADMSG, "not a Debian package");
	for (unsigned i = 0; i < MEMBERS_MAX && !deb.data.size; i++) {
		struct ar_header h;
		struct deb_member m = {0};
		char name[sizeof(h.name) + 1];
		if (!range_fits(pos, sizeof(h), size))
			break;
		int rc = read_at(fd, &h, sizeof(h), pos, err);
		if (rc < 0)
			return rc;
		pos += sizeof(h);
		if (memcmp(h.end, "`\n", 2) || parse_size(h.size, sizeof(h.size), &m.size) < 0)
			return error_set(err, EBADMSG, "damaged ar header");
		if (!range_fits(pos, m.size, size))
			return error_set(err, EBADMSG, "package is cut short");
		memcpy(name, h.name, sizeof(h.name));
		name[sizeof(h.name)] = '\0';
		name[strcspn(name, " /")] = '\0';
		m.offset = pos;
		if (i == 0) {
			rc = strcmp(name, "debian-binary")
				     ? error_set(err, EBADMSG, "not a Debian package")
				     : check_version(fd, pos, m.size, err);
			if (rc < 0)
				return rc;
		} else if (member_is(name, "control.tar", &m) && !deb.control.size)
			deb.control = m;
		else if (member_is(name, "data.tar", &m))
			deb.data = m;
		pos += m.size + (m.size & 1);
	}
	if (!deb.control.size || !deb.data.size)
		return error_set(err, EBADMSG, "package lacks its control or data member");
	*out = deb;
	return 0;
}
