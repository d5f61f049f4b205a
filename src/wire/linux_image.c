// SPDX-License-Identifier: Apache-2.0
#include "wire/linux_image.h"

#include "wire/elf_file.h"

/* Offsets in the 64-byte header. */
enum {
	TEXT_OFFSET = 8,
	IMAGE_SIZE = 16,
	FLAGS = 24,
	VERSION = 32,
	MAGIC2 = 56,
	HEADER_BYTES = 64,
};
enum { FLAG_BIG_ENDIAN = 1 };

static bool has(const uint8_t *head, size_t len, size_t at, const char *magic, size_t magic_len)
{
	return range_fits(at, magic_len, len) && !memcmp(head + at, magic, magic_len);
}

enum linux_kernel_kind linux_kernel_kind(const uint8_t *head, size_t len)
{
	static const struct {
		size_t at;
		const char *magic;
		size_t len;
		enum linux_kernel_kind kind;
	} kinds[] = {
		{MAGIC2, "RSC\x05", 4, LINUX_KERNEL_RISCV_IMAGE},
		{MAGIC2, "ARM\x64", 4, LINUX_KERNEL_ARM64_IMAGE},
		{0x202, "HdrS", 4, LINUX_KERNEL_X86_BZIMAGE},
		{0,
			"\x7f"
			"ELF",
			4, LINUX_KERNEL_ELF},
		{0, "\x1f\x8b", 2, LINUX_KERNEL_GZIP},
		{0,
			"\xfd"
			"7zXZ",
			5, LINUX_KERNEL_XZ},
		{0, "\x28\xb5\x2f\xfd", 4, LINUX_KERNEL_ZSTD},
	};
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (has(head, len, kinds[i].at, kinds[i].magic, kinds[i].len))
			return kinds[i].kind;
	}
	return LINUX_KERNEL_UNKNOWN;
}

const char *linux_kernel_kind_name(enum linux_kernel_kind kind)
{
	switch (kind) {
	case LINUX_KERNEL_RISCV_IMAGE:
		return "a Linux Image for riscv64";
	case LINUX_KERNEL_ARM64_IMAGE:
		return "a Linux Image for arm64";
	case LINUX_KERNEL_X86_BZIMAGE:
		return "a Linux bzImage for x86";
	case LINUX_KERNEL_ELF:
		return "an ELF file";
	case LINUX_KERNEL_GZIP:
		return "a gzip file";
	case LINUX_KERNEL_XZ:
		return "an xz file";
	case LINUX_KERNEL_ZSTD:
		return "a zstd file";
	case LINUX_KERNEL_UNKNOWN:
		break;
	}
	return "no kernel known here";
}

/* The end of what the file must hold, from the header that an Image with EFI stub carries for
 * firmware (PE format, "PE header" and "section table"); 0: it tells nothing. The Image's own
 * header cannot tell a truncated file: its size counts memory that is not in the file. */
static uint64_t pe_file_bytes(const uint8_t *head, size_t len)
{
	enum { PE_OFFSET = 60, SECTIONS = 6, OPTIONAL = 20, TABLE = 24 };
	enum { SECTION_BYTES = 40, RAW_BYTES = 16, RAW_OFFSET = 20 };
	uint64_t pe = load_le32(head + PE_OFFSET), end = 0;
	if (!has(head, len, 0, "MZ", 2) || !has(head, len, pe, "PE\0\0", 4) ||
		!range_fits(pe, TABLE, len))
		return 0;
	unsigned sections = load_le16(head + pe + SECTIONS);
	uint64_t table = pe + TABLE + load_le16(head + pe + OPTIONAL);
	for (unsigned i = 0; i < sections; i++, table += SECTION_BYTES) {
		if (!range_fits(table, SECTION_BYTES, len))
			return 0;
		uint64_t raw_end = (uint64_t)load_le32(head + table + RAW_OFFSET) +
				   load_le32(head + table + RAW_BYTES);
		end = MAX(end, raw_end);
	}
	return end;
}

int riscv_image_parse(struct riscv_image *out, const uint8_t *head, size_t len, uint64_t file_bytes,
	struct error *err)
{
	if (len < HEADER_BYTES)
		return error_set(err, ENOEXEC, "truncated Linux Image: no complete header");
	if (!has(head, len, MAGIC2, "RSC\x05", 4))
		return error_set(err, ENOEXEC, "not a Linux Image for riscv64");
	struct riscv_image i = {
		.text_offset = load_le64(head + TEXT_OFFSET),
		.image_bytes = load_le64(head + IMAGE_SIZE),
		.version_major = load_le16(head + VERSION + 2),
		.version_minor = load_le16(head + VERSION),
	};
	if (load_le64(head + FLAGS) & FLAG_BIG_ENDIAN)
		return error_set(err, ENOEXEC, "big-endian Linux Image");
	if (i.version_major != 0)
		return error_set(err, ENOEXEC,
			"Linux Image with header version %u.%u, known is 0.x", i.version_major,
			i.version_minor);
	if (i.text_offset % RISCV_IMAGE_ALIGN)
		return error_set(err, ENOEXEC,
			"Linux Image with text offset 0x%llx, not 2 MiB aligned",
			(unsigned long long)i.text_offset);
	uint64_t needed = pe_file_bytes(head, len);
	if (file_bytes < needed)
		return error_set(err, ENOEXEC,
			"truncated Linux Image: the file has %llu bytes of %llu",
			(unsigned long long)file_bytes, (unsigned long long)needed);
	if (!i.image_bytes)
		i.image_bytes = file_bytes;
	if (file_bytes > i.image_bytes)
		return error_set(err, ENOEXEC, "Linux Image of %llu bytes with %llu in its file",
			(unsigned long long)i.image_bytes, (unsigned long long)file_bytes);
	*out = i;
	return 0;
}
