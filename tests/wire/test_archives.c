// SPDX-License-Identifier: Apache-2.0
// Decompression, .deb, cpio, module information, OCI documents.
#include "tap.h"
#include "wire/cpio.h"
#include "wire/deb.h"
#include "wire/modinfo.h"
#include "wire/oci.h"

#include <elf.h>
#include <lzma.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

static size_t compress_as(enum compression c, const void *in, size_t len, uint8_t *out, size_t cap)
{
	size_t pos = 0;
	z_stream z = {0};
	switch (c) {
	case COMPRESSION_XZ:
		return lzma_easy_buffer_encode(
			       1, LZMA_CHECK_CRC64, NULL, in, len, out, &pos, cap) == LZMA_OK
			       ? pos
			       : 0;
	case COMPRESSION_ZSTD:
		return ZSTD_compress(out, cap, in, len, 1);
	case COMPRESSION_GZIP:
		deflateInit2(&z, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
		z.next_in = (Bytef *)(uintptr_t)in;
		z.avail_in = (uInt)len;
		z.next_out = out;
		z.avail_out = (uInt)cap;
		deflate(&z, Z_FINISH);
		deflateEnd(&z);
		return z.total_out;
	default:
		memcpy(out, in, len);
		return len;
	}
}

static int inflate_all(enum compression c, const uint8_t *in, size_t len, uint64_t limit,
	struct strbuf *out, struct error *err)
{
	struct stream_mem m = {in, in + len};
	struct decompress *d;
	int rc = decompress_new(&d, c, stream_mem_read, &m, limit, err);
	if (rc == 0)
		rc = stream_read_all(decompress_read, d, UINT64_MAX, out, err);
	decompress_free(d);
	return rc;
}

static void decompression(void)
{
	static uint8_t data[300000], packed[700000];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * i >> 7);
	for (enum compression c = COMPRESSION_GZIP; c <= COMPRESSION_ZSTD; c++) {
		struct strbuf out _strbuf_ = STRBUF_INIT;
		struct error err _error_ = ERROR_INIT;
		size_t n = compress_as(c, data, sizeof(data), packed, sizeof(packed) / 2);
		REQUIRE(n > 0);
		CHECK_EQ(inflate_all(c, packed, n, sizeof(data), &out, &err), 0);
		CHECK(out.len == sizeof(data) && !memcmp(out.data, data, out.len));
		CHECK_EQ(inflate_all(c, packed, n, sizeof(data) - 1, &out, &err), -EFBIG);
		/* Cut anywhere it is damaged, never just shorter. */
		for (size_t cut = 1; cut < n; cut += n / 50 + 1) {
			strbuf_clear(&out);
			CHECK_EQ(inflate_all(c, packed, cut, UINT64_MAX, &out, &err), -EBADMSG);
		}
		/* Two streams in a row are one; garbage behind is not accepted. */
		memcpy(packed + n, packed, n);
		strbuf_clear(&out);
		CHECK_EQ(inflate_all(c, packed, 2 * n, UINT64_MAX, &out, &err), 0);
		CHECK_EQ(out.len, 2 * sizeof(data));
		memset(packed + n, 'G', 64);
		CHECK_EQ(inflate_all(c, packed, n + 64, UINT64_MAX, &out, &err), -EBADMSG);
	}
}

static int open_bytes(const void *bytes, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	return write(fd, bytes, len) == (ssize_t)len ? fd : -1;
}

static void debs(void)
{
	static const char deb[] =
		"!<arch>\n"
		"debian-binary   0           0     0     100644  4         `\n2.0\n"
		"_extra          0           0     0     100644  1         `\nx\n"
		"control.tar.xz/ 0           0     0     100644  3         `\nabc\n"
		"data.tar        0           0     0     100644  5         `\nhello";
	struct deb d;
	struct error err _error_ = ERROR_INIT;
	int fd _close_ = open_bytes(deb, sizeof(deb) - 1);
	REQUIRE(deb_open(fd, &d, &err) == 0);
	CHECK(!memcmp(deb + d.control.offset, "abc", 3) && d.control.size == 3);
	CHECK_EQ(d.control.compression, COMPRESSION_XZ);
	CHECK(!memcmp(deb + d.data.offset, "hello", 5) && d.data.size == 5);
	CHECK_EQ(d.data.compression, COMPRESSION_NONE);
	for (size_t cut = 0; cut < sizeof(deb) - 1; cut++) {
		int part _close_ = open_bytes(deb, cut);
		CHECK_EQ(deb_open(part, &d, &err), -EBADMSG);
	}
	char odd[sizeof(deb)];
	memcpy(odd, deb, sizeof(deb));
	odd[8 + 60] = '3'; /* format 3.0 */
	int other _close_ = open_bytes(odd, sizeof(odd) - 1);
	CHECK_EQ(deb_open(other, &d, &err), -EBADMSG);
}

static void cpio(void)
{
	struct strbuf out _strbuf_ = STRBUF_INIT;
	cpio_add_dir(&out, "d", 0755);
	cpio_add_file(&out, "d/f", 0644, "hello", 5);
	cpio_add_symlink(&out, "l", "d/f");
	cpio_add_node(&out, "c", S_IFCHR | 0600, 5, 1);
	cpio_add_trailer(&out);
	CHECK_EQ(out.len % 4, 0);
	CHECK(!memcmp(out.data, "070701", 6));
	const char *file = memmem(out.data, out.len, "d/f", 4);
	REQUIRE(file);
	/* Name and data start at multiples of four: 110 bytes of header. */
	CHECK_EQ((file - 110 - out.data) % 4, 0);
	CHECK(!memcmp(file - 110 + 6 + 8, "000081a4", 8));
	CHECK(!memcmp(file - 110 + 54, "00000005", 8));
	const char *data = memmem(out.data, out.len, "hello", 5);
	REQUIRE(data);
	CHECK_EQ((data - out.data) % 4, 0);
}

static size_t make_module(uint8_t *b, const char *text, size_t text_len)
{
	static const char names[] = "\0.modinfo\0.shstrtab";
	Elf64_Ehdr h = {.e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 3, .e_shstrndx = 2};
	Elf64_Shdr s[3] = {{0}};
	memcpy(h.e_ident, ELFMAG, SELFMAG);
	h.e_ident[EI_CLASS] = ELFCLASS64;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	s[1] = (Elf64_Shdr){
		.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_offset = sizeof(h), .sh_size = text_len};
	s[2] = (Elf64_Shdr){.sh_name = 10,
		.sh_type = SHT_STRTAB,
		.sh_offset = sizeof(h) + text_len,
		.sh_size = sizeof(names)};
	h.e_shoff = sizeof(h) + text_len + sizeof(names);
	memcpy(b, &h, sizeof(h));
	memcpy(b + sizeof(h), text, text_len);
	memcpy(b + sizeof(h) + text_len, names, sizeof(names));
	memcpy(b + h.e_shoff, s, sizeof(s));
	return h.e_shoff + sizeof(s);
}

static void modules(void)
{
	uint8_t b[1024];
	static const char text[] = "depends=a,b\0softdep=pre: x\0softdep=post: y";
	size_t n = make_module(b, text, sizeof(text));
	struct modinfo m;
	const char *cursor = NULL;
	REQUIRE(modinfo_open(&m, b, n, NULL) == 0);
	CHECK_STR(modinfo_next(&m, "depends", &cursor), "a,b");
	CHECK(!modinfo_next(&m, "depends", &cursor));
	cursor = NULL;
	CHECK_STR(modinfo_next(&m, "softdep", &cursor), "pre: x");
	CHECK_STR(modinfo_next(&m, "softdep", &cursor), "post: y");
	CHECK(!modinfo_next(&m, "softdep", &cursor));
	for (size_t cut = 0; cut < n; cut++)
		CHECK_EQ(modinfo_open(&m, b, cut, NULL), -EBADMSG);
	n = make_module(b, text, sizeof(text) - 1); /* no NUL at the end */
	CHECK_EQ(modinfo_open(&m, b, n, NULL), -EBADMSG);
}

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DESC   "{\"mediaType\":\"t\",\"digest\":\"" DIGEST "\",\"size\":12"

static void oci(void)
{
	static const char manifest[] =
		"{\"schemaVersion\":2,\"artifactType\":\"a/b\",\"config\":" DESC
		"},\"layers\":[" DESC ",\"annotations\":{\"k\":\"v\",\"n\":1}}],\"annotations\":{"
		"\"x\":\"y\"},\"new\":[]}";
	struct oci_manifest m, again;
	struct error err _error_ = ERROR_INIT;
	REQUIRE(oci_manifest_parse(&m, manifest, sizeof(manifest) - 1, &err) == 0);
	CHECK_STR(m.artifact_type, "a/b");
	CHECK_EQ(m.layers.len, 1);
	CHECK_EQ(m.layers.items[0].size, 12);
	CHECK_STR(oci_annotation_get(m.layers.items[0].annotations.items, 1, "k"), "v");
	char *text _free_ = oci_manifest_print(&m);
	REQUIRE(oci_manifest_parse(&again, text, strlen(text), &err) == 0);
	char *second _free_ = oci_manifest_print(&again);
	CHECK_STR(second, text);
	oci_manifest_done(&m);
	oci_manifest_done(&again);
	static const char *const bad[] = {"", "[]", "{}", "{\"schemaVersion\":1}",
		"{\"schemaVersion\":2,\"config\":" DESC "}}",
		"{\"schemaVersion\":2,\"config\":" DESC "},\"layers\":[{}]}",
		"{\"schemaVersion\":2,\"config\":{\"mediaType\":\"t\",\"digest\":\"sha256:../../"
		"x\","
		"\"size\":1},\"layers\":[]}",
		"{\"schemaVersion\":2,\"config\":{\"mediaType\":\"t\",\"digest\":\"" DIGEST
		"\",\"size\":-1},\"layers\":[]}",
		"{\"schemaVersion\":2,\"schemaVersion\":2}"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (oci_manifest_parse(&m, bad[i], strlen(bad[i]), &err) != -EBADMSG)
			TAP_FAIL_("accepted: %s", bad[i]);
	}
	static const char config[] = "{\"architecture\":\"riscv64\",\"os\":\"linux\",\"config\":{"
				     "\"Env\":[\"A=b\"],\"Cmd\":null,\"WorkingDir\":\"/w\"},"
				     "\"rootfs\":{\"diff_ids\":[\"" DIGEST "\"]}}";
	struct oci_config c;
	REQUIRE(oci_config_parse(&c, config, sizeof(config) - 1, &err) == 0);
	CHECK_STR(c.env[0], "A=b");
	CHECK(!c.cmd[0] && !c.entrypoint[0] && !c.user);
	CHECK_EQ(c.diff_ids.len, 1);
	oci_config_done(&c);
	CHECK(!oci_digest_ok("sha256:0123") && !oci_digest_ok(NULL) && oci_digest_ok(DIGEST));
}

int main(void)
{
	RUN(decompression);
	RUN(debs);
	RUN(cpio);
	RUN(modules);
	RUN(oci);
	return tap_done();
}
