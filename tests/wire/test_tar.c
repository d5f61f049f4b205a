// SPDX-License-Identifier: Apache-2.0
#include "tap.h"
#include "wire/tar.h"

#include <stdio.h>

static int collect(void *opaque, const void *bytes, size_t len, struct error *err)
{
	strbuf_add(opaque, bytes, len);
	return 0;
}

static void round_trip(void)
{
	struct strbuf out _strbuf_ = STRBUF_INIT;
	struct error err _error_ = ERROR_INIT;
	char deep[3000], odd[240];
	memset(odd, 'n', sizeof(odd) - 1);
	odd[sizeof(odd) - 1] = 0;
	size_t n = 0;
	while (n < sizeof(deep) - 9)
		n += (size_t)sprintf(deep + n, "dir-%03zu/", n / 8 % 1000);
	strcpy(deep + n, "f");
	struct tar_xattr xa[] = {{"security.capability", "\1\0\0\2\0=\n", 7}, {"user.x", "", 0}};
	const struct tar_entry in[] = {
		{.path = "", .type = TAR_DIR, .mode = 0755, .linkname = ""},
		{.path = deep,
			.type = TAR_FILE,
			.mode = 04755,
			.size = 700,
			.uid = 3000000000u,
			.gid = 5,
			.mtime_sec = 1700000000,
			.mtime_nsec = 5,
			.linkname = "",
			.xattrs = xa,
			.n_xattrs = 2},
		{.path = odd,
			.type = TAR_SYMLINK,
			.linkname = deep,
			.mode = 0777,
			.mtime_sec = -2,
			.mtime_nsec = 250000000},
		{.path = "hard", .type = TAR_HARDLINK, .linkname = odd, .mode = 0600},
		{.path = "dev/x",
			.type = TAR_CHARDEV,
			.devmajor = 5,
			.devminor = 1,
			.linkname = ""},
		{.path = "empty", .type = TAR_FILE, .mtime_sec = 9000000000, .linkname = ""},
	};
	struct tar_writer w;
	char body[700];
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (char)i;
	tar_writer_init(&w, collect, &out);
	for (size_t i = 0; i < ARRAY_SIZE(in); i++) {
		REQUIRE(tar_writer_entry(&w, &in[i], &err) == 0);
		if (in[i].size) {
			CHECK_EQ(tar_writer_data(&w, body, 300, &err), 0);
			CHECK_EQ(tar_writer_data(&w, body + 300, 401, &err), -EINVAL);
			CHECK_EQ(tar_writer_data(&w, body + 300, 400, &err), 0);
		}
	}
	CHECK_EQ(tar_writer_end(&w, &err), 0);
	CHECK_EQ(out.len % TAR_BLOCK_BYTES, 0);
	struct tar_reader r;
	struct tar_entry e;
	tar_reader_init_mem(&r, out.data, out.len);
	for (size_t i = 0; i < ARRAY_SIZE(in); i++) {
		REQUIRE(tar_reader_next(&r, &e, &err) == 1);
		CHECK_STR(e.path, in[i].path);
		CHECK_STR(e.linkname, in[i].linkname);
		CHECK_EQ(e.type, in[i].type);
		CHECK_EQ(e.mode, in[i].mode);
		CHECK_EQ(e.uid, in[i].uid);
		CHECK_EQ(e.gid, in[i].gid);
		CHECK_EQ(e.size, in[i].size);
		CHECK_EQ(e.mtime_sec, in[i].mtime_sec);
		CHECK_EQ(e.mtime_nsec, in[i].mtime_nsec);
		CHECK_EQ(e.devmajor, in[i].devmajor);
		CHECK_EQ(e.devminor, in[i].devminor);
		REQUIRE(e.n_xattrs == in[i].n_xattrs);
		for (size_t x = 0; x < e.n_xattrs; x++) {
			CHECK_STR(e.xattrs[x].name, xa[x].name);
			REQUIRE(e.xattrs[x].len == xa[x].len);
			CHECK(!memcmp(e.xattrs[x].value, xa[x].value, xa[x].len));
		}
		if (e.size) {
			char got[800];
			CHECK(!memcmp(out.data + e.data_offset, body, sizeof(body)));
			CHECK_EQ(tar_reader_read(&r, got, sizeof(got), &err), 700);
			CHECK(!memcmp(got, body, sizeof(body)));
			CHECK_EQ(tar_reader_read(&r, got, sizeof(got), &err), 0);
		}
	}
	CHECK_EQ(tar_reader_next(&r, &e, &err), 0);
	CHECK_EQ(tar_reader_next(&r, &e, &err), 0);
	tar_reader_done(&r);
	/* Cut anywhere, the end is an error and never a shorter archive. */
	for (size_t cut = 0; cut < out.len - TAR_BLOCK_BYTES; cut += 100) {
		int rc;
		tar_reader_init_mem(&r, out.data, cut);
		while ((rc = tar_reader_next(&r, &e, &err)) == 1)
			;
		CHECK_EQ(rc, -EBADMSG);
		tar_reader_done(&r);
	}
}

/* One header block and 512 bytes of data, checksum fixed up. */
static void make_header(char *b, const char *name, char type, const char *size_octal)
{
	memset(b, 0, 512);
	strncpy(b, name, 100);
	memcpy(b + 100, "0000644", 8);
	memcpy(b + 108, "0000000", 8);
	memcpy(b + 116, "0000000", 8);
	memcpy(b + 124, size_octal, strlen(size_octal));
	memcpy(b + 136, "00000000000", 12);
	b[156] = type;
	memcpy(b + 257, "ustar\00000", 8);
	memset(b + 148, ' ', 8);
	unsigned sum = 0;
	for (int i = 0; i < 512; i++)
		sum += (unsigned char)b[i];
	sprintf(b + 148, "%06o", sum);
}

static int read_one(const char *archive, size_t len, struct tar_entry *e, struct error *err)
{
	struct tar_reader r;
	tar_reader_init_mem(&r, archive, len);
	int rc = tar_reader_next(&r, e, err);
	tar_reader_done(&r);
	return rc;
}

static void refuses(void)
{
	char b[4 * 512] = {0};
	struct tar_entry e;
	struct error err _error_ = ERROR_INIT;
	static const struct {
		const char *name;
		char type;
		const char *size;
		int want;
	} cases[] = {
		{"ok", '0', "00000000000", 1},
		{"./ok/./x", '0', "00000000000", 1},
		{"/abs", '0', "00000000000", 1},
		{"../up", '0', "00000000000", -EBADMSG},
		{"a/../b", '0', "00000000000", -EBADMSG},
		{"", '0', "00000000000", -EBADMSG},
		{"./", '2', "00000000000", -EBADMSG},
		{"f", '0', "00000003777", -EBADMSG},
		{"f", '0', "77777777777", -EBADMSG},
		{"f", '0', "-1", -EBADMSG},
		{"f", '0', "0000000009", -EBADMSG},
		{"f", 'S', "00000000000", -ENOTSUP},
		{"f", 'V', "00000000000", -ENOTSUP},
		{"f", '1', "00000000000", -EBADMSG},
		{"f", 'x', "00004000001", -EBADMSG},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		make_header(b, cases[i].name, cases[i].type, cases[i].size);
		int rc = read_one(b, sizeof(b), &e, &err);
		if (rc != cases[i].want)
			TAP_FAIL_("case %zu (%s): %d", i, cases[i].name, rc);
	}
	make_header(b, "ok", '0', "00000000000");
	b[0] ^= 1;
	CHECK_EQ(read_one(b, sizeof(b), &e, &err), -EBADMSG);
	CHECK_CONTAINS(err.message, "checksum");
}

static void pax_oddities(void)
{
	static const struct {
		const char *pax;
		int want;
	} cases[] = {
		{"11 path=abc\n", -EBADMSG},
		{"12 path=abc\n", 1},
		{"12 path=../\n", -EBADMSG},
		{"13 path=abc\n", -EBADMSG},
		{"99999999999999999999 path=abc\n", -EBADMSG},
		{"0 \n", -EBADMSG},
		{"5 a=\n", 1},
		{"5 ==\n", -EBADMSG},
		{"4 =\n", -EBADMSG},
		{"23 GNU.sparse.major=1\n\n", -ENOTSUP},
		{"14 mtime=1.5x\n", -EBADMSG},
		{"15 mtime=-1.25\n", 1},
		{"10 size=1\n", 1},
		{"30 size=99999999999999999999\n\n", -EBADMSG},
		{"10 uid=-1\n", -EBADMSG},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char b[8 * 512] = {0}, size[12];
		struct tar_entry e;
		struct error err _error_ = ERROR_INIT;
		sprintf(size, "%011o", (unsigned)strlen(cases[i].pax));
		make_header(b, "PaxHeader", 'x', size);
		strcpy(b + 512, cases[i].pax);
		make_header(b + 1024, "plain", '0', "00000000000");
		int rc = read_one(b, sizeof(b), &e, &err);
		if (rc != cases[i].want)
			TAP_FAIL_("case %zu (%s): %d", i, cases[i].pax, rc);
	}
}

int main(void)
{
	RUN(round_trip);
	RUN(refuses);
	RUN(pax_oddities);
	return tap_done();
}
