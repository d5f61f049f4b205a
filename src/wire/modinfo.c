// SPDX-License-Identifier: Apache-2.0
#include "wire/modinfo.h"

#include <elf.h>

static int bad(struct error *err, const char *what)
{
	return error_set(err, EBADMSG, "kernel module: %s", what);
}

/* Elf64 fields are naturally aligned in the file but the file need not be aligned in memory. */
#define FIELD16(base, type, member) load_le16((const char *)(base) + offsetof(type, member))
#define FIELD32(base, type, member) load_le32((const char *)(base) + offsetof(type, member))
#define FIELD64(base, type, member) load_le64((const char *)(base) + offsetof(type, member))

int modinfo_open(struct modinfo *out, const void *elf, size_t len, struct error *err)
{
	const char *b = elf;
	if (len < sizeof(Elf64_Ehdr) || memcmp(b, ELFMAG, SELFMAG) || b[EI_CLASS] != ELFCLASS64 ||
		b[EI_DATA] != ELFDATA2LSB)
		return bad(err, "not a 64-bit ELF file");
	uint64_t shoff = FIELD64(b, Elf64_Ehdr, e_shoff);
	uint32_t n = FIELD16(b, Elf64_Ehdr, e_shnum), str = FIELD16(b, Elf64_Ehdr, e_shstrndx);
	if (FIELD16(b, Elf64_Ehdr, e_shentsize) != sizeof(Elf64_Shdr) || str >= n ||
		!range_fits(shoff, (uint64_t)n * sizeof(Elf64_Shdr), len))
		return bad(err, "bad section table");
	const char *sections = b + shoff, *s = sections + str * sizeof(Elf64_Shdr);
	uint64_t str_off = FIELD64(s, Elf64_Shdr, sh_offset);
	uint64_t str_len = FIELD64(s, Elf64_Shdr, sh_size);
	static const char name[] = ".modinfo";
	if (!range_fits(str_off, str_len, len))
		return bad(err, "bad section names");
	for (uint32_t i = 0; i < n; i++) {
		s = sections + i * sizeof(Elf64_Shdr);
		uint64_t off = FIELD64(s, Elf64_Shdr, sh_offset);
		uint64_t size = FIELD64(s, Elf64_Shdr, sh_size);
		if (!range_fits(FIELD32(s, Elf64_Shdr, sh_name), sizeof(name), str_len) ||
			memcmp(b + str_off + FIELD32(s, Elf64_Shdr, sh_name), name, sizeof(name)))
			continue;
		if (FIELD32(s, Elf64_Shdr, sh_type) != SHT_PROGBITS || !size ||
			!range_fits(off, size, len) || b[off + size - 1])
			return bad(err, "bad .modinfo");
		*out = (struct modinfo){b + off, b + off + size};
		return 0;
	}
	return bad(err, "no .modinfo");
}

const char *modinfo_next(const struct modinfo *m, const char *key, const char **cursor)
{
	size_t n = strlen(key);
	const char *p = *cursor ? *cursor : m->p;
	while (p < m->end) {
		const char *entry = p;
		p += strlen(p) + 1; /* the section ends with a NUL */
		if (!strncmp(entry, key, n) && entry[n] == '=') {
			*cursor = p;
			return entry + n + 1;
		}
	}
	*cursor = m->end;
	return NULL;
}
