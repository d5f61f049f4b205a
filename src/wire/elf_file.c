// SPDX-License-Identifier: Apache-2.0
#include "wire/elf_file.h"

#include <elf.h>

bool elf_magic(const void *head, size_t len)
{
	return len >= SELFMAG && !memcmp(head, ELFMAG, SELFMAG);
}

const char *elf_machine_name(uint16_t machine)
{
	static const struct {
		uint16_t machine;
		const char *name;
	} names[] = {
		{ELF_386, "i386"},
		{ELF_ARM, "arm"},
		{ELF_X86_64, "x86_64"},
		{ELF_AARCH64, "arm64"},
		{ELF_RISCV, "riscv64"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (names[i].machine == machine)
			return names[i].name;
	}
	return NULL;
}

static int read_segment(struct elf *out, const struct source *file, const uint8_t *ph,
	unsigned index, struct error *err)
{
	uint64_t end;
	struct elf_segment s = {
		.flags = load_le32(ph + offsetof(Elf64_Phdr, p_flags)),
		.file_offset = load_le64(ph + offsetof(Elf64_Phdr, p_offset)),
		.vaddr = load_le64(ph + offsetof(Elf64_Phdr, p_vaddr)),
		.paddr = load_le64(ph + offsetof(Elf64_Phdr, p_paddr)),
		.file_bytes = load_le64(ph + offsetof(Elf64_Phdr, p_filesz)),
		.memory_bytes = load_le64(ph + offsetof(Elf64_Phdr, p_memsz)),
		.align = load_le64(ph + offsetof(Elf64_Phdr, p_align)),
	};
	uint32_t type = load_le32(ph + offsetof(Elf64_Phdr, p_type));
	if (type == PT_INTERP && !out->interp_bytes) {
		if (!range_fits(s.file_offset, s.file_bytes, file->bytes))
			return error_set(err, ENOEXEC, "truncated ELF file: dynamic linker");
		out->interp_offset = s.file_offset;
		out->interp_bytes = s.file_bytes;
	}
	if (type == PT_GNU_STACK)
		out->stack_flags = s.flags;
	if (type != PT_LOAD || !s.memory_bytes)
		return 0;
	if (s.file_bytes > s.memory_bytes || add_overflows(s.vaddr, s.memory_bytes, &end) ||
		add_overflows(s.paddr, s.memory_bytes, &end))
		return error_set(err, ENOEXEC, "ELF segment %u has impossible sizes", index);
	if (!range_fits(s.file_offset, s.file_bytes, file->bytes))
		return error_set(err, ENOEXEC,
			"truncated ELF file: segment %u ends at byte %llu, the file has %llu",
			index, (unsigned long long)s.file_offset + s.file_bytes,
			(unsigned long long)file->bytes);
	if (out->segment_count == ELF_SEGMENTS_MAX)
		return error_set(err, ENOEXEC, "ELF file has more than %u segments to load",
			ELF_SEGMENTS_MAX);
	out->segments[out->segment_count++] = s;
	return 0;
}

int elf_read(struct elf *out, const struct source *file, struct error *err)
{
	uint8_t eh[sizeof(Elf64_Ehdr)], ph[sizeof(Elf64_Phdr)];
	struct elf e = {0};
	int r = source_read(file, 0, eh, sizeof(eh));
	if (r < 0)
		return error_set(err, ENOEXEC, "truncated ELF file: no complete header");
	if (!elf_magic(eh, sizeof(eh)))
		return error_set(err, ENOEXEC, "not an ELF file");
	if (eh[EI_CLASS] != ELFCLASS64 || eh[EI_DATA] != ELFDATA2LSB)
		return error_set(err, ENOEXEC, "not a 64-bit little-endian ELF file");
	e.type = load_le16(eh + offsetof(Elf64_Ehdr, e_type));
	e.machine = load_le16(eh + offsetof(Elf64_Ehdr, e_machine));
	e.entry = load_le64(eh + offsetof(Elf64_Ehdr, e_entry));
	uint64_t phoff = load_le64(eh + offsetof(Elf64_Ehdr, e_phoff));
	unsigned phnum = load_le16(eh + offsetof(Elf64_Ehdr, e_phnum));
	unsigned phentsize = load_le16(eh + offsetof(Elf64_Ehdr, e_phentsize));
	if (e.type != ELF_EXEC && e.type != ELF_DYN)
		return error_set(err, ENOEXEC, "ELF file of type %u is no program", e.type);
	if (phnum && phentsize != sizeof(ph))
		return error_set(
			err, ENOEXEC, "ELF file with program headers of %u bytes", phentsize);
	if (!range_fits(phoff, (uint64_t)phnum * sizeof(ph), file->bytes))
		return error_set(err, ENOEXEC, "truncated ELF file: no complete program headers");
	e.phdr_offset = phoff;
	e.phdr_count = phnum;
	for (unsigned i = 0; i < phnum; i++) {
		r = source_read(file, phoff + i * sizeof(ph), ph, sizeof(ph));
		if (r < 0)
			return error_errno(err, -r, "ELF file: program header %u", i);
		r = read_segment(&e, file, ph, i, err);
		if (r < 0)
			return r;
	}
	if (!e.segment_count)
		return error_set(err, ENOEXEC, "ELF file has nothing to load");
	*out = e;
	return 0;
}
