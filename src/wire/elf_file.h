// SPDX-License-Identifier: Apache-2.0
// 64-bit little-endian ELF files to load (System V ABI; segments only, section headers are not
// looked at). Everything in the result was checked against the file and against overflow.
#ifndef STRATA_WIRE_ELF_FILE_H
#define STRATA_WIRE_ELF_FILE_H

#include "wire/source.h"

enum { ELF_SEGMENTS_MAX = 64 };
enum elf_machine { ELF_386 = 3, ELF_ARM = 40, ELF_X86_64 = 62, ELF_AARCH64 = 183, ELF_RISCV = 243 };
enum elf_type { ELF_EXEC = 2, ELF_DYN = 3 };
enum elf_segment_flag { ELF_X = 1, ELF_W = 2, ELF_R = 4 };

struct elf_segment {
	uint64_t file_offset, file_bytes;    /* inside the file */
	uint64_t vaddr, paddr, memory_bytes; /* >= file_bytes; vaddr and paddr ranges do not wrap */
	uint64_t align;
	uint32_t flags; /* enum elf_segment_flag */
};

struct elf {
	uint16_t type;				       /* enum elf_type */
	uint16_t machine;			       /* enum elf_machine, or another */
	uint64_t entry;				       /* virtual */
	struct elf_segment segments[ELF_SEGMENTS_MAX]; /* PT_LOAD, in the file's order */
	unsigned segment_count;			       /* at least one */
	uint64_t interp_offset, interp_bytes; /* name of the dynamic linker, in the file; 0: none */
	uint64_t phdr_offset;		      /* program headers, in the file */
	unsigned phdr_count;
	uint32_t stack_flags; /* enum elf_segment_flag; 0: the file does not say */
};

bool elf_magic(const void *head, size_t len);
int elf_read(struct elf *out, const struct source *file, struct error *err);
/* Name of an architecture as we write it ("riscv64"), or NULL. */
const char *elf_machine_name(uint16_t machine);

#endif
