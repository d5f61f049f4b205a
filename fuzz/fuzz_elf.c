// SPDX-License-Identifier: Apache-2.0
// The ELF reader: what it accepts lies inside the file and does not wrap.
#include "wire/elf_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct source file;
	struct elf elf;
	struct error err _error_ = ERROR_INIT;
	source_from_memory(&file, data, size);
	if (elf_read(&elf, &file, &err) < 0)
		return 0;
	if (!elf.segment_count || elf.segment_count > ELF_SEGMENTS_MAX)
		abort();
	for (unsigned i = 0; i < elf.segment_count; i++) {
		const struct elf_segment *s = &elf.segments[i];
		if (s->file_offset > size || s->file_bytes > size - s->file_offset ||
			s->file_bytes > s->memory_bytes || s->vaddr + s->memory_bytes < s->vaddr ||
			s->paddr + s->memory_bytes < s->paddr)
			abort();
	}
	elf_machine_name(elf.machine);
	return 0;
}
